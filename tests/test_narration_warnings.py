"""What a model warns of while it speaks stays with the speech: in results, in the cache, and from workers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_room import run
from small_narration import RATE, SHORT, job, write_narrator

from pytorch_to_mlx import Audio
from pytorch_to_mlx.models.qwen3_tts import guard
from pytorch_to_mlx.service import distributed
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.narration import Narration, narrate
from pytorch_to_mlx.service.narrator import Narrator
from pytorch_to_mlx.service.script import as_segments
from pytorch_to_mlx.service.speaking import Speaker
from pytorch_to_mlx.service.warned import by_text, collected

SCRIPT = [
    {"id": "short", "text": "One."},
    {"id": "long", "text": "This is so much longer that a few frames are not yet too many for it."},
]
CUT = "goes on after 0 s, and was ended there"
UNENDED = "does not end within --max-tokens 6, and was cut off there"
"""As is all that a seeded model says."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrator(tmp_path_factory.mktemp("warnings"))


@pytest.fixture
def cache(tmp_path: Path) -> ResultCache:
    return ResultCache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that takes the six frames of `SHORT` for too many, of a short text."""
    monkeypatch.setattr(guard, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(guard, "SECONDS_PER_TOKEN", 0.03)


def warned(narration: Narration) -> list[list[str]]:
    """Of each segment, but for `UNENDED`."""
    return [[each for each in result.about.get("warnings", ()) if UNENDED not in each] for result in narration.results]


def test_speech_that_was_cut_says_so_also_from_the_cache(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    with pytest.warns(UserWarning, match=rf'^segment short: part 1 \("One\."\) {CUT}'):
        first = narrate(SCRIPT, tmp_path / "out", job(room), cache=cache)
    short, long = warned(first)
    assert len(short) == 1 and CUT in short[0] and not long, "said together, and told apart"
    fields = first.as_json()["segments"]
    assert fields[0]["warnings"] == short
    (unended,) = fields[1]["warnings"]
    assert unended == f'part 1 ("This is so much longer that") {UNENDED}'
    with pytest.warns(UserWarning, match="^segment short: "):
        again = narrate(SCRIPT, tmp_path / "again", job(room), cache=cache)
    assert [result.from_cache for result in again.results] == [True, True] and warned(again) == [short, long]


def test_alone_too(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    with pytest.warns(UserWarning, match="^segment 001: part 1"):
        (told,) = warned(narrate(["One."], tmp_path / "out", job(room), cache=cache))
    assert len(told) == 1 and CUT in told[0]


def test_a_voice_is_warned_of_in_all_that_it_says(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    sound = Audio.read(room / "anna.wav").samples
    Audio(np.clip(40 * sound, -1, 1), RATE).write(tmp_path / "loud.wav")
    script = [{"id": f"s{n}", "text": f"This is line {n}, which is as long as it takes for no cut."} for n in range(6)]
    with pytest.warns(UserWarning, match="of the reference is clipped") as shown:
        narration = narrate(script, tmp_path / "out", job(room, voice=str(tmp_path / "loud.wav")), cache=cache)
    assert [len(each) for each in warned(narration)] == [1] * 6
    (told,) = (str(each.message) for each in shown if UNENDED not in str(each.message))
    assert told.startswith("segments s0, s1, s2, s3, s4 and 1 more: ")


def test_what_a_worker_is_warned_of_comes_back(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path / "worker"))
    segments, here = as_segments(SCRIPT), Narrator(job(room), cache)
    said = distributed.say(job(room), segments, here.keys(segments))
    results = [
        here.received(segment, sound, result, tmp_path) for segment, (result, sound) in zip(segments, said, strict=True)
    ]
    assert CUT in results[0].about["warnings"][0] and UNENDED in results[1].about["warnings"][0]
    found = here.looked_up(segments[0], tmp_path)
    assert not isinstance(found, str) and found.about["warnings"] == results[0].about["warnings"]


def test_the_command_tells_and_shows_it(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCRIPT))
    given = ("-m", room / "model", "--voice", room / "anna.wav", "--cache", tmp_path / "c", "-o", tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for _ in range(2):  # the second from the cache
            assert run(monkeypatch, "narrate", tmp_path / "s.json", *given, "--setting", "max_tokens=6") == 0
            out, err = capsys.readouterr()
            assert CUT in json.loads(out)["segments"][0]["warnings"][0]
            assert f'pytorch-to-mlx: segment short: part 1 ("One.") {CUT}' in err


def test_what_is_warned_of_several_goes_to_the_one_that_it_quotes() -> None:
    texts = ["Say when.", "It's over\nthere.", "Say no more."]
    assert by_text(['part 1 ("It\'s over there.") repeats'], texts) == [
        [],
        ['part 1 ("It\'s over there.") repeats'],
        [],
    ]
    nobodys = by_text(["the weather is bad"], texts)
    assert [each[0] for each in nobodys] == [
        "the weather is bad (of this segment, or of one of 2 that were said with it)"
    ] * 3
    either = by_text(["part 1 ('Say') repeats"], texts)
    assert [len(each) for each in either] == [1, 0, 1] and "or of one of 1" in either[0][0]
    assert by_text(["whatever it is"], texts[:1]) == [["whatever it is"]]


def test_other_warnings_and_those_of_failures_go_their_way(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(DeprecationWarning, match="old"), collected() as told:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("cut", stacklevel=1)
        warnings.warn("cut", stacklevel=1)
    assert told == ["cut"]

    def failing(self: Speaker, utterances: object) -> list[Audio]:
        warnings.warn("all went wrong", stacklevel=1)
        raise ValueError("at last")

    monkeypatch.setattr(Speaker, "_sounds", failing)
    with pytest.warns(UserWarning, match="all went wrong"):
        narration = narrate(["Hi."], tmp_path / "out", job(room, settings=SHORT), cache=cache)
    assert "at last" in narration.results[0].error
