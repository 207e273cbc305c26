"""Ten thousand damaged model folders and checkpoints: each works or is refused, none crashes or hangs."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzz_mutations import STRUCTURED

TESTS = Path(__file__).parents[1]
CASES = 10_000
# Each of these happens in every sixth case.
PLANTED = """
import os, signal, sys, time
import fuzz
import mlx.core as mx
from pytorch_to_mlx.errors import CheckpointError

def malformed(path):
    file = path.parent / "malformed.safetensors"
    file.write_bytes(b"\\2" + bytes(7) + b"{}" + b"data that no tensor covers")
    mx.load(str(file))

def disguised(path):
    raise CheckpointError("damaged") from MemoryError()

plants = [
    lambda path: os.kill(os.getpid(), signal.SIGSEGV),
    lambda path: time.sleep(60),
    lambda path: {}["absent"],
    lambda path: bytearray(b"x") * 2**28,
    disguised,
    malformed,
]

def act(path, out, rng):
    number = out.parent.parent.name
    if number.isdigit():
        plants[int(number) % len(plants)](path)

for action in fuzz.ACTIONS:
    fuzz.ACTIONS[action] = act
sys.exit(fuzz.main(sys.argv[1:]))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600)


def test_every_case_works_or_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run(str(TESTS / "fuzz.py"), "--cases", str(CASES), "--report", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RuntimeWarning" not in done.stderr
    outcomes: dict[str, dict[str, int]] = json.loads(report.read_text())["outcomes"]
    hit = Counter[str]()
    for regions in outcomes.values():
        hit.update(regions)
    assert hit.total() == CASES
    assert sum(hit[region] for region in STRUCTURED) >= 0.8 * CASES
    # The mutations are neither so mild that all pass nor so coarse that none gets past the first check.
    passed = outcomes.pop("ok")
    assert all(passed[region] > 0.01 * CASES for region in STRUCTURED)
    assert sum(passed.values()) < CASES / 2
    refusals = {"CheckpointError", "ConfigError", "FolderError", "QuantizationError", "SourceError", "UnsafeFileError"}
    assert set(outcomes) == {*refusals, "UnrecognisedSourceError", "WeightMapError"}


@pytest.fixture(scope="module")
def planted() -> str:
    done = run("-c", PLANTED, "--cases", "12", "--seconds", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "failure",
    ["crash: SIGSEGV", "hang:", "KeyError: 'absent'", "took 2", "memory ran out", "MLX was given 26 bytes for 0"],
)
def test_the_fuzz_can_fail(planted: str, failure: str) -> None:
    assert sum(line.startswith("FAILED") and failure in line for line in planted.splitlines()) == 2
    assert "--seed 0 --case 11" in planted
