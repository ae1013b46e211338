"""Baselines: constants and rules by hand, against spikingjelly's Lemaire counter, and what a reader is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurobench_networks import NETWORKS, SAMPLES, STEPS, record

from ndeploy.energy import horowitz, lemaire
from ndeploy.energy.baselines import FLOAT, MEMORY, OPERATIONS, QUANTISED, SPIKING, baselines
from ndeploy.energy.ranges import Range
from ndeploy.energy.result import Baseline
from ndeploy.energy.thumbs import thumbs
from ndeploy.energy.workload import Layer, Node, Workload, loops, workload
from ndeploy.ir.program import Product, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.synapses import Dense

PJ = 1e-12
WORDS = lemaire.Widths(4.0, 4.0, 4.0, 4.0)
INT32 = horowitz.Arithmetic(Range(3.2 * PJ, 3.2 * PJ, 3.2 * PJ), Range(0.1 * PJ, 0.1 * PJ, 0.1 * PJ))


def layer(kind: str = "dense", **changes: Any) -> Layer:
    base = Layer(
        name="l",
        target="n",
        kind=kind,
        inputs=10,
        outputs=4,
        weights=40,
        weight_bits=8,
        taps=0,
        macs=40,
        adds=0,
        passes=1,
        messages=6.0,
        visits=24.0,
        spikes=True,
        payload=1,
        first=False,
    )
    return replace(base, **changes)


def node(**changes: Any) -> Node:
    base = Node(
        name="n",
        size=4,
        updates=5,
        sent=3.0,
        leak=False,
        bias=0,
        state=True,
        passes=1,
        relayed=False,
        payload=1,
        spikes=True,
    )
    return replace(base, **changes)


def find(rows: Iterable[Baseline], rules: str, name: str) -> Baseline:
    return next(row for row in rows if (row.rules, row.name) == (rules, name))


def total(parts: Iterable[lemaire.Energies]) -> float:
    return sum(value.nominal for value in lemaire.total(parts).values())


# -- constants ---------------------------------------------------------------------------------------------------------


def test_published_widths_are_met_exactly() -> None:
    assert horowitz.integers(8, 8).mac.nominal == pytest.approx(0.23 * PJ)
    assert horowitz.integers(8, 8).add.nominal == pytest.approx(0.03 * PJ)
    assert horowitz.integers(32, 32).mac.nominal == pytest.approx(3.2 * PJ)
    assert (horowitz.floats().mac.nominal, horowitz.floats().add.nominal) == (4.6 * PJ, 0.9 * PJ)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_wider_never_costs_less(a: int, b: int, more: int) -> None:
    assert horowitz.add(a) <= horowitz.add(a + more)
    assert horowitz.multiply(a, b) <= horowitz.multiply(a + more, b)
    assert horowitz.multiply(a, b) == horowitz.multiply(b, a)
    price = horowitz.integers(a, b)
    for value in (price.mac, price.add):
        assert value.low <= value.nominal <= value.high


@pytest.mark.parametrize(
    ("kilobytes", "picojoules"), [(0, 0), (4, 5), (8, 10), (20, 15), (32, 20), (1024, 100), (9999, 100)]
)
def test_memory_is_piecewise_linear(kilobytes: float, picojoules: float) -> None:
    assert lemaire.access(4, kilobytes * 1024) == pytest.approx(picojoules * PJ)
    assert lemaire.access(1, kilobytes * 1024) == pytest.approx(picojoules * PJ / 4)


# -- Lemaire's rules ---------------------------------------------------------------------------------------------------


def test_a_dense_layer_by_hand() -> None:
    found = lemaire.dense(layer(passes=3), INT32, WORDS)
    assert found["operations"].nominal == pytest.approx(3 * 40 * 3.2 * PJ)
    assert found["addressing"].nominal == pytest.approx(3 * 14 * 0.1 * PJ)
    assert found["inputs and outputs"].nominal == pytest.approx(3 * 10 * lemaire.access(4, 40))
    assert found["parameters"].nominal == pytest.approx(3 * 40 * lemaire.access(4, 160))


def test_a_spiking_layer_by_hand() -> None:
    visited = lemaire.events(layer(), INT32, WORDS)
    assert visited["operations"].nominal == pytest.approx(24 * 0.1 * PJ)
    assert visited["inputs and outputs"].nominal == pytest.approx(6 * lemaire.access(4, 4000))
    assert visited["potentials"].nominal == pytest.approx(2 * 24 * lemaire.access(4, 16))
    graded = lemaire.events(layer(spikes=False), INT32, WORDS)
    assert graded["operations"].nominal == pytest.approx(24 * 3.2 * PJ)
    conv = lemaire.events(layer("conv"), INT32, WORDS)
    assert conv["addressing"].nominal == pytest.approx((24 + 2 * 6 * 32) * 0.1 * PJ)
    leaking = lemaire.updates(node(leak=True, bias=4), INT32, WORDS, 4)
    assert leaking["operations"].nominal == pytest.approx((20 * 3.2 + (3 + 20) * 0.1) * PJ)
    assert lemaire.updates(node(state=False), INT32, WORDS)["potentials"].nominal == 0


def test_equal_to_spikingjelly_on_dense_layers() -> None:
    """Their counter at run time, and ours on the spikes that it saw."""
    pytest.importorskip("spikingjelly", reason="the package spikingjelly is not installed")
    torch = pytest.importorskip("torch")
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based import layer as layers
    from spikingjelly.activation_based.op_counter import estimate_lemaire_energy
    from torch import nn

    torch.manual_seed(1)
    steps, sizes = 6, (3000, 900, 50)
    first = layers.Linear(sizes[0], sizes[1], bias=False, step_mode="m")
    second = layers.Linear(sizes[1], sizes[2], bias=False, step_mode="m")
    lif = neuron.LIFNode(tau=2.0, v_threshold=0.15, step_mode="m")
    last = neuron.IFNode(v_threshold=0.15, step_mode="m")
    net = nn.Sequential(first, lif, second, last)
    x = (torch.rand(steps, 1, sizes[0]) < 0.3).float()
    with torch.no_grad():
        hidden = lif(first(x))
        out = last(second(hidden))
    functional.reset_net(net)
    theirs = estimate_lemaire_energy(net, x)
    sent = [int(s.count_nonzero()) for s in (x, hidden, out)]
    assert min(sent) > 0
    parts: list[lemaire.Energies] = []
    for i in (0, 1):
        n, m = sizes[i], sizes[i + 1]
        one = layer(inputs=n, outputs=m, weights=n * m, macs=n * m, messages=float(sent[i]), visits=float(sent[i] * m))
        of = node(size=m, updates=steps, sent=float(sent[i + 1]), leak=i == 0)
        parts += [lemaire.events(one, INT32, WORDS), lemaire.updates(of, INT32, WORDS)]
    assert total(parts) / PJ == pytest.approx(theirs.total_pj, rel=1e-9)


def test_equal_to_spikingjelly_without_spikes() -> None:
    pytest.importorskip("spikingjelly", reason="the package spikingjelly is not installed")
    torch = pytest.importorskip("torch")
    from spikingjelly.activation_based.op_counter import LemaireEnergyConfig, estimate_lemaire_energy
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Flatten(), nn.Linear(6 * 4 * 4, 10))
    x = torch.rand(1, 3, 9, 9) + 0.5
    with pytest.warns(RuntimeWarning, match="Flatten"):
        theirs = estimate_lemaire_energy(net, x, config=LemaireEnergyConfig(strict=False))
    conv = layer("conv", inputs=243, outputs=96, weights=162, taps=54, macs=96 * 27)
    full = layer(inputs=96, outputs=10, weights=960, macs=960)
    parts = [
        lemaire.dense(conv, INT32, WORDS, bias=6),
        lemaire.outputs(node(size=96), WORDS),
        lemaire.dense(full, INT32, WORDS, bias=10),
        lemaire.outputs(node(size=10), WORDS),
    ]
    assert total(parts) / PJ == pytest.approx(theirs.total_pj, rel=1e-9)


# -- the work of a program ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_visits_are_the_synaptic_operations_that_a_run_counts(name: str) -> None:
    from ndeploy import sim

    program = NETWORKS[name]()
    traces, activity = record(program)
    counts = sim.run(program, {"in": traces["spikes/in"]}).counts
    found = {x.name: x.visits for x in workload(program, activity).layers}
    assert found == {key: pytest.approx(float(np.mean(n))) for key, n in counts.synaptic_ops.items()}


def test_passes_of_an_ann() -> None:
    program = NETWORKS["linear"]()
    _, activity = record(program)
    assert {x.passes for x in workload(program, activity).layers} == {STEPS}
    assert {x.passes for x in workload(program, activity, static=True).layers} == {1}
    looped = NETWORKS["recurrent"]()
    assert {x.passes for x in workload(looped, record(looped)[1], static=True).layers} == {STEPS}
    shown = dict(activity.messages)
    shown["in"] = np.repeat(shown["in"][:1], STEPS, axis=0)
    assert workload(program, replace(activity, messages=shown)).once


def test_loops_are_found_through_products_too() -> None:
    program = NETWORKS["linear"]()
    assert not loops(program)
    assert loops(NETWORKS["recurrent"]())
    product = Product("x", "b", "in", "a", (6,), (20,), "i,j->ij")
    assert loops(replace(program, products=(product,)))


def test_sums_that_nobody_trained_are_additions() -> None:
    program = NETWORKS["linear"]()
    pool = Projection("pool", "in", "a", Dense(np.ones((15, 20), dtype=np.int16)), unit=True)
    _, activity = record(program)

    def first(projections: tuple[Projection, ...]) -> Layer:
        return workload(replace(program, projections=projections), activity).layers[0]

    alone = first((pool, program.projections[1]))
    joined = first((pool, *program.projections))
    assert (alone.macs, alone.adds) == (0, 300 - 15)
    assert (joined.macs, joined.adds) == (0, 300)


# -- rows --------------------------------------------------------------------------------------------------------------


def rows_of(name: str, static: bool | None = None) -> tuple[Program, Activity, tuple[Baseline, ...]]:
    program = NETWORKS[name]()
    _, activity = record(program)
    return program, activity, baselines(program, activity, static)


def test_rows_by_operations_by_hand() -> None:
    _, activity, rows = rows_of("linear", static=True)
    macs = 15 * 20 + 6 * 15
    assert find(rows, OPERATIONS, FLOAT).energy.nominal == pytest.approx(macs * 4.6 * PJ)
    quantised = find(rows, OPERATIONS, QUANTISED)
    three = horowitz.integers(8, 3)  # 5 spikes have 6 counts
    assert quantised.energy.nominal == pytest.approx(90 * three.mac.nominal + 300 * 0.03 * PJ)
    assert (quantised.macs, quantised.acs) == (90, 300)
    spiking = find(rows, OPERATIONS, SPIKING)
    visits = (activity.messages["in"].sum() * 15 + activity.messages["a"].sum() * 6) / SAMPLES
    assert (spiking.macs, spiking.acs) == (0, pytest.approx(visits))
    assert spiking.energy.nominal == pytest.approx(visits * 0.03 * PJ)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("static", [True, False])
def test_rows_are_whole(name: str, static: bool) -> None:
    _, _, rows = rows_of(name, static)
    assert [(row.rules, row.name) for row in rows] == [
        (rules, name) for rules in (OPERATIONS, MEMORY) for name in (FLOAT, QUANTISED, SPIKING)
    ]
    for row in rows:
        assert 0 < row.energy.low <= row.energy.nominal <= row.energy.high
        assert sum(row.terms.values()) == pytest.approx(row.energy.nominal)
        assert row.source
        assert row.status == "code"
    for name_of in (FLOAT, QUANTISED, SPIKING):
        assert find(rows, MEMORY, name_of).energy.nominal > find(rows, OPERATIONS, name_of).energy.nominal


def test_a_bit_a_step_bounds_a_sequence_from_below() -> None:
    _, _, rows = rows_of("recurrent")
    quantised = find(rows, OPERATIONS, QUANTISED)
    assert quantised.energy.low < quantised.energy.nominal
    assert "sequence" in quantised.note


def test_a_silent_network_costs_its_updates_only() -> None:
    program = NETWORKS["linear"]()
    _, activity = record(program)
    silent = replace(activity, messages={name: n * 0 for name, n in activity.messages.items()})
    rows = baselines(program, silent)
    assert find(rows, OPERATIONS, SPIKING).energy.nominal == 0
    kept = find(rows, MEMORY, SPIKING)
    assert set(kept.terms) == {"potentials"}
    assert "less at either bound" in kept.note


def test_the_reader_is_told_which_costs_less() -> None:
    for name in NETWORKS:
        for row in rows_of(name)[2]:
            if row.name == SPIKING:
                assert "times the quantised ANN" in row.note


# -- rules of thumb ----------------------------------------------------------------------------------------------------


def work(spikes_a_synapse: float, rate: float, steps: int = 5) -> Workload:
    one = layer(visits=40 * spikes_a_synapse)
    of = node(updates=steps, sent=4 * steps * rate)
    return Workload((one,), (of,), True, steps, True, ())


@pytest.mark.parametrize(("value", "said"), [(0.1, "below"), (0.5, "depends"), (2.0, "above")])
def test_spikes_a_synapse(value: float, said: str) -> None:
    found = thumbs(work(value, 0.1))[0]
    assert found.value == pytest.approx(value)
    assert said in found.verdict


@pytest.mark.parametrize(("rate", "steps", "said"), [(0.01, 5, "less"), (0.2, 5, "no less"), (0.01, 4, "says nothing")])
def test_spike_rate(rate: float, steps: int, said: str) -> None:
    found = thumbs(work(1.0, rate, steps))[1]
    assert found.value == pytest.approx(rate)
    assert said in found.verdict


def test_no_rule_without_spikes() -> None:
    assert thumbs(replace(work(1.0, 0.1), spiking=False)) == ()
