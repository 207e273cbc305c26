"""Quantization: what the policy decides, what is recorded and written, and that loading takes only what was written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from small_ports import SEED, Toy, ToyConfig, crepe_tensors, safetensors_file, toy_port, toy_tensors

from pytorch_to_mlx import Audio, convert, load, registry
from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder
from pytorch_to_mlx.errors import FolderError, QuantizationError
from pytorch_to_mlx.layers.quantized import QuantizedLinear
from pytorch_to_mlx.models.crepe.port import PORT as CREPE
from pytorch_to_mlx.models.voice_encoder.port import PORT as VOICE_ENCODER
from pytorch_to_mlx.parity import relative_error
from pytorch_to_mlx.quantization import BITS, Choice, QuantizationPolicy
from pytorch_to_mlx.validation import precision

LAYERS = ["layers.0", "layers.1"]


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._added, "toy", toy_port())


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(safetensors_file(tmp_path / "toy.safetensors", toy_tensors()))


@pytest.fixture
def quantized(tmp_path: Path, source: str) -> Path:
    return convert(source, tmp_path / "quantized", variant="small", quantize=True, q_group_size=32).folder


def network(width: int = 32) -> Toy:
    return Toy(ToyConfig(inputs=4, width=width, layers=2))


def parameters(model: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]


# The policy

POLICY = toy_port().quantization


def test_every_layer_is_decided_with_its_reason() -> None:
    decided = POLICY.decide(network(), 4, 32)
    assert list(decided.layers) == LAYERS
    assert decided.kept == {"left": "gates are delicate", "right": "gates are delicate"}
    assert decided.to_config() == {
        "bits": 4,
        "group_size": 32,
        "mode": "affine",
        "layers": {path: {"bits": 4, "group_size": 32} for path in LAYERS},
        "kept": decided.kept,
    }


@pytest.mark.parametrize(
    ("policy", "bits", "group_size", "message"),
    [
        (POLICY, 7, 32, "--q-bits 7 is not one of 2, 3, 4, 5, 6, 8"),
        (POLICY, 4, 48, "--q-group-size 48 is not one of 32, 64, 128"),
        (POLICY, 4, 64, "--q-group-size 64 does not divide the width 32 of layers"),
        (QuantizationPolicy(quantize=POLICY.quantize), 4, 32, "the quantization policy does not speak of (left|right)"),
        (
            QuantizationPolicy(quantize=(*POLICY.quantize, Choice("l.*", "again")), never=POLICY.never),
            *(4, 32, "the quantization policy speaks more than once of l"),
        ),
        (
            QuantizationPolicy(quantize=POLICY.quantize, never=(Choice(".*", "none"),)),
            *(4, 32, "the quantization policy speaks more than once of layers"),
        ),
        (
            QuantizationPolicy(never=(Choice(".*", "too small to gain"),)),
            *(4, 32, r"nothing in this model may be quantized \(too small to gain\); convert without -q"),
        ),
        (
            QuantizationPolicy(quantize=(Choice("layer", "a prefix is no match"),), never=(Choice("left|right", ""),)),
            *(4, 32, "does not speak of layers"),
        ),
    ],
)
def test_what_the_policy_refuses(policy: QuantizationPolicy, bits: int, group_size: int, message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        policy.decide(network(), bits, group_size)


def test_the_policies_of_the_ports() -> None:
    crepe = CREPE.quantization.decide(CREPE.build(CREPE.variants["tiny"].config), 4, 64)
    assert crepe.layers == ("classifier",)
    with pytest.raises(QuantizationError, match=r"nothing in this model may be quantized \(1.4 M parameters in all"):
        VOICE_ENCODER.quantization.decide(VoiceEncoder(), 4, 64)


def test_a_refusal_leaves_no_folder(tmp_path: Path, source: str) -> None:
    with pytest.raises(QuantizationError, match="--q-group-size 64"):
        convert(source, tmp_path / "made", quantize=True)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.safetensors"]


# What is written


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("bits", BITS)
def test_parameters_equal_those_of_mlx_own_quantization(tmp_path: Path, source: str, bits: int, dtype: Any) -> None:
    """The streamed arrays are bit by bit what nn.quantize makes of the loaded float model."""
    options: dict[str, Any] = {"variant": "small", "dtype": dtype}
    convert(source, tmp_path / "floats", **options)
    made = convert(source, tmp_path / "made", quantize=True, q_bits=bits, q_group_size=32, **options)
    expected = load(tmp_path / "floats").network
    nn.quantize(expected, group_size=32, bits=bits, class_predicate=lambda path, _: path in LAYERS)
    wanted = parameters(expected)
    loaded = load(made.folder).network
    found = parameters(loaded)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert mx.array_equal(found[name], array), name
    assert set(found) == set(wanted)
    assert [type(layer) for layer in loaded.layers] == [QuantizedLinear, QuantizedLinear]  # not MLX's, slow on a CPU
    assert found["layers.0.weight"].dtype == mx.uint32
    assert found["layers.0.weight"].shape == (32, bits)
    assert (made.config.dtype, precision(made.config)) == (dtype, f"{bits}-bit")


def test_recorded_in_config_and_card(quantized: Path) -> None:
    config = json.loads((quantized / "config.json").read_text())
    assert config["quantization"] == POLICY.decide(network(), 4, 32).to_config()
    assert "2 layers in 4 bits, in groups of 32" in (quantized / "README.md").read_text()


# Loading


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    config = json.loads((folder / "config.json").read_text())
    edit(config["quantization"])
    (folder / "config.json").write_text(json.dumps(config))
    return folder


FOUR = {"bits": 4, "group_size": 32}
EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a layer that does not exist": (lambda q: q["layers"].update(absent=FOUR), "quantizes 'absent', which is not a"),
    "a layer that cannot be": (lambda q: q["layers"].update(stem=FOUR), "quantizes 'stem', which is not a layer"),
    "the whole model": (lambda q: q["layers"].update({"": FOUR}), "quantizes '', which is not a layer"),
    "a width that is not divided": (lambda q: q["layers"]["layers.0"].update(group_size=64), "do not divide its width"),
    "bits that MLX has not": (lambda q: q["layers"]["layers.0"].update(bits=1), "that MLX has not"),
    "fractional bits": (lambda q: q["layers"]["layers.0"].update(bits=4.0), "that MLX has not"),
    "true bits": (lambda q: q.update(bits=True), "that MLX has not"),
    "no bits": (lambda q: q["layers"]["layers.0"].clear(), "that MLX has not"),
    "layers in a list": (lambda q: q.update(layers=LAYERS), "that MLX has not"),
    "another mode": (lambda q: q.update(mode="mxfp4"), "is not as convert writes it"),
    "something more": (lambda q: q.update(scheme=1), "is not as convert writes it"),
    "nothing": (lambda q: q.clear(), "is not as convert writes it"),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_damaged_record_is_refused(quantized: Path, case: str) -> None:
    edit, message = EDITS[case]
    with pytest.raises(QuantizationError, match=f"config.json.*{message}"):
        load(edited(quantized, edit))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda q: q["layers"]["layers.0"].update(bits=8),
            r"has layers\.0\.weight in shape \(32, 4\) instead of \(32, 8\)",
        ),
        (lambda q: q["layers"].pop("layers.0"), r"has layers\.0\.weight in shape \(32, 4\) instead of \(32, 32\)"),
        (lambda q: q["layers"].update(left=FOUR), r"lacks left\.scales; lacks left\.biases; has left\.weight in shape"),
    ],
)
def test_a_record_that_the_weights_contradict_is_refused(quantized: Path, edit: Callable, message: str) -> None:
    with pytest.raises(FolderError, match=message):
        load(edited(quantized, edit))


def test_weights_of_another_type_are_refused(tmp_path: Path, quantized: Path, source: str) -> None:
    """MLX would take integers for numbers, and fail, or not, long after loading."""
    file = quantized / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"U32"', b'"F32"', 1))
    with pytest.raises(FolderError, match=r"has layers\.\d\.weight in float32"):
        load(quantized)
    file.write_bytes(whole.replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(FolderError, match=r"it has [\w.]+ in int32, not in the float32 that config.json declares"):
        load(quantized)
    file.write_bytes(whole)
    load(quantized)
    floats = convert(source, tmp_path / "floats", variant="small", dtype="float16").folder
    config = floats / "config.json"
    config.write_text(config.read_text().replace('"float16"', '"float32"'))
    with pytest.raises(FolderError, match=r"in float16, not in the float32 that config\.json declares"):
        load(floats)


# Precision


Outcome = tuple[str, np.ndarray]


@pytest.fixture(scope="module")
def crepe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Probabilities of seeded CREPE tiny on speech-like frames, in a given precision."""
    folder = tmp_path_factory.mktemp("crepe")
    checkpoint = str(safetensors_file(folder / "tiny.safetensors", crepe_tensors()))
    audio = Audio(SEED.speechlike(3, 0.15, 16000), 16000)

    def probabilities(**options: Any) -> Outcome:
        made = convert(checkpoint, folder / "made", force=True, **options)
        model = load(made.folder)
        return precision(made.config), np.array(model.probabilities(model.frames(audio)))

    return probabilities


@pytest.fixture(scope="module")
def exact(crepe: Callable[..., Outcome]) -> np.ndarray:
    mode, found = crepe()
    assert mode == "float32"
    return found


@pytest.mark.parametrize(
    "options",
    [{"dtype": "float16"}, {"dtype": "bfloat16"}, {"quantize": True, "q_bits": 8}, {"quantize": True, "q_bits": 4}],
)
def test_crepe_within_the_bars_of_its_port(
    crepe: Callable[..., Outcome], exact: np.ndarray, options: dict[str, Any]
) -> None:
    mode, found = crepe(**options)
    error = relative_error(found, exact)
    bar = CREPE.reference.stages[""].bars[mode]["probabilities"].limit
    assert 1e-5 < error <= bar
    # The bar would notice the frames in another order.
    assert relative_error(exact[::-1], exact) > bar
