"""Contenders that only seem to work: real processes, told what to do as any other is, that log what they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_to_mlx.benchmark.contender import SCRIPTS, Contender

SPEAKS = """
    def voice(self):
        self.log("voice")
    def synthesize(self, limit):
        self.log("whole", self.text, limit)
        self.watch.begin_tokens()
        time.sleep(self.pause)
        for _ in range(4):
            self.watch.tick()
        self.flow()
        return self.heard(np.full(24000, 0.1, np.float32), 24000)
    def first_audio(self, limit):
        self.log("first", self.text, limit)
        return self.heard(np.full(2400, 0.1, np.float32), 24000)
"""
HEARS = """
    def transcribe(self, path):
        self.log("whole", path.rsplit("/", 1)[-1])
        self.flow()
        self.watch.begin_tokens()
        for _ in range(5):
            self.watch.tick()
        time.sleep(self.pause)
        return "what was said"
"""
SCRIPT = """
import sys, time
sys.path.insert(0, {scripts!r})
import numpy as np
from serving import serve
from {base}_serving import {kind}Contender

class Fake({kind}Contender):
    pause = {pause}
    def __init__(self, setting, watch):
        super().__init__(setting, watch)
        {loading}
        watch.watch(self, "flow", "flow")
        self.log("load")
    def log(self, *what):
        with open({log!r}, "a") as file:
            print({name!r}, *what, file=file)
    def flow(self):
        time.sleep(self.pause)
    def probe(self):
        pass
    def facts(self):
        return {{"about": "a fake", "device": {device!r}}}
    def device_peak(self):
        return 3_000_000_000
{work}
time.sleep({pause})
serve(Fake)
"""


def fake(
    folder: Path,
    name: str,
    *,
    hears: bool = False,
    pause: float = 0.02,
    loading: str = "pass",
    device: str = "cpu",
    **more: Any,
) -> Contender:
    """A contender whose log is `folder`/log, which sleeps for `pause` seconds while it imports and at each stage.

    `loading` is a statement that it runs while it loads; `more` is the contender's.
    """
    script = folder / f"{name}.py"
    told = {"base": "transcription", "kind": "Transcription", "work": HEARS} if hears else {}
    script.write_text(
        SCRIPT.format(
            **{"base": "speech", "kind": "Speech", "work": SPEAKS, **told},
            scripts=str(SCRIPTS),
            log=str(folder / "log"),
            name=name,
            pause=pause,
            loading=loading,
            device=device,
        )
    )
    return Contender(name, str(script), **{"streams": True, **more})


def asked(folder: Path) -> list[str]:
    """What the contenders were asked, in order."""
    return (folder / "log").read_text().splitlines()
