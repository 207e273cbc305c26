"""The files of the verb `benchmark`: contenders that are there, and workloads that say what they should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_kokoro import SETTINGS

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.benchmark import workload
from pytorch_to_mlx.benchmark.contender import OF_PORT, OF_TASK, OTHERS, SCRIPTS, UPSTREAM, openblas, ours
from pytorch_to_mlx.benchmark.machine import cores, system
from pytorch_to_mlx.benchmark.results import DEFINITIONS
from pytorch_to_mlx.benchmark.workload import Choice
from pytorch_to_mlx.errors import UsageError


def test_every_contender_and_its_environment_is_there() -> None:
    known = [each for port in OTHERS.values() for each in port.values()]
    scripts = [*OF_TASK.values(), *OF_PORT.values(), *(each.script for each in known)]
    scripts += [each.converter[0] for each in known if each.converter]
    assert not [name for name in scripts if not (SCRIPTS / name).is_file()]
    for each in known:
        assert each.environment and environments.get(each.environment)
        assert each.preloads == (each.name != UPSTREAM), "PyTorch is never timed with OpenBLAS preloaded"
    assert set(OTHERS) <= set(registry.names()) and set(OF_PORT) <= set(registry.names())


def test_the_docs_define_figures_as_reports_do() -> None:
    written = (Path(__file__).parents[1] / "docs/benchmarks.md").read_text()
    assert not [name for name, text in DEFINITIONS.items() if f"| {name} | {text} |\n" not in written]


def test_a_preloaded_blas_counts_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("found/libopenblas.so.0")]))
    for preloaded, blas in (
        ("", "found/libopenblas.so.0"),
        ("libjemalloc.so", "found/libopenblas.so.0"),
        ("libjemalloc.so:own/libblas.so", "own/libblas.so"),
        ("own/libmyblas.so /blas/libc.so", "own/libmyblas.so"),
    ):
        monkeypatch.setenv("LD_PRELOAD", preloaded)
        assert openblas() == blas
        assert OTHERS["kokoro"]["mlx-audio"].variables(1)["LD_PRELOAD"] == blas
        assert "LD_PRELOAD" not in OTHERS["kokoro"]["pytorch"].variables(1)


def test_threads_are_the_cores_that_one_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cores() == 3 and "3 cores" in system()
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()


def test_ours_runs_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "here")
    upstream = OTHERS["kokoro"]["pytorch"]
    assert ours("kokoro", "text to speech").variables(1)["PYTHONPATH"] == "here"
    assert "PYTHONPATH" not in upstream.variables(1)


def test_who_cannot_be_compared_says_so() -> None:
    upstream = OTHERS["chatterbox"]["pytorch"]
    assert upstream.unfit("english", "float32") == ""
    assert "does not run turbo, only english" in upstream.unfit("turbo", "float32")
    assert "convert one with --dtype float32" in upstream.unfit("english", "bfloat16")


@pytest.mark.parametrize("task", workload.FILES)
def test_the_default_workloads(task: str) -> None:
    found = workload.default(task)
    assert found.task == task and len({item.name for item in found.items}) == len(found.items) == 3
    for item in found.items:
        assert item.seconds > 0 and (item.text and item.phonemes if task == "text to speech" else item.recording)


def test_settings_add_up_and_phonemes_are_known() -> None:
    found = workload.default("text to speech")
    english = found.choice("chatterbox", "english")
    assert english.clones and not english.continues and english.tokens_per_second == 25
    assert english.options["exaggeration"] == 0.5 and english.options["temperature"] == 0.8
    assert "exaggeration" not in found.choice("chatterbox", "turbo").options
    assert found.choice("qwen3_tts", "0.6b-base").continues
    assert not found.choice("qwen3_tts", "1.7b-voice-design").clones
    assert found.choice("something", "else") == Choice()
    for item in found.items:
        assert not set(item.phonemes.replace("\n", "")) - set(SETTINGS["vocab"]), item.name


ONE = "task = 'text to speech'\n[[texts]]\nname = 'a'\ntext = 'b'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task = 'text to speech'", r"give \[\[texts\]\]"),
        ("task = 'transcription'\n[[texts]]\nname = 'a'\ntext = 'b'", r"give \[\[recordings\]\] with name"),
        ("task = ['text']\n[[texts]]\nname = 'a'\ntext = 'b'", "task .* has no benchmark"),
        (ONE + "[[texts]]\nname = 'a'\ntext = 'c'", "two items are called a"),
        (ONE + "seconds = 0", "a: seconds = 0 is not above 0"),
        (ONE + "seconds = nan", "is not above 0"),
        (ONE + "seconds = 'ten'", "seconds = 'ten' is a str"),
        (ONE + "phonemes = 3", "phonemes = 3 is a int"),
        (ONE.replace("'a'", "'a/b'"), "'a/b' is no name of an item"),
        (ONE.replace("'a'", "'a,b'"), "'a,b' is no name of an item"),
        (ONE + "[settings]\n'kokoro *' = 3", r"settings of 'kokoro \*' are not a table"),
        (ONE + "[settings.'kokoro *']\nphonemes = true", "say phonemes, which a lacks"),
        ("settings = 3\n" + ONE, "is no workload"),
        ("task = 'dancing'\n[[texts]]\nname = 'a'\ntext = 'b'", "'dancing' has no benchmark; there are text to speech"),
        ("[[texts]]\nname = 'a'", "is no workload: 'task'"),
        ("task = 'text to speech'\n[[texts]]\nnaem = 'a'", "is no workload: .*naem"),
        ("task =", "is no workload"),
    ],
)
def test_damaged_workloads(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        workload.read(path)
    with pytest.raises(UsageError, match="no such workload"):
        workload.read(tmp_path / "other.toml")
