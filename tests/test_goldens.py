"""Parity without torch: each variant with seeded weights against a small recording of upstream.

`make goldens` made the recordings with the environment that references/environments.toml pins. Weights are drawn again
from seed, name and shape, so that no golden stores them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.nn as nn
import pytest
from described import described, write_source
from mlx.utils import tree_flatten
from record_goldens import goldens
from small_kokoro import small_kokoro
from small_ports import SEED, crepe_tensors, perth_tensors, safetensors_file, small_s3_tokenizer, voice_encoder_tensors
from small_qwen3_tts import small_networks
from small_whisper import small_whisper
from upstream_shapes import seeded_campplus, seeded_flow, seeded_hift, seeded_t3

from pytorch_to_mlx import convert, load, registry
from pytorch_to_mlx.parity import Recording
from pytorch_to_mlx.validation import check_alive, check_controls, compare

GOLDENS = {path.stem: path for path in sorted((Path(__file__).parent / "goldens").glob("*.safetensors"))}


def seeded(variant: str) -> dict[str, Any]:
    """The checkpoint that the reference recorded with."""
    if variant in ("tiny", "full"):
        return crepe_tensors(variant)
    if variant == "implicit":
        return perth_tensors()
    if variant == "chatterbox":
        return voice_encoder_tensors()
    shapes = {name.replace("proj.", "linear."): array.shape for name, array in voice_encoder_tensors().items()}
    return {f"model_state.{name}": array for name, array in SEED.voice_encoder_weights(shapes, 0).items()}


NETWORKS: dict[str, Callable[[str], nn.Module]] = {
    "campplus": lambda variant: seeded_campplus(),
    "t3": seeded_t3,
    "flow": lambda variant: seeded_flow(meanflow=variant == "turbo"),
    "hift": lambda variant: seeded_hift(),
}


def nested(path: str, network: nn.Module) -> nn.Module:
    """A model that has the network at the path, and nothing else."""
    for name in reversed(path.split(".")):
        outer = nn.Module()
        outer[name] = network
        network = outer
    return network


@pytest.fixture(scope="module", params=list(GOLDENS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("golden")
    port, variant, network = goldens()[name]
    if port == "s3_tokenizer":
        return small_s3_tokenizer(variant)
    if port == "qwen3_tts":
        return small_networks(name)
    if port == "kokoro":
        return small_kokoro()
    if port == "whisper":
        return small_whisper(folder)
    if "shapes" in described(name):
        convert(write_source(name, folder / "source"), folder / "mlx", port=port, variant=variant)
        return load(folder / "mlx")
    if network:
        path = registry.get(port).reference.stages[network].network
        return SimpleNamespace(network=nested(path, NETWORKS[network](variant)))
    checkpoint = safetensors_file(folder / "weights.safetensors", seeded(variant))
    convert(str(checkpoint), folder / "mlx", port=port, variant=variant)
    return load(folder / "mlx")


@pytest.fixture(scope="module")
def recorded(name: str) -> Recording:
    return Recording.read(GOLDENS[name])


def test_every_variant_has_a_golden() -> None:
    assert set(GOLDENS) == set(goldens())


def test_every_tap_holds(name: str, model: Any, recorded: Recording) -> None:
    reference = registry.get(goldens()[name][0]).reference
    check_alive(recorded, reference)
    cases = compare(model, recorded, reference, "float32")
    assert sum(len(case.taps) for case in cases) >= 10
    empty = [case.name for case in recorded.cases if not case.taps]  # taps that found no room compare nothing
    assert empty == (["all"] if name.startswith("crepe") else []), "crepe's decoders have tests of their own"
    for case in cases:
        failed = [f"{tap.name}: {tap.error:.2e} > {tap.limit:.0e}" for tap in case.taps if not tap.passed]
        assert not failed, f"{name} {case.name}: {failed}"


MOST_CONTROLS = {
    "crepe-full": 6,
    "chatterbox-english-campplus": 60,
    "chatterbox-english-flow": 40,
    "chatterbox-turbo-flow": 40,
    "chatterbox-english-hift": 40,
    "qwen3_tts_tokenizer_25hz-25hz": 120,
    "kokoro-v1.0": 80,
    "whisper-tiny": 40,
}
"""All of them would take minutes here; make parity does all."""


def test_every_parameter_matters(name: str, model: Any, recorded: Recording) -> None:
    """The control: a perturbed parameter must move a tap past its bar."""
    reference = registry.get(goldens()[name][0]).reference
    names = [parameter for parameter, _ in tree_flatten(model.network.parameters())]
    chosen = set(names[:: -(-len(names) // MOST_CONTROLS[name])] if name in MOST_CONTROLS else names)
    controls = check_controls(model, recorded, reference, "float32", only=chosen.__contains__)
    assert controls.perturbed == len(chosen) >= 6
    assert controls.unmoved == ()
