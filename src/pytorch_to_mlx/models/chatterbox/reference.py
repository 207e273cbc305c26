"""How Chatterbox is checked: upstream's reference, stage by stage in the order of computation."""

from __future__ import annotations

from types import ModuleType

from pytorch_to_mlx.components.perth import stage as perth
from pytorch_to_mlx.components.s3_tokenizer import stage as s3_tokenizer
from pytorch_to_mlx.models.chatterbox.stages import campplus, flow, hift, speech, t3, text, ve, voice
from pytorch_to_mlx.port import Reference, Stage


def _stage(module: ModuleType, network: str = "") -> Stage:
    return Stage(
        run=module.run,
        bars={"float32": module.BARS, **getattr(module, "MODES", {})},
        network=network,
        alive=getattr(module, "ALIVE", {}),
        names=getattr(module, "NAMES", {}),
        layouts=getattr(module, "LAYOUTS", {}),
        leading=getattr(module, "LEADING", ()),
        # A stage of the whole model controls no parameters: those of its networks do.
        control_case=getattr(module, "CONTROL_CASE", "control") if network else "",
    )


REFERENCE = Reference(
    script="chatterbox_tts.py",
    upstream="chatterbox-tts 0.1.7, resemble-perth 1.0.1",
    stages={
        "ve": _stage(ve, "ve"),
        "s3_tokenizer": _stage(s3_tokenizer, "s3_tokenizer"),
        "campplus": _stage(campplus, "s3gen.speaker_encoder"),
        "text": _stage(text),
        "t3": _stage(t3, "t3"),
        "flow": _stage(flow, "s3gen.flow"),
        "hift": _stage(hift, "s3gen.mel2wav"),
        "perth": _stage(perth, "perth"),
        "voice": _stage(voice),
        "tts": _stage(speech),
        "vc": _stage(speech),
    },
    elsewhere={
        "turbo": ("ve", "s3_tokenizer", "campplus", "hift", "perth"),
        "multilingual": ("ve", "s3_tokenizer", "campplus", "flow", "hift", "perth"),
    },
)
