"""Whisper without upstream: conversion, what windows share, settings that cannot be."""

from __future__ import annotations

import errno
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from small_ports import SEED, safetensors_file, torch_file
from small_whisper import openai_tensors, transformers_tensors, write_package, write_source

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.audio.blocks import read_blocks
from pytorch_to_mlx.errors import AudioError, FolderError, SourceError, UnrecognisedSourceError, UsageError
from pytorch_to_mlx.layers.device import can_compile, linux_cpu
from pytorch_to_mlx.models.whisper.alignment import Timing, merge, warp
from pytorch_to_mlx.models.whisper.config import PUBLISHED, from_json
from pytorch_to_mlx.models.whisper.decoding import Decoded, Request
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.models.whisper.options import DecodingOptions, Options
from pytorch_to_mlx.models.whisper.phrases import Window, split
from pytorch_to_mlx.models.whisper.rules import History, Rules
from pytorch_to_mlx.models.whisper.spectrogram import Spectrogram
from pytorch_to_mlx.models.whisper.stages import run_decoding
from pytorch_to_mlx.models.whisper.vocabulary import FILE, Vocabulary
from pytorch_to_mlx.models.whisper.weights import OPENAI, TRANSFORMERS
from pytorch_to_mlx.parity import recording
from pytorch_to_mlx.tasks import BatchTranscriber, Transcriber, Transcript

RATE = 16000
GREEDY: dict[str, Any] = {"language": "en", "temperature": (0.0,), "sample_len": 24}

needs_native = pytest.mark.skipif(
    not (linux_cpu() and can_compile()), reason="needs the Linux CPU backend and g++: elsewhere tokens stay in MLX"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(write_package(tmp_path_factory.mktemp("package"))))
        yield


@pytest.fixture(scope="module")
def folder(package: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("whisper")
    convert(write_source(room / "source"), room / "mlx")
    return room / "mlx"


@pytest.fixture(scope="module")
def model(folder: Path) -> WhisperModel:
    return load(folder)


def speech(seed: int, seconds: float) -> Audio:
    return Audio(SEED.speechlike(seed, seconds, RATE), RATE)


# Conversion


def test_both_layouts_become_the_same_parameters() -> None:
    from held import Held

    from pytorch_to_mlx.models.whisper.network import Whisper
    from pytorch_to_mlx.port import parameter_shapes

    expected = parameter_shapes(Whisper(from_json({"config.json": json.loads(_config())})))
    made = []
    for weights, tensors in ((OPENAI, openai_tensors()), (TRANSFORMERS, transformers_tensors())):
        plan = weights.plan(Held(tensors), expected)
        assert {row.source for row in plan.table()} == set(tensors)
        made.append(dict(plan.apply(Held(tensors))))
    assert made[0].keys() == made[1].keys() == expected.keys()
    assert all(np.array_equal(made[0][name], made[1][name]) for name in expected)
    assert not made[0]["decoder.layers.1.self_attn.qkv_proj.bias"][64:128].any()


def _config() -> str:
    told = PUBLISHED["tiny"]
    return json.dumps(
        {
            "model_type": "whisper", "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448,
            "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "vocab_size": told.n_vocab,
        }
    )  # fmt: skip


def test_tied_weights_must_be_equal(package: None, tmp_path: Path) -> None:
    tensors = transformers_tensors()
    tied = tensors["model.decoder.embed_tokens.weight"]
    for name, last in (("equal", tied), ("other", tied + 1)):
        source = write_source(tmp_path / name)
        safetensors_file(source / "model.safetensors", tensors | {"proj_out.weight": last})
    convert(tmp_path / "equal", tmp_path / "mlx")
    with pytest.raises(Exception, match=r"proj_out.weight should be tied"):
        convert(tmp_path / "other", tmp_path / "other-mlx")


def test_the_folder_tells_where_its_vocabulary_is_from(folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())
    assert told["source"]["packaged"] == [
        {"package": "openai-whisper", "version": "20250625", "file": "assets/multilingual.tiktoken"}
    ]
    assert (folder / FILE).exists() and told["variant"] == "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_source_positions": 3000}, "30 s are 1500"),
        ({"activation_function": "relu"}, "another activation"),
        ({"decoder_ffn_dim": 100}, "four times d_model"),
        ({"vocab_size": 1000}, "none of Whisper's vocabularies"),
    ],
)
def test_settings_of_another_network(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((SourceError, UnrecognisedSourceError), match=message):
        convert(write_source(tmp_path / "source", **changes), tmp_path / "mlx", variant="other")


def test_published_sizes_are_told_by_shapes(tmp_path: Path) -> None:
    """A file with another size's tensors is none that is known."""
    torch_file(tmp_path / "tiny.pt", {"model_state_dict": openai_tensors()})
    with pytest.raises(UnrecognisedSourceError, match="none of the models known by name"):
        convert(tmp_path / "tiny.pt", tmp_path / "mlx")


def test_a_damaged_vocabulary(folder: Path, tmp_path: Path) -> None:
    config = load(folder).config
    (tmp_path / FILE).write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(FolderError, match="has 1610 tokens, the model 51865"):
        Vocabulary(tmp_path / FILE, config)
    (tmp_path / FILE).write_bytes(b"IQ== nought\n")
    with pytest.raises(FolderError, match="is no vocabulary"):
        Vocabulary(tmp_path / FILE, config)


# At work


def test_recordings_together_say_what_they_say_alone(model: WhisperModel) -> None:
    """With prompts of different lengths, since each window is told what was said before."""
    assert isinstance(model, Transcriber) and isinstance(model, BatchTranscriber)
    recordings = [speech(1, 34.0), speech(2, 3.0), speech(3, 61.0)]
    beams: dict[str, Any] = GREEDY | {"beam_size": 2}
    for settings in (GREEDY, beams):
        alone = [model.transcribe(each, **settings) for each in recordings]
        together = model.transcribe_all(recordings, **settings)
        assert [each.text for each in together] == [each.text for each in alone]
        assert all(each.segments for each in alone) and len({each.text for each in alone}) == 3


def test_a_file_is_heard_as_its_samples_are(model: WhisperModel, tmp_path: Path) -> None:
    audio = speech(4, 35.0)
    audio.write(tmp_path / "speech.wav")
    heard = []
    found = model.transcribe(
        tmp_path / "speech.wav", heard=lambda new, done, total: heard.append((len(new), done, total)), **GREEDY
    )
    assert found.text == model.transcribe(Audio.read(tmp_path / "speech.wav"), **GREEDY).text
    assert sum(count for count, _, _ in heard) == len(found.segments) and heard[-1][1:] == (35.0, 35.0)


def test_blocks_of_a_file_are_its_samples(tmp_path: Path) -> None:
    audio = Audio(SEED.speechlike(5, 61.0, 8000), 8000)
    audio.write(tmp_path / "speech.wav")
    whole = Audio.read(tmp_path / "speech.wav").resampled(RATE).samples
    blocks = np.concatenate(list(read_blocks(tmp_path / "speech.wav", RATE)))
    assert abs(len(blocks) - len(whole)) <= 1
    assert np.abs(blocks[: len(whole)] - whole[: len(blocks)]).max() < 1e-4
    with pytest.raises(AudioError, match="no such file"):
        next(read_blocks(tmp_path / "none.wav", RATE))


@pytest.mark.parametrize("seconds", [0.005, 0.3, 12.345])
def test_the_spectrum_is_the_same_in_any_blocks(seconds: float) -> None:
    samples = SEED.speechlike(6, max(seconds, 0.1), RATE)[: round(seconds * RATE)]
    whole = Spectrogram([samples], 80)
    parts = Spectrogram([samples[i : i + 777] for i in range(0, len(samples), 777)], 80)
    assert whole.frames == parts.frames == len(samples) // 160
    for made in (lambda each: each.window(0, each.frames), lambda each: each.beginning()):
        np.testing.assert_array_equal(np.array(made(whole)), np.array(made(parts)))
    assert not np.array(whole.window(0, whole.frames))[whole.frames :].any()


def test_draws_are_the_seeds(model: WhisperModel) -> None:
    drawn: dict[str, Any] = {"language": "en", "temperature": (0.8,), "sample_len": 12}
    first, again, other = (model.transcribe(speech(1, 3.0), seed=seed, **drawn) for seed in (0, 0, 1))
    assert first == again and first.text != other.text


def test_replayed_texts_may_all_end_before_their_steps(model: WhisperModel) -> None:
    """The loop sees it a step late: of that step nothing was recorded."""
    states = model.network.encoder.states(mx.zeros((1, 2 * model.config.n_audio_ctx, model.config.n_mels)))
    noise = np.ones((1, 2, model.config.n_vocab), np.float32)
    noise[..., model.decoder.vocabulary.eot] = 1e-30
    settings = {"language": "en", "temperature": 0.5, "best_of": 2, "suppress_blank": False, "without_timestamps": True}
    inputs = {"states": np.array(states), "settings": np.frombuffer(json.dumps(settings).encode(), np.uint8)}
    with recording(model.network, {"tokens"}.__contains__) as tape:
        run_decoding(model, inputs, {"whisper": noise})
    assert tape.taps["tokens"].size == 0


def test_a_doubtful_text_is_tried_at_the_next_temperature(model: WhisperModel) -> None:
    settings: dict[str, Any] = {"language": "en", "sample_len": 12, "temperature": (0.0, 0.4)}
    doubtful = model.transcribe(speech(1, 3.0), logprob_threshold=0.0, **settings)
    content = model.transcribe(speech(1, 3.0), logprob_threshold=-100.0, compression_ratio_threshold=None, **settings)
    assert {segment.temperature for segment in doubtful.segments} == {0.4}
    assert {segment.temperature for segment in content.segments} == {0.0}


def test_what_was_said_before_changes_what_is_written(model: WhisperModel) -> None:
    plain = model.transcribe(speech(1, 3.0), **GREEDY)
    prompted = model.transcribe(speech(1, 3.0), initial_prompt="names to know", **GREEDY)
    assert prompted.text != plain.text


@needs_native
@pytest.mark.parametrize("timestamps", [True, False])
def test_the_likeliest_are_what_rules_leave(folder: Path, timestamps: bool) -> None:
    """Of texts that end in every way: in nothing, words, a time, two times, at the last time of all."""
    vocabulary = Vocabulary(folder / FILE, PUBLISHED["tiny"])
    size, time = 51865, vocabulary.timestamp_begin
    rules = Rules(vocabulary, size, [7], [9], timestamps=timestamps, latest_start=time + 50)
    texts = [[50], [time], [time, 50], [time, 50, time + 3], [time, 50, time + 3, time + 3], [time + 1500, time + 1500]]
    draw = np.random.default_rng(0)
    for times, early in ((0.0, 0.0), (9.0, 0.0), (0.0, 40.0)):  # likelier than all text, and those that are over too
        logits = (4 * draw.standard_normal((len(texts), size))).astype(np.float32)
        logits[:, time:] += times
        logits[:, time : time + 5] += early * np.linspace(1, 0.6, 5)
        for written in ([[]] * len(texts), texts):
            left = np.array(rules(mx.array(logits), History.of(written, time), first=not written[0]), np.float64)
            found = rules.likeliest(mx.array(logits), written)
            assert found is not None
            tokens, logprobs = found
            assert tokens == left.argmax(axis=-1).tolist()
            np.testing.assert_allclose(logprobs, left.max(axis=-1) - np.logaddexp.reduce(left, axis=-1), atol=5e-6)


@needs_native
def test_texts_are_the_same_chosen_on_the_host(model: WhisperModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three windows at once, one of which has room for a few tokens only."""
    spectra = [Spectrogram([speech(seed, 20.0).samples], model.config.n_mels).window(0, 2000) for seed in (1, 2, 3)]
    states = [*model.decoder.states(mx.stack(spectra))]
    said = [[], [300] * 20, [301] * 200]

    def decoded(**options: Any) -> list[Decoded]:
        given = DecodingOptions(**options)
        requests = [
            Request(each, "en", before, 0.0, given, lambda *_: mx.zeros((1, 1)))
            for each, before in zip(states, said, strict=True)
        ]
        return model.decoder.decode(requests)

    for options in ({}, {"without_timestamps": True}, {"suppress_tokens": (-1, model.decoder.vocabulary.eot)}):
        ours = decoded(**options)
        with monkeypatch.context() as patch:
            patch.setattr("pytorch_to_mlx.models.whisper.decoding.followed", lambda *_: None)
            wanted = decoded(**options)
        assert [each.tokens for each in ours] == [each.tokens for each in wanted]
        np.testing.assert_allclose(
            [each.avg_logprob for each in ours], [each.avg_logprob for each in wanted], atol=1e-4
        )


def test_clips_are_all_that_is_heard(model: WhisperModel) -> None:
    found = model.transcribe(speech(1, 20.0), clip_timestamps=(2.0, 4.0, 10.0), **GREEDY)
    assert {segment.seek for segment in found.segments} >= {200, 1000}
    assert all(2 <= s.seek / 100 < 4 or s.seek / 100 >= 10 for s in found.segments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "klingon"}, "this model knows 99 languages"),
        ({"beams": 5}, "no setting 'beams'"),
        ({"patience": 2.0}, "with --beam-size only"),
        ({"beam_size": 0}, "--beam-size 0 must be 1 or more"),
        ({"length_penalty": 2.0}, "between 0 and 1"),
        ({"beam_size": 101}, "--beam-size 101 must be 1 or more, 100 at most"),
        ({"best_of": 10**9}, "--best-of 1000000000 must be 1 or more, 100 at most"),
        ({"best_of": "5"}, "--best-of 5 must be"),
        ({"beam_size": 5, "patience": float("inf")}, "--patience inf must be above 0, 100 at most"),
        ({"temperature": ()}, "--temperature"),
        ({"temperature": "0"}, "--temperature 0 must be a number, or a list"),
        ({"temperature": None}, "--temperature None must be"),
        ({"temperature": float("nan")}, "--temperature nan must be 0 or more"),
        ({"temperature": [0.0] * 101}, "--temperature of 101 tries must be 100 at most"),
        ({"logprob_threshold": float("nan")}, "--logprob-threshold nan must be a number, or None"),
        ({"no_speech_threshold": "none"}, "--no-speech-threshold none must be a number, or None"),
        ({"suppress_tokens": "a"}, "--suppress-tokens a: numbers, by commas"),
        ({"suppress_tokens": -1}, "--suppress-tokens -1 must be numbers, in a list or by commas"),
        ({"suppress_tokens": [1.5]}, r"--suppress-tokens \[1.5\] must be numbers"),
        ({"suppress_tokens": "-2"}, r"--suppress-tokens \(-2,\) must be numbers of tokens, or -1"),
        ({"suppress_tokens": (60000,)}, "--suppress-tokens 60000: this model has 51865 tokens, the last is 51864"),
        ({"clip_timestamps": (3.0, 1.0)}, "seconds, in order"),
        ({"clip_timestamps": "0,,1"}, "--clip-timestamps 0,,1: numbers, by commas"),
        ({"clip_timestamps": None}, "--clip-timestamps None must be numbers"),
        ({"clip_timestamps": b"01"}, "--clip-timestamps b'01' must be numbers"),
        ({"hallucination_silence_threshold": 1.0}, "needs --word-timestamps"),
        ({"task": "sing"}, "transcribe or translate"),
    ],
)
def test_settings_that_cannot_be(model: WhisperModel, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.transcribe(speech(1, 1.0), **settings)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"temperature": 0.0}, {"temperature": (0.0,)}),
        ({"temperature": 0.2}, {"temperature": (0.2,)}),
        ({"temperature": np.arange(0, 0.5, 0.25)}, {"temperature": (0.0, 0.25)}),
        ({"suppress_tokens": "-1"}, {"suppress_tokens": (-1,)}),
        ({"suppress_tokens": "-1, 50257"}, {"suppress_tokens": (-1, 50257)}),
        ({"suppress_tokens": ""}, {"suppress_tokens": ()}),
        ({"suppress_tokens": None}, {"suppress_tokens": ()}),
        ({"suppress_tokens": [1, 2]}, {"suppress_tokens": (1, 2)}),
        ({"clip_timestamps": "0"}, {"clip_timestamps": (0.0,)}),
        ({"clip_timestamps": "0,10"}, {"clip_timestamps": (0.0, 10.0)}),
        ({"clip_timestamps": ""}, {"clip_timestamps": ()}),
        ({"clip_timestamps": [0, 1.5]}, {"clip_timestamps": (0.0, 1.5)}),
    ],
)
def test_settings_as_upstream_spells_them(given: dict[str, Any], taken: dict[str, Any]) -> None:
    options = Options(**given)
    assert {name: getattr(options, name) for name in taken} == taken
    assert options.decoding(0.0).suppress_tokens == options.suppress_tokens


def test_a_full_disk_costs_the_recordings_that_are_on_it(model: WhisperModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, *_: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    room = tempfile.TemporaryFile
    files = iter([Full, room, room, room])
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: next(files)())
    found = dict(model.transcripts([speech(1, 2.0), speech(2, 2.0)], **GREEDY))
    message = r"no spectrum can be kept in .* \(No space left on device\).*; let TMPDIR name a folder with room"
    assert isinstance(found[0], AudioError) and re.fullmatch(message, str(found[0]))
    assert isinstance(found[1], Transcript) and found[1].segments


# Parts


def test_times_come_in_pairs_and_do_not_go_back(model: WhisperModel) -> None:
    vocabulary = model.decoder.vocabulary
    first = vocabulary.timestamp_begin
    rules = Rules(vocabulary, 51865, [7], [9], timestamps=True, latest_start=first + 50)
    logits = mx.zeros((1, 51865))
    begun = np.array(rules(logits, History.empty(1), first=True))[0]
    assert np.isfinite(begun).nonzero()[0].tolist() == list(range(first, first + 51))

    def allowed(*written: int, text: float = 20.0) -> np.ndarray:
        raised = mx.concatenate([mx.full((1, first), text), mx.zeros((1, 51865 - first))], axis=1)
        return np.isfinite(np.array(rules(raised, History.of([written], first), first=False))[0])

    after_text = allowed(first + 10, 100)
    assert after_text[100] and not after_text[7] and not after_text[first : first + 11].any() and after_text[first + 11]
    unpaired = allowed(first + 10, 100, first + 20)
    assert not unpaired[: vocabulary.eot].any() and unpaired[first + 20] and not unpaired[first + 19]
    paired = allowed(first + 10, 100, first + 20, first + 20)
    assert paired[100] and not paired[first:].any()
    likely = allowed(first + 10, 100, text=5.0)  # all times together are likelier than any word
    assert not likely[:first].any() and likely[first + 11]


def test_phrases_lie_between_times() -> None:
    window, time = Window(1000, 3000), 100
    pieces, used, alone = split([100, 1, 2, 150, 150, 3, 200], window, time, 0.02)
    assert pieces == [(10.0, 11.0, [100, 1, 2, 150]), (11.0, 12.0, [150, 3, 200])] and alone and used == 3000
    pieces, used, alone = split([100, 1, 150, 150, 3, 4], window, time, 0.02)
    assert pieces == [(10.0, 11.0, [100, 1, 150])] and not alone and used == 100
    assert split([100, 1, 2], window, time, 0.02) == ([(10.0, 40.0, [100, 1, 2])], 3000, False)
    assert split([], window, time, 0.02) == ([(10.0, 40.0, [])], 3000, False)


def test_the_cheapest_way_is_found() -> None:
    cost = np.array([[0.0, 5, 5, 5], [5, 0, 0, 5], [5, 5, 5, 0]])
    rows, columns = warp(cost)
    assert rows.tolist() == [0, 1, 1, 2] and columns.tolist() == [0, 1, 2, 3]


def test_punctuation_joins_its_word() -> None:
    words = [Timing(text, [i], 0.0, 1.0, 1.0) for i, text in enumerate([" “", "Well", ",", " now", "."])]
    merge(words, "“", ",.")
    assert [word.word for word in words] == ["", " “Well,", "", " now.", ""]
    assert [word.tokens for word in words] == [[], [0, 1, 2], [], [3, 4], []]
