"""T3 beside upstream's: teacher-forced, generating, and its alignment analyser on injected attention."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.models.chatterbox.t3.alignment import FORCED, VERDICTS, AlignmentAnalyser
from pytorch_to_mlx.models.chatterbox.t3.config import START_SPEECH, START_TEXT, STOP_SPEECH, STOP_TEXT, T3Config
from pytorch_to_mlx.models.chatterbox.t3.generation import SamplingSettings, Utterance, generate
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.parity import FLOAT32, Bar, tap

BARS = {
    "tokens": Bar("exact", candidates="scores"),
    "verdicts": Bar("exact"),
    "position": Bar("exact"),
    "complete": Bar("exact"),
    "*": FLOAT32,
}
MODES = {
    "float16": {"speech_head": Bar("relative", 0.01)},
    "bfloat16": {"speech_head": Bar("relative", 0.05)},
    "8-bit": {"speech_head": Bar("relative", 0.02)},
    "4-bit": {"speech_head": Bar("relative", 0.2)},
}
"""Teacher-forced logits."""
LAYOUTS: dict[str, str] = {}
NAMES = {"tfmr.ln_f": "tfmr.norm"} | {
    f"tfmr.h.{i}{theirs}": f"tfmr.layers.{i}{ours}"
    for i in range(24)
    for theirs, ours in {"": "", ".attn": ".self_attn", ".mlp": ".mlp"}.items()
}
LEADING: tuple[str, ...] = ()
CONTROL_CASE = "control"
ALIVE = {"nearest_logits": 0.3, "distinct_share": 0.25}

STEPS = 20
"""The last so many scores are computed as `generate` computes them."""
MISSES = 10
"""After so many tokens that are not upstream's, generation is given up."""


def run(network: T3, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """With `speech` teacher-forced, with `said` generating, else the analyser alone."""
    if "speech" in inputs:
        _force(network, inputs)
    elif "said" in inputs:
        _generate(network, inputs, noise)
    else:
        _analyse(inputs["attention"], inputs["tokens"])


def _force(network: T3, inputs: Mapping[str, np.ndarray]) -> None:
    condition = _condition(network, inputs)
    text, speech = mx.array([[START_TEXT, *map(int, inputs["text"]), STOP_TEXT]]), mx.array(inputs["speech"])[None]
    if inputs["apart"]:
        mx.eval(condition)
        condition = condition[:, :0]
    mx.eval(network(condition, text, speech))


def _generate(network: T3, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """Tokens as `generate` gives them, which after each that is not upstream's goes on from upstream's: so one tie does
    not make all that follows incomparable. Scores, attention and verdicts are of upstream's tokens, in one pass, the
    last scores step by step.
    """
    condition, text = _condition(network, inputs), inputs["text"]
    names = (
        "temperature",
        "top_p",
        "repetition_penalty",
        *(("top_k",) if network.config.turbo else ("min_p", "cfg_weight")),
    )
    settings = SamplingSettings.given(network.config, {name: float(inputs[name]) for name in names})
    theirs = list(map(int, inputs["said"]))

    utterance = Utterance(network, condition, text, settings.cfg_weight, theirs[:-1])
    if settings.temperature == 0:
        said, rest = theirs[: -STEPS - 1], theirs[-STEPS - 1 : -1]
        stepping = Utterance(network, condition, text, settings.cfg_weight, said)
        stepped = [stepping.step(mx.array([token])) for token in rest]
        logits = mx.concatenate([utterance.logits[: len(theirs) - len(rest)], *stepped])
        tap("scores", _scores(network.config, settings, logits, theirs))

    ours: list[int] = []
    misses = 0
    while len(ours) < len(theirs) and misses < MISSES:
        said, left = theirs[: len(ours)], len(theirs) - len(ours)
        for token in generate(network, condition, text, settings, ReplayedNoise(noise), left, said=said):
            ours.append(token)
            if token != theirs[len(ours) - 1]:
                break
        else:
            ours += [STOP_SPEECH] if len(ours) < len(theirs) else []
        misses += ours[-1] != theirs[len(ours) - 1]
    tap("tokens", np.array(ours + [-1] * (len(theirs) - len(ours))))


def _scores(config: T3Config, settings: SamplingSettings, logits: mx.array, said: list[int]) -> mx.array:
    """What greedy tokens are the largest of, (n, vocabulary); 0 where the analyser has decided."""
    seen = np.zeros(logits.shape, bool)
    for step in range(len(said)):
        # Turbo counts the start token as seen for its first token only.
        seen[step, said[:step] if config.turbo and step else [START_SPEECH, *said[:step]]] = True
    scores = logits
    for process in settings.processors(config):
        scores = process(scores, mx.array(seen))
    return mx.where(mx.abs(logits) == FORCED, 0.0, scores)


def _analyse(attention: np.ndarray, tokens: np.ndarray) -> None:
    """Attention (n, 3, S) and the last token before each frame."""
    analyser = AlignmentAnalyser(attention.shape[-1])
    found: list[tuple[int, int, bool]] = []
    for frame, token in zip(attention.mean(axis=1), tokens, strict=True):
        verdict = VERDICTS.index(analyser.step(frame, int(token)))
        found.append((verdict, analyser.position, analyser.complete))
    for name, values in zip(("verdicts", "position", "complete"), zip(*found, strict=True), strict=True):
        tap(name, np.array(values, np.int64))


def _condition(network: T3, inputs: Mapping[str, np.ndarray]) -> mx.array:
    emotion = float(inputs["emotion"]) if network.config.emotion else None
    return network.condition(mx.array(inputs["speaker"]), mx.array(inputs["prompt"]), emotion)
