"""What Whisper is asked, on a small model: languages, prompts, the best of several texts; and memory on the way."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from small_ports import SEED
from small_whisper import converted, write_vocabulary
from whisper_quantized import heard

from pytorch_to_mlx import Audio, load
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.whisper import decoding
from pytorch_to_mlx.models.whisper.config import ENGLISH_WORDS
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.models.whisper.network import Whisper
from pytorch_to_mlx.models.whisper.search import Candidate, Reader, best_of
from pytorch_to_mlx.models.whisper.spectrogram import Spectrogram

RATE = 16000
PROMPT = "names to know"
GREEDY: dict[str, Any] = {"language": "en", "temperature": (0.0,), "sample_len": 8}
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return load(converted(tmp_path_factory.mktemp("whisper")))


@pytest.fixture(scope="module")
def english(model: WhisperModel, tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    """A model that knows English only."""
    folder = tmp_path_factory.mktemp("english")
    write_vocabulary(folder, english=True)
    config = replace(model.config, n_vocab=ENGLISH_WORDS)
    mx.random.seed(0)
    return WhisperModel(Whisper(config), config, folder)


def speech(seed: int, seconds: float) -> Audio:
    """Three seconds, over and over: more take long to make."""
    return Audio(np.resize(SEED.speechlike(seed, 3.0, RATE), round(seconds * RATE)), RATE)


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """What the decoder reads before it writes, of each window."""
    seen: list[list[int]] = []

    class Seeing(Reader):
        def __init__(self, decoder: Any, memory: Any, prompts: Sequence[Sequence[int]]) -> None:
            seen.extend([*each] for each in prompts)
            super().__init__(decoder, memory, prompts)

    monkeypatch.setattr(decoding, "Reader", Seeing)
    yield seen


# Languages


@pytest.mark.parametrize(
    "sound",
    [speech(1, 3.0), speech(2, 40.0), Audio(np.zeros(RATE, np.float32), RATE), speech(3, 1.0).samples[:100]],
    ids=["speech", "more than 30 s", "silence", "100 samples"],
)
def test_languages_share_what_is_certain(model: WhisperModel, sound: Audio | np.ndarray) -> None:
    shares = model.detect_language(sound if isinstance(sound, Audio) else [sound])
    assert set(shares) == set(model.languages) and len(shares) == 99
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5) and min(shares.values()) >= 0
    assert [*shares.values()] == sorted(shares.values(), reverse=True) and len(set(shares.values())) > 50


def test_the_likeliest_language_is_written(model: WhisperModel, prompts: list[list[int]]) -> None:
    heard = [speech(1, 3.0), Audio(np.zeros(RATE, np.float32), RATE)]
    likeliest = [next(iter(model.detect_language(each))) for each in heard]
    settings: dict[str, Any] = GREEDY | {"language": None}
    assert [model.transcribe(each, **settings).language for each in heard] == likeliest
    assert [prompt[1] for prompt in prompts] == [model.decoder.vocabulary.language_tokens[each] for each in likeliest]


def test_the_first_30_seconds_tell_the_language(model: WhisperModel) -> None:
    first = speech(2, 30.0).samples
    alone, longer = (model.detect_language([samples]) for samples in (first, np.pad(first, (0, 10 * RATE))))
    assert alone == longer


def test_what_is_not_there_is_silent_where_a_language_is_told(model: WhisperModel) -> None:
    short = speech(2, 10.0).samples
    alone, padded = (model.detect_language([samples]) for samples in (short, np.pad(short, (0, 20 * RATE))))
    assert alone == pytest.approx(padded, abs=1e-6) and alone != model.detect_language(speech(2, 30.0))


def test_a_model_of_english_hears_english(english: WhisperModel, prompts: list[list[int]]) -> None:
    assert english.detect_language(speech(1, 3.0)) == {"en": 1.0} and english.languages == ("en",)
    settings: dict[str, Any] = GREEDY | {"language": None}
    assert english.transcribe(speech(1, 3.0), **settings).language == "en"
    assert prompts == [[english.decoder.vocabulary.sot]]
    with pytest.raises(UsageError, match="knows"):
        english.transcribe(speech(1, 1.0), language="de")
    with pytest.raises(UsageError, match="knows English only"):
        english.transcribe(speech(1, 1.0), task="translate")


# Prompts


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("conditioned", [True, False])
def test_prompts_of_windows(model: WhisperModel, prompts: list[list[int]], carried: bool, conditioned: bool) -> None:
    """The first is told the prompt, the others what was said, and the prompt before it where it is carried."""
    vocabulary = model.decoder.vocabulary
    found = model.transcribe(
        speech(3, 61.0),
        initial_prompt=f" {PROMPT} ",
        carry_initial_prompt=carried,
        condition_on_previous_text=conditioned,
        without_timestamps=True,
        **GREEDY,
    )
    initial, start = vocabulary.encode(f" {PROMPT}"), vocabulary.start("en", "transcribe")
    start = [*start, vocabulary.no_timestamps]
    said = [[*segment.tokens] for segment in found.segments]
    assert len(prompts) == 3 and all(said[:2])
    told = [initial]
    for window in (1, 2):
        before = [token for each in said[:window] for token in each] if conditioned else []
        told.append([*(initial if carried or conditioned else []), *before])
    assert prompts == [[*([vocabulary.sot_prev, *each] if each else []), *start] for each in told]


@pytest.mark.parametrize("carried", [True, False])
def test_prompts_are_cut_and_those_carried_stay(model: WhisperModel, prompts: list[list[int]], carried: bool) -> None:
    vocabulary, longest = model.decoder.vocabulary, model.config.n_text_ctx // 2 - 1
    endless: dict[str, Any] = GREEDY | {
        "sample_len": 150,
        "suppress_tokens": (-1, vocabulary.eot),
        "without_timestamps": True,
    }
    settings: dict[str, Any] = endless | {"compression_ratio_threshold": None, "logprob_threshold": None}
    found = model.transcribe(speech(3, 61.0), initial_prompt=PROMPT, carry_initial_prompt=carried, **settings)
    initial, said = vocabulary.encode(f" {PROMPT}"), [t for each in found.segments[:2] for t in each.tokens]
    assert len(said) == 300 and len(prompts) == 3
    kept = [*initial, *said[len(initial) - longest :]] if carried else said[-longest:]
    assert prompts[2][: 1 + longest] == [vocabulary.sot_prev, *kept]
    assert prompts[2][1 + longest] == vocabulary.sot


# The best of several texts


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Candidate], Candidate]]:
    """Texts of a window, and which of them was taken."""
    seen: list[tuple[list[Candidate], Candidate]] = []

    def choose(found: list[Candidate], penalty: float | None) -> Candidate:
        seen.append((found, best_of(found, penalty)))
        return seen[-1][1]

    monkeypatch.setattr(decoding, "best_of", choose)
    return seen


def test_the_likeliest_of_several_samples(
    model: WhisperModel, choices: list[tuple[list[Candidate], Candidate]]
) -> None:
    drawn: dict[str, Any] = GREEDY | {"temperature": (0.9,), "logprob_threshold": None}
    found = [model.transcribe(speech(1, 3.0), seed=seed, best_of=4, **drawn) for seed in range(4)]
    places = []
    for transcript, (candidates, best) in zip(found, choices, strict=True):
        means = [each.logprob / len(each.tokens) for each in candidates]
        places.append(candidates.index(best))
        assert len({tuple(each.tokens) for each in candidates}) == 4 and means[places[-1]] == max(means)
        assert [token for each in transcript.segments for token in each.tokens] == best.tokens
    assert len({*places}) > 1, "the best is not always the first"


@pytest.mark.parametrize(("beams", "texts"), [(None, [1, 3]), (2, [2, 3])])
def test_the_best_of_several_is_for_samples_only(
    model: WhisperModel, choices: list[tuple[list[Candidate], Candidate]], beams: int | None, texts: list[int]
) -> None:
    """At temperature 0, and above it with beams given, upstream leaves out what is for the other."""
    settings: dict[str, Any] = GREEDY | {"best_of": 3, "beam_size": beams, "temperature": (0.0, 0.5)}
    model.transcribe(speech(1, 3.0), logprob_threshold=0.0, **settings)
    assert [len(candidates) for candidates, _ in choices] == texts


def test_texts_are_ranked_for_their_length() -> None:
    """By the mean (whisper/decoding.py, MaximumLikelihoodRanker); a penalty of 0 ranks by the sum."""
    short, long = Candidate([1], -2.0), Candidate([1, 2], -3.0)
    assert best_of([short, long], None) is long and best_of([short, long], 0.0) is short


# Memory


def held(model: WhisperModel, path: Path, minutes: int) -> list[int]:
    """Bytes while a file of so many minutes is heard: NumPy's most, NumPy's most between windows, MLX's most."""
    minute = speech(4, 60.0).samples
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(minutes):
            file.write(minute)
    between: list[int] = []
    settings: dict[str, Any] = GREEDY | {"sample_len": 1}
    mx.clear_cache()
    mx.reset_peak_memory()
    tracemalloc.start()
    model.transcribe(path, heard=lambda *_: between.append(tracemalloc.get_traced_memory()[0]), **settings)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(between) >= 2 * minutes
    return [most, max(between), mx.get_peak_memory()]


def test_a_long_recording_takes_no_more_memory(model: WhisperModel, tmp_path: Path) -> None:
    """11 minutes more: their samples would be 42 MB, their spectrum 21 MB."""
    short, long = (held(model, tmp_path / "speech.wav", minutes) for minutes in (1, 12))
    assert max(after - before for before, after in zip(short, long, strict=True)) < 8 * MEGABYTE
    assert short[0] > 8 * MEGABYTE  # what NumPy holds is counted


def test_a_window_has_30_seconds() -> None:
    spectrogram = Spectrogram([speech(5, 31.0).samples], 80)
    assert spectrogram.frames == 3100 and spectrogram.window(0, 3000).shape == (3000, 80)
    with pytest.raises(ValueError, match="a window has 3000 frames, not 3100"):
        spectrogram.window(0, spectrogram.frames)


def test_the_benchmark_hears_the_first_30_seconds(model: WhisperModel) -> None:
    assert heard(model, speech(5, 31.0).samples).shape == (1, 1500, 64)
