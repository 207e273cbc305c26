"""Upstream's own classes, captured, against them and against our ports; CREPE and Perth with their trained weights."""

from __future__ import annotations

import argparse

import pytest
from capture_ports import NETWORKS, holds, in_upstreams_environment

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "crepe_full"])  # the same but for its widths
def test_captured_source_agrees_with_upstream_and_the_port(network: str) -> None:
    result = in_upstreams_environment(network, argparse.Namespace(rounds=1, source=None))
    assert holds(result), result
