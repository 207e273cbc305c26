"""Threads that speak with one loaded Chatterbox, and programs that end with them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_chatterbox import drawn_voice, small_chatterbox

LINES = ("Hello there.", "How are you today?")


@pytest.mark.parametrize(("meanflow", "lines"), [(True, LINES), (False, LINES[:1])], ids=["meanflow", "guided"])
def test_two_threads_with_one_model_say_what_one_thread_says(
    meanflow: bool, lines: tuple[str, ...], tmp_path: Path
) -> None:
    """With guidance, one's flow takes OpenBLAS's threads from the other's vocoder, which rounds otherwise then."""
    model, voice = small_chatterbox(tmp_path, meanflow=meanflow), drawn_voice()

    def say(seed: int) -> list[np.ndarray]:
        """Lines one after another, as a thread that serves many requests does."""
        return [model.synthesize(line, voice=voice, seed=seed, max_tokens=6).samples for line in lines]

    with ThreadPoolExecutor(2) as threads:  # first, so that what is made when first used is made in them
        together = list(threads.map(say, (1, 2)))
    alone = [say(1), say(2)]
    assert not np.array_equal(alone[0][0], alone[1][0]), "the threads have different things to say"
    for ours, wanted in zip(together, alone, strict=True):
        for samples, same in zip(ours, wanted, strict=True):
            assert np.abs(same).max() > 1e-3, "there is sound"
            np.testing.assert_allclose(samples, same, rtol=0, atol=0 if meanflow else 2e-5 * np.abs(same).max())


ENDING = """
import threading
import mlx.core as mx
from pytorch_to_mlx.layers import elementwise

def work():
    for size in (5000, 6000, 7000):
        for name in ("exp", "sigmoid", "silu", "tanh", "elu", "mish", "gelu", "gelu_tanh", "sin"):
            mx.eval(getattr(elementwise, name)(mx.ones(size)))

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_a_program_ends_well_just_after_its_threads(tmp_path: Path) -> None:
    script = tmp_path / "ending.py"
    script.write_text(ENDING)
    for _ in range(3):  # without `layers.device._ThreadEnd` most runs abort
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-500:]
