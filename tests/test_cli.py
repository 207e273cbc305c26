"""The command line as its users meet it: its help, and what each verb prints."""

import json
import re
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from cli_room import Done, Room, at_once, command, make_room, succeed
from small_ports import crepe_tensors, safetensors_file, torch_file

from pytorch_to_mlx import Audio, load
from pytorch_to_mlx.cli import doctor

VERBS = ["list", "inspect", "convert", "validate", "capture", "embed", "similarity", "pitch", "synthesize", "voice"]
VERBS += ["narrate", "convert-voice", "watermark", "tokenize", "detokenize", "transcribe", "benchmark", "doctor"]
VERBS += ["cache", "reference"]
SUBVERBS = [("reference", verb) for verb in ("list", "install", "run", "checkpoint", "export")]
SUBVERBS += [("cache", verb) for verb in ("list", "verify", "prune", "clear")]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return make_room(tmp_path_factory.mktemp("room"))


# Help


@pytest.fixture(scope="module")
def helps() -> dict[str, Done]:
    return at_once({" ".join(verb): (*verb, "--help") for verb in [(), *((each,) for each in VERBS), *SUBVERBS]})


@pytest.mark.parametrize("verb", ["", *VERBS, *map(" ".join, SUBVERBS)])
def test_help(helps: dict[str, Done], verb: str) -> None:
    done = helps[verb]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: pytorch-to-mlx {verb}".strip())
    if verb not in ("reference", "cache"):  # whose own verbs have them
        assert re.search(rf"Examples?:\n\n +pytorch-to-mlx {verb}", done.stdout)


def test_the_verbs_are_those(helps: dict[str, Done]) -> None:
    listed = helps[""].stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "] == VERBS


def test_the_flags_of_mlx_converters(helps: dict[str, Done]) -> None:
    for flag in (
        "--mlx-path",
        "-q",
        "--quantize",
        "--q-bits",
        "--q-group-size",
        "--dtype",
        "--revision",
        "--upload-repo",
    ):
        assert flag in helps["convert"].stdout


LOADED_BY_HELP = """
import sys
from pytorch_to_mlx.cli import main
sys.argv = ["pytorch-to-mlx", "--help"]
try:
    main()
finally:
    print(sorted({"mlx", "numpy", "torch", "huggingface_hub", "rich", "pydantic"} & set(sys.modules)))
"""


def test_help_is_quick_and_light() -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        succeed("--help")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5
    done = subprocess.run([sys.executable, "-c", LOADED_BY_HELP], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_command() -> None:
    (script,) = entry_points(group="console_scripts", name="pytorch-to-mlx")
    assert script.value == "pytorch_to_mlx.cli:main"


@pytest.mark.parametrize("arguments", [(), ("reference",)])
def test_without_a_verb_the_help_is_shown(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "\nCommands:\n" in done.stderr


# What the verbs print


WHISPER_SIZES = [f"{size}{suffix}" for size in ("tiny", "base", "small", "medium") for suffix in (".en", "")]
WHISPER_SIZES += ["large-v1", "large-v2", "large-v3", "large-v3-turbo"]
WHISPER_DISTILLED = ["small.en", "medium.en", "large-v2", "large-v3"]
LISTED = [
    ("voice_encoder", ["resemblyzer", "chatterbox"]),
    ("crepe", ["tiny", "full"]),
    ("chatterbox", ["english", "turbo", "multilingual"]),
    ("perth", ["implicit"]),
    ("s3_tokenizer", ["v1-50hz", "v1-25hz", "v2-25hz"]),
    ("qwen3_tts", ["0.6b-base", "1.7b-base", "0.6b-custom-voice", "1.7b-custom-voice", "1.7b-voice-design"]),
    ("qwen3_tts_tokenizer", ["12hz"]),
    ("qwen3_tts_tokenizer_25hz", ["25hz"]),
    ("kokoro", ["v1.0", "v1.1-zh"]),
    ("whisper", [*WHISPER_SIZES, *(f"distil-{size}" for size in WHISPER_DISTILLED), "other", "other.en"]),
]


def test_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    printed = succeed("list")
    lines = printed.splitlines()
    assert [line.partition(":")[0] for line in lines if line[0] != " "] == [name for name, _ in LISTED]
    assert (
        "whisper: Whisper speech recognition and translation\n  task      transcription\n  variants  tiny.en,"
        in printed
    )
    assert max(map(len, lines)) <= 72 and " distil-large-v3, other, other.en\n" in printed
    entries = json.loads(succeed("list", "--json"))
    assert [(entry["name"], entry["variants"]) for entry in entries] == LISTED


def test_inspect(room: Room) -> None:
    lines = succeed("inspect", room.checkpoint).splitlines()
    assert lines[0] == f"{room.checkpoint} is voice_encoder chatterbox: 16 tensors, 5.69 MB"
    rows = {line.split()[0]: line.split(maxsplit=5)[1:] for line in lines[2:]}
    assert rows["proj.weight"] == ["float32", "256x256", "proj.weight", "256x256", "rename"]
    assert rows["lstm.bias_hh_l2"] == ["float32", "1024", "lstm.layers.2.bias", "1024", "sum of 2"]
    assert rows["similarity_bias"][2] == "-"
    assert " ".join(rows["similarity_bias"][3:]) == "drop: scales similarities in the training loss only"
    found = json.loads(succeed("inspect", room.checkpoint, "--json"))
    assert (found["model"], found["variant"], found["problems"]) == ("voice_encoder", "chatterbox", [])
    assert {tensor["name"] for tensor in found["tensors"]} == set(room.tensors)
    assert found["tensors"][0]["file"] == "ve.safetensors"


def test_inspect_what_nobody_knows(room: Room) -> None:
    """A stranger's names are shown, but do not steer the terminal."""
    stranger = safetensors_file(room.path / "stranger.safetensors", {"a\x1b[2Jb": np.ones((2, 3), np.int8)})
    printed = succeed("inspect", stranger)
    assert printed.splitlines()[0] == "1 tensors, 6 B"
    assert "a\\x1b[2Jb  int8   2x3" in printed
    assert "\x1b" not in printed
    assert "! " in printed and "none of the models known by name: voice_encoder" in printed


def test_convert_a_pickle_and_replace_it(room: Room) -> None:
    checkpoint, target = torch_file(room.path / "tiny.pth", crepe_tensors()), room.path / "converted"
    printed = succeed("convert", checkpoint, "--mlx-path", target, "--dtype", "float16")
    assert printed == f"crepe tiny -> {target}: 38 tensors used, 6 dropped, 974 kB in float16\n"
    for bits, hinted in (("6", False), ("8", True)):  # a bar is declared for 8 bits, none for 6
        done = command("convert", checkpoint, "-o", target, "--force", "-q", "--q-bits", bits, "--q-group-size", "32")
        assert (f"next: pytorch-to-mlx validate {target} --source {checkpoint}\n" in done.stderr) == hinted, done.stderr
    again = succeed("convert", checkpoint, "-o", target, "--force", "-q", "--q-bits", "8", "--q-group-size", "32")
    assert "in float32" in again
    config = json.loads((target / "config.json").read_text())
    assert config["quantization"]["layers"] == {"classifier": {"bits": 8, "group_size": 32}}


def test_embed(room: Room, tmp_path: Path) -> None:
    first, second = room.wav(1), room.wav(2)
    printed = json.loads(succeed("embed", room.voices, first, second))
    assert list(printed) == [str(first), str(second)]
    vectors = np.array(list(printed.values()))
    assert vectors.shape == (2, 256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert abs(vectors[0] - vectors[1]).max() > 0.01
    assert succeed("embed", room.voices, first, second, "-o", tmp_path / "both.npy") == ""
    np.testing.assert_allclose(np.load(tmp_path / "both.npy"), vectors, atol=1e-6)
    assert succeed("embed", room.voices, first, second, "--speaker", "-o", tmp_path / "speaker.json") == ""
    speaker = json.loads((tmp_path / "speaker.json").read_text())
    mean = vectors.mean(axis=0)
    np.testing.assert_allclose(speaker["speaker"], mean / np.linalg.norm(mean), atol=1e-5)


def test_similarity(room: Room) -> None:
    lines = [line.split() for line in succeed("similarity", room.voices, *map(room.wav, (1, 2, 3))).splitlines()]
    assert lines[0] == ["1.wav", "2.wav", "3.wav"]
    assert [line[0] for line in lines[1:]] == lines[0]
    matrix = np.array([[float(cell) for cell in line[1:]] for line in lines[1:]])
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1)
    assert (np.triu(matrix, 1) < 1).all()


def test_pitch(room: Room, tmp_path: Path) -> None:
    short = room.path / "short.wav"
    printed = succeed("pitch", room.crepe, short)
    lines = printed.splitlines()
    assert lines[0] == "seconds,hertz,periodicity,voiced"
    columns = np.array([[float(cell) for cell in line.split(",")] for line in lines[1:]]).T
    expected = load(room.crepe).pitch(Audio.read(short))
    np.testing.assert_allclose(columns[0], np.arange(11) / 100, atol=1e-9)
    np.testing.assert_allclose(columns[1], expected.pitch, atol=1e-3)
    np.testing.assert_allclose(columns[2], expected.periodicity, atol=1e-4)
    assert set(columns[3]) <= {0, 1}
    file, plot = tmp_path / "pitch.csv", tmp_path / "pitch.png"
    assert succeed("pitch", room.crepe, short, "--hop", "320", "-o", file, "--plot", plot, "--threshold", "0") == ""
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["0.00000", "0.02000", "0.04000", "0.06000", "0.08000", "0.10000"]
    assert {row[3] for row in rows} == {"1"}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_doctor() -> None:
    found = json.loads(succeed("doctor", "--json"))
    facts = found["facts"]
    assert {"python", "mlx", "torch", "system", "backend", "device", "BLAS", "matmul", "references"} <= facts.keys()
    assert {"onnx", "resampy", "webrtcvad-wheels", "matplotlib"} <= facts.keys()
    assert facts["backend"] in ("CPU", "Metal", "CUDA")
    assert all(isinstance(advice, str) for advice in found["advice"])
    assert any("LD_PRELOAD" in a or "libopenblas" in a for a in found["advice"]) == (facts["BLAS"] == "reference BLAS")
    assert not any("40 times" in advice for advice in found["advice"])
    assert facts.get("C++", doctor.NATIVE) == doctor.NATIVE or any("g++" in a for a in found["advice"])


def test_doctor_tells_what_is_not_compiled() -> None:
    healthy = {"backend": "CPU", "torch": "2.13.0"}
    assert doctor._advice({**healthy, "C++": doctor.NATIVE}) == []
    (advice,) = doctor._advice({**healthy, "C++": "g++ fails: it is too old"})
    assert "g++ fails: it is too old" in advice and "apt-get install g++" in advice


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        ("/opt/conda/lib/libopenblasp-r0.3.29.so", "OpenBLAS"),
        ("/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0", "OpenBLAS"),
        ("/venv/numpy.libs/libscipy_openblas64_-8fb3d286.so", "reference BLAS"),
        ("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3", "reference BLAS"),
    ],
)
def test_doctor_knows_openblas_by_any_name(monkeypatch: pytest.MonkeyPatch, library: str, expected: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    line = f"7f0000000000-7f0000001000 r-xp 00000000 00:01 42    {library}\n7f0000001000-7f0000002000 rw-p 0 00:00 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: line)
    assert doctor.blas() == expected


@pytest.mark.parametrize(("value", "shown"), [("0", "0"), (None, "default")])
def test_doctor_shows_tf32_on_a_gpu(monkeypatch: pytest.MonkeyPatch, value: str | None, shown: str) -> None:
    if value is None:
        monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    else:
        monkeypatch.setenv("MLX_ENABLE_TF32", value)
    monkeypatch.setattr(doctor, "backend", lambda: "CUDA")
    assert doctor._computing()["MLX_ENABLE_TF32"] == shown
