"""Whether compiling Kokoro's decoder for frames in buckets pays: what `mx.compile` saves, and what padding costs.

    python benchmarks/kokoro_compile.py DIR [--frames 20] [--bucket 32] [--repeats 3]

DIR is a converted Kokoro. MLX's own operations are compiled, which are slow on a CPU: minutes for seconds of sound.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.layers.device import linux_cpu, portable
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.models.kokoro.config import STYLE
from pytorch_to_mlx.models.kokoro.model import KokoroModel
from pytorch_to_mlx.noise import SeededNoise

Given = tuple[mx.array, ...]


def drawn(model: KokoroModel, frames: int) -> Given:
    """Text, pitch, loudness, style and harmonics of so many frames."""
    noise = SeededNoise(0)
    text = 0.2 * noise.normal("text", 0, frames, (512,))[None]
    pitch = 180 + 40 * mx.sin(mx.arange(2 * frames) / 20)[None]
    loudness = noise.normal("loudness", 0, 2 * frames, ())[None]
    source = model.network.decoder.generator.m_source
    harmonics = source.harmonics(source(pitch, noise.normal("source", 0, pitch.size, (300, 9)).reshape(1, -1, 9)))
    return text, pitch, loudness, 0.6 * noise.normal("style", 0, 1, (STYLE,)), harmonics


def padded(model: KokoroModel, given: Given, frames: int) -> Given:
    """The same with zeros up to so many frames."""
    text, pitch, loudness, style, harmonics = given
    longer = drawn(model, frames)[4].shape[1]

    def fill(x: mx.array, length: int) -> mx.array:
        return mx.pad(x, [(0, 0), (0, length - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])

    return fill(text, frames), fill(pitch, 2 * frames), fill(loudness, 2 * frames), style, fill(harmonics, longer)


def seconds(decode: Callable[..., mx.array], given: Given) -> float:
    begun = time.perf_counter()
    mx.eval(decode(*given))
    return time.perf_counter() - begun


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=20, help="40 a second")
    parser.add_argument("--bucket", type=int, default=32, help="frames that it is padded to")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(given)
    model: KokoroModel = load(options.folder)
    decoder = model.network.decoder
    exact = drawn(model, options.frames)
    mx.eval(exact)
    sound = np.array(decoder(*exact))
    longer = np.array(decoder(*padded(model, exact, options.bucket)))[:, : sound.size]
    error = 10 * np.log10(np.mean(sound**2) / np.mean((sound - longer) ** 2))
    print(f"padded from {options.frames} to {options.bucket} frames, its sound differs: {error:.1f} dB of likeness")
    lowered = median(seconds(decoder, exact) for _ in range(options.repeats)) if linux_cpu() else None
    with portable() if linux_cpu() else contextlib.nullcontext():
        compiled = mx.compile(lambda text, f0, n, style, source: decoder(text, f0, n, style, source))
        first = seconds(compiled, exact)
        turns = [(seconds(decoder, exact), seconds(compiled, exact)) for _ in range(options.repeats)]
    plain, fused = (median(column) for column in zip(*turns, strict=True))
    ratio = median(a / b for a, b in turns)
    print(f"MLX's operations {plain:.2f} s, compiled {fused:.2f} s ({ratio:.2f} x), the first time {first:.1f} s")
    if lowered is not None:
        print(f"as it runs here {lowered:.2f} s")


if __name__ == "__main__":
    main()
