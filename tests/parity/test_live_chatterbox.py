"""Chatterbox at full size: English, Turbo and multilingual, from seeded checkpoints in upstream's own files.

English proves every network; Turbo and multilingual what is theirs. Each is converted, recorded, compared tap by tap
and end to end, and perturbed parameter by parameter.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from test_chatterbox_document import ROWS, unproven

from pytorch_to_mlx import convert, environments, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.report import ParityReport
from pytorch_to_mlx.validation import compare, recorded_upstream

pytestmark = pytest.mark.parity

REFERENCE = registry.get("chatterbox").reference
AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = [AUDIO / "libritts_2299_6524_000057_000000.wav"]
SECONDS = 6.0
REPORTS = "reports"


@dataclass(frozen=True)
class Target:
    """A variant, and what its reference proves.

    Attributes:
        perturbed: how many parameters are perturbed, each by itself.
        greedy: cases of 200 greedy tokens.
        broken: a parameter, a case that notices a change of it, and the tap that notices it first.
    """

    variant: str
    perturbed: int
    greedy: tuple[str, ...]
    broken: tuple[tuple[str, str, str], ...]


T3_LAYER = ("t3.tfmr.layers.17.mlp.up_proj.weight", "t3/forward", "tfmr.layers.17.mlp")
FLOW_BIAS = ("s3gen.flow.encoder.up_encoders.2.feed_forward.w_1.bias", "flow/short", "encoder.up_encoders.2")
TARGETS = [
    Target("english", 2662, ("t3/greedy", "t3/greedy-unguided"), (T3_LAYER, FLOW_BIAS)),
    Target(
        "turbo",
        2670,
        ("t3/greedy",),
        (("t3.tfmr.layers.17.mlp.up_proj.weight", "t3/forward", "tfmr.h.17.mlp"), FLOW_BIAS),
    ),
    Target("multilingual", 292, ("t3/greedy", "t3/greedy-unguided"), (T3_LAYER,)),
]


@dataclass(frozen=True)
class Proven:
    """A converted model with its source and report."""

    target: Target
    source: Path
    folder: Path
    report: ParityReport


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.variant)
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    target: Target = request.param
    environment = environments.of_script(REFERENCE.script)
    environments.install(environment, print)
    room = tmp_path_factory.mktemp(target.variant)
    source, folder = room / "source", room / "model"
    environments.run(environment, REFERENCE.script, ["export", "--variant", target.variant, "--out", str(source)])
    convert(str(source), folder, port="chatterbox", variant=target.variant)
    audio = [path for path in SPEECH if path.exists()]
    report = validate(folder, source=str(source), audio=audio, seconds=SECONDS, note=print)
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
    assert (report.controls.perturbed, report.controls.unmoved) == (target.perturbed, ())


def test_two_hundred_greedy_tokens_are_upstreams(proven: Proven) -> None:
    cases = {case.name: {tap.name: tap for tap in case.taps} for case in proven.report.cases}
    for name in proven.target.greedy:
        assert cases[name]["tokens"].shape == (200,) and cases[name]["tokens"].ties == ()
    assert cases["t3/sampled"]["tokens"].shape == (40,) and cases["t3/sampled"]["tokens"].error == 0


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    """The control: the same comparison must fail where one parameter is off by 1 %."""
    audio = [path for path in SPEECH if path.exists()]
    config = read_config(proven.folder)
    recorded = recorded_upstream(config, source=str(proven.source), audio=audio, seconds=SECONDS)
    model = load(proven.folder)
    for parameter, case, first in proven.target.broken:
        alone = replace(recorded, cases=tuple(each for each in recorded.cases if each.name == case))
        weight = dict(tree_flatten(model.network.parameters()))[parameter]
        changed = weight * (1 + 0.01 * mx.random.normal(weight.shape, key=mx.random.key(1)))
        for value, expected in ((weight, None), (changed, first), (weight, None)):
            model.network.load_weights([(parameter, value)], strict=False)
            assert [result.first_divergence for result in compare(model, alone, REFERENCE, "float32")] == [expected]


def test_every_component_of_the_document_is_proven(proven: Proven, tmp_path_factory: pytest.TempPathFactory) -> None:
    """docs/chatterbox.md names a tap for each; all of them are known when the last variant is."""
    if proven.target is not TARGETS[-1]:
        pytest.skip("judged once, with the reports of all variants")
    reports = sorted((tmp_path_factory.getbasetemp() / REPORTS).glob("*.json"))
    assert [path.stem for path in reports] == sorted(f"chatterbox-{target.variant}" for target in TARGETS)
    assert unproven(ROWS, reports) == []
    assert unproven(ROWS, reports[:1]) != []
