"""S3 speech tokenizers as the s3tokenizer package and Chatterbox compute them, from recordings at 16 kHz.

Taps of a case, in order, named by module paths relative to the network (T frames, N tokens, C state, B recordings):

    mel                       (T, 128)      of a batch, the first recording's
    encoder.conv1, .conv2     (B, C, frames)
    encoder.blocks.{i}        (B, N, C)
    levels                    (N, 8)        V2: what is rounded to digits
    distances                 (N, vectors)  V1: squared distance of what is quantized to each vector
    tokens                    (N,)          of all recordings of a batch, one after another, without padding
    lengths                   (B,)

The last three are all of `long`, which is encoded in windows. Of a batch, blocks are not recorded: their padding means
nothing.

Upstream rounds to float32 in places, whatever the dtype: the float64 run does without.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import _seed
import librosa
import numpy as np
import s3tokenizer
import s3tokenizer.model
import s3tokenizer.model_v2
import s3tokenizer.utils
import torch
from _recording import Case, Recording, Taps, default_dtype, hooked, numpy, replaced

RATE = 16000
WINDOW_FRAMES, STRIDE_FRAMES, OVERLAP_SECONDS = 3000, 2600, 4

CONVOLUTIONS = ["encoder.conv1", "encoder.conv2"]


@dataclass(frozen=True)
class Input:
    """One case: recordings at 16 kHz that are one batch, and how many tokens to cut them to.

    Attributes:
        given: what our side gets in place of them: a recording at its own rate.
        bare: tokens and what is rounded to them only.
    """

    name: str
    recordings: Sequence[np.ndarray]
    max_tokens: int | None = None
    given: Taps = field(default_factory=dict)
    bare: bool = False

    @property
    def inputs(self) -> Taps:
        names = ["wav"] if len(self.recordings) == 1 else [f"wav{i}" for i in range(len(self.recordings))]
        cut = {} if self.max_tokens is None else {"max_tokens": np.array(self.max_tokens)}
        return cut | (self.given or dict(zip(names, self.recordings, strict=True)))


def own_cases(*, small: bool) -> list[Input]:
    """What needs no recordings: `short`, `control`, `batch`, of several lengths and cut, and `long`, of two windows."""
    control = Input("control", [_speechlike(0, 1.0)[3200:5760]])
    if small:
        batch = [_speechlike(seed, seconds) for seed, seconds in ((1, 0.3), (2, 0.17))]
        return [Input("short", [_speechlike(2, 0.9)]), control, Input("batch", batch, max_tokens=6)]
    batch = [_speechlike(seed, seconds) for seed, seconds in ((1, 1.3), (2, 0.4), (3, 2.0))]
    long = np.concatenate([_speechlike(5, 25.0), _speechlike(6, 8.0)])
    return [
        Input("short", [_speechlike(2, 1.5)]),
        control,
        Input("batch", batch, max_tokens=40),
        Input("long", [long], bare=True),
    ]


def _speechlike(seed: int, seconds: float) -> np.ndarray:
    return _seed.speechlike(seed, seconds, RATE)


def record(recording: Recording, network: torch.nn.Module, *, small: bool, cases: Sequence[Case] = ()) -> None:
    """Adds the cases `s3_tokenizer/...`: our own, and each of `cases` as librosa, and so Chatterbox, resamples it."""
    recorded = [Input(case.name, [librosa.resample(case.wav, orig_sr=case.rate, target_sr=RATE)]) for case in cases]
    record_cases(recording, network, [*own_cases(small=small), *recorded], "s3_tokenizer/")


def record_cases(
    recording: Recording,
    network: torch.nn.Module,
    cases: Sequence[Input],
    prefix: str = "",
    first: Callable[[Input, torch.dtype], Taps] = lambda case, dtype: {},
) -> None:
    """Adds cases with their floor; `first` gives taps of what comes before the network."""
    double = copy.deepcopy(network).double()
    for case in cases:
        taps = first(case, torch.float32) | run(network, case)
        with exactly():
            exact = first(case, torch.float64) | run(double, case)
        alive = _alive(network, case, taps)
        recording.add(f"{prefix}{case.name}", inputs=case.inputs, taps=taps, exact=exact, alive=alive)


def run(network: torch.nn.Module, case: Input) -> Taps:
    dtype = next(network.parameters()).dtype
    mels = [_mel(network, torch.from_numpy(samples).to(dtype)) for samples in case.recordings]
    if case.max_tokens is not None:  # as Chatterbox's forward cuts them
        mels = [mel[..., : case.max_tokens * 100 // tokens_per_second(network)] for mel in mels]
    taps: Taps = {} if case.bare else {"mel": numpy(mels[0].T)}
    hidden: list[torch.Tensor] = []
    with contextlib.ExitStack() as stack, torch.inference_mode():
        if not case.bare and len(mels) == 1:
            blocks = [f"encoder.blocks.{i}" for i in range(len(network.encoder.blocks))]
            for name in [*CONVOLUTIONS, *blocks]:
                stack.enter_context(hooked(network.get_submodule(name), _keeping(taps, name)))
        stack.enter_context(hooked(network.encoder, hidden.extend))
        tokens, lengths = network.quantize(*s3tokenizer.padding(mels))
        kept = _merged(hidden[0], hidden[1], [mel.shape[1] for mel in mels], tokens_per_second(network))
        taps |= _before_rounding(network.quantizer._codebook, kept)
    taps["tokens"] = np.concatenate([numpy(row[:n]) for row, n in zip(tokens, lengths, strict=True)])
    taps["lengths"] = numpy(lengths)
    return taps


def tokens_per_second(network: torch.nn.Module) -> int:
    """A convolution of stride 1 or 2 follows 100 frames a second, then one of stride 2."""
    return 50 // network.encoder.stride


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Within the block, upstream's code stays in float64 where it would round to float32."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(default_dtype(torch.float64))
        enter(
            replaced(torch.Tensor, "float", lambda original: lambda x: x if x.dtype == torch.float64 else original(x))
        )
        enter(replaced(s3tokenizer.utils, "_mel_filters", lambda original: lambda *args: original(*args).double()))
        for module in (s3tokenizer.model, s3tokenizer.model_v2):  # which asserts that there is no float64
            enter(
                replaced(
                    module, "mask_to_bias", lambda original: lambda mask, _: original(mask, torch.float32).double()
                )
            )
        yield


def _mel(network: torch.nn.Module, samples: torch.Tensor) -> torch.Tensor:
    own = getattr(network, "log_mel_spectrogram", None)  # Chatterbox's
    return own(samples) if own else s3tokenizer.log_mel_spectrogram(samples)


def _keeping(taps: Taps, name: str) -> Callable[[object], None]:
    def keep(output: object) -> None:
        taps[name] = numpy(output[0] if isinstance(output, tuple) else output)

    return keep


def _merged(states: torch.Tensor, counts: torch.Tensor, frames: Sequence[int], rate: int) -> torch.Tensor:
    """The hidden states whose tokens upstream keeps, merged by its own function: (N, C)."""
    windows = iter(states[i, :n] for i, n in enumerate(counts))
    rows = []
    for length in frames:
        count = len(range(0, length, STRIDE_FRAMES)) if length > WINDOW_FRAMES else 1
        each = [list(next(windows)) for _ in range(count)]
        rows += s3tokenizer.merge_tokenized_segments(each, overlap=OVERLAP_SECONDS, token_rate=rate)
    return torch.stack(rows)


def _before_rounding(codebook: torch.nn.Module, hidden: torch.Tensor) -> Taps:
    """What decides about tokens: of V2 the levels, of V1 the distances."""
    if isinstance(codebook, s3tokenizer.model_v2.FSQCodebook):
        return {"levels": numpy(codebook.project_down(hidden).tanh() * 0.9990000128746033)}
    x = torch.nn.functional.normalize(hidden, dim=-1)
    # As upstream's own expression; its rounding is part of what it decides by.
    squares = x.square().sum(1, keepdim=True) + codebook.embed.square().sum(1)
    return {"distances": numpy(squares - 2 * x @ codebook.embed.T)}


def _alive(network: torch.nn.Module, case: Input, taps: Taps) -> dict[str, float]:
    """The share of distinct ones in the first 200 tokens, and how many differ if the recording is played backwards."""
    if case.name == "control":  # too short to tell
        return {}
    some = taps["tokens"][:200]
    alive = {"distinct": len(np.unique(some)) / len(some)}
    if len(case.recordings) == 1 and not case.bare and len(some) <= 100:
        backwards = Input(case.name, [case.recordings[0][::-1].copy()], case.max_tokens, bare=True)
        alive["changed"] = np.mean(run(network, backwards)["tokens"] != taps["tokens"])
    return alive
