"""Continuous Thought Machines lowered: trained ones and random ones of every architecture, tick by tick in float64."""

from __future__ import annotations

from pathlib import Path

import lowered_float
import numpy as np
import pytest
import tiny_ctm
from fixtures_path import fixture
from test_lower_graded import compare

from ndeploy import plugins
from ndeploy.ir import network as ir
from ndeploy.passes.long_delays import relay_long_delays
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.settings import Settings

NAMED = {"z", "synapse", "pre", "trace", "post", "synch_out", "output"}


def load(path: Path) -> ir.Network:
    converter, contents = plugins.recognise(path)
    return converter.load(path, contents, Settings({}))


@pytest.mark.parametrize(("name", "period", "coded"), [("parity", 14, 16), ("digits", 14, 16), ("sort", 7, 8)])
def test_trained_machines(name, period, coded):
    network = load(fixture(f"ctm/{name}/checkpoint.pt"))
    assert network.steps is not None
    (source,) = [n for n, node in network.nodes.items() if isinstance(node, ir.Input)]
    x = {source: np.load(fixture(f"ctm/{name}/eval.npz"))["x"][:1].astype(np.float64)}
    lowered = lower(network, network.steps, graded=True)
    assert compare(network, lowered, x) >= NAMED
    assert schedule(lowered).period == period
    assert {p.name for p in lowered.projections if p.lag} == {"post->z", "trace.shift"}
    assert all(p.lag == 1 for p in lowered.projections if p.lag)
    changes = lower(network, network.steps, graded=True, coding="sigma-delta")
    assert compare(network, changes, x) >= NAMED
    assert schedule(changes).period == coded


MACHINES = {
    "u-net, random, normed": {"depth": 3, "select": "random", "normed": True},
    "shallow, first-last": {"hidden": 0, "select": "first-last", "heads": 1},
    "shallow-wide": {"backbone": "shallow-wide", "position": "learnable-fourier", "image": (8, 8), "channels": 3},
    "bottleneck": {"backbone": "resnet50-2", "image": (8, 8), "channels": 3, "position": "custom-rotational"},
    "parity, memory of one": {"backbone": "parity_backbone", "position": "custom-rotational-1d", "memory": 1},
    "sort, u-net": {"heads": 0, "depth": 2, "normed": True},
}


@pytest.mark.parametrize("name", MACHINES)
def test_random_machines(name, tmp_path):
    choices = tiny_ctm.write(tmp_path / "ctm.pt", seed=len(name), **MACHINES[name])
    network = load(tmp_path / "ctm.pt")
    (source,) = [n for n, node in network.nodes.items() if isinstance(node, ir.Input)]
    x = {source: tiny_ctm.samples(choices, 2).astype(np.float64)}
    for coding in ("none", "sigma-delta"):
        lowered = lower(network, choices.iterations, graded=True, coding=coding)
        assert compare(network, lowered, x) >= NAMED - {"synapse"}
        planned = schedule(lowered)
        for p in lowered.projections:
            gap = planned.offset[p.source] + planned.delay[p.name] - planned.offset[p.target]
            assert gap == p.lag * planned.period


@pytest.mark.parametrize("limit", [2, 5])
def test_relays_of_long_delays_change_no_value(limit, tmp_path):
    """A relay stands still when its source does, and keeps the port that the message is for."""
    choices = tiny_ctm.write(tmp_path / "ctm.pt", seed=4, depth=3)
    network = load(tmp_path / "ctm.pt")
    lowered = lower(network, choices.iterations, graded=True)
    planned = schedule(lowered)
    longer, timed = relay_long_delays(lowered, planned, limit)
    assert max(timed.delay[p.name] for p in longer.projections) <= limit
    assert timed.period == planned.period
    relays = {name for name, _ in longer.added}
    assert relays
    (source,) = lowered.inputs
    x = {source: np.repeat(tiny_ctm.samples(choices, 1).astype(np.float64), choices.iterations, 0)}
    before, after = lowered_float.run(lowered, x), lowered_float.run(longer, x)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-9, atol=1e-9, err_msg=name)
