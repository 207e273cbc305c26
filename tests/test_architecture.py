"""What the import contract cannot see: the references stand apart, and registry entries agree with their ports."""

import ast
import tomllib
from pathlib import Path

import pytest

from pytorch_to_mlx import environments, registry

PACKAGE = Path(environments.__file__).parent
REFERENCES = sorted(environments.SCRIPTS.glob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_references_import_nothing_of_ours_and_define_no_network(path: Path) -> None:
    assert not any(name.split(".")[0] in ("pytorch_to_mlx", "mlx") for name in imported(path))
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    bases = [ast.unparse(base) for node in classes for base in node.bases]
    assert not any(base.endswith("Module") for base in bases)


def test_the_package_never_imports_a_reference() -> None:
    sources = [path for path in PACKAGE.rglob("*.py") if environments.SCRIPTS not in path.parents]
    assert len(sources) > 40
    assert not [path for path in sources if any("references" in name for name in imported(path))]


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda e: e.name)
def test_registry_entries_agree_with_their_ports(entry: registry.Entry) -> None:
    port = entry.load()
    assert (entry.name, entry.summary, entry.task) == (port.name, port.summary, port.task)
    assert entry.variants == tuple(port.variants)
    assert (environments.SCRIPTS / port.reference.script).exists()
    assert environments.of_script(port.reference.script)


def test_no_port_may_import_another() -> None:
    """The import contract lists ports one by one."""
    told = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [each for each in told["tool"]["importlinter"]["contracts"] if each["type"] == "independence"]
    ports = [path.parent.name for path in (PACKAGE / "models").glob("*/__init__.py")]
    assert sorted(contract["modules"]) == sorted(f"pytorch_to_mlx.models.{name}" for name in ports)
