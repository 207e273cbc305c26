"""How Qwen3-TTS is checked: upstream's reference, stage by stage in the order of computation."""

from __future__ import annotations

from dataclasses import replace

from pytorch_to_mlx.components.qwen3_codec.stage import DECODE, ENCODE, SOUND
from pytorch_to_mlx.models.qwen3_tts import stages
from pytorch_to_mlx.parity import FLOAT32, Bar
from pytorch_to_mlx.port import Reference, Stage

EXACT = Bar("exact")
FIRST, OTHERS = Bar("exact", candidates="first_scores"), Bar("exact", candidates="other_scores")


def _logits(limit: float) -> dict[str, Bar]:
    """Bars of teacher-forced logits."""
    bar = Bar("relative", limit)
    return {"codec_head": bar, "code_predictor.lm_head.*": bar}


SPEAKER = Stage(
    run=stages.run_speaker,
    network="speaker_encoder",
    bars={"float32": {"*": FLOAT32}},
    layouts={"blocks.*": "NCL->NLC", "mfa": "NCL->NLC", "asp.conv": "NCL->NLC", "asp": "NC1->NC"},
    alive={"nearest_distance": 0.05},
    control_case="control",
)
TALKER = Stage(
    run=stages.run_talker,
    network="talker",
    bars={
        "float32": {"first": FIRST, "others": OTHERS, "codes": EXACT, "*": FLOAT32},
        "bfloat16": _logits(0.05),
        "mixed": _logits(0.05),  # as published: bfloat16, and the codec in float32
        "float16": _logits(0.01),
        "8-bit": _logits(0.02),
        "4-bit": _logits(0.2),
    },
    alive={"apart": 0.3, "distinct_share": 0.5},
    control_case="control",
)
WHOLE = "distinct_tokens"
WITHOUT_CODEC = ("1.7b-base", "0.6b-custom-voice", "1.7b-custom-voice", "1.7b-voice-design")

REFERENCE = Reference(
    script="qwen3_tts.py",
    upstream="qwen-tts 0.1.1",
    reduced=True,
    stages={
        "speaker": SPEAKER,
        "text": Stage(run=stages.run_text, bars={"float32": {"*": EXACT}}, alive={WHOLE: 4}, control_case=""),
        "talker": TALKER,
        "encode": replace(ENCODE, network="codec.encoder"),
        "decode": replace(DECODE, network="codec.decoder"),
        "voice": Stage(
            run=stages.run_voice,
            bars={"float32": {"ref_code": EXACT, "*": FLOAT32}},
            alive={WHOLE: 10},
            control_case="",
        ),
        "tts": Stage(
            run=stages.run_speech,
            bars={"float32": {"said": EXACT, "wav": SOUND}},
            alive={WHOLE: 10, "loudness": 1e-3},
            control_case="",
        ),
    },
    elsewhere=dict.fromkeys(WITHOUT_CODEC, ("encode", "decode")),
)
