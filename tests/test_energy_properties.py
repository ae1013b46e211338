"""What must hold of every estimate, whatever the program: sums, bounds, and what does not change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import Case, cases
from test_ledger import SETTINGS, meshed
from two_layers import PROGRAM, activity, table

from ndeploy import oracle
from ndeploy.check_graded import updates_of
from ndeploy.data import Data
from ndeploy.energy.estimate import REST, estimate
from ndeploy.energy.ledger import tally
from ndeploy.energy.measure import Options, measure
from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.energy.tables import find
from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import Affine, Compare, CubaLif, Input, LayerNorm
from ndeploy.place import Placed, place
from ndeploy.place.record import record, restore
from ndeploy.plugins import targets
from ndeploy.realise import index_sizes
from ndeploy.synapses import Dense
from ndeploy.target import Limit, PriceTable, Target

BOUNDS = ("low", "nominal", "high")


def sent_by(case: Case) -> Activity:
    found = oracle.run(*case, activity=True).activity
    assert found is not None
    return found


def prices(seed: int) -> PriceTable:
    """Any prices; an active update costs no less than an idle one."""
    rng = np.random.default_rng(seed)
    made = table()
    energy = [replace(p, low=x, nominal=2 * x, high=3 * x) for p, x in zip(made.energy, rng.random(99), strict=False)]
    idle = next(p for p in energy if p.name == "neuron-update.idle")
    energy = [replace(idle, name=p.name) if p.name == "neuron-update.active" else p for p in energy]
    return replace(made, energy=tuple(energy))


def placed_on(case: Case, target: Target) -> tuple[Program, Placed] | None:
    try:
        return case[0], place(case[0], target)
    except RefusedError:
        return None


def summed(parts: list[Range | None], bound: str) -> float:
    return sum(getattr(part, bound) for part in parts if part is not None)


@settings(SETTINGS, max_examples=25)
@given(cases(graded=True, max_samples=2), st.integers(0, 99))
def test_layers_cores_and_steps_add_up_to_the_terms(case: Case, seed: int) -> None:
    found = placed_on(case, target := meshed(5))
    if found is None:
        return
    report = estimate(*found, target, sent_by(case), prices(seed))
    terms = {term.name: term for term in report.terms if term.group == "chip"}
    for name, term in terms.items():
        by_layer = sum(layer.counts.get(name, 0.0) for layer in report.layers)
        by_core = sum(core.counts.get(name, 0.0) for core in report.cores)
        by_step = sum(step.counts.get(name, 0.0) for step in report.steps)
        assert name == "barrier" or by_layer == pytest.approx(term.count)
        assert name == "embedded-op" or by_core == pytest.approx(term.count)
        assert name in ("barrier", "embedded-op", REST) or by_step == pytest.approx(term.count)
    assert report.energy is not None
    for bound in BOUNDS:
        of = {name: getattr(term.energy, bound) for name, term in terms.items()}
        whole = getattr(report.energy, bound)
        alone, processor, rest = (of.get(name, 0.0) for name in ("barrier", "embedded-op", REST))
        assert whole == pytest.approx(sum(of.values()))
        assert summed([layer.energy for layer in report.layers], bound) == pytest.approx(whole - alone)
        assert summed([core.energy for core in report.cores], bound) == pytest.approx(whole - processor)
        steps = summed([step.energy for step in report.steps], bound)
        assert steps == pytest.approx(whole - alone - processor - rest)
    updates = sum(n.count for name, n in terms.items() if name.startswith("neuron-update") or name == REST)
    assert updates == sum(s.size for s in found[1].slices) * report.chip_steps
    assert all(0 <= layer.rate <= 1 for layer in report.layers)


def everything_sends(program: Program, samples: int) -> Activity:
    """Every neuron sends in each of its updates."""
    on = {p.name: np.arange(program.steps) < updates_of(program, p) for p in program.populations}
    messages = {
        p.name: samples * np.repeat(on[p.name][:, None], p.size, 1).astype(np.int64) for p in program.populations
    }
    arrivals = {p.name: messages[p.name] for p in program.populations if not isinstance(p.neuron, Input)}
    live = {
        x.name: np.full((program.steps, int(np.prod(list(index_sizes(x).values())))), samples, dtype=np.int64)
        for x in program.products
        if x.realisation != "embedded"
    }
    return Activity(samples, messages, arrivals, live)


@settings(SETTINGS, max_examples=25)
@given(cases(graded=True, max_samples=1))
def test_dense_operations_are_those_of_neurons_that_all_send(case: Case) -> None:
    found = placed_on(case, target := meshed(5))
    if found is None:
        return
    ledger = tally(*found, target, everything_sends(case[0], 3))
    visits = sum((t for e, t in ledger.events.items() if e.startswith("synaptic-op")), np.zeros((len(ledger.dense), 1)))
    np.testing.assert_array_equal(visits.sum(axis=1), ledger.dense)
    report = estimate(*found, target, everything_sends(case[0], 3), table())
    assert {layer.rate for layer in report.layers if layer.rate} <= {1.0}


@settings(SETTINGS, max_examples=25)
@given(cases(graded=True, max_samples=2), st.integers(0, 99))
def test_more_messages_never_cost_less(case: Case, seed: int) -> None:
    found = placed_on(case, target := meshed(5))
    if found is None:
        return
    few, many = sent_by(case), everything_sends(case[0], len(next(iter(case[1].values()))))
    less, more = (estimate(*found, target, each, prices(seed)) for each in (few, many))
    for a, b in ((less.energy, more.energy), (less.latency, more.latency), (less.host, more.host)):
        assert a is not None
        assert b is not None
        assert all(getattr(a, bound) <= getattr(b, bound) * (1 + 1e-12) for bound in BOUNDS)


@settings(SETTINGS, max_examples=25)
@given(cases(graded=True, max_samples=2), st.integers(0, 99))
def test_where_cores_are_changes_the_way_of_packets_and_nothing_else(case: Case, seed: int) -> None:
    found = placed_on(case, target := meshed(5))
    if found is None:
        return
    program, placed = found
    held = sorted({piece.core for piece in placed.slices})
    elsewhere = dict(zip(held, np.random.default_rng(seed).permutation(64)[: len(held)].tolist(), strict=True))
    moved = replace(
        placed,
        slices=tuple(replace(piece, core=elsewhere[piece.core]) for piece in placed.slices),
        use=tuple(replace(use, core=elsewhere[use.core]) for use in placed.use),
    )
    a, b = (
        {
            term.name: (term.count, term.energy)
            for term in estimate(program, each, target, sent_by(case), prices(seed)).terms
            if term.group == "chip" and term.name.partition(".")[0] not in ("hop", "chip-link")
        }
        for each in (placed, moved)
    )
    assert a == b


def report_of(x: IntArray, **options: Any) -> dict[str, Any]:
    """The report of two dense layers, as JSON."""
    target = targets()["loihi2"]
    report, _ = measure(PROGRAM, target, Data(x, None), Options(**options), place(PROGRAM, target))
    return report.to_json()


def test_batches_threads_and_order_of_samples_change_nothing() -> None:
    x = (np.random.default_rng(0).random((11, 5, 4)) < 0.5).astype(np.int64)
    whole = report_of(x)
    assert report_of(x, batch=3) == whole
    assert report_of(x, batch=1, threads=1) == whole
    # NeuroBench's membranes are those of the first samples
    other = report_of(x[::-1])
    assert {**other, "neurobench": None} == {**whole, "neurobench": None}


def test_a_report_is_the_mean_of_those_of_its_samples() -> None:
    x = (np.random.default_rng(0).random((3, 5, 4)) < 0.6).astype(np.int64)
    x[2] = 0
    x[2, 0, 0] = 1
    whole = {term["name"]: term for term in report_of(x)["terms"]}
    alone = [{term["name"]: term for term in report_of(x[i : i + 1])["terms"]} for i in range(3)]
    for name, term in whole.items():
        if term["group"] in ("chip", "host"):
            counts = [each[name]["count"] if name in each else 0 for each in alone]
            assert term["count"] == sum(counts) / 3
            for bound in BOUNDS:
                assert term[bound] == pytest.approx(sum(each[name][bound] for each in alone if name in each) / 3)


@pytest.mark.parametrize("name", ["truenorth", "kerasspiking-spinnaker", "kerasspiking-spinnaker2", "odin"])
def test_an_all_in_price_stands_beside_nothing_else(name: str) -> None:
    """Nothing incremental enters: what the price holds costs nothing, what it does not hold has no price."""
    target = targets()["loihi2"]
    prices = find(name, target)
    report = estimate(PROGRAM, place(PROGRAM, target), target, activity(), prices, allow_unpriced=True)
    for term in report.terms:
        own = prices.price("neuron-update.idle" if term.name == REST else term.name)
        assert term.scope == ("all-in" if own else "")
        if own is None:
            assert term.energy is None or term.energy == Range(0.0, 0.0, 0.0)
            assert bool(term.covered) == (term.energy is not None)
    assert report.host is None
    assert report.total is None
    assert report.static in (None, Range(0.0, 0.0, 0.0))
    assert any(line.startswith("host-byte.in") for line in report.unpriced)


def test_resting_neurons_cost_an_idle_update_at_most() -> None:
    slow = replace(PROGRAM, period=4)
    target = targets()["loihi2"]
    report = estimate(slow, place(slow, target), target, activity(slow))
    terms = {term.name: term for term in report.terms}
    rest, idle = terms[REST], target.price("neuron-update.idle")
    assert idle is not None
    assert rest.count == 5 * (slow.chip_steps_per_sample - slow.steps)
    assert rest.energy == Range(0.0, idle.nominal, idle.high).times(rest.count)
    unpriced = replace(target.table, energy=tuple(p for p in target.energy if p.name != "neuron-update.idle"))
    found = estimate(slow, place(slow, target), target, activity(slow), unpriced)
    assert found.energy is None
    assert any(line.startswith("neuron-rest: ") for line in found.unpriced)


def dense(n_out: int, n_in: int) -> Dense:
    return Dense(np.ones((n_out, n_in), dtype=np.int16))


def single(neuron: Any, size: int) -> Program:
    return Program(
        "one",
        (Population("in", (2,), Input()), Population("a", (size,), neuron, offset=1)),
        (Projection("1", "in", "a", dense(size, 2)),),
        (InputPort("in"),),
        (OutputPort("a"),),
        steps=3,
    )


def active_of(program: Program) -> tuple[int, int]:
    target = targets()["loihi2"]
    nothing = sent_by((program, {"in": np.zeros((2, 3, 2), dtype=np.int64)}))
    events = tally(program, place(program, target), target, nothing).events
    return int(events["neuron-update.active"].sum()), int(events["neuron-update.idle"].sum())


def test_only_neurons_with_a_bias_are_active_without_messages() -> None:
    bias = np.array([0, 3, 0, -1], dtype=np.int64)
    assert active_of(single(CubaLif(du=4095, dv=0, vth=64, bias=bias), 4)) == (2 * 3 * 2, 2 * 3 * 2)
    assert active_of(single(CubaLif(du=4095, dv=0, vth=64, bias=1), 4)) == (2 * 3 * 4, 0)
    # of an embedded population the processor has the bias; cores gather sums
    norm = LayerNorm(8, (4,), 0, 1, bias, 1, 0, np.ones(4, dtype=np.int64), np.zeros(4, dtype=np.int64), 0)
    assert active_of(single(norm, 4)) == (0, 2 * 3 * 4)


def with_product(realisation: str, **more: Any) -> Program:
    product = Product("x", "a", "a", "b", (2, 2), (2, 2), "ij,kj->ik", realisation=realisation, **more)
    return Program(
        "product",
        (
            Population("in", (2,), Input()),
            Population("a", (4,), Affine(8, multiplier=1, shift=0), offset=1),
            Population("b", (4,), Compare(vth=0), offset=1 + product.delay),
        ),
        (Projection("1", "in", "a", dense(4, 2)),),
        (InputPort("in"),),
        (OutputPort("b"),),
        steps=2,
        products=(product,),
        period=4,
    )


def test_packets_to_and_from_the_processor_have_payloads() -> None:
    """Graded operands that go to it, and sums of 24 bits that come from it."""
    program = with_product("embedded")
    case = (program, {"in": np.ones((1, 2, 2), dtype=np.int64)})
    target = targets()["loihi2"]
    ledger = tally(program, place(program, target), target, sent_by(case))
    assert int(ledger.events["payload-bit"].sum()) == 2 * (4 * 8 * 2 + 4 * 24)  # steps: a twice, results once
    assert int(ledger.events["message"].sum()) == 2 * (2 * ledger.slices[0].size // 4 + 4 * 2 + 4)


def test_a_streamed_products_dense_operations_and_rate_know_its_slices() -> None:
    program = with_product("streamed", stream="j", delay=4)
    case = (program, {"in": np.ones((1, 2, 2), dtype=np.int64)})
    target = targets()["loihi2"]
    report = estimate(program, place(program, target), target, sent_by(case))
    layers = {layer.name: layer for layer in report.layers}
    for layer in layers.values():
        visits = sum(n for name, n in layer.counts.items() if name.startswith("synaptic-op"))
        assert visits == layer.dense_synaptic_ops
    assert layers["x"].rate == 1.0


def test_configuration_is_what_the_cores_hold() -> None:
    target = targets()["loihi2"]
    spread = place(PROGRAM, target, "layers")
    report = estimate(PROGRAM, spread, target, activity())
    load = next(term for term in report.terms if term.group == "load")
    assert load.count == sum(use.memory_bytes + use.state_bytes for use in spread.use)


def test_sequences_of_other_lengths_have_their_own_operations() -> None:
    """A program placed for two steps and run for six: the processor's operations are those of six."""
    program = with_product("embedded")
    target = targets()["loihi2"]
    x = np.ones((2, 6, 2), dtype=np.int64)
    report, _ = measure(program, target, Data(x, None), Options(), place(program, target))
    assert report.model_steps == 6
    operations = next(term.count for term in report.terms if term.name == "embedded-op")
    assert operations == 8 * 6
    assert [each["operations"] for each in report.placement["embedded_ops"]] == [8 * 6]
    assert isinstance(report, EnergyReport)


def test_every_chip_in_use_draws_static_power() -> None:
    """Two cores on one chip, and on two chips of one core each, as an artifact keeps them."""
    whole = targets()["loihi1"]
    assert whole.mesh is not None

    def one(unit: str) -> Limit:
        return Limit(1, unit, "test", "code")

    mesh = replace(whole.mesh, width=one("routers"), height=one("routers"), cores_per_router=one("cores"))
    reports = []
    for target in (whole, replace(whole, cores_per_chip=one("cores"), mesh=mesh)):
        kept = record(place(PROGRAM, target, "layers"))
        reports.append(estimate(PROGRAM, restore(PROGRAM, target, kept), target, activity()))
    near, apart = (next(term for term in report.terms if term.group == "static") for report in reports)
    assert (near.count, apart.count) == (1.0, 2.0)
    assert sum(term.count for term in reports[1].terms if term.name == "chip-link") > 0
