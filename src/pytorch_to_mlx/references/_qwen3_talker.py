"""Qwen3-TTS's talker as qwen-tts computes it: teacher-forced, and generating.

Taps of `talker/forward` and `talker/control`, in order, named by module paths relative to the talker (T positions,
N frames of 16 codes):

    text_projection                             (1, T, C)
    model.layers.{i}{,.self_attn,.mlp}          (1, T, C)
    model.norm                                  (1, T, C)
    codec_head                                  (1, T, 3072)
    code_predictor.small_to_mtp_projection      (N, 16, c)      where the two widths differ
    code_predictor.model.layers.{i}...          (N, 16, c)
    code_predictor.model.norm                   (N, 16, c)
    code_predictor.lm_head.{i}                  (N, 2048)

of the others, which are upstream's `generate` (n frames):

    prefix, trailing       (T, C), (m, C)   of each utterance, `prefix.{row}` where there are several
    first, others          (n,), (15 n,)    codes; of several utterances `codes`, (rows, n, 16), -1 after one's end
    first_scores           (n, 3072)        greedy only: what first codes are the largest of, 0 for what is never said
    other_scores           (15 n, 2048)
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import _seed
import numpy as np
import torch
from _qwen3_codec import exactly
from _recording import Recording, Taps, hooked, numpy, observed, replaced
from transformers.generation.logits_process import LogitsProcessorList

CODES = 16
ROLE, ENDING, REFERENCE_ENDING = 3, 5, 2
GREEDY = {"do_sample": False, "subtalker_dosample": False}
ENDED = -1
LONG = 100  # frames


@dataclass(frozen=True)
class Given:
    """One utterance as `generate` takes it: texts of token ids without what stands around them."""

    text: np.ndarray
    language: str = "auto"
    speaker: str = ""
    instruction: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    reference: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    codes: np.ndarray = field(default_factory=lambda: np.zeros((0, CODES), np.int64))
    embedding: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def inputs(self, row: str = "") -> Taps:
        """By name, a row's behind its number."""
        texts = {name: np.frombuffer(getattr(self, name).encode(), np.uint8) for name in ("language", "speaker")}
        arrays = {name: getattr(self, name) for name in ("text", "instruction", "reference", "codes", "embedding")}
        return {f"{name}{row}": value for name, value in {**arrays, **texts}.items() if value.size or name == "text"}


def given(model: Any, seed: int, text: int, **other: Any) -> Given:
    """Random token ids; `instruction` and `reference` are numbers of tokens, `frames` of a reference's codes."""
    stream = _seed.generator(seed, "qwen3.given")
    talker = model.config.talker_config
    drawn: dict[str, Any] = {"text": stream.integers(0, talker.text_vocab_size, text)}
    for name in ("instruction", "reference"):
        if size := other.pop(name, 0):
            drawn[name] = stream.integers(0, talker.text_vocab_size, size)
    if frames := other.pop("frames", 0):
        drawn["codes"] = stream.integers(0, talker.code_predictor_config.vocab_size, (frames, CODES))
    if other.pop("embedding", False):
        drawn["embedding"] = stream.standard_normal(talker.hidden_size).astype(np.float32)
    return Given(**drawn, **other)


def record(recording: Recording, model: Any, *, small: bool, deep: bool) -> None:
    """Adds the cases of both kinds. `deep` ones are long, and have upstream's own error in float64 beside them."""
    _record_forward(recording, model, small, deep)
    _record_generated(recording, model, small, deep)


# --- Teacher-forced ---------------------------------------------------------------------------------------------------


def _record_forward(recording: Recording, model: Any, small: bool, deep: bool) -> None:
    sizes = {"talker/forward": (9, 3) if small else (40, 8), "talker/control": (3, 1)}
    texts = {case: given(model, 5, positions).text for case, (positions, _) in sizes.items()}
    frames = {case: given(model, 6, 1, frames=positions).codes for case, (positions, _) in sizes.items()}

    def run(case: str, modules: Sequence[str]) -> Taps:
        return _tapped(model.talker, texts[case], frames[case], sizes[case][1], modules)

    modules = _modules(model.talker)
    taps = {case: run(case, modules) for case in sizes}
    exact: dict[str, Taps] = {}
    if deep:
        with _doubled(model):
            exact = {case: run(case, modules) for case in sizes}
    text, codes = texts["talker/forward"], frames["talker/forward"]
    last = [
        _tapped(model.talker, *changed, 1, ["codec_head"])["codec_head"][0, -1]
        for changed in ((text, codes), (text[::-1].copy(), codes), (text, codes[::-1].copy()))
    ]
    apart = min(float(np.linalg.norm(last[a] - last[b])) for a, b in ((0, 1), (0, 2), (1, 2)))
    for case, (_, count) in sizes.items():
        if small and case == "talker/control":
            taps[case] = {name: tap for name, tap in taps[case].items() if not name.endswith((".self_attn", ".mlp"))}
        recording.add(
            case,
            inputs={"text": texts[case], "frames": frames[case], "count": np.array(count)},
            taps=taps[case],
            exact=exact.get(case),
            alive={"apart": apart} if case == "talker/forward" else {},
        )


def _modules(talker: Any) -> list[str]:
    names = ["text_projection", *_stack("model", talker.model), "codec_head"]
    if list(talker.code_predictor.small_to_mtp_projection.parameters()):
        names.append("code_predictor.small_to_mtp_projection")
    names += _stack("code_predictor.model", talker.code_predictor.model)
    return names + [f"code_predictor.lm_head.{i}" for i in range(CODES - 1)]


def _stack(path: str, decoder: Any) -> list[str]:
    layers = [f"{path}.layers.{i}{part}" for i in range(len(decoder.layers)) for part in (".self_attn", ".mlp", "")]
    return [*layers, f"{path}.norm"]


@torch.inference_mode()
def _tapped(talker: Any, text: np.ndarray, frames: np.ndarray, count: int, modules: Sequence[str]) -> Taps:
    """A text and frames beside it, position by position; then the other codes of the first frames."""
    taps: Taps = {}

    def keep(name: str, output: Any) -> None:
        taps[name] = numpy(output[0] if isinstance(output, tuple) else output)

    codes = torch.from_numpy(frames)
    with contextlib.ExitStack() as stack:
        for name in modules:
            stack.enter_context(hooked(talker.get_submodule(name), functools.partial(keep, name)))
        embedded = talker.text_projection(talker.get_text_embeddings()(torch.from_numpy(text)[None]))
        tables = [talker.get_input_embeddings(), *talker.code_predictor.get_input_embeddings()]
        for place, table in enumerate(tables):
            embedded = embedded + table(codes[None, :, place])
        hidden = talker.model(inputs_embeds=embedded).last_hidden_state
        talker.codec_head(hidden)
        talker.forward_sub_talker_finetune(codes[:count], hidden[0, :count])
    return taps


@contextlib.contextmanager
def _doubled(model: Any) -> Iterator[None]:
    """Within the block, the talker computes in float64, but for rotary angles, which upstream rounds to float32."""
    model.talker.double()
    with exactly():
        yield
    model.talker.float()


# --- Generated --------------------------------------------------------------------------------------------------------


def plans(model: Any, small: bool) -> dict[str, tuple[list[Given], dict[str, Any], int]]:
    """By case: utterances, settings of `generate`, and how many frames."""
    make = functools.partial(given, model)
    long, few = (6, 2) if small else (LONG, 4)
    kind = model.config.tts_model_type
    sampled = {"do_sample": True, "subtalker_dosample": True}
    streamed = {"non_streaming_mode": False}
    whole = {"non_streaming_mode": True}
    if kind == "base":
        clone = make(1, 30, language="english", reference=12, frames=20, embedding=True)
        longer = make(2, 12, reference=4, frames=40, embedding=True)
        bare = make(3, 9, language="german", embedding=True)
        return {
            "talker/greedy": ([clone], GREEDY | streamed, long),
            "talker/sampled": ([bare], sampled | streamed, 2 if small else LONG),
            "talker/reference-whole": ([clone], GREEDY | whole, few),
            "talker/reference-longer": ([longer], GREEDY | streamed, few),
            "talker/embedding-whole": ([bare], GREEDY | whole, few),
            "talker/batch": ([clone, longer, bare], GREEDY | streamed, few if small else 12),
        }
    if kind == "custom_voice":
        told = {} if model.config.tts_model_size == "0b6" else {"instruction": 7}
        named = make(1, 30, language="english", speaker="ryan", **told)
        dialect = make(2, 12, language="chinese", speaker="eric")
        left = make(3, 9, speaker="vivian", **told)
        return {
            "talker/greedy": ([named], GREEDY | whole, long),
            "talker/sampled": ([left], sampled | whole, 2 if small else LONG),
            "talker/dialect": ([dialect], GREEDY | whole, few),
            "talker/streamed": ([named], GREEDY | streamed, few),
            "talker/batch": ([named, dialect, left], GREEDY | whole, few if small else 12),
        }
    design = make(1, 30, language="english", instruction=16)
    other = make(2, 12, instruction=5)
    return {
        "talker/greedy": ([design], GREEDY | whole, long),
        "talker/sampled": ([other], sampled | whole, 2 if small else LONG),
        "talker/streamed": ([other], GREEDY | streamed, few),
        "talker/batch": ([design, other], GREEDY | whole, few if small else 12),
    }


def _record_generated(recording: Recording, model: Any, small: bool, deep: bool) -> None:
    for case, (rows, settings, frames) in plans(model, small).items():
        add(recording, model, case, rows, settings, frames, exact=deep and case == "talker/greedy", small=small)
    # Speech ends: where a greedy code that was not said before is the one that ends it.
    rows, settings, _ = plans(model, small)["talker/greedy"]
    said = generated(model, rows, settings, 3 if small else 12)[0]["first"]
    stop = next(int(code) for code in said[::-1] if (said == code).sum() == 1)
    add(recording, model, "talker/stop", rows, settings | {"eos_token_id": stop}, 3 if small else 12, small=small)


def add(
    recording: Recording,
    model: Any,
    case: str,
    rows: list[Given],
    settings: dict[str, Any],
    frames: int,
    *,
    small: bool,
    exact: bool = False,
) -> None:
    """Adds one case of `generate`."""
    taps, noise = generated(model, rows, settings, frames)
    wide: Taps = {}
    if exact:
        with _doubled(model):
            again, _ = generated(model, rows, settings, frames)
        if not all(np.array_equal(again[name], taps[name]) for name in ("first", "others")):
            raise SystemExit(f"case {case}: float64 says other codes than float32; draw other weights")
        wide = {name: np.asarray(tap, np.float64) for name, tap in again.items() if name.endswith("scores")}
    alive = _alive(taps) if case == "talker/greedy" or (case == "talker/sampled" and not small) else {}
    if small:  # the largest, by which ties are told
        taps = {name: tap for name, tap in taps.items() if not name.endswith("scores")}
    inputs: dict[str, np.ndarray] = {
        "frames": np.array(frames),
        "streamed": np.array(not settings["non_streaming_mode"]),
    }
    inputs |= {name: np.array(settings[name]) for name in ("do_sample", "eos_token_id") if name in settings}
    if len(rows) == 1:
        inputs["said"] = np.column_stack([taps["first"], taps["others"].reshape(-1, CODES - 1)])
    for number, row in enumerate(rows):
        inputs |= row.inputs(f".{number}" if len(rows) > 1 else "")
    recording.add(case, inputs=inputs, noise=noise, taps=taps, exact=wide or None, alive=alive)


def _alive(taps: Taps) -> dict[str, float]:
    """The least share of distinct codes in a codebook; of greedy ones, how sure upstream is of the least sure code."""
    frames = np.column_stack([taps["first"], taps["others"].reshape(-1, CODES - 1)])
    distinct = min(len(np.unique(column)) for column in frames.T)
    gaps = []
    for name in taps.keys() & {"first_scores", "other_scores"}:
        second, first = np.partition(taps[name], -2)[:, -2:].T
        gaps.append(float((first - second).min()))
    return {"distinct_share": distinct / len(frames)} | ({"least_gap": min(gaps)} if gaps else {})


@torch.inference_mode()
def generated(model: Any, rows: Sequence[Given], settings: Mapping[str, Any], frames: int) -> tuple[Taps, Taps]:
    """Upstream's own generation: taps, and what torch.multinomial drew."""
    seen: dict[str, Any] = {}
    scores: list[np.ndarray] = []

    def watching(generate: Callable[..., Any]) -> Callable[..., Any]:
        def watch(**kwargs: Any) -> Any:
            seen.update({name: kwargs[name] for name in ("inputs_embeds", "attention_mask", "trailing_text_hidden")})
            return generate(**kwargs)

        return watch

    with contextlib.ExitStack() as stack:
        draws = stack.enter_context(drawn())
        stack.enter_context(replaced(model.talker, "generate", watching))
        stack.enter_context(observed(LogitsProcessorList, "__call__", lambda out, *_: scores.append(numpy(out))))
        codes, _ = model.generate(max_new_tokens=frames + 1, **_arguments(model, rows), **settings)
    taps: Taps = {}
    for number, mask in enumerate(seen["attention_mask"].bool()):
        row = f".{number}" if len(rows) > 1 else ""
        taps[f"prefix{row}"] = numpy(seen["inputs_embeds"][number][mask])
        if not row:  # others are filled up to the longest
            taps["trailing"] = numpy(seen["trailing_text_hidden"][number])
    if len(rows) > 1:
        said = np.full((len(rows), max(map(len, codes)), CODES), ENDED)
        for number, each in enumerate(codes):
            said[number, : len(each)] = numpy(each)
        return taps | {"codes": said}, {}
    said = numpy(codes[0])
    taps |= {"first": said[:, 0], "others": said[:, 1:].reshape(-1)}
    if draws:
        return taps, streams(draws, len(said))
    # In the order of calls: one first code, then fifteen others of its frame; the last first code has no others.
    every = [0 if i % CODES == 0 else 1 for i in range(len(scores))]
    first, others = ([each for each, kind in zip(scores, every, strict=True) if kind == which] for which in (0, 1))
    taps["first_scores"] = np.where(np.isfinite(first), first, 0)[: len(said), 0]
    taps["other_scores"] = np.concatenate(others)[: 15 * len(said)]
    return taps, {}


@contextlib.contextmanager
def drawn() -> Iterator[list[np.ndarray]]:
    """What torch.multinomial divides probabilities by within the block."""
    draws: list[np.ndarray] = []

    def choosing(multinomial: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def choose(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
            before = torch.get_rng_state()
            draw = torch.empty_like(probabilities).exponential_()
            torch.set_rng_state(before)
            token = multinomial(probabilities, num_samples=num_samples)
            if not torch.equal(token[:, 0], (probabilities / draw).argmax(dim=-1)):
                raise SystemExit("torch.multinomial drew otherwise than replayed")
            draws.append(numpy(draw))
            return token

        return choose

    torch.manual_seed(0)
    with replaced(torch, "multinomial", choosing):
        yield draws


def _arguments(model: Any, rows: Sequence[Given]) -> dict[str, Any]:
    """Of `generate`, with tokens around the texts that it takes off again."""

    def framed(ids: np.ndarray, ending: int) -> torch.Tensor:
        around = (np.arange(11, 11 + ROLE), ids, np.arange(21, 21 + ending))
        return torch.from_numpy(np.concatenate(around))[None]

    arguments: dict[str, Any] = {
        "input_ids": [framed(row.text, ENDING) for row in rows],
        "languages": [row.language for row in rows],
    }
    if any(row.instruction.size for row in rows):
        arguments["instruct_ids"] = [
            torch.from_numpy(row.instruction)[None] if row.instruction.size else None for row in rows
        ]
    if any(row.speaker for row in rows):
        arguments["speakers"] = [row.speaker for row in rows]
    if model.config.tts_model_type == "base":
        arguments["ref_ids"] = [framed(row.reference, REFERENCE_ENDING) for row in rows]
        arguments["voice_clone_prompt"] = {
            "ref_code": [torch.from_numpy(row.codes) if row.codes.size else None for row in rows],
            "ref_spk_embedding": [torch.from_numpy(row.embedding) for row in rows],
            "x_vector_only_mode": [not row.codes.size for row in rows],
            "icl_mode": [bool(row.codes.size) for row in rows],
        }
    return arguments


def streams(draws: Sequence[np.ndarray], frames: int) -> Taps:
    """Noise by stream, a frame each."""
    vocabulary = draws[0].shape[-1]  # of first codes, which come first
    first = [draw[0] for draw in draws if draw.shape[-1] == vocabulary]
    others = [draw[0] for draw in draws if draw.shape[-1] != vocabulary]
    each = CODES - 1
    return {
        "talker": np.stack(first)[:frames],
        "subtalker": np.stack([np.stack(others[i * each : (i + 1) * each]) for i in range(frames)]),
    }
