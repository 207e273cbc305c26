"""What contenders share: each is a process that loads once, then does as it is told.

    python CONTENDER.py SETTING

with a `Setting` in JSON. It prints a reply in JSON when it has loaded, then one for each request that it reads, a line
each: a method's name and its arguments. It runs in every contender's environment, so it imports nothing but Python.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MATRIX = 1024
"""Side of the matrices that the probe multiplies."""


@dataclass(frozen=True)
class Setting:
    """What a contender is to work with.

    Attributes:
        model: the folder that it loads.
        prompt: a recording of the voice.
        text: what to say.
        threads: how many to compute with.
        started: when its process did, in seconds of the epoch.
    """

    model: str
    prompt: str
    text: str
    threads: int
    started: float


class Stopwatch:
    """Seconds by stage, read off a running synthesis.

    Attributes:
        spans: seconds of what was watched.
        tokens: how many were drawn.
    """

    def __init__(self) -> None:
        self.spans: dict[str, float] = {}
        self.tokens = 0
        self._ticks: list[float] = []

    def watch(self, owner: Any, method: str, span: str, finish: Callable[[Any], object] = lambda _: None) -> None:
        """Time a method of an object from now on. `finish` computes what a lazy one returns."""
        call = getattr(owner, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = call(*arguments, **named)
            finish(result)
            self.spans[span] = self.spans.get(span, 0.0) + time.perf_counter() - started
            return result

        setattr(owner, method, timed)

    def begin_tokens(self) -> None:
        """The prompt is about to be read."""
        self._ticks = [time.perf_counter()]

    def tick(self) -> None:
        """A token was drawn."""
        self._ticks.append(time.perf_counter())
        self.tokens += 1

    def clear(self) -> None:
        self.spans, self.tokens, self._ticks = {}, 0, []

    def read(self) -> dict[str, float]:
        """The spans, with "prefill" until the first token and "token" for each that follows."""
        if len(self._ticks) > 1:
            self.spans["prefill"] = self._ticks[1] - self._ticks[0]
        if len(self._ticks) > 2:
            self.spans["token"] = (self._ticks[-1] - self._ticks[1]) / (len(self._ticks) - 2)
        return self.spans


class Contender(ABC):
    """One implementation of a model; made, it is loaded. `watch` times what goes on inside."""

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        self.setting = setting
        self.watch = watch

    @abstractmethod
    def probe(self) -> None:
        """Multiply two float32 matrices of MATRIX squared."""

    def facts(self) -> dict[str, Any]:
        """What else the report tells of it: at least "about", a line."""
        return {}

    def device_peak(self) -> int | None:
        """The most bytes that its framework says it held, if it says so."""
        return None


def serve(make: Callable[[Setting, Stopwatch], Contender]) -> None:
    """Load a contender and do as told on standard input until it ends."""
    imported = time.time()
    # What libraries print must not reach the parent's pipe.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    setting, watch = Setting(**json.loads(sys.argv[1])), Stopwatch()
    contender = make(setting, watch)
    loaded = {"import": imported - setting.started, "load": time.time() - imported, "facts": contender.facts()}
    print(json.dumps(loaded), file=replies)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        gflops = _probe(contender)
        watch.clear()
        started = time.perf_counter()
        result = getattr(contender, method)(*arguments)
        seconds = time.perf_counter() - started
        reply = {"seconds": seconds, "result": result, "spans": watch.read(), "tokens": watch.tokens, "gflops": gflops}
        print(json.dumps(reply | _memory(contender)), file=replies)


def _probe(contender: Contender) -> float:
    """10^9 floating-point operations a second in a matrix product, the best of a few."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        contender.probe()
        taken.append(time.perf_counter() - started)
    return 2 * MATRIX**3 / min(taken) / 1e9


def _memory(contender: Contender) -> dict[str, int | None]:
    """Bytes that the process holds now and has held at most, mapped files included, and what its framework says."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        held, peak = (1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    else:  # macOS, which counts in bytes
        held, peak = None, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"held": held, "peak": peak, "device_peak": contender.device_peak()}
