"""Chatterbox 0.1.7, English, Turbo and multilingual, network by network and end to end, as upstream computes it.

Parts, in this order, each with cases named after it; their taps are told in the files that record them:

    ve              the voice encoder           _voice_encoder.py
    s3_tokenizer    speech tokens               _s3_tokenizer.py
    campplus        the flow's speaker encoder  _campplus.py
    text            text tokenizers             _text.py
    t3              text to speech tokens       _t3.py
    flow            speech tokens to mel        _flow.py
    hift            mel to waveform             _hift.py
    perth           the watermark               _perth.py
    voice, tts, vc  all together                _end_to_end.py

A checkpoint is a folder as upstream's repository has it. English and multilingual share one, and so may seeded ones.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import _campplus
import _end_to_end
import _flow
import _hift
import _perth
import _s3_tokenizer
import _t3
import _text
import _voice_encoder
from _chatterbox_checkpoint import FILES, FILTERS, WINDOW, export, seeded_s3gen, seeded_voice_encoder
from _recording import Case, Recording, arguments, replaced
from chatterbox import ChatterboxMultilingualTTS, ChatterboxTTS
from chatterbox.models.tokenizers import tokenizer as tokenizer_module
from chatterbox.tts_turbo import ChatterboxTurboTTS
from safetensors import safe_open

PACKAGES = ("chatterbox-tts", "s3tokenizer", "resemble-perth", "transformers", "tokenizers", "diffusers", "conformer")
PACKAGES += ("torch", "torchaudio", "librosa", "soxr", "pyloudnorm", "numpy", "scipy")

CLASSES = {"english": ChatterboxTTS, "turbo": ChatterboxTurboTTS, "multilingual": ChatterboxMultilingualTTS}


@dataclass(frozen=True)
class Subject:
    """What is recorded.

    Attributes:
        model: upstream's model, or of a small recording its networks alone.
        cases: recordings to run on, besides those of the parts.
    """

    variant: str
    model: Any
    small: bool
    cases: list[Case]


PARTS: dict[str, Callable[[Recording, Subject], None]] = {
    "ve": lambda recording, of: _voice_encoder.record(recording, of.model.ve, small=of.small),
    "s3_tokenizer": lambda recording, of: _s3_tokenizer.record(
        recording, of.model.s3gen.tokenizer, small=of.small, cases=of.cases
    ),
    "campplus": lambda recording, of: _campplus.record(recording, of.model.s3gen.speaker_encoder, small=of.small),
    "text": lambda recording, of: _text.record(recording, of.model.tokenizer, variant=of.variant),
    "t3": lambda recording, of: _t3.record(recording, of.model.t3, small=of.small, variant=of.variant),
    "flow": lambda recording, of: _flow.record(recording, of.model.s3gen.flow, small=of.small),
    "hift": lambda recording, of: _hift.record(recording, of.model.s3gen.mel2wav, small=of.small),
    "perth": lambda recording, of: _perth.record(recording, of.model.watermarker.perth_net, small=of.small),
    "voice": lambda recording, of: _end_to_end.record_voices(recording, of.model, of.variant, of.cases),
    "tts": lambda recording, of: _end_to_end.record_speech(recording, of.model, of.variant),
    "vc": lambda recording, of: _end_to_end.record_conversion(recording, of.model),
}
WHOLE = ("text", "perth", "voice", "tts", "vc")  # not in small recordings: perth has its own, text its goldens
OF_VARIANT = {
    "english": tuple(PARTS),
    # What English does not have. Their other networks are the same ones, which are compared as parts of the whole.
    "turbo": ("text", "t3", "flow", "voice", "tts"),
    "multilingual": ("text", "t3", "voice", "tts"),
}


def load(variant: str, folder: Path) -> Any:
    """Upstream's model from the folder, with nothing fetched from anywhere."""
    local = replaced(tokenizer_module, "hf_hub_download", lambda _: lambda filename, **_: str(folder / filename))
    with local:
        model = CLASSES[variant].from_local(folder, "cpu")
    path = folder / FILES[variant].s3gen
    if path.suffix == ".safetensors":  # which upstream may load with strict=False
        with safe_open(path, "np") as file:
            unequal = (model.s3gen.state_dict().keys() ^ set(file.keys())) - {FILTERS, WINDOW}
        if unequal:
            raise SystemExit(f"{path.name}: tensors missing or unexpected: {', '.join(sorted(unequal)[:5])}")
    return model


class SmallModel:
    """The networks of a small recording, each made when it is asked for: T3 reduced, the others whole."""

    def __init__(self, variant: str, seed: int) -> None:
        self._variant, self._seed = variant, seed

    @cached_property
    def ve(self) -> Any:
        return seeded_voice_encoder(self._seed)

    @cached_property
    def t3(self) -> Any:
        return _t3.small_network(self._variant, self._seed)

    @cached_property
    def s3gen(self) -> Any:
        return seeded_s3gen(self._variant, self._seed)


def run(subject: Subject, parts: Sequence[str], originals: list[Path], seed: int | None) -> Recording:
    """Records the parts."""
    recording = Recording("chatterbox_tts", subject.variant, originals, PACKAGES, seed)
    for name, record in PARTS.items():
        if name in parts:
            record(recording, subject)
    return recording


def main() -> None:
    args = arguments(__doc__, list(FILES), list(PARTS))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if args.verb == "export":
        return export(args.variant, args.seed, args.out)
    parts = args.parts or OF_VARIANT[args.variant]
    if args.small:
        parts = [part for part in parts if part not in WHOLE]
        recording = run(Subject(args.variant, SmallModel(args.variant, args.seed), True, []), parts, [], args.seed)
        recording.shrink()
        return recording.save(args.out)
    cases = [Case.read(path, args.seconds) for path in args.audio]
    with tempfile.TemporaryDirectory() as drafts:
        folder = args.checkpoint
        if folder is None:
            folder = Path(drafts)
            export(args.variant, args.seed, folder)
        files = FILES[args.variant]
        originals = [folder / name for name in (files.voice_encoder, files.t3, files.s3gen)]
        run(Subject(args.variant, load(args.variant, folder), False, cases), parts, originals, args.seed).save(args.out)


if __name__ == "__main__":
    main()
