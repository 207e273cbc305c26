"""The alignment analyser of Chatterbox's multilingual T3 on injected attention: `t3/alignment-...`.

Inputs are `attention` (n, 3, S), what each of its heads gives in each step to a text of S tokens, and `tokens` (n,),
the last token in each step. Taps, each (n,): `verdicts`, 0 for free, 1 for held back from stopping, 2 for made to stop;
`position` in the text; `complete`, whether its end was reached.
"""

import types

import _seed
import numpy as np
import torch
from _recording import Recording, Taps
from chatterbox.models.t3.inference.alignment_stream_analyzer import LLAMA_ALIGNED_HEADS, AlignmentStreamAnalyzer

FREE, HELD, STOPPED = range(3)
BEFORE = 4  # positions before the text


def record(recording: Recording) -> None:
    """Adds every course, each of which ends as its name says."""
    courses = {
        "followed": _followed(text=12, frames=24, end=24),
        "lingering": _followed(text=12, frames=32, end=14),  # on the last tokens
        "returning": _looking_back(_followed(text=12, frames=32, end=14), 16),
        "jumping": _looking_back(_followed(text=24, frames=20, end=40), 12),
        "short": _followed(text=5, frames=12, end=36),  # upstream fails where a text of five tokens is completed
        "stuttering": _followed(text=12, frames=12, end=20),
    }
    for name, attention in courses.items():
        tokens = np.arange(len(attention)) + 100
        if name == "stuttering":
            tokens[7] = tokens[6]
        taps = _analysed(attention, tokens)
        forced = {"forced": np.sum(taps["verdicts"] == STOPPED)}
        alive = forced if name in ("lingering", "returning", "stuttering") else {}
        recording.add(f"t3/alignment-{name}", inputs={"attention": attention, "tokens": tokens}, taps=taps, alive=alive)


def verdict(logits: torch.Tensor, stop: int) -> int:
    """What the analyser has made of logits (1, V)."""
    return {-(2**15): HELD, 2**15: STOPPED}.get(float(logits[0, stop]), FREE)


def _followed(text: int, frames: int, end: int) -> np.ndarray:
    """Attention (frames, 3, text) of three heads that go through the text in `end` frames, and stay at its end."""
    random = _seed.generator(0, f"alignment.{text}.{frames}.{end}")
    spoken = np.minimum(np.arange(frames) * (text - 1) / end, text - 1)
    sharp = np.exp(-(((np.arange(text) - spoken[:, None]) / 0.8) ** 2))
    heads = sharp[:, None] * random.uniform(0.5, 1, (frames, 3, 1)) + random.uniform(0, 0.05, (frames, 3, text))
    return (heads / np.maximum(1, heads.sum(axis=-1, keepdims=True))).astype(np.float32)


def _looking_back(attention: np.ndarray, since: int) -> np.ndarray:
    """The same, but from frame `since` on at the beginning of the text."""
    changed = attention.copy()
    changed[since:] = attention[:1].repeat(len(attention) - since, axis=0)
    return changed


def _analysed(attention: np.ndarray, tokens: np.ndarray) -> Taps:
    """Upstream's findings. A course may end in what it forces; it is shown all frames nevertheless."""
    frames, heads, length = attention.shape
    silent = types.SimpleNamespace(self_attn=types.SimpleNamespace(register_forward_hook=lambda hook: None))
    layers = types.SimpleNamespace(layers=[silent] * (1 + max(layer for layer, _ in LLAMA_ALIGNED_HEADS)))
    analyser = AlignmentStreamAnalyzer(layers, None, text_tokens_slice=(BEFORE, BEFORE + length), eos_idx=0)
    found: dict[str, list[int]] = {"verdicts": [], "position": [], "complete": []}
    for frame in range(frames):
        # At first from all positions, of which there are two after the text; then from the newest one.
        positions = BEFORE + length + 2
        seen = torch.zeros(heads, 1 if frame else positions, positions + frame)
        seen[:, -1, BEFORE : BEFORE + length] = torch.from_numpy(attention[frame])
        analyser.last_aligned_attns = list(seen)
        judged = analyser.step(torch.zeros(1, 4), next_token=int(tokens[frame]))
        found["verdicts"].append(verdict(judged, 0))
        found["position"].append(int(analyser.text_position))
        found["complete"].append(int(analyser.complete))
    return {name: np.array(values) for name, values in found.items()}
