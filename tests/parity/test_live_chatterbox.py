"""Chatterbox at full size: English, Turbo and multilingual, from seeded checkpoints in upstream's own files.

Each is converted, recorded, and compared tap by tap and end to end: English with every network, Turbo and multilingual
with what is theirs. `pytorch-to-mlx validate` perturbs every parameter, this test those that are not like others.
docs/parity/ has what `validate` wrote.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from live import assert_diverges_first, exported
from mlx.utils import tree_flatten
from test_chatterbox_document import ROWS, unproven

from pytorch_to_mlx import convert, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.layers.quantized import quantize_modules
from pytorch_to_mlx.parity import Recording
from pytorch_to_mlx.report import Controls, ParityReport
from pytorch_to_mlx.validation import compare, recorded_upstream

pytestmark = pytest.mark.parity

REFERENCE = registry.get("chatterbox").reference
AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = {"turbo": AUDIO / "jfk.flac"}  # which takes no voice of less than 5 s
SHORT_SPEECH = AUDIO / "libritts_2299_6524_000057_000000.wav"
SECONDS = 6.0
REPORTS = "reports"


@dataclass(frozen=True)
class Target:
    """A variant, and what its reference proves.

    Attributes:
        perturbed: how many parameters are perturbed, each by itself.
        controls: which they are.
        greedy: cases of 200 greedy tokens.
        broken: a parameter, a case that notices a change of it, and the tap that notices it first.
    """

    variant: str
    perturbed: int
    controls: Callable[[str], bool]
    greedy: tuple[str, ...]
    broken: tuple[tuple[str, str, str], ...]


T3_LAYER = ("t3.tfmr.layers.17.mlp.gate_up_proj.weight", "t3/forward", "tfmr.layers.17.mlp")
FLOW_BIAS = ("s3gen.flow.encoder.up_encoders.2.feed_forward.w_1.bias", "flow/short", "encoder.up_encoders.2")
REPEATED = re.compile(
    r"s3gen\.flow\.decoder\.estimator\.mid_blocks\.(?!0\.)"
    r"|s3gen\.flow\.decoder\.estimator\.\w+(\.0)?\.transformers\.(?!0\.)"
    r"|s3gen\.speaker_encoder\.xvector\.block\d\.tdnnd(?!1\.|16\.)"
    r"|s3gen\.flow\.encoder\.(up_)?encoders\.(?!0\.|5\.)"
    r"|s3gen\.mel2wav\.resblocks\.(?!0\.|8\.)"
    r"|s3gen\.mel2wav\.source_resblocks\.1\."
    r"|s3_tokenizer\.encoder\.blocks\.(?!0\.)"
    r"|t3\.tfmr\.layers\.(?!0\.|29\.)"
)
"""Blocks like those around them, whose parameters `validate` perturbs too, but not this test, for its time."""
OF_A_VARIANT = re.compile(
    r"t3\.(?!tfmr\.layers\.)|t3\.tfmr\.layers\.(0|11|23)\."
    r"|s3gen\.flow\.decoder\.estimator\.(time|down|final)|s3gen\.flow\.encoder\.up"
)
"""Where Turbo and multilingual are not English, and some layers of each kind: all of them would take ten minutes."""


def of_its_kind(parameter: str) -> bool:
    return REPEATED.match(parameter) is None


def of_a_variant(parameter: str) -> bool:
    return OF_A_VARIANT.match(parameter) is not None


TARGETS = [
    Target("english", 539, of_its_kind, ("t3/greedy", "t3/greedy-unguided"), (T3_LAYER, FLOW_BIAS)),
    Target(
        "turbo",
        193,
        of_a_variant,
        ("t3/greedy",),
        (("t3.tfmr.layers.17.mlp.up_proj.weight", "t3/forward", "tfmr.h.17.mlp"), FLOW_BIAS),
    ),
    Target("multilingual", 39, of_a_variant, ("t3/greedy", "t3/greedy-unguided"), (T3_LAYER,)),
]


MODES = ("float16", "bfloat16", "8-bit", "4-bit")
"""Half precision, which is slow here, is judged for English alone."""


def in_mode(folder: Path, mode: str) -> Any:
    """The model as `convert` would write it in another precision, which takes minutes at this size."""
    model = load(folder)
    bits, _, quantized = mode.partition("-")
    if quantized:
        treatment = registry.get("chatterbox").quantization.decide(model.network, int(bits), 64)
        quantize_modules(model.network, treatment.to_config())
    else:
        model.network.set_dtype(getattr(mx, mode))
    return model


def speech(variant: str) -> list[Path]:
    """Real speech where this checkout lies beside the shared recordings; the reference brings speech-like cases too."""
    return [path for path in [SPEECH.get(variant, SHORT_SPEECH)] if path.exists()]


@dataclass(frozen=True)
class Proven:
    """A converted model with its source and report."""

    target: Target
    source: Path
    folder: Path
    report: ParityReport

    def recorded(self) -> Recording:
        """What it was compared with, from the cache."""
        config = read_config(self.folder)
        return recorded_upstream(config, source=str(self.source), audio=speech(config.variant), seconds=SECONDS)


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.variant)
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    target: Target = request.param
    room = tmp_path_factory.mktemp(target.variant)
    source, folder = exported(REFERENCE, target.variant, room / "source"), room / "model"
    convert(str(source), folder, port="chatterbox", variant=target.variant)
    report = validate(
        folder, source=str(source), audio=speech(target.variant), seconds=SECONDS, controls=target.controls, note=print
    )
    reports = tmp_path_factory.getbasetemp() / REPORTS
    reports.mkdir(exist_ok=True)
    shutil.copy(folder / "parity.json", reports / f"chatterbox-{target.variant}.json")
    yield Proven(target, source, folder, report)
    shutil.rmtree(room)  # 6 GB


def test_every_tap_holds_and_every_parameter_matters(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    report, target = proven.report, proven.target
    with capsys.disabled():
        print("\n" + report.summary())
    assert report.passed, report.markdown()
    assert report.controls is not None
    parameters = len(tree_flatten(load(proven.folder).network.parameters()))
    assert report.controls == Controls(target.perturbed, (), parameters - target.perturbed)


def test_two_hundred_greedy_tokens_are_upstreams(proven: Proven) -> None:
    cases = {case.name: {tap.name: tap for tap in case.taps} for case in proven.report.cases}
    for name in proven.target.greedy:
        assert cases[name]["tokens"].shape == (200,) and cases[name]["tokens"].ties == ()
    assert cases["t3/sampled"]["tokens"].shape == (40,) and cases["t3/sampled"]["tokens"].error == 0


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    """The control: the same comparison must fail where one parameter is off by 1 %."""
    recorded = proven.recorded()
    model = load(proven.folder)
    for parameter, case, tap in proven.target.broken:
        assert_diverges_first(model, recorded, REFERENCE, parameter=parameter, case=case, tap=tap)


def test_halves_and_quantized_backbones_keep_the_logits(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    """Teacher-forced, as largest error over largest magnitude; the bars are those of `validate`."""
    if proven.target.variant == "multilingual":
        pytest.skip("its T3 is English's with other vocabularies: judged there")
    recorded = proven.recorded()
    forced = replace(recorded, cases=tuple(case for case in recorded.cases if case.name == "t3/forward"))
    for mode in MODES if proven.target.variant == "english" else MODES[2:]:
        (result,) = compare(in_mode(proven.folder, mode), forced, REFERENCE, mode)
        (logits,) = [tap for tap in result.taps if tap.kind != "info"]
        with capsys.disabled():
            print(f"\nlogits in {mode}: {logits.error:.2%}, allowed {logits.limit:.0%}")
        assert logits.name == "speech_head" and logits.passed
        assert logits.error > 1e-4, "it is another precision"


def test_every_component_of_the_document_is_proven(proven: Proven, tmp_path_factory: pytest.TempPathFactory) -> None:
    """docs/chatterbox.md names a tap for each; all of them are known when the last variant is."""
    if proven.target is not TARGETS[-1]:
        pytest.skip("judged once, with the reports of all variants")
    reports = sorted((tmp_path_factory.getbasetemp() / REPORTS).glob("*.json"))
    assert [path.stem for path in reports] == sorted(f"chatterbox-{target.variant}" for target in TARGETS)
    assert unproven(ROWS, reports) == []
    assert unproven(ROWS, reports[:1]) != []
