"""The Python API: light to import, the same as the command line, and without torch or a network at run time."""

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
import typer
from safetensors.numpy import load_file
from small_ports import SEED, crepe_tensors, safetensors_file, toy_port, voice_encoder_tensors

import pytorch_to_mlx
from pytorch_to_mlx import Audio, cli, convert, errors, load, registry
from pytorch_to_mlx.tasks import PitchTracker, SpeakerEncoder

HEAVY = "mlx numpy torch huggingface_hub pydantic typer safetensors onnx soundfile ml_dtypes"


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_is_light() -> None:
    code = (
        f"import sys, pytorch_to_mlx, pytorch_to_mlx.registry; print(sorted(set({HEAVY!r}.split()) & set(sys.modules)))"
    )
    assert python(code).strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in pytorch_to_mlx.__all__:
        assert getattr(pytorch_to_mlx, name).__doc__
    assert set(pytorch_to_mlx._HOMES) == set(pytorch_to_mlx.__all__) - {"errors"}
    with pytest.raises(AttributeError, match="no attribute 'translate'"):
        pytorch_to_mlx.translate  # noqa: B018


@pytest.mark.parametrize("verb", ["convert", "inspect", "validate"])
def test_the_command_line_has_every_argument_of_the_function(verb: str) -> None:
    """And of the command's own there is only what concerns printing, and what `capture` would meet."""
    command = typer.main.get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    ours = set(inspect.signature(getattr(pytorch_to_mlx, verb)).parameters) - {"progress", "note"}
    renamed = {"model": "port"}
    theirs = {renamed.get(each.name, each.name) for each in command.params} - {
        "as_json",
        "html",
        "help",
        "module",
        "inputs",
    }
    assert theirs == ours


# Ports


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
def test_the_registry_agrees_with_the_port(entry: registry.Entry) -> None:
    port = registry.get(entry.name)
    assert (port.name, port.summary, port.task) == (entry.name, entry.summary, entry.task)
    assert tuple(port.variants) == entry.variants
    assert all(variant.name == name for name, variant in port.variants.items())
    for variant in port.variants.values():
        assert variant.parts and variant.licence and variant.summary
        assert port.parse_config(json.loads(json.dumps(port.dump_config(variant.config)))) == variant.config


def test_ports_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_added", {})
    with pytest.raises(errors.UsageError, match=r"no port is called 'toy'; known: voice_encoder, crepe, chatterbox, "):
        registry.get("toy")
    port = toy_port()
    registry.add(port)
    assert registry.get("toy") is port
    assert registry.names() == (*(entry.name for entry in registry.ENTRIES), "toy")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": 4, "width": 32}, "setting layers of toy: Field required"),
        ({"inputs": 4, "width": 32, "layers": 2, "heads": 8}, "toy has no setting 'heads'"),
        ({"inputs": 4, "width": "32", "layers": 2}, "setting width of toy: Input should be a valid integer"),
        ({"inputs": 4, "width": 32.5, "layers": 2}, "setting width of toy"),
        ({"inputs": 4, "width": None, "layers": 2}, "setting width of toy"),
        (
            {"inputs": 4, "width": 32, "layers": 10**9},
            "setting layers of toy: Input should be less than or equal to 100",
        ),
    ],
)
def test_settings_that_are_none_of_the_port(fields: dict[str, object], message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        toy_port().parse_config(fields)


# Errors


def test_every_failure_has_one_base() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 10
    assert all(issubclass(kind, errors.PytorchToMlxError) and kind.__doc__ for kind in kinds)


def test_a_message_is_one_printable_line_whatever_a_file_is_called() -> None:
    name = "a\n\x1b[2Jb\0" + "x" * 70_000
    message = str(errors.CheckpointError(f"{name}: damaged"))
    assert message.startswith("a \\x1b[2Jb\\x00xxx")
    assert len(message) == errors.MAX_CHARACTERS
    several = errors.WeightMapError("does not fit", ["one", "two"])
    assert (str(several), several.problems) == ("does not fit", ("one", "two"))
    assert errors.WeightMapError("alone").problems == ("alone",)


# Run time

WITHOUT = """
import socket, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "huggingface_hub", "onnx"):
            raise ImportError(f"{name} is not to be imported")

def refuse(*arguments):
    raise OSError("there is no network")

sys.meta_path.insert(0, NoTorch())
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
"""
USE = """
from pytorch_to_mlx import Audio, load
crepe, voices, first, second = sys.argv[1:]
track = load(crepe).pitch(Audio.read(first).part(0, 0.2))
encoder = load(voices)
embeddings = [encoder.embed(Audio.read(path)) for path in (first, second)]
print(len(track.pitch), embeddings[0].shape, round(float(encoder.similarity(*embeddings)), 4))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders and recordings by name."""
    room = tmp_path_factory.mktemp("models")
    crepe = safetensors_file(room / "source" / "tiny.safetensors", crepe_tensors())
    voices = safetensors_file(room / "source" / "ve.safetensors", voice_encoder_tensors())
    made = {"crepe": convert(str(crepe), room / "crepe").folder, "voices": convert(str(voices), room / "voices").folder}
    for seed in (1, 2):
        made[f"{seed}.wav"] = room / f"{seed}.wav"
        Audio(SEED.speechlike(seed, 2.0, 16000), 16000).write(made[f"{seed}.wav"])
    return made


def test_models_run_without_torch_and_without_a_network(folders: dict[str, Path]) -> None:
    printed = python(WITHOUT + USE, *map(str, folders.values()))
    encoder = load(folders["voices"])
    one, two = (encoder.embed(Audio.read(folders[f"{seed}.wav"])) for seed in (1, 2))
    similarity = round(float(encoder.similarity(one, two)), 4)
    assert printed.split("\n")[-2] == f"21 (256,) {similarity}"


def test_the_obstacles_of_that_test_are_real() -> None:
    for attempt in ("import torch", "socket.create_connection(('127.0.0.1', 1))"):
        with pytest.raises(AssertionError, match=r"not to be imported|no network"):
            python(f"{WITHOUT}\n{attempt}")


def test_models_offer_their_task(folders: dict[str, Path]) -> None:
    tracker, encoder = load(folders["crepe"]), load(str(folders["voices"]))
    assert isinstance(tracker, PitchTracker) and not isinstance(tracker, SpeakerEncoder)
    assert isinstance(encoder, SpeakerEncoder) and not isinstance(encoder, PitchTracker)
    recordings = [Audio.read(folders[f"{seed}.wav"]) for seed in (1, 2)]
    each = [encoder.embed(audio) for audio in recordings]
    mean = np.mean(each, axis=0)
    np.testing.assert_allclose(encoder.embed_speaker(recordings), mean / np.linalg.norm(mean), atol=1e-6)
    with pytest.raises(errors.AudioError, match="at least one recording"):
        encoder.embed_speaker([])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda config: config.update(model_type="toi"), r"config\.json: model_type: no port is called 'toi'"),
        (lambda config: config["config"].update(channels=[1, 2]), r"model: config\.json: setting channels\.2 of crepe"),
        (lambda config: config["config"].update(channels=[-1] * 6), r"config\.json: no crepe has these settings"),
        (lambda config: config["config"].update(channels=[0] * 6), r"config\.json: no crepe has these settings"),
        (lambda config: config["config"].update(channels=[2**40] * 6), r"config\.json: "),
        (lambda config: config["config"].update(channels=[64] * 6), r"it has conv\d\.\w+ in shape .* instead of"),
        (lambda config: config.update(dtype="float16"), r"in float32, not in the float16 that config\.json declares"),
        (lambda config: config.update(format_version=2), r"format_version 2, which is newer: upgrade"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path: Path, folders: dict[str, Path], edit, message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").hardlink_to(folders["crepe"] / "model.safetensors")
    config = json.loads((folders["crepe"] / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.FolderError, match=message):
        load(folder)


@pytest.mark.parametrize("stored", [np.float64, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_weights_that_mlx_would_refuse_or_read_as_others(
    tmp_path: Path, folders: dict[str, Path], stored: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX's parser raises errors of its own for some types, and takes float8 for uint8."""
    weights = load_file(folders["crepe"] / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"].astype(stored)
    safetensors_file(tmp_path / "model" / "model.safetensors", weights)
    (tmp_path / "model" / "config.json").write_bytes((folders["crepe"] / "config.json").read_bytes())
    monkeypatch.setattr(mx, "load", lambda path: pytest.fail("MLX was given the file"))
    with pytest.raises(errors.FolderError, match=rf"classifier\.bias is {np.dtype(stored).name}, which MLX has not"):
        load(tmp_path / "model")


def test_results_are_plain_records(folders: dict[str, Path]) -> None:
    """Whatever the API returns can be looked at, and does not change under one's hands."""
    track = load(folders["crepe"]).pitch(Audio.read(folders["1.wav"]).part(0, 0.1), decoder="argmax")
    assert [field.name for field in dataclasses.fields(track)] == ["times", "pitch", "periodicity"]
    assert track.times.shape == track.pitch.shape == track.periodicity.shape == (11,)
    assert track.voiced(0.0).all() and not track.voiced(1.1).any()
    with pytest.raises(dataclasses.FrozenInstanceError):
        track.pitch = track.times  # type: ignore[misc]
