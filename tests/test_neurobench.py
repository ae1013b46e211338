"""NeuroBench's metrics: equal to its own package, and to counting synapse by synapse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurobench_networks import NETWORKS, SAMPLES, STEPS, record

from ndeploy.energy.neurobench import (
    compute,
    is_activation,
    live_fan_out,
    membrane_updates,
    membranes,
    metrics,
    of_spikes,
)
from ndeploy.ir.program import Population, Program
from ndeploy.ir.result import Activity
from ndeploy.neurons import Affine, CubaLi, Input, Relay, TernaryLif
from ndeploy.synapses import Conv, Dense, Sparse

GOLDENS = json.loads((Path(__file__).parent / "neurobench_goldens.json").read_text(encoding="utf-8"))
COUNTS = ("SynapticOperations", "MembraneUpdates", "ConnectionSparsity", "Footprint")


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Counts exactly; sparsities of several batches but for the last bit, for the package averages over batches."""
    for name in COUNTS:
        assert ours[name] == theirs[name], name
    assert ours["ActivationSparsity"] == pytest.approx(theirs["ActivationSparsity"], rel=1e-14)
    assert ours["ActivationSparsityByLayer"] == pytest.approx(theirs["ActivationSparsityByLayer"], rel=1e-14)


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_what_the_package_said(name: str) -> None:
    program = NETWORKS[name]()
    traces, activity = record(program)
    _same(metrics(program, activity, traces), GOLDENS["metrics"][name])


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_package(name: str) -> None:
    pytest.importorskip("neurobench", reason="the package neurobench is not installed")
    from neurobench_mirror import measure

    program = NETWORKS[name]()
    traces, activity = record(program)
    _same(metrics(program, activity, traces), measure(program, traces, GOLDENS["batch"]))


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_counting_synapse_by_synapse(name: str) -> None:
    program = NETWORKS[name]()
    traces, activity = record(program)
    visits = {True: 0, False: 0}
    stored = 0
    for projection in program.projections:
        _, source, index = projection.synapses.to_coo()
        weight = projection.synapses.weight.reshape(-1)[index]
        sent = traces[f"spikes/{projection.source}"].reshape(SAMPLES, STEPS, -1)
        met = (sent[:, :, source] != 0) & (weight != 0)
        visits[of_spikes(program.population(projection.source).neuron)] += int(met.sum())
        stored += len(index) * STEPS
    found = compute(program, activity)
    assert found.effective_acs * SAMPLES == visits[True]
    assert found.effective_macs * SAMPLES == visits[False]
    assert found.dense == stored
    assert found.membrane_updates is None


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_fan_out_of_convolutions(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups = draw(1, 2)
    kernel, dilation = (draw(1, 3), draw(1, 3)), (draw(1, 2), draw(1, 2))
    padding = (draw(0, 2), draw(0, 2))
    size = [max(draw(1, 7), dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in (0, 1)]
    rng = np.random.default_rng(draw(0, 1000))
    shape = (groups * draw(1, 2), draw(1, 2), *kernel)
    weight = (rng.integers(-3, 4, shape) * (rng.random(shape) < 0.6)).astype(np.int16)
    conv = Conv(weight, (groups * shape[1], size[0], size[1]), (draw(1, 3), draw(1, 3)), padding, dilation, groups)
    _, source, index = conv.to_coo()
    live = weight.reshape(-1)[index] != 0
    assert np.array_equal(live_fan_out(conv), np.bincount(source[live], minlength=conv.n_in))


def test_fan_out_of_listed_synapses() -> None:
    sparse = Sparse(np.array([1, 0, 2], dtype=np.int16), np.array([0, 0, 1]), np.array([0, 2, 2]), 4, 2)
    assert live_fan_out(sparse).tolist() == [1, 0, 1, 0]


def test_what_is_an_activation_and_what_a_spike() -> None:
    lif, ternary = NETWORKS["linear"]().population("a").neuron, TernaryLif(4095, 0, -5, 5)
    relu = Affine(multiplier=1, shift=0, bits=8, signed=False)
    signed = Affine(multiplier=1, shift=0, bits=8, signed=True)
    assert [is_activation(n) for n in (lif, ternary, relu, signed)] == [True, True, True, False]
    assert not any(is_activation(n) for n in (Input(), Relay(bits=3), CubaLi(4095, 0)))
    assert [of_spikes(n) for n in (lif, ternary, relu, Input(8), Input())] == [True, True, False, False, True]


def test_a_population_that_stands_still_has_no_more_updates() -> None:
    program = NETWORKS["linear"]()
    first = replace(program.populations[0], updates=1)
    stopped = replace(program, populations=(first, *program.populations[1:]))
    _, activity = record(program)
    sent = dict(activity.messages)
    sent["in"] = sent["in"] * (np.arange(STEPS) == 0)[:, None]
    layers = [j.synapses.count() for j in program.projections]
    assert compute(stopped, Activity(SAMPLES, sent, {})).dense == layers[0] + STEPS * layers[1]


def test_parts_without_a_counterpart_are_named() -> None:
    program = NETWORKS["linear"]()
    one = replace(program.projections[0], synapses=Sparse(*_listed(program), 20, 15))
    changed = replace(program, projections=(one, program.projections[1]))
    _, activity = record(program)
    found = compute(changed, activity)
    assert any("'in->a'" in said and "one by one" in said for said in found.not_counted)
    assert found.dense == STEPS * program.projections[1].synapses.count()


def _listed(program: Program) -> tuple[Any, Any, Any]:
    dense = program.projections[0].synapses
    assert isinstance(dense, Dense)
    target, source, _ = dense.to_coo()
    return dense.weight.reshape(-1), target, source


def test_a_membrane_changes_or_not() -> None:
    program = NETWORKS["linear"]()
    still = Program("p", (Population("in", (1,), Input()), replace(program.population("b"), shape=(2,))), (), (), (), 4)
    v = np.array([[[1, 0], [1, 0], [2, 0], [2, 5]]])
    assert membranes(still) == ("state/b/v",)
    assert membrane_updates(still, {"state/b/v": v}) == 2 + 2


def test_nothing_trained_has_no_sparsity() -> None:
    program = NETWORKS["linear"]()
    _, activity = record(program)
    bare = replace(program, projections=())
    found = compute(bare, activity)
    assert (found.connection_sparsity, found.dense) == (0.0, 0.0)
