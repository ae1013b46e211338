"""Counts and energy against what SANA-FE said of the same network, spikes and placement (recorded: it is GPL)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = json.loads((ROOT / "tests" / "sanafe_goldens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    """benchmarks/peers_sanafe.py, which defines the network; importing it does not import SANA-FE."""
    spec = importlib.util.spec_from_file_location("peers_sanafe", ROOT / "benchmarks" / "peers_sanafe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", GOLDENS["cases"])
def test_as_sana_fe_says(peer: ModuleType, name: str) -> None:
    case = GOLDENS["cases"][name]
    found, _, _ = peer.ours(case["rate"], False, case["slices"])
    said = case["said"]
    for count in ("fired", "synaptic_ops", "packets", "east_west", "north_south", "active_or_remembered"):
        assert found[count] == said[count], count
    for joules in ("synapse", "network", "soma_with_differences"):
        assert found[joules] == pytest.approx(said[joules], rel=1e-9), joules
    if name.startswith("busy"):  # in a quiet one the membranes that nothing reached are a larger part
        assert found["total"] == pytest.approx(said["total"], rel=0.02)
    assert found["total"] <= said["total"]
