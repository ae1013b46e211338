"""Fewest cores: filling, joining boxes, CP-SAT, layers on cores of their own, and the reason for a gap."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fixtures_path import fixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_targets import small
from test_place import check_placement, lif, program, weights

from ndeploy.errors import RefusedError, UsageError
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.neurons import Input
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.place import METHODS, OBJECTIVES, place
from ndeploy.place.fill import stretch
from ndeploy.place.links import Box, volume
from ndeploy.place.merge import joined, merged
from ndeploy.plugins import targets
from ndeploy.synapses import Dense

BIG = 10**6


def chain(*sizes: int, inputs: int = 4, **parameters: Any) -> Program:
    """Dense layers one after another."""
    names = ["in", *(f"l{i}" for i in range(len(sizes)))]
    populations = [Population("in", (inputs,), Input())]
    populations += [lif(name, (size,), **parameters) for name, size in zip(names[1:], sizes, strict=True)]
    projections = [
        Projection(f"to-{b.name}", a.name, b.name, Dense(weights(b.size, a.size))) for a, b in pairwise(populations)
    ]
    return program(populations, projections)


def owned(boxes: list[Box], whole: Box) -> bool:
    """Whether boxes cover the whole exactly once."""
    count = np.zeros([stop for _, stop in whole], dtype=int)
    for box in boxes:
        count[tuple(slice(a, b) for a, b in box)] += 1
    return bool((count[tuple(slice(a, b) for a, b in whole)] == 1).all()) and int(count.sum()) == volume(whole)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 60), st.integers(0, 60), st.randoms())
def test_a_stretch_is_the_longest_beginning_that_fits(sizes: list[int], room: int, guess: int, random: Any) -> None:
    whole: Box = tuple((0, size) for size in sizes)
    order = list(range(len(sizes)))
    random.shuffle(order)
    found = stretch(whole, tuple(order), lambda box: volume(box) <= room, guess)
    if room == 0:
        assert found is None
        return
    assert found is not None
    part, rest = found
    assert owned([part, *rest], whole)
    slabs = [math.prod(sizes[axis] for axis in order[k:]) for k in range(len(order) + 1)]
    grain = next(slab for slab in slabs[1:] if slab <= room) if volume(whole) > room else volume(whole)
    assert volume(part) == min(room // grain * grain, volume(whole))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.randoms())
def test_boxes_join_to_what_they_cover(sizes: list[int], random: Any) -> None:
    whole: Box = tuple((0, size) for size in sizes)
    boxes = [whole]
    for _ in range(random.randrange(8)):
        box = boxes.pop(random.randrange(len(boxes)))
        axis = random.randrange(len(sizes))
        start, stop = box[axis]
        at = random.randint(start, stop)
        parts = [(*box[:axis], ends, *box[axis + 1 :]) for ends in ((start, at), (at, stop)) if ends[0] < ends[1]]
        boxes += parts
    random.shuffle(boxes)
    found = merged(boxes)
    assert owned(found, whole)
    assert not any(joined(a, b) for i, a in enumerate(found) for b in found[i + 1 :])
    if len(sizes) == 1:
        assert found == [whole]


def test_what_is_heavy_in_memory_shares_cores_with_what_is_heavy_in_neurons() -> None:
    """8 neurons of 100 synapses, and 92 of one: apart they would take 4 + 4 cores, neurons alone ask for 4."""
    p = program(
        [Population("in", (100,), Input()), Population("few", (1,), Input()), lif("heavy", (8,)), lif("light", (92,))],
        [
            Projection("1", "in", "heavy", Dense(weights(8, 100))),
            Projection("2", "few", "light", Dense(weights(92, 1))),
        ],
    )
    target = small(25, 1800, BIG, BIG, 8, shared=False)
    placed = place(p, target)
    check_placement(p, target, placed)
    assert (placed.cores, placed.cores_lower_bound, placed.reason) == (4, 4, "")


THRESHOLDS = np.array([1, 2, 3, 1, 4, 2]) * 64


def test_cp_sat_finds_what_neighbours_cannot_share() -> None:
    """Two thresholds a core: neighbours by twos make three pairs, and two cores would do with 1 and 2, 3 and 4."""
    pytest.importorskip("ortools")
    p = program(
        [Population("in", (4,), Input()), lif("a", (6,), vth=THRESHOLDS)],
        [Projection("1", "in", "a", Dense(weights(6, 4)))],
    )
    target = small(100, BIG, BIG, BIG, 2, shared=False)
    greedy = place(p, target, method="greedy")
    assert (greedy.cores, greedy.cores_lower_bound) == (3, 2)
    assert "1 core above the bound" in greedy.reason
    assert "threshold configurations" in greedy.reason
    for method in ("cp-sat", "auto"):
        solved = place(p, target, method=method)
        check_placement(p, target, solved)
        assert (solved.cores, solved.method, solved.reason) == (2, "cp-sat", "")
        assert solved == place(p, target, method=method)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(2, 9), st.integers(20, 200))
def test_cp_sat_is_never_worse_than_greedy(sizes: list[int], neurons: int, into: int) -> None:
    pytest.importorskip("ortools")
    p = chain(*sizes)
    target = small(neurons, 400, into, into, 3, shared=False)
    try:
        greedy = place(p, target, method="greedy")
    except RefusedError:
        with pytest.raises(RefusedError):
            place(p, target)
        return
    solved = place(p, target, method="cp-sat")
    check_placement(p, target, solved)
    assert solved.cores_lower_bound <= solved.cores <= greedy.cores


def test_without_ortools_greedy_is_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndeploy.place.cpsat.installed", lambda: False)
    p = program(
        [Population("in", (4,), Input()), lif("a", (6,), vth=THRESHOLDS)],
        [Projection("1", "in", "a", Dense(weights(6, 4)))],
    )
    target = small(100, BIG, BIG, BIG, 2, shared=False)
    placed = place(p, target)
    assert placed.method == "greedy"
    assert any("ortools is not installed" in note for note in placed.notes)
    assert placed.slices == place(p, target, method="greedy").slices
    with pytest.raises(UsageError) as refused:
        place(p, target, method="cp-sat")
    assert refused.value.code == "ND416"


def test_layers_have_cores_of_their_own_and_are_halved() -> None:
    p = chain(20, 9, 3)
    target = small(6, BIG, BIG, BIG, 8, shared=False)
    placed = place(p, target, "layers")
    check_placement(p, target, placed)
    sizes: dict[str, list[int]] = {}
    for piece in placed.slices:
        sizes.setdefault(piece.unit, []).append(piece.size)
    assert sizes == {"l0": [5, 5, 5, 5], "l1": [5, 4], "l2": [3]}
    assert placed.cores == 7
    assert "no core is shared" in placed.reason
    assert len({piece.core for piece in placed.slices}) == 7


def test_halves_that_send_too_much_are_halved_again() -> None:
    p = chain(12, 40)
    target = small(20, BIG, BIG, 12, 8, shared=False)
    placed = place(p, target, "layers")
    check_placement(p, target, placed)
    assert max(piece.size for piece in placed.slices if piece.unit == "l0") == 6  # each sends to two boxes


@pytest.mark.parametrize(("objective", "method"), [("speed", "auto"), ("cores", "annealing")])
def test_unknown_ways_are_refused(objective: str, method: str) -> None:
    with pytest.raises(UsageError) as refused:
        place(chain(3), targets()["loihi2"], objective, method=method)
    assert refused.value.code == "ND413"
    assert ("annealing" if objective in OBJECTIVES else "speed") in refused.value.message
    assert ", ".join(METHODS if objective in OBJECTIVES else OBJECTIVES) in refused.value.help


def test_cores_too_many_are_counted() -> None:
    p = chain(300)
    base = small(1, BIG, BIG, BIG, 8, shared=False)
    target = replace(
        base,
        cores_per_chip=replace(base.cores_per_chip, value=10),
        systems=tuple(
            replace(s, chips=replace(s.chips, value=n)) for s, n in zip(base.systems, (1, 2, 29), strict=True)
        ),
    )
    with pytest.raises(RefusedError, match="30 chips of small; the largest system, Hala Point, has 29: 10 cores too"):
        place(p, target)


FILES = {"nir/braille": "model.nir", "netx/pilotnet-lif": "network.net", "spikformer": "checkpoint.pth.tar"}


@pytest.mark.parametrize("name", FILES)
def test_fixtures_are_within_five_percent_of_the_bound(name: str) -> None:
    folder = fixture(name)
    calibration = folder / "calibration.npz"
    options = CompileOptions(
        target="loihi2",
        calibration=calibration if calibration.is_file() else None,
        steps=16 if "netx" in name else None,
    )
    placed = compile_model(folder / FILES[name], options).placed
    assert placed.cores <= 1.05 * placed.cores_lower_bound
