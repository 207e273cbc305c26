"""What contenders share: each is a process that loads once, then does as it is told.

    python CONTENDER.py SETTING PIPE

with a `Setting` in JSON and a file descriptor. It writes a reply in JSON to that when it has loaded, then one for each
request that it reads, a line each: a method's name, its arguments and the text that it is about. Its output is left to
what libraries print. It runs in every contender's environment, so it imports nothing but Python.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MATRIX = 1024
"""Side of the matrices that the probe multiplies."""
SEED = 0
"""Of random numbers, from which each request begins anew: all runs do the same work."""


@dataclass(frozen=True)
class Setting:
    """What a contender is to work with.

    Attributes:
        model: the folder that it loads.
        prompt: a recording of the voice; empty where the model has its own voices, or hears none.
        prompt_text: what it says, for models that go on from it.
        text: what to say, unless a request tells another.
        threads: how many to compute with.
        dtype: of floating-point weights.
        exact: speak exactly as long as told: an end is never drawn.
        options: of the model, by the names of the verb `synthesize`.
        started: when its process did, by the clock that all processes share.
    """

    model: str
    prompt: str = ""
    prompt_text: str = ""
    text: str = ""
    threads: int = 1
    dtype: str = "float32"
    exact: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0


class Stopwatch:
    """Seconds by stage, read off running work.

    Attributes:
        spans: seconds of what was watched.
        tokens: how many were drawn.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Work is about to begin."""
        self.spans: dict[str, float] = {}
        self.tokens = 0
        self._passes: list[list[float]] = []
        self._began = time.perf_counter()

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
        """The prompt of a pass is about to be read."""
        for span in ("prefill", "decode"):  # spans stand in the order in which they begin
            self.spans.setdefault(span, 0.0)
        self._passes.append([time.perf_counter()])

    def tick(self) -> None:
        """A token was drawn."""
        self._passes[-1].append(time.perf_counter())
        self.tokens += 1

    def read(self) -> dict[str, float]:
        """The spans, with "first" from the beginning to the first token, "prefill" of every pass until its first token,
        "decode" from there to its last, and "token", the mean of those that follow a first one."""
        passes = [ticks for ticks in self._passes if len(ticks) > 1]
        if passes:
            self.spans["first"] = passes[0][1] - self._began
            self.spans["prefill"] = sum(ticks[1] - ticks[0] for ticks in passes)
        if following := sum(len(ticks) - 2 for ticks in passes):
            self.spans["decode"] = sum(ticks[-1] - ticks[1] for ticks in passes)
            self.spans["token"] = self.spans["decode"] / following
        return self.spans


class Contender(ABC):
    """One implementation of a model; made, it is loaded. `watch` times what goes on inside.

    Attributes:
        options: of a setting, that it heeds; None where it refuses others by itself.
        text: what to say.
    """

    options: tuple[str, ...] | None = None

    @classmethod
    def refusal(cls, setting: Setting) -> str:
        """Why it cannot do what a setting asks for; empty if it can."""
        ignored = [name for name in setting.options if cls.options is not None and name not in cls.options]
        return f"it cannot be told {', '.join(ignored)}" if ignored else ""

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        self.setting = setting
        self.watch = watch
        self.text = setting.text

    def seed(self) -> None:
        """Begin random numbers at SEED: Python's here, and where it overrides this, its framework's."""
        random.seed(SEED)

    @abstractmethod
    def probe(self) -> None:
        """Multiply two float32 matrices of MATRIX squared."""

    def facts(self) -> dict[str, Any]:
        """What else the report tells of it: "about", a line, and the "device" that it computes on, if not "cpu"."""
        return {}

    def seconds(self) -> float | None:
        """Of the audio that it made last, if it makes any."""
        return None

    def device_peak(self) -> int | None:
        """The most bytes that its framework says it held, if it says so."""
        return None


def serve(make: type[Contender]) -> None:
    """Load a contender and do as told on standard input until it ends."""
    setting, watch = Setting(**json.loads(sys.argv[1])), Stopwatch()
    imported = time.monotonic() - setting.started
    replies = os.fdopen(int(sys.argv[2]), "w", buffering=1)
    if reason := make.refusal(setting):
        sys.exit(reason)
    contender = make(setting, watch)
    load = time.monotonic() - setting.started - imported
    print(json.dumps({"import": imported, "load": load, "facts": contender.facts()}), file=replies)
    for line in sys.stdin:
        method, arguments, text = json.loads(line)
        contender.text = setting.text if text is None else text
        contender.seed()
        watch.clear()
        started = time.perf_counter()
        result = getattr(contender, method)(*arguments)
        seconds = time.perf_counter() - started
        at = time.monotonic() - setting.started
        reply = {"seconds": seconds, "at": at, "result": result, "spans": watch.read(), "tokens": watch.tokens}
        reply["audio"] = contender.seconds()
        print(json.dumps({**reply, **_memory(contender), "gflops": _probe(contender)}), file=replies)


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
