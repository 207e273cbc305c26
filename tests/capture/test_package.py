"""capture(): the folder, the proof and its controls, and the commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import taggers
import torch
from mlx.utils import tree_flatten

from pytorch_to_mlx import load, trust
from pytorch_to_mlx.capture.analysis import analyse
from pytorch_to_mlx.capture.examples import Sizes
from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.package import Captured, built, capture
from pytorch_to_mlx.capture.proof import prove
from pytorch_to_mlx.capture.subject import Subject, from_factory, from_file, subject_of
from pytorch_to_mlx.errors import (
    CaptureError,
    CheckpointError,
    ParityError,
    PytorchToMlxError,
    UnsafeFileError,
    UsageError,
)
from pytorch_to_mlx.layers.quantized import QuantizedLinear

IDS = np.array([[3, 1, 4], [1, 5, 9]])


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of trusted sources for all tests here."""
    monkeypatch.setenv(trust.STORE, str(tmp_path_factory.getbasetemp() / "trusted"))


def subject() -> Subject:
    module, args, kwargs = taggers.example()
    return subject_of(module, args, kwargs, origin="taggers:example")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(trust.STORE, str(tmp_path_factory.getbasetemp() / "trusted"))
        return capture(subject(), tmp_path_factory.mktemp("captured") / "tagger", mlxfn=True)


def test_the_source_keeps_names(made: Captured) -> None:
    source = made.generated.source
    assert "def __call__(self, hidden, scale):" in source and "# hidden: (batch, length, 32)" in source
    assert source.count("class Block(nn.Module):") == 1 and "[Block() for _ in range(2)]" in source


def test_every_module_is_compared_at_several_sizes(made: Captured) -> None:
    report = made.report
    assert report.passed and [case.name for case in report.cases] == [
        "example", "other values", "sizes 3, 9", "sizes 4, 12"
    ]  # fmt: skip
    paths = [path for path, each in taggers.Tagger().named_modules() if path not in ("", "blocks")]
    assert sorted(tap.name for tap in report.cases[0].taps) == sorted([*paths, "output"])
    assert report.controls is not None and report.controls.perturbed == 3


def test_a_loaded_folder_computes_the_same(made: Captured) -> None:
    module, _, _ = taggers.example()
    with torch.no_grad():
        expected = module(torch.from_numpy(IDS)).numpy()
    assert np.allclose(np.array(load(made.folder)(mx.array(IDS))), expected, atol=1e-5)
    assert json.loads((made.folder / "parity.json").read_text())["passed"]
    with pytest.raises(UsageError, match="input ids is float32; it must be int64"):
        load(made.folder)(mx.zeros((2, 3)))


def test_source_from_elsewhere_is_not_run(made: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "another"))
    with pytest.raises(UnsafeFileError, match=r"model\.py is Python source that was not captured on this machine"):
        load(made.folder)
    assert load(made.folder, trust=True)(mx.array(IDS)).shape == (2, 3, 5)
    changed = tmp_path / "changed"
    shutil.copytree(made.folder, changed)
    with (changed / "model.py").open("a") as file:
        file.write("\n")
    monkeypatch.undo()
    with pytest.raises(UnsafeFileError):
        load(changed)


def test_an_exported_function_runs_without_the_package(made: Captured) -> None:
    """In a process that imports mlx alone."""
    module, args, _ = taggers.example()
    np.save(made.folder.parent / "ids.npy", args[0].numpy())
    code = (
        "import sys, numpy as np, mlx.core as mx\n"
        f"f = mx.import_function({str(made.folder / 'model.mlxfn')!r})\n"
        f"(y,) = f(mx.array(np.load({str(made.folder.parent / 'ids.npy')!r})))\n"
        "assert 'pytorch_to_mlx' not in sys.modules\n"
        f"np.save({str(made.folder.parent / 'out.npy')!r}, np.array(y))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with torch.no_grad():
        assert np.allclose(np.load(made.folder.parent / "out.npy"), module(*args).numpy(), atol=1e-5)


def proof_of(edit: Any = lambda source: source, weights: Any = lambda network: None) -> str | None:
    """The first divergence where the generated source or its weights were changed."""
    from dataclasses import replace

    given = subject()
    program = given.program()
    sizes = Sizes(program)
    generated = generate(program)
    source = edit(generated.source)
    network = built(replace(generated, source=source), program)
    weights(network)
    return prove(given, generated, network, sizes).cases[0].first_divergence


def test_wrong_source_is_named_where_it_first_differs() -> None:
    def edit(source: str) -> str:
        assert "runtime.gelu(" in source
        return source.replace("runtime.gelu(", "nn.relu(")

    assert proof_of() is None
    assert proof_of(edit) == "blocks.0.down"  # what is computed between up and down


def test_a_wrong_weight_is_named() -> None:
    def weights(network: nn.Module) -> None:
        value = dict(tree_flatten(network.parameters()))["blocks.1.up.weight"]
        network.load_weights([("blocks.1.up.weight", value * 1.01)], strict=False)

    assert proof_of(weights=weights) == "blocks.1.up"


def test_a_capture_that_differs_is_told(tmp_path: Path) -> None:
    """A module that computes something else when exported; the folder is there, with a report that says so."""
    module, args, kwargs = taggers.otherwise()
    made = capture(subject_of(module, args, kwargs), tmp_path / "made")
    assert not made.report.passed and made.report.cases[0].first_divergence == "output"
    assert not json.loads((made.folder / "parity.json").read_text())["passed"]
    assert "DOES NOT HOLD" in (made.folder / "README.md").read_text()


class Constant(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 + 1


class Deaf(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight + 0 * x


@pytest.mark.parametrize(
    ("module", "message"), [(Constant(), "is one number throughout"), (Deaf(), "do not depend on the inputs")]
)
def test_a_vacuous_check_is_refused(tmp_path: Path, module: torch.nn.Module, message: str) -> None:
    with pytest.raises(ParityError, match=message):
        capture(subject_of(module, (torch.randn(2, 3),)), tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_quantized_is_proven_against_the_weights_it_stands_for(tmp_path: Path) -> None:
    lines: list[str] = []
    given = subject()
    before = {name: value.clone() for name, value in given.module.state_dict().items()}
    made = capture(given, tmp_path / "made", quantize=True, q_bits=4, q_group_size=32, note=lines.append)
    assert made.report.passed and made.report.mode == "4-bit"
    assert [case.name for case in made.report.cases][4:5] == ["dequantized, example"]
    assert made.config.quantization is not None and "blocks.1.down" in made.config.quantization["layers"]  # type: ignore[operator]
    assert any("outputs move by" in line for line in lines)
    assert all(torch.equal(value, before[name]) for name, value in given.module.state_dict().items())
    assert type(load(made.folder).network.head) is type(made.network.head) is QuantizedLinear


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(20, 32)
        self.out = torch.nn.Linear(32, 20, bias=False)
        self.out.weight = self.embed.weight
        self.mix = torch.nn.Linear(32, 32)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.mix(self.embed(ids)))


def test_a_weight_that_two_layers_share_is_not_quantized(tmp_path: Path) -> None:
    given = subject_of(Tied(), (torch.randint(0, 20, (2, 3)),))
    made = capture(given, tmp_path / "made", quantize=True, q_group_size=32)
    assert made.report.passed and made.config.quantization is not None
    assert list(made.config.quantization["layers"]) == ["mix"]  # type: ignore[arg-type]
    assert made.config.quantization["kept"] == {"embed": "its weight is used by other layers too"}


class Counting(torch.nn.Module):
    """Has a state, changes its input in place, and returns a view of what it changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.calls: torch.Tensor

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        first = x[:, 0]
        x[:, 0] = self.calls
        return x * 2, first


def test_states_and_views_are_torchs_and_the_users_own_are_left_alone(tmp_path: Path) -> None:
    module, x = Counting(), torch.randn(3, 4)
    kept = x.clone()
    made = capture(subject_of(module, (x,)), tmp_path / "made")
    assert made.report.passed and torch.equal(x, kept) and module.calls == 0
    model, given = load(made.folder), mx.array(kept.numpy())
    model(given)
    _, first = model(given)
    with torch.no_grad():
        module(x)
        expected = module(x)[1]
    assert np.array_equal(np.array(first), expected.numpy()) and float(model.network.calls) == 2
    assert np.array_equal(np.array(given), x.numpy())


def test_a_branch_on_data_is_told_with_its_line(tmp_path: Path) -> None:
    module, args, _ = taggers.branching()
    with pytest.raises(CaptureError, match=r"taggers\.py:\d+: if x\.sum\(\) > 0.*torch\.where"):
        capture(subject_of(module, args), tmp_path / "made")


def test_all_unsupported_operators_are_listed_at_once() -> None:
    module, args, _ = taggers.inexpressible()
    found = {each.operator: each for each in analyse(subject_of(module, args)).unsupported}
    assert sorted(found) == [
        "aten.linalg_eigvals.default",
        "aten.special_airy_ai.default",
        "aten.special_hermite_polynomial_h.n_scalar",
    ]
    assert found["aten.special_airy_ai.default"].count == 2
    assert all("taggers.py:" in line for each in found.values() for line in each.lines)


def test_analysis_counts_and_estimates() -> None:
    found = analyse(subject())
    assert found.parameters == sum(p.numel() for p in taggers.Tagger().parameters())
    assert found.weight_bytes == 4 * found.parameters and found.unsupported == ()
    assert found.inputs[0].shape == ("batch", "length") and found.operators["aten.linear.default"] == 5
    hidden = 2 * 7 * 64 * 4  # the widest array of the example
    assert hidden < found.activation_bytes < 6 * hidden


def test_files_of_torch_export_and_torchscript(tmp_path: Path) -> None:
    module, args, _ = taggers.example()
    length = torch.export.Dim("length", min=2, max=64)
    exported = torch.export.export(module, args, dynamic_shapes=({1: length},))
    torch.export.save(exported, tmp_path / "tagger.pt2")
    made = capture(from_file(tmp_path / "tagger.pt2"), tmp_path / "from-pt2")
    assert made.report.passed and made.settings.inputs[0].shape == (2, "length")
    torch.jit.trace(module, args).save(str(tmp_path / "tagger.pt"))  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"give --inputs example\.npz"):
        from_file(tmp_path / "tagger.pt")
    np.savez(tmp_path / "example.npz", args[0].numpy())
    made = capture(from_file(tmp_path / "tagger.pt", str(tmp_path / "example.npz")), tmp_path / "from-script")
    assert made.report.passed and made.generated.root == "Tagger"


def test_traced_convolutions_are_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.ConvTranspose2d(8, 4, 2, 2))
    x = torch.randn(2, 3, 16, 12)
    torch.jit.trace(torch.nn.Sequential(*layers).eval(), x).save(str(tmp_path / "traced.pt"))  # type: ignore[union-attr]
    np.savez(tmp_path / "example.npz", x.numpy())
    made = capture(from_file(tmp_path / "traced.pt", str(tmp_path / "example.npz")), tmp_path / "made")
    assert made.report.passed, made.report.summary()
    assert "nn.Conv2d(3, 8, 3, stride=2, padding=1)" in made.generated.source
    assert "nn.ConvTranspose2d(8, 4, 2, stride=2)" in made.generated.source


def test_what_torch_save_wrote_is_told_from_programs(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt is no TorchScript program: .* use --module"):
        from_file(tmp_path / "weights.pt")


def test_inputs_of_other_names_are_told(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "linear.pt"))  # type: ignore[union-attr]
    np.savez(tmp_path / "example.npz", other=np.ones((1, 2), np.float32))
    with pytest.raises(UsageError, match="takes input; it does not run on its example"):
        from_file(tmp_path / "linear.pt", str(tmp_path / "example.npz"))


class Nested(torch.nn.Module):
    """Takes arrays in lists and by name, and a flag."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(
        self, x: torch.Tensor, pasts: list[tuple[torch.Tensor, torch.Tensor]], scale: torch.Tensor, flag: bool = False
    ) -> torch.Tensor:
        total = sum(a + 2 * b for a, b in pasts)
        return self.linear(x + total) * scale if flag else x


def test_a_captured_model_is_called_as_the_original(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, *parts = torch.randn(5, 3, 4).unbind()
    pasts, scale, module = [(parts[0], parts[1]), (parts[2], parts[3])], torch.tensor([2.0]), Nested().eval()
    capture(subject_of(module, (x, pasts), {"scale": scale, "flag": True}), tmp_path / "made")
    model, ours = load(tmp_path / "made"), [tuple(mx.array(each.numpy()) for each in pair) for pair in pasts]
    with torch.no_grad():
        expected = module(x, pasts, scale=scale, flag=True).numpy()
    number = mx.array([2.0])
    for args, kwargs in (
        ((x.numpy(), ours), {"scale": number}),
        ((x.numpy(), ours, number), {}),
        ((x.numpy(), *ours[0], *ours[1], number), {}),
        ((), {"x": x.numpy(), "pasts": ours, "scale": number}),
        ((x.numpy(), ours), {"scale": (2.0,)}),
        ((x.numpy().tolist(), ours, [2.0], None, []), {}),
    ):
        np.testing.assert_allclose(np.array(model(*args, **kwargs)), expected, atol=1e-6)
    with pytest.raises(UsageError, match=r"takes x, pasts_0_0, .*; flag is none of them"):
        model(x.numpy(), ours, scale=number, flag=True)
    with pytest.raises(UsageError, match="scale is lacking"):
        model(x=x.numpy(), pasts=ours)


class ByKey(torch.nn.Module):
    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        return x["a"] + 2 * x["b"]


def test_dicts_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    capture(subject_of(ByKey().eval(), ({"a": a, "b": b},)), tmp_path / "made")
    model, mine = load(tmp_path / "made"), {"b": b.numpy(), "a": a.numpy()}
    np.testing.assert_allclose(np.array(model(x=mine)), (a + 2 * b).numpy(), atol=1e-6)
    with pytest.raises(UsageError, match="give the argument by its name"):
        model(mine)
    with pytest.raises(UsageError, match="x_c is none of them"):
        model(x={"c": b.numpy(), "a": a.numpy()})


class Growing(torch.nn.Module):
    """Changes a parameter, which is none of a call's business."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x.sum(0))
        return x + self.total


def test_a_changed_parameter_is_told(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="changes its parameter total: register it as a buffer"):
        capture(subject_of(Growing().eval(), (torch.randn(2, 3),)), tmp_path / "made")


def test_training_mode_is_told(tmp_path: Path) -> None:
    made = capture(subject_of(torch.nn.Linear(4, 4).train(), (torch.randn(2, 4),)), tmp_path / "made")
    assert made.settings.notes == ("the module was in training mode; what is captured is eval()",)


def test_a_mask_that_picks_elements_is_told_with_its_line() -> None:
    module, args, _ = taggers.picking()
    (found,) = analyse(subject_of(module, args)).unsupported
    assert (found.operator, found.primitive) == ("aten.index.Tensor", "arrays whose shape depends on data")
    assert "taggers.py:" in found.lines[0]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("taggers", "is not package.module:function"),
        ("taggers:absent", "cannot be imported from here"),
        ("no_such_module:example", "cannot be imported from here"),
        ("taggers:Tagger", r"must return \(module, args, kwargs\)"),
        ("json:loads", "failed"),
    ],
)
def test_a_wrong_factory_is_told(named: str, message: str) -> None:
    with pytest.raises(PytorchToMlxError, match=message):
        from_factory(named)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`pytorch-to-mlx` as a user runs it."""
    line = [sys.executable, "-m", "pytorch_to_mlx", *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False)


def test_commands(tmp_path: Path) -> None:
    shutil.copy(taggers.__file__, tmp_path / "mine.py")
    done = command("capture", "--module", "mine:otherwise", "-o", "out", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["first_divergence"] == "output" and not told["passed"]
    done = command("capture", "--module", "mine:example", "-o", "out", cwd=tmp_path)
    assert done.returncode == 2 and "out: exists: replace it with --force" in done.stderr
    done = command("inspect", "--module", "mine:inexpressible", cwd=tmp_path)
    assert done.returncode == 0 and "! aten.special_airy_ai.default at" in done.stdout
    done = command("inspect", "--module", "mine:branching", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "mine.py:" in done.stderr


class Computed(torch.nn.Module):
    """A layer with a weight of its own, and one whose weight PyTorch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(64, 64)
        self.second = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def test_quantizing_what_is_computed_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Computed()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    told: list[str] = []
    made = capture(subject_of(module, (torch.randn(3, 64),)), tmp_path / "made", quantize=True, note=told.append)
    assert made.report.mode == "4-bit, proven before it was quantized"
    assert any(line.startswith("not compared once quantized: PyTorch computes the weight of second") for line in told)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_flags_of_checkpoints_are_refused_for_modules(tmp_path: Path) -> None:
    for flag, value in (("--variant", ["full"]), ("--revision", ["main"]), ("--offline", [])):
        done = command("inspect", "--module", "mine:example", flag, *value, cwd=tmp_path)
        assert done.returncode == 2 and f"{flag} " in done.stderr and "is for checkpoints" in done.stderr


def test_without_torch_the_way_to_it_is_told(tmp_path: Path) -> None:
    code = (
        "import importlib.metadata as m, sys\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'torch':\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "sys.modules['torch'] = None\n"
        "from pytorch_to_mlx.cli import main\n"
        "sys.argv = ['pytorch-to-mlx', *sys.argv[1:]]\n"
        "main()\n"
    )
    for words in (["capture", "--module", "mine:example", "-o", "out"], ["inspect", "--module", "mine:example"]):
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and "capturing a model needs torch >= " in done.stderr
        assert "python -m pytorch_to_mlx.environments torch" in done.stderr
