"""Placements by measured rates: less traffic, balanced time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import cases
from small_targets import small
from test_place import check_placement, lif, program, weights
from test_place_packing import BIG, chain, owned

from ndeploy.energy.latency import timing
from ndeploy.energy.ledger import tally
from ndeploy.errors import RefusedError, UsageError
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.place import Placed, place
from ndeploy.place.balance import evenly, shares
from ndeploy.place.split import capacity_of
from ndeploy.place.traffic import even_activity
from ndeploy.place.units import units_of
from ndeploy.plugins import targets
from ndeploy.synapses import Dense
from ndeploy.target import Target


def between(p: Program, target: Target, placed: Placed, activity: Activity) -> int:
    """Packets from core to core."""
    flows = tally(p, placed, target, activity).flows
    core = [piece.core for piece in placed.slices]
    return sum(
        int(packets.sum())
        for a, b, packets in zip(flows.source, flows.target, flows.packets, strict=True)
        if a >= 0 and b >= 0 and core[a] != core[b]
    )


def interval(p: Program, target: Target, placed: Placed, activity: Activity) -> float:
    """Seconds between the starts of two samples."""
    found = timing(p, tally(p, placed, target, activity), target.table)
    assert found is not None
    return found.interval.nominal


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.booleans().flatmap(lambda graded: cases(graded=graded)),
    st.integers(2, 24),
    st.integers(100, 900),
    st.integers(20, 80),
    st.integers(60, 200),
    st.sampled_from(["traffic", "latency"]),
)
def test_every_objective_keeps_every_limit(
    case: Any, neurons: int, memory: int, into: int, out: int, objective: str
) -> None:
    p = case[0]
    target = small(neurons, memory, into, out, 3, shared=True)
    try:
        fewest = place(p, target)
    except RefusedError:
        return
    placed = place(p, target, objective)
    check_placement(p, target, placed)
    assert placed.objective == objective
    assert placed.slices == place(p, target, objective).slices
    if objective == "traffic":
        assert placed.cores <= 1.05 * fewest.cores
        even = even_activity(p)
        assert between(p, target, placed, even) <= between(p, target, fewest, even)


def pairs(sent: list[int]) -> tuple[Program, Activity]:
    """Four layers of four neurons, l0 to l2 and l1 to l3; sent: messages of a neuron of l0 and of l1."""
    names = ["l0", "l1", "l2", "l3"]
    ways = {"l0": "in", "l1": "in", "l2": "l0", "l3": "l1"}
    p = program(
        [Population("in", (1,), Input()), *(lif(name, (4,)) for name in names)],
        [Projection(f"to-{b}", a, b, Dense(weights(4, 1 if a == "in" else 4))) for b, a in ways.items()],
    )
    messages = {name: np.zeros((p.steps, 4), dtype=np.int64) for name in names} | {
        "in": np.ones((p.steps, 1), dtype=np.int64)
    }
    for name, n in zip(("l0", "l1"), sent, strict=True):
        messages[name][0] = n
    return p, Activity(1, messages, {name: messages[name] for name in names})


def test_those_that_talk_share_a_core() -> None:
    target = small(8, BIG, BIG, BIG, 8, shared=False)
    p, rates = pairs([5, 7])
    placed = place(p, target, "traffic", rates)
    check_placement(p, target, placed)
    core = {piece.unit: piece.core for piece in placed.slices}
    assert placed.cores == 2
    assert core["l0"] == core["l2"] != core["l1"] == core["l3"]
    assert between(p, target, placed, rates) == 0


def test_measured_rates_decide_who_shares() -> None:
    """l0 talks to l2 and to l3, and only one of them has room beside it: the one that it says more to."""
    names = ["l0", "l2", "l3"]
    p = program(
        [Population("in", (1,), Input()), lif("l0", (8,)), lif("l2", (4,)), lif("l3", (4,))],
        [
            Projection("to-l0", "in", "l0", Dense(weights(8, 1))),
            Projection("to-l2", "l0", "l2", Dense(np.pad(weights(4, 4), ((0, 0), (0, 4))))),
            Projection("to-l3", "l0", "l3", Dense(np.pad(weights(4, 4), ((0, 0), (4, 0))))),
        ],
    )
    target = small(12, BIG, BIG, BIG, 8, shared=False)
    rates = {name: np.zeros((p.steps, p.population(name).size), dtype=np.int64) for name in [*names, "in"]}
    for quiet, loud in (("l2", "l3"), ("l3", "l2")):
        messages = {name: values.copy() for name, values in rates.items()}
        messages["l0"][0] = 3
        activity = Activity(1, messages, {name: messages[name] for name in names})
        weigh = replace(p, projections=tuple(j for j in p.projections if j.name != f"to-{quiet}"))
        weigh = replace(
            weigh, projections=(*weigh.projections, Projection(f"to-{quiet}", "in", quiet, Dense(weights(4, 1))))
        )
        placed = place(weigh, target, "traffic", activity)
        core = {piece.unit: piece.core for piece in placed.slices}
        assert core["l0"] == core[loud] != core[quiet]
        assert between(weigh, target, placed, activity) == 0


def test_busy_layers_lie_on_more_cores() -> None:
    p = chain(64, 4, 4, inputs=64)
    target = small(100, BIG, BIG, BIG, 8, shared=False)
    fewest, balanced = place(p, target), place(p, target, "latency")
    check_placement(p, target, balanced)
    even = even_activity(p)
    assert interval(p, target, balanced, even) < interval(p, target, fewest, even)
    parts = {name: sum(piece.unit == name for piece in balanced.slices) for name in ("l0", "l2")}
    assert parts["l0"] > 4 * parts["l2"]
    assert "busy layers lie on more cores" in balanced.reason
    assert balanced.cores <= (target.cores_per_chip.value or 0)
    assert place(p, replace(target, time=()), "latency").slices == fewest.slices
    assert any("published times" in note for note in place(p, replace(target, time=()), "latency").notes)


def test_fixtures_get_faster_and_send_less() -> None:
    from fixtures_path import fixture

    from ndeploy.pipeline import CompileOptions, compile_model

    folder = fixture("nir/braille")
    made = compile_model(folder / "model.nir", CompileOptions(target="loihi2", calibration=folder / "calibration.npz"))
    p, target, even = made.program, made.target, even_activity(made.program)
    assert interval(p, target, place(p, target, "latency"), even) < interval(p, target, made.placed, even)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 9), min_size=1), st.integers(1, 40))
def test_parts_go_by_work(work: dict[str, float], most: int) -> None:
    sizes = {name: 12 for name in work}
    found = shares(work, sizes, most)
    assert sum(found.values()) <= max(most, len(work))
    assert all(1 <= n <= 12 for n in found.values())
    assert all(found[a] <= found[b] for a in work for b in work if work[a] <= work[b])


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 40))
def test_parts_are_even(size: int, parts: int, neurons: int) -> None:
    target = small(neurons, BIG, BIG, BIG, 8, shared=False)
    (unit,) = units_of(chain(size), target).units
    boxes = evenly(unit, parts, capacity_of(target.core))
    assert owned(list(boxes), ((0, size),))
    sizes = [stop - start for ((start, stop),) in boxes]
    assert max(sizes) <= neurons
    if -(-size // min(parts, size)) <= neurons:
        assert len(boxes) == min(parts, size)
        assert max(sizes) - min(sizes) <= 1


def test_rates_are_those_of_the_program() -> None:
    p, rates = pairs([1, 1])
    target = targets()["loihi2"]
    with pytest.raises(UsageError, match="'l3'") as refused:
        place(p, target, "traffic", replace(rates, messages={k: v for k, v in rates.messages.items() if k != "l3"}))
    assert refused.value.code == "ND430"
    with pytest.raises(UsageError, match="'l0'"):
        place(p, target, "latency", replace(rates, messages=rates.messages | {"l0": rates.messages["in"]}))
    silent = {name: values * 0 for name, values in rates.messages.items()}
    with pytest.raises(UsageError, match="all rates are zero") as refused:
        place(p, target, "traffic", replace(rates, messages=silent))
    assert refused.value.code == "ND434"
    assert place(p, target, "cores", replace(rates, messages=silent)) == place(p, target)
