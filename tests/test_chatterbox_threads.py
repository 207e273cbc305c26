"""Threads that speak with one loaded Chatterbox, and programs that end with them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from text_files import write_english

from pytorch_to_mlx.components.perth import Perth
from pytorch_to_mlx.models.chatterbox.config import ChatterboxConfig
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.models.chatterbox.network import S3Gen
from pytorch_to_mlx.models.chatterbox.t3.config import ENGLISH
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.models.chatterbox.voice import EMBEDDING, PROMPT_MEL, PROMPT_TOKENS, SPEAKER, T3_PROMPT
from pytorch_to_mlx.tasks import Voice

KIND = "chatterbox"
LINES = ("Hello there.", "How are you today?")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ChatterboxModel:
    """T3 reduced, the flow of two steps, weights as they are drawn; without what only prepares voices."""
    mx.random.seed(0)
    backbone = replace(ENGLISH.backbone, num_layers=2, hidden_size=256, intermediate_size=256, head_dim=16)
    config = ChatterboxConfig(replace(ENGLISH, backbone=backbone), "english", True, 6.0, KIND)
    parts = {"t3": T3(config.t3), "s3gen": S3Gen(config.meanflow), "perth": Perth()}
    for part in parts.values():
        part.eval()
        mx.eval(part.parameters())
    network: Any = SimpleNamespace(**parts)
    folder = tmp_path_factory.mktemp("model")
    write_english(folder)
    return ChatterboxModel(network, config, folder)


@pytest.fixture(scope="module")
def voice() -> Voice:
    draw = np.random.default_rng(0)
    return Voice(
        KIND,
        {
            SPEAKER: draw.random((1, 256), np.float32),
            T3_PROMPT: draw.integers(6561, size=(1, 20)).astype(np.int32),
            PROMPT_TOKENS: draw.integers(6561, size=(1, 4)).astype(np.int32),
            PROMPT_MEL: draw.normal(size=(1, 8, 80)).astype(np.float32),
            EMBEDDING: draw.normal(size=(1, 192)).astype(np.float32),
        },
    )


def test_two_threads_with_one_model_say_what_one_thread_says(model: ChatterboxModel, voice: Voice) -> None:
    def say(seed: int) -> list[np.ndarray]:
        """Two lines one after another, as a thread that serves many requests does."""
        return [model.synthesize(line, voice=voice, seed=seed, max_tokens=6).samples for line in LINES]

    with ThreadPoolExecutor(2) as threads:  # first, so that what is made when first used is made in them
        together = list(threads.map(say, (1, 2)))
    alone = [say(1), say(2)]
    assert not np.array_equal(alone[0][0], alone[1][0]), "the threads have different things to say"
    for ours, wanted in zip(together, alone, strict=True):
        for samples, same in zip(ours, wanted, strict=True):
            assert np.abs(same).max() > 1e-3, "there is sound"
            np.testing.assert_array_equal(samples, same)


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
