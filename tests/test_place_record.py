"""Placements in artifacts: what comes back is what was placed, and what a stranger wrote is checked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import cases
from small_targets import small
from test_place_packing import chain

from ndeploy.errors import RefusedError, UsageError
from ndeploy.place import place
from ndeploy.place.record import record, restore
from ndeploy.plugins import targets

PROGRAM = chain(20, 9, 3)
TARGET = small(6, 10**6, 10**6, 10**6, 8, shared=False)


def kept(objective: str = "cores") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(record(place(PROGRAM, TARGET, objective))))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.booleans().flatmap(lambda graded: cases(graded=graded)),
    st.integers(2, 24),
    st.integers(100, 900),
    st.sampled_from(["cores", "layers"]),
)
def test_a_placement_comes_back_whole(case: Any, neurons: int, memory: int, objective: str) -> None:
    target = small(neurons, memory, 60, 200, 4, shared=True)
    try:
        placed = place(case[0], target, objective)
    except RefusedError:
        return
    back = restore(case[0], target, json.loads(json.dumps(record(placed))))
    assert back.slices == placed.slices
    assert back == replace(placed, notes=back.notes)


def test_a_target_without_cores_keeps_its_placement_too() -> None:
    target = targets()["lava"]
    placed = place(PROGRAM, target)
    assert restore(PROGRAM, target, record(placed)) == placed
    with pytest.raises(UsageError, match="has no cores"):
        restore(PROGRAM, target, kept())


def change(path: tuple[Any, ...], value: Any) -> Any:
    def applied(data: dict[str, Any]) -> None:
        held: Any = data
        for key in path[:-1]:
            held = held[key]
        held[path[-1]] = value

    return applied


def test_changes_are_of_a_good_record() -> None:
    assert restore(PROGRAM, TARGET, kept()) == place(PROGRAM, TARGET)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change(("slices",), None), "no list"),
        (change(("slices",), "l0"), "no list"),
        (change(("slices", 0), 7), "is not [unit, core, box]"),
        (change(("slices", 0, 0), "nobody"), "does not have"),
        (change(("slices", 0, 0), ["l0"]), "is not [unit, core, box]"),
        (change(("slices", 0, 1), -1), "on core -1"),
        (change(("slices", 0, 1), 10**12), "on core"),
        (change(("slices", 0, 1), True), "on core True"),
        (change(("slices", 0, 1), 0.5), "on core 0.5"),
        (change(("slices", 0, 2), []), "no box"),
        (change(("slices", 0, 2), [[0, 10**9]]), "no box"),
        (change(("slices", 0, 2), [[3, 3]]), "no box"),
        (change(("slices", 0, 2), [[0, "6"]]), "no box"),
        (change(("slices", 0, 2), [[-1, 2]]), "no box"),
        (change(("objective",), "speed"), "speed"),
        (change(("objective",), ["cores"]), "cores"),
        (change(("method",), 3), "is none of"),
        (lambda data: data["slices"].append(data["slices"][0]), "before it"),
        (lambda data: data["slices"].pop(), "are on no core"),
        (lambda data: [entry.__setitem__(1, 0) for entry in data["slices"]], "5.333 times the neurons of a core"),
    ],
)
def test_what_a_stranger_wrote_is_refused(spoil: Any, said: str) -> None:
    data = kept()
    spoil(data)
    with pytest.raises(UsageError) as refused:
        restore(PROGRAM, TARGET, data)
    assert refused.value.code == "ND415"
    assert said in refused.value.message


def test_a_placement_of_another_program_or_a_smaller_target_is_refused() -> None:
    with pytest.raises(UsageError, match="on no core"):
        restore(chain(20, 9, 4), TARGET, kept())
    with pytest.raises(UsageError, match=r"times the neurons of a core"):
        restore(PROGRAM, small(4, 10**6, 10**6, 10**6, 8, shared=False), kept())
