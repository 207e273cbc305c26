"""Qwen3-TTS without torch: conversion from upstream's files, voices, streams, batches, and what is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_room import run
from described import described, tensors
from small_ports import SEED
from small_qwen3_tts import CODEC, write_model
from text_files import write_qwen2

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.errors import (
    AudioError,
    FolderError,
    QuantizationError,
    SourceError,
    UnrecognisedSourceError,
    UsageError,
)
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.models.qwen3_tts.generation import generate
from pytorch_to_mlx.models.qwen3_tts.guard import LONGEST_PERIOD, WATCHED, Guard
from pytorch_to_mlx.models.qwen3_tts.model import AT_ONCE, CHUNK, FIRST_CHUNK, Qwen3TTSModel
from pytorch_to_mlx.models.qwen3_tts.prompt import prompt
from pytorch_to_mlx.noise import SeededNoise
from pytorch_to_mlx.tasks import Voice
from pytorch_to_mlx.text import qwen2_tokenizer_json, split_text

BASE, NAMED, DESIGN = "qwen3_tts-0.6b-base", "qwen3_tts-1.7b-custom-voice", "qwen3_tts-1.7b-voice-design"
FRAME, RATE = 1920, 24000
SAID = "hello there"
SPEECH = Path(__file__).parents[2] / "shared" / "audio"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("qwen3_tts")


def folder(room: Path, golden: str) -> Path:
    path = room / f"{golden}-mlx"
    if not path.exists():
        convert(write_model(golden, room / golden), path, dtype="float32")
    return path


@pytest.fixture(scope="module")
def base(room: Path) -> Qwen3TTSModel:
    return load(folder(room, BASE))


@pytest.fixture(scope="module")
def named(room: Path) -> Qwen3TTSModel:
    return load(folder(room, NAMED))


@pytest.fixture(scope="module")
def design(room: Path) -> Qwen3TTSModel:
    return load(folder(room, DESIGN))


def recording(seed: int = 1, seconds: float = 1.0, rate: int = RATE) -> Audio:
    return Audio(SEED.speechlike(seed, seconds, rate), rate)


@pytest.fixture(scope="module")
def voice(base: Qwen3TTSModel) -> Voice:
    return base.prepare_voice(recording(), "what it says to us")


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """What float32 leaves of equal sums in another order."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("golden", [BASE, NAMED, DESIGN])
def test_every_tensor_is_used(room: Path, golden: str) -> None:
    source = room / golden if (room / golden).exists() else write_model(golden, room / golden)
    done = convert(source, room / "again", force=True)
    codec = described(CODEC)["shapes"]
    assert len({row.source for row in done.accounting}) == len(tensors(golden)) + len(codec)
    assert done.config.variant == golden.removeprefix("qwen3_tts-")


def test_the_folder_says_what_the_source_told(base: Qwen3TTSModel, named: Qwen3TTSModel) -> None:
    assert (base.config.sampling.temperature, base.config.sampling.top_k) == (0.8, 50)
    assert named.speakers == ["eric", "ryan", "vivian"]
    assert "sichuan_dialect" not in named.languages and "german" in named.languages
    assert (base.sample_rate, base.tokens_per_second) == (24000, 12.5)


def test_speech_has_the_frames_that_were_said(base: Qwen3TTSModel, voice: Voice) -> None:
    audio = base.synthesize(SAID, voice=voice, max_tokens=6)
    assert (audio.samples.size, audio.rate) == (6 * FRAME, RATE)
    assert np.abs(audio.samples).max() > 1e-3


@pytest.mark.parametrize("frames", [1, FIRST_CHUNK, FIRST_CHUNK + CHUNK + 3])
def test_a_stream_is_the_whole(base: Qwen3TTSModel, voice: Voice, frames: int) -> None:
    pieces = list(base.stream(SAID, voice=voice, seed=3, max_tokens=frames))
    whole = base.synthesize(SAID, voice=voice, seed=3, max_tokens=frames)
    assert_close(np.concatenate([piece.samples for piece in pieces]), whole.samples)
    assert pieces[0].samples.size == min(frames, FIRST_CHUNK) * FRAME


def test_seeds(base: Qwen3TTSModel, voice: Voice) -> None:
    first, again, other = (base.synthesize(SAID, voice=voice, seed=s, max_tokens=5).samples for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_settings_change_what_is_said(base: Qwen3TTSModel, voice: Voice) -> None:
    def said(**settings: Any) -> bytes:
        return base.synthesize(SAID, voice=voice, max_tokens=5, **settings).samples.tobytes()

    ways: list[dict[str, Any]] = [
        {},
        {"temperature": 0},
        {"temperature": 0, "subtalker_temperature": 0},
        {"subtalker_top_k": 1},
        {"top_k": 2},
        {"streamed_text": False},
    ]
    assert len({said(**way) for way in ways}) == len(ways)


def test_languages_have_names_and_codes(base: Qwen3TTSModel, named: Qwen3TTSModel, voice: Voice) -> None:
    def token(language: str | None) -> int | None:
        return base.request(SAID, voice=voice, language=language).language

    assert token("de") == token("German") == 64 + 5
    assert token(None) is token("auto") is None
    spoken = [named.request(SAID, speaker="Eric", language=each).language for each in (None, "zh", "en")]
    assert spoken == [64 + 14, 64 + 14, 64 + 2]  # his dialect, unless he is to speak another language


def test_utterances_of_a_batch_are_what_they_are_alone(base: Qwen3TTSModel, voice: Voice) -> None:
    """Of other texts and references, with and without their texts, and of other lengths."""
    others = [base.prepare_voice(recording(2, 0.4)), base.prepare_voice(recording(3, 1.4), "a longer text than it has")]
    texts = [SAID, "another", "the longest of all these texts"]
    requests = [base.request(text, voice=each) for text, each in zip(texts, [voice, *others], strict=True)]
    noises = [SeededNoise(seed) for seed in range(3)]
    together = np.stack(list(base.frames(requests, base.config.sampling, noises, 10)), axis=1)
    for request, noise, found in zip(requests, noises, together, strict=True):
        alone = [frame for (frame,) in base.frames([request], base.config.sampling, [noise], 10)]
        assert np.array_equal(found, alone)
    assert len({row.tobytes() for row in together}) == 3


def test_utterances_end_by_themselves(base: Qwen3TTSModel, voice: Voice) -> None:
    """Where one ends, the others go on as if it were not there."""
    requests = [base.request(text, voice=voice) for text in ("one", "two two", "three three three")]
    prompts = [prompt(base.network.talker, each) for each in requests]
    noises = [SeededNoise(seed) for seed in (5, 6, 7)]

    def frames(rows: list[int], stop: int) -> np.ndarray:
        chosen = [prompts[row] for row in rows], base.config.sampling, [noises[row] for row in rows]
        return np.stack([*generate(base.network.talker, *chosen, 12, stop=stop)], axis=1)

    endless = frames([0, 1, 2], stop=64 + 102)
    ends = set()
    for stop in (endless[row, frame, 0] for row, frame in ((0, 2), (1, 5), (2, 9), (0, 11))):
        together = frames([0, 1, 2], stop)
        for row, found in enumerate(together):
            alone = frames([row], stop)[0]
            ends.add(len(alone))
            assert np.array_equal(found[: len(alone)], alone)
            assert (found[len(alone) :] == -1).all() and (len(alone) == 12 or stop not in alone[:, 0])
        said = base.speak(list(together[0]), requests[0])
        assert said.size == FRAME * len(frames([0], stop)[0])
    assert {2, 12} < ends and endless.shape == (3, 12, 16)


def test_utterances_have_noises_of_their_own(base: Qwen3TTSModel, voice: Voice) -> None:
    requests = [base.request(SAID, voice=voice)] * 2
    for given, noises in ((requests, 1), (requests, 3), ([], 0)):
        with pytest.raises(UsageError, match=f"{len(given)} utterances need as many noises"):
            list(base.frames(given, base.config.sampling, [SeededNoise(0)] * noises, 3))


def test_a_voice_is_kept(base: Qwen3TTSModel, voice: Voice, tmp_path: Path) -> None:
    voice.save(tmp_path / "anna.safetensors")
    held = Voice.load(tmp_path / "anna.safetensors")
    before, after = (base.synthesize(SAID, voice=each, max_tokens=3).samples for each in (voice, held))
    assert np.array_equal(before, after)
    embedding_alone = base.synthesize(SAID, voice=recording(), max_tokens=3).samples
    assert np.abs(embedding_alone - before).max() > 1e-3


def test_voices_are_alike(base: Qwen3TTSModel, voice: Voice) -> None:
    other = base.prepare_voice(recording(7, 1.5))
    assert base.likeness(voice, voice) == pytest.approx(1)
    assert base.likeness(voice, other) == pytest.approx(base.likeness(other, voice))
    assert base.likeness(voice, other) < 0.9999


def test_a_text_is_said_in_parts(base: Qwen3TTSModel, voice: Voice) -> None:
    text = "This is a sentence of some length, which is said again. " * 12
    counted: list[tuple[int, int, int]] = []
    audio = base.synthesize(text, voice=voice, max_tokens=2, progress=lambda *done: counted.append(done))
    parts = counted[0][1]
    assert parts > 1 and [part for part, _, frames in counted if frames == 1] == [*range(0, parts, AT_ONCE)]
    assert len(counted) == parts * 2
    assert audio.samples.size > parts * 2 * FRAME  # and pauses between


def test_parts_at_once_are_parts_one_by_one(base: Qwen3TTSModel, voice: Voice) -> None:
    """Of other lengths, more than are said at once; a stream says them in turn."""
    text = "".join(f"This is sentence {'very ' * (7 * n % 11)}number {n}, which says {n}. " * 4 for n in range(8))
    whole = base.synthesize(text, voice=voice, seed=4, max_tokens=7)
    pieces = [piece.samples for piece in base.stream(text, voice=voice, seed=4, max_tokens=7)]
    assert len(split_text(text)) > AT_ONCE
    assert_close(np.concatenate(pieces), whole.samples)


def test_the_last_part_is_said_as_the_first(base: Qwen3TTSModel, voice: Voice) -> None:
    """Every part starts from the reference, not from the part before: its pace cannot drift."""
    told: dict[str, Any] = {"voice": voice, "top_k": 1, "subtalker_top_k": 1, "max_tokens": 9}
    paragraph = "This is a sentence of some length, which is said again. " * 4
    alone = base.synthesize(paragraph, **told).samples
    pieces = [piece.samples for piece in base.stream("\n\n".join([paragraph] * 6), **told)]
    whole = base.synthesize("\n\n".join([paragraph] * 6), **told).samples
    assert_close(np.concatenate(pieces), whole)
    starts = np.linspace(0, whole.size - alone.size, 6)
    for start in starts.round().astype(int):
        assert_close(whole[start : start + alone.size], alone)


def test_named_and_described_voices(named: Qwen3TTSModel, design: Qwen3TTSModel) -> None:
    def said(model: Qwen3TTSModel, **settings: Any) -> bytes:
        return model.synthesize(SAID, max_tokens=4, **settings).samples.tobytes()

    assert said(named, speaker="ryan") and said(named, speaker="ryan", instruct="slowly")
    assert [named.request(SAID, speaker=each).speaker for each in named.speakers] == [64 + n for n in (827, 1013, 1017)]
    assert said(design, instruct="a calm voice")
    told = [design.request(SAID, instruct=each).instruction for each in ("a calm voice", "a loud voice")]
    assert len(told[0]) == len(told[1]) and told[0] != told[1]


@pytest.mark.parametrize(
    ("golden", "settings", "said"),
    [
        (BASE, {}, "give a recording"),
        (BASE, {"ref_text": "x"}, "give --ref-audio too"),
        (BASE, {"voice": "heard", "ref_text": "  "}, "--ref-text is blank"),
        (BASE, {"voice": True, "subtalker_top_p": 1.5}, "subtalker_top_p 1.5 must be"),
        (BASE, {"voice": True, "speaker": "ryan"}, "leave out --speaker"),
        (BASE, {"voice": True, "instruct": "slowly"}, "leave out --instruct"),
        (BASE, {"voice": True, "watermark": True}, "marks no audio"),
        (BASE, {"voice": True, "language": "klingon"}, "known: chinese, english"),
        (BASE, {"voice": True, "max_tokens": 0}, "--max-tokens 0 is not within"),
        (BASE, {"voice": True, "cfg_weight": 0.5}, "cfg_weight is not a setting"),
        (BASE, {"voice": True, "temperature": -1}, "temperature -1 must be 0 or more"),
        (BASE, {"voice": True, "top_p": 2}, "top_p 2"),
        (NAMED, {}, "--speaker is missing; it has eric, ryan, vivian"),
        (NAMED, {"speaker": "bob"}, "--speaker bob is none of the model's; it has eric"),
        (NAMED, {"speaker": "ryan", "voice": True}, "clones no voices"),
        (DESIGN, {}, "describe the voice"),
        (DESIGN, {"instruct": "x", "speaker": "ryan"}, "no voices by name"),
    ],
)
def test_requests_that_make_no_sense(
    request: pytest.FixtureRequest, voice: Voice, golden: str, settings: dict[str, Any], said: str
) -> None:
    model = request.getfixturevalue({BASE: "base", NAMED: "named", DESIGN: "design"}[golden])
    with pytest.raises(UsageError, match=said):
        given = {True: {"voice": voice}, "heard": {"voice": recording()}, None: {}}[settings.get("voice")]
        model.synthesize(SAID, **{**settings, **given})


def test_a_small_model_follows_no_instructions(room: Path, tmp_path: Path) -> None:
    source = write_model(NAMED, tmp_path / "source", tts_model_size="0b6")
    convert(source, tmp_path / "mlx", dtype="float32")
    with pytest.raises(UsageError, match="follows no instructions"):
        load(tmp_path / "mlx").synthesize(SAID, speaker="ryan", instruct="slowly")


def test_text_is_needed(base: Qwen3TTSModel, voice: Voice) -> None:
    with pytest.raises(UsageError, match="no text to say"):
        base.synthesize("  \n ", voice=voice)


@pytest.mark.parametrize(
    "wrong",
    [
        {"speaker_embedding": np.zeros(7)},
        {"speaker_embedding": np.full(32, np.nan)},
        {"ref_code": np.zeros((3, 4), int)},
        {"ref_code": np.zeros((0, 16), int)},
        {"ref_code": np.zeros((3, 16))},
        {"ref_code": np.full((3, 16), 64)},
        {"ref_code": np.full((3, 16), 10**8)},
        {"ref_code": np.full((3, 16), -1)},
        {"ref_text": np.frombuffer(b"  ", np.uint8)},
    ],
)
def test_voices_that_do_not_fit(base: Qwen3TTSModel, voice: Voice, wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="prepare it again"):
        base.synthesize(SAID, voice=Voice(voice.kind, {**voice.arrays, **wrong}))


def test_voices_of_another_model(base: Qwen3TTSModel, voice: Voice) -> None:
    with pytest.raises(UsageError, match="this voice is for chatterbox"):
        base.synthesize(SAID, voice=Voice("chatterbox", voice.arrays))


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (Audio(np.zeros(RATE, np.float32), RATE), "silent"),
        (recording(seconds=61), "more than 60 s; cut it"),
        (recording(seconds=0.05), "needs more than 0.1 s"),
    ],
)
def test_references_that_cannot_serve(base: Qwen3TTSModel, audio: Audio, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        base.prepare_voice(audio)


@pytest.mark.parametrize(
    ("audio", "text", "said"),
    [
        (Audio(np.clip(30 * recording().samples, -1, 1), RATE), None, "clipped"),
        (recording(seconds=25), None, "lasts 25 s"),
        (recording(seconds=60), None, "lasts 60 s"),
        (Audio(np.pad(recording(seconds=0.5).samples, (0, 20 * RATE)), RATE), None, "0.5 s of speech in 20.5 s"),
        (recording(seconds=2), "half of it", "it leaves words out"),
        (recording(seconds=2), "二十個字", "it leaves words out"),
        (recording(seconds=1), "far too much text for a single second of speech", "has words that are not said"),
    ],
)
def test_references_that_serve_badly(base: Qwen3TTSModel, audio: Audio, text: str | None, said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        base.prepare_voice(audio, text)


def test_a_good_reference_is_not_complained_of(base: Qwen3TTSModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base.prepare_voice(recording(seconds=2), "some words that fit in there")


@pytest.mark.skipif(not SPEECH.exists(), reason="recordings and their texts lie in shared/audio, which is not here")
def test_texts_of_real_recordings(base: Qwen3TTSModel) -> None:
    """Whole, none is complained of, also with noise that is 15 dB below; half of any is."""
    for each in json.loads((SPEECH / "manifest.json").read_text()):
        audio, text = Audio.read(SPEECH / each["file"]), each["text"]
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="the reference's text")
            base.prepare_voice(audio, text)
        level = np.sqrt(np.mean(audio.samples**2)) * 10 ** (-15 / 20)
        noise = np.random.default_rng(0).normal(0, level, audio.samples.size).astype(np.float32)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="the reference's text")
            base.prepare_voice(Audio(audio.samples + noise, audio.rate), text)
        with pytest.warns(UserWarning, match="it seems that it leaves words out"):
            base.prepare_voice(audio, text[: len(text) // 2])
        with pytest.warns(UserWarning, match="it seems that it has words that are not said"):
            base.prepare_voice(audio, f"{text} {text} {text}")


@pytest.mark.parametrize("period", [1, 13, LONGEST_PERIOD])
def test_repetition_is_noticed(period: int) -> None:
    guard, codes = Guard(1000), [7, 9, 4, *range(100, 140), *list(range(period)) * 100]
    reasons = [guard.push(np.array([code])) for code in codes]
    assert WATCHED < reasons.index("repeats itself") <= 43 + WATCHED + period


def test_speech_is_no_repetition() -> None:
    guard, random = Guard(1000), np.random.default_rng(0)
    assert not any(guard.push(np.array([code])) for code in random.integers(0, 30, 1000))


def test_speech_without_end_is_ended(base: Qwen3TTSModel, voice: Voice) -> None:
    guard = Guard(1)
    assert [guard.push(np.array([code])) for code in range(200)].index("goes on after 6 s") == 80
    with pytest.warns(UserWarning, match=r'part 1 \("a"\) goes on after 6 s, and was ended there; try another seed'):
        base.synthesize("a", voice=voice, top_k=1, subtalker_top_k=1)
    with pytest.warns(UserWarning, match=r'part 1 \("hello there"\) does not end within --max-tokens 3'):
        base.synthesize(SAID, voice=voice, max_tokens=3)


def test_speech_that_repeats_itself_is_ended(
    base: Qwen3TTSModel, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A talker that says the same 1.6 s over and over, of which two seconds longer than the guard watches are heard."""
    loop = np.random.default_rng(0).integers(0, 64, (20, 16)).astype(np.int32)
    monkeypatch.setattr(base, "frames", lambda *_: (loop[[n % 20]] for n in range(2000)))
    with pytest.warns(UserWarning, match=r'part 1 \("so many words"\) repeats itself, and was ended there'):
        audio = base.synthesize("so many words", voice=voice)
    assert audio.samples.size == (WATCHED + 20) * FRAME


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"tts_model_type": "other"}, UnrecognisedSourceError, "none of the models"),
        ({"tokenizer_type": "qwen3_tts_tokenizer_25hz"}, UnrecognisedSourceError, "none of the models"),
        ({"talker_config": {}}, SourceError, "code_predictor_config"),
        ({"talker_config.rope_scaling": None}, SourceError, "mrope_section"),
        ({"talker_config.rope_scaling": {"rope_type": "yarn", "mrope_section": [1]}}, SourceError, "'yarn'"),
        ({"talker_config.use_sliding_window": True}, SourceError, "sliding windows"),
        ({"talker_config.num_code_groups": 8}, SourceError, "another number of codes"),
        ({"talker_config.codec_bos_id": 10**6}, SourceError, "outside the vocabulary"),
        ({"tts_pad_token_id": 300}, SourceError, "outside the vocabulary of 300"),
        ({"talker_config.num_hidden_layers": 10**9}, SourceError, "less than or equal to 1000"),
        ({"speaker_encoder_config": {"sample_rate": 16000}}, SourceError, "24 kHz"),
        ({"speaker_encoder_config.enc_dilations": [1, 4096, 3, 4, 1]}, SourceError, "reaches over 8192 frames"),
        ({"speaker_encoder_config.enc_dim": 48}, SourceError, "of another width"),
        ({"talker_config.rope_theta": float("nan")}, SourceError, "rope_theta nan"),
        ({"talker_config.rope_theta": -1}, SourceError, "rope_theta -1"),
        (
            {"talker_config.num_code_groups": 4, "talker_config.code_predictor_config.num_code_groups": 4},
            SourceError,
            "the codec knows 16",
        ),
        ({"talker_config.vocab_size": 1100}, SourceError, "the first below 76"),
    ],
)
def test_configurations_that_make_no_sense(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    told = described(BASE)["settings"]["config.json"]
    for path, value in change.items():
        *sections, key = path.split(".")
        inner = told
        for section in sections:
            inner = inner[section]
        inner[key] = value
    with pytest.raises(error, match=said):
        convert(write_model(BASE, tmp_path / "source", **told), tmp_path / "mlx")
    assert not (tmp_path / "mlx").exists()


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    source = write_model(BASE, tmp_path / "source")
    (source / "generation_config.json").write_text('{"temperature": -1}')
    with pytest.raises(SourceError, match=r"generation_config\.json.*temperature -1 must be"):
        convert(source, tmp_path / "mlx")


def test_a_tokenizer_of_another_model(room: Path, base: Qwen3TTSModel, tmp_path: Path) -> None:
    shutil.copytree(folder(room, BASE), tmp_path / "mlx")
    held = json.loads((tmp_path / "mlx" / "tokenizer.json").read_text())
    held["model"]["vocab"]["zz"] = 300
    (tmp_path / "mlx" / "tokenizer.json").write_text(json.dumps(held))
    with pytest.raises(FolderError, match="has tokens that the model has not"):
        load(tmp_path / "mlx")


def test_a_described_voice_says_long_texts_at_once(design: Qwen3TTSModel) -> None:
    counted: list[int] = []
    told: dict[str, Any] = {
        "instruct": "x",
        "max_tokens": 2,
        "progress": lambda part, parts, done: counted.append(parts),
    }
    text = "This is a sentence of some length, which is said again. "
    design.synthesize(text * 12, **told)
    assert set(counted) == {1}
    with pytest.warns(UserWarning, match="each of which may sound like somebody else"):
        design.synthesize(text * 40, **told)


def test_quantized(room: Path, base: Qwen3TTSModel, voice: Voice, tmp_path: Path) -> None:
    """Both decoders, and nothing else."""
    convert(room / BASE, tmp_path / "mlx", dtype="float32", quantize=True, q_bits=8, q_group_size=32)
    quantization: Any = read_config(tmp_path / "mlx").quantization
    layers = {".".join(part for part in path.split(".") if not part.isdigit()) for path in quantization["layers"]}
    parts = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    expected = {f"talker.{stack}model.layers.{part}" for stack in ("", "code_predictor.") for part in parts}
    # Of this small predictor's two layers, both are the first two.
    assert layers == expected - {"talker.code_predictor.model.layers.self_attn.qkv_proj"}
    spoken = load(tmp_path / "mlx").synthesize(SAID, voice=voice, max_tokens=3)
    assert spoken.samples.size == 3 * FRAME
    with pytest.raises(QuantizationError, match="--q-bits 7"):
        convert(room / BASE, tmp_path / "other", quantize=True, q_bits=7)


def test_commands(room: Path, base: Qwen3TTSModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`voice` and `synthesize`, whole and streamed, with each kind of voice."""
    path, text = folder(room, BASE), ["-t", SAID, "--max-tokens", "5"]
    recording().write(tmp_path / "anna.wav")
    monkeypatch.chdir(tmp_path)
    assert not run(monkeypatch, "voice", path, "anna.wav", "--ref-text", "what it says", "-o", "anna.safetensors")
    assert not run(monkeypatch, "synthesize", path, *text, "--voice", "anna.safetensors", "-o", "kept.wav")
    heard = ["--ref-audio", "anna.wav", "--ref-text", "what it says"]
    assert not run(monkeypatch, "synthesize", path, *text, *heard, "-o", "heard.wav")
    assert not run(monkeypatch, "synthesize", path, *text, *heard, "--stream", "-o", "streamed.wav")
    spoken = [Audio.read(f"{name}.wav").samples for name in ("kept", "heard", "streamed")]
    assert spoken[0].size == 5 * FRAME and np.array_equal(spoken[0], spoken[1])
    assert np.abs(spoken[2] - spoken[0]).max() < 2**-14
    assert not run(
        monkeypatch, "synthesize", folder(room, NAMED), *text, "--speaker", "ryan", "-l", "en", "-o", "named.wav"
    )
    assert not run(
        monkeypatch, "synthesize", folder(room, DESIGN), *text, "--instruct", "a calm voice", "-o", "designed.wav"
    )
    assert run(monkeypatch, "synthesize", path, *text, "-o", "none.wav") == 2
    assert not Path("none.wav").exists()


def test_the_configuration_stays(room: Path, base: Qwen3TTSModel) -> None:
    """What is written is what was read, tuples and nested settings too."""
    kept = json.loads((folder(room, BASE) / "config.json").read_text())["config"]
    assert kept["talker"]["tokens"]["eos"] == 64 + 102
    assert base.config.speaker_encoder is not None and base.config.speaker_encoder.channels == (32, 32, 32, 32, 96)


def test_merges_with_and_without_a_header(tmp_path: Path) -> None:
    """As transformers reads Qwen2's: the version may be missing, lines may be blank, the last may have no end."""
    write_qwen2(tmp_path)
    files = {name: tmp_path / name for name in ("vocab.json", "merges.txt", "tokenizer_config.json")}
    lines = files["merges.txt"].read_text().splitlines()
    made = [qwen2_tokenizer_json(files)]
    for text in ("\n".join(lines[1:]), "\n\n".join(lines), "\n".join(lines) + "\n \n"):
        files["merges.txt"].write_text(text)
        made.append(qwen2_tokenizer_json(files))
    assert len(set(made)) == 1
