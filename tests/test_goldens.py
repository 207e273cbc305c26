"""Parity without torch: each variant with seeded weights against a small recording of upstream.

`make goldens` made the recordings with the environment that references/environments.toml pins. Weights are drawn again
from seed, name and shape, so that no golden stores them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from small_ports import SEED, crepe_tensors, perth_tensors, safetensors_file, small_s3_tokenizer, voice_encoder_tensors

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


@pytest.fixture(scope="module", params=list(GOLDENS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("golden")
    port, _, variant = name.partition("-")
    if port == "s3_tokenizer":
        return small_s3_tokenizer(variant)
    checkpoint = safetensors_file(folder / "weights.safetensors", seeded(variant))
    convert(str(checkpoint), folder / "mlx", port=port, variant=variant)
    return load(folder / "mlx")


@pytest.fixture(scope="module")
def recorded(name: str) -> Recording:
    return Recording.read(GOLDENS[name])


# Its networks are tested one by one so far; recordings of them are still to come.
WITHOUT = {"chatterbox"}


def test_every_variant_has_a_golden() -> None:
    entries = [entry for entry in registry.ENTRIES if entry.name not in WITHOUT]
    assert set(GOLDENS) == {f"{entry.name}-{variant}" for entry in entries for variant in entry.variants}


def test_every_tap_holds(name: str, model: Any, recorded: Recording) -> None:
    reference = registry.get(recorded.reference).reference
    check_alive(recorded, reference)
    cases = compare(model, recorded, reference, "float32")
    assert sum(len(case.taps) for case in cases) >= 10
    for case in cases:
        failed = [f"{tap.name}: {tap.error:.2e} > {tap.limit:.0e}" for tap in case.taps if not tap.passed]
        assert not failed, f"{name} {case.name}: {failed}"


def test_every_parameter_matters(name: str, model: Any, recorded: Recording) -> None:
    """The control: a perturbed parameter must move a tap past its bar."""
    reference = registry.get(recorded.reference).reference
    if name == "crepe-full":  # its 38 parameters take a minute here; make parity does all of them
        weight = model.network.conv5.weight
        model.network.conv5.weight = weight * (1 + 0.01 * mx.random.normal(weight.shape))
        broken = compare(model, recorded, reference, "float32")
        model.network.conv5.weight = weight
        assert {case.first_divergence for case in broken} == {"conv5"}
        return
    controls = check_controls(model, recorded, reference, "float32")
    assert controls.perturbed == len(tree_flatten(model.network.parameters()))
    assert controls.unmoved == ()
