"""The ledger against the simulator's counts and against a slow account, synapse by synapse, packet by packet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import Case, cases
from small_targets import Synapse, product_links, small
from two_layers import PROGRAM

from ndeploy import oracle
from ndeploy.energy.ledger import Ledger, tally
from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity, RunResult
from ndeploy.neurons import Input
from ndeploy.place import Placed, place
from ndeploy.place.fan import destinations
from ndeploy.place.traffic import product_grid, senders
from ndeploy.place.units import sender, units_of
from ndeploy.plugins import targets
from ndeploy.realise import index_sizes
from ndeploy.target import Limit, Mesh, Target

SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)


def meshed(neurons: int) -> Target:
    """Tiny cores on chips of 2 x 2 routers with two cores each."""

    def limit(value: int, unit: str) -> Limit:
        return Limit(value, unit, "test", "code")

    mesh = Mesh(limit(2, "routers"), limit(2, "routers"), limit(2, "cores"), limit(2, "chips"))
    base = small(neurons, 4096, 4096, 4096, 64, True)
    systems = (replace(base.systems[0], chips=limit(10**6, "chips")),)
    return replace(base, mesh=mesh, cores_per_chip=limit(8, "cores"), systems=systems)


def run(case: Case, target: Target) -> tuple[Program, RunResult, Placed, Ledger]:
    program, messages = case
    result = oracle.run(program, messages, activity=True)
    if result.activity is None:
        raise AssertionError("no activity")
    placed = place(program, target)
    return program, result, placed, tally(program, placed, target, result.activity)


@settings(SETTINGS, max_examples=50)
@given(cases(graded=True))
def test_sums_are_the_simulators_own_counts(case: Case) -> None:
    try:
        program, result, _, ledger = run(case, meshed(5))
    except RefusedError:
        return
    counts = result.counts
    expected = {name: int(n.sum()) for name, n in counts.synaptic_ops.items()}
    for x in program.products:
        if x.realisation == "embedded":  # every result that the processor injects visits its synapse
            expected[x.name] += program.population(x.target).size * program.steps * ledger.samples
    assert ledger.synaptic_ops == expected
    hosts = {p.name for p in program.populations if isinstance(p.neuron, Input)}
    updates = sum(int(n.sum()) for name, n in counts.neuron_updates.items() if name not in hosts)
    active, idle = (ledger.events[f"neuron-update.{kind}"] for kind in ("active", "idle"))
    assert int(active.sum() + idle.sum()) == updates
    assert active.min() >= 0
    assert idle.min() >= 0
    silent = hosts | {p.name for p in program.populations if p.neuron.embedded}
    assert int(ledger.events["spike"].sum()) == sum(int(n.sum()) for k, n in counts.spikes.items() if k not in silent)
    assert ledger.embedded == {name: int(n.sum()) for name, n in counts.embedded_ops.items()}


def links(program: Program) -> list[tuple[str, list[Synapse]]]:
    """Every synapse of the placed program, link by link."""
    units = {p.name: sender(p) for p in program.populations}
    found: list[tuple[str, list[Synapse]]] = []
    for projection in program.projections:
        to, origin, _ = projection.synapses.to_coo()
        source = units[projection.source]
        found.append(
            (projection.name, [(source, int(i), projection.target, int(j)) for i, j in zip(origin, to, strict=True)])
        )
    for x in program.products:
        if x.realisation == "embedded":
            size = program.population(x.target).size
            found.append((x.name, [(f"{x.name}/embedded", i, x.target, i) for i in range(size)]))
            continue
        found += [(x.name, link) for link in product_links(x, units)]
        onto = destinations(x, product_grid(x))
        found.append((x.name, [(f"{x.name}/neurons", i, x.target, int(j)) for i, j in enumerate(onto)]))
    return found


def walk(a: int, b: int) -> tuple[int, int, int]:
    """Hops east-west, north-south and chip crossings between two cores of `meshed`, step by step."""

    def at(core: int) -> tuple[int, int]:
        chip, router = core // 8, core % 8 // 2
        return chip % 2 * 2 + router % 2, chip // 2 * 2 + router // 2

    (x, y), (to_x, to_y) = at(a), at(b)
    hops = [0, 0, 0]
    while (x, y) != (to_x, to_y):
        along_x = x != to_x
        before = x if along_x else y
        after = before + (1 if (to_x if along_x else to_y) > before else -1)
        if before // 2 != after // 2:
            hops[2] += 1
        else:
            hops[0 if along_x else 1] += 1
        x, y = (after, y) if along_x else (x, after)
    return hops[0], hops[1], hops[2]


@settings(SETTINGS, max_examples=40)
@given(cases(max_samples=2))
def test_packets_and_hops_are_those_of_a_slow_walk(case: Case) -> None:
    try:
        program, result, placed, ledger = run(case, target := meshed(3))
    except RefusedError:
        return
    assert result.activity is not None
    sent = senders(program, units_of(program, target), result.activity)
    where = {(s.unit, int(n)): i for i, s in enumerate(placed.slices) for n in s.neurons()}
    core = {i: s.core for i, s in enumerate(placed.slices)}
    packets, hops = Counter[int](), np.zeros(3, dtype=np.int64)
    payload = 0
    for _, synapses in links(program):
        for source, neuron, slice_ in {(s, i, where[t, j]) for s, i, t, j in synapses}:
            n = int(sent[source].messages[:, neuron].sum())
            packets[slice_] += n
            payload += n * sent[source].payload
            if (source, neuron) in where:
                hops += n * np.array(walk(core[where[source, neuron]], core[slice_]))
    taken = ledger.events["axon-in"].sum(axis=1)
    assert {i: int(n) for i, n in enumerate(taken) if n} == {i: n for i, n in packets.items() if n}
    on_cores = ledger.flows.source >= 0
    kept = on_cores & (ledger.flows.target >= 0)
    total = ledger.flows.packets.sum(axis=1)
    walked = [
        int((total * way)[kept].sum())
        for way in (ledger.routes.east_west, ledger.routes.north_south, ledger.routes.chip_links)
    ]
    assert walked == hops.tolist()
    inward = ledger.flows.target >= 0
    assert int((total * ledger.flows.payload)[inward].sum()) == payload


def test_visits_by_slice_are_synapses_onto_it() -> None:
    """Of a random program with products, every slice gets the visits of its own synapses and no others."""
    rng = np.random.default_rng(3)
    found = 0
    for case in _some_cases(25, rng):
        try:
            program, result, placed, ledger = run(case, target := meshed(4))
        except RefusedError:
            continue
        assert result.activity is not None
        sent = senders(program, units_of(program, target), result.activity)
        where = {(s.unit, int(n)): i for i, s in enumerate(placed.slices) for n in s.neurons()}
        visits = np.zeros(len(placed.slices), dtype=np.int64)
        for _, synapses in links(program):
            for source, i, unit, j in synapses:
                visits[where[unit, j]] += int(sent[source].messages[:, i].sum())
        counted = sum((t for e, t in ledger.events.items() if e.startswith("synaptic-op")), np.zeros((len(visits), 1)))
        np.testing.assert_array_equal(counted.sum(axis=1), visits)
        found += len(placed.slices)
    assert found > 100


def _some_cases(n: int, rng: np.random.Generator) -> list[Case]:
    kept: list[Case] = []

    @settings(SETTINGS, max_examples=n)
    @given(cases(max_samples=2))
    def collect(case: Case) -> None:
        kept.append(case)

    collect()
    return kept


def product_active(program: Program, result: RunResult, name: str, index: IntArray) -> int:
    """Updates of a parallel product's neurons into which something came, one by one."""
    x = next(p for p in program.products if p.name == name)
    sizes = index_sizes(x)
    left, right = x.subscripts.split("->")[0].split(",")
    total = 0
    traces = {n: result.traces[f"spikes/{n}"] for n in (x.left, x.right)}
    samples = len(traces[x.left])
    for flat in index:
        at = dict(zip(sizes, np.unravel_index(int(flat), product_grid(x)), strict=True))
        for sample in range(samples):
            for step in range(program.steps):
                came = False
                for operand, letters, view in ((x.left, left, x.left_view), (x.right, right, x.right_view)):
                    values = traces[operand][sample, step].reshape(view)
                    came |= bool(values[tuple(at[letter] for letter in letters)])
                total += came
    return total


@settings(SETTINGS, max_examples=40)
@given(cases(max_samples=2))
def test_active_updates_of_products_are_those_into_which_something_came(case: Case) -> None:
    program, messages = case
    target = meshed(3)
    if not any(x.realisation == "parallel" for x in program.products):
        return
    try:
        _, _, placed, ledger = run(case, target)
    except RefusedError:
        return
    result = oracle.run(program, messages)
    active = ledger.events["neuron-update.active"].sum(axis=1)
    for number, piece in enumerate(placed.slices):
        x = next((p for p in program.products if p.name == piece.owner), None)
        if x is not None and x.realisation == "parallel":
            assert int(active[number]) == product_active(program, result, x.name, piece.neurons())


@pytest.mark.parametrize("name", ["loihi1", "loihi2", "lava"])
def test_events_of_one_small_program_by_hand(name: str) -> None:
    """Two layers, three spikes in: four synapses each, then what fired sends to the last layer."""
    messages = {"in": np.zeros((1, 5, 4), dtype=np.int64)}
    messages["in"][0, 0, :3] = 1
    result = oracle.run(PROGRAM, messages, activity=True)
    assert result.activity is not None
    target = targets()[name]
    ledger = tally(PROGRAM, place(PROGRAM, target), target, result.activity)
    fired = int(result.counts.spikes["a"].sum())
    assert ledger.synaptic_ops == {"1": 9, "2": 2 * fired}
    assert int(ledger.events["axon-in"].sum()) == 3 + fired
    assert int(ledger.events["message"].sum()) == 3 + fired
    # the three spikes of one step make one active update of each of a's neurons
    active = ledger.events["neuron-update.active"].sum(axis=1)
    assert int(active[[s.owner for s in ledger.slices].index("a")]) == 3
    assert ledger.host_in == 3 * 4
    assert ledger.host_out == 2 * 5 * 1


def test_counts_beyond_what_floats_hold_are_exact() -> None:
    """Activity of very many samples: events are the small run's, times as much, to the last one."""
    target, factor = targets()["loihi1"], 2**52 + 1
    messages = {"in": np.ones((1, 5, 4), dtype=np.int64)}
    one = oracle.run(PROGRAM, messages, activity=True).activity
    assert one is not None

    def scaled(of: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return {name: n * factor for name, n in of.items()}

    many = Activity(factor, scaled(one.messages), scaled(one.arrivals))
    placed = place(PROGRAM, target)
    a, b = (tally(PROGRAM, placed, target, activity) for activity in (one, many))
    for event, table in a.events.items():
        assert b.events[event].tolist() == (table * factor).tolist(), event
    assert b.rest.tolist() == (a.rest * factor).tolist()
    assert b.dense.tolist() == (a.dense * factor).tolist()
