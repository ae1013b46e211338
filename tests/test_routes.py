"""Routes against a walker that takes packets from router to router, one step at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.errors import UsageError
from ndeploy.place.flows import HOST, Flows
from ndeploy.place.mesh import board_of, positions
from ndeploy.place.routes import TOWARDS, Routes, routes
from ndeploy.plugins import targets
from ndeploy.target import Limit, Mesh, Target

Router = tuple[int, int, int]  # chip, x, y


def board(
    width: int = 8, height: int = 4, each: int = 4, wide: int | None = 4, cores: int | None = None, base: str = "loihi2"
) -> Target:
    def limit(value: int | None, unit: str) -> Limit:
        return Limit(value, unit, "test", "code")

    mesh = Mesh(limit(width, "routers"), limit(height, "routers"), limit(each, "cores"), limit(wide, "chips"))
    held = width * height * each if cores is None else cores
    return replace(targets()[base], mesh=mesh, cores_per_chip=limit(held, "cores"))


def flows(rows: list[tuple[int, int, list[int]]], steps: int) -> Flows:
    return Flows(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.int64).reshape(len(rows), steps),
        np.ones(len(rows), dtype=np.int64),
    )


def router(core: int, target: Target) -> Router:
    """The router of a core, by counting through all of them."""
    mesh = target.mesh
    assert mesh is not None
    assert mesh.width.value
    assert mesh.height.value
    assert mesh.cores_per_router.value
    number, chip = 0, 0
    while True:
        on_chip = 0
        for y in range(mesh.height.value):
            for x in range(mesh.width.value):
                for _ in range(mesh.cores_per_router.value):
                    if on_chip == target.cores_per_chip.value:
                        continue
                    if number == core:
                        return chip, x, y
                    number, on_chip = number + 1, on_chip + 1
        chip += 1


def walk(start: Router, stop: Router, target: Target) -> tuple[list[tuple[Router, str]], Counter[str]]:
    """The links from start to stop, each as (router, direction), and what they are."""
    mesh = target.mesh
    assert mesh is not None
    assert mesh.width.value
    assert mesh.height.value
    width, height, wide = mesh.width.value, mesh.height.value, mesh.chips_wide.value

    def grid(chip: int) -> tuple[int, int]:
        return (chip, 0) if wide is None else (chip % wide, chip // wide)

    (at_column, at_row), (to_column, to_row) = grid(start[0]), grid(stop[0])
    (_, x, y), links, kinds = start, [], Counter[str]()
    while (at_column, x, at_row, y) != (to_column, stop[1], to_row, stop[2]):
        here = (at_column + at_row * (wide or 0), x, y)
        if (at_column, x) != (to_column, stop[1]):
            step = 1 if (at_column, x) < (to_column, stop[1]) else -1
            links.append((here, "east" if step > 0 else "west"))
            if 0 <= x + step < width:
                x, kind = x + step, "east-west"
            else:
                at_column, x, kind = at_column + step, (0 if step > 0 else width - 1), "chip"
        else:
            step = 1 if (at_row, y) < (to_row, stop[2]) else -1
            links.append((here, "south" if step > 0 else "north"))
            if 0 <= y + step < height:
                y, kind = y + step, "north-south"
            else:
                at_row, y, kind = at_row + step, (0 if step > 0 else height - 1), "chip"
        kinds[kind] += 1
    return links, kinds


def check(found: Routes, given: Flows, cores: list[int], target: Target) -> None:
    loads: dict[tuple[Router, str], Any] = {}
    for i, (source, sink) in enumerate(zip(given.source.tolist(), given.target.tolist(), strict=True)):
        ends = [None if end == HOST else router(cores[end], target) for end in (source, sink)]
        known = [end for end in ends if end is not None]
        port = (known[0][0], 0, 0) if known else (0, 0, 0)
        links, kinds = walk(ends[0] or port, ends[1] or port, target)
        assert (found.east_west[i], found.north_south[i], found.chip_links[i]) == (
            kinds["east-west"],
            kinds["north-south"],
            kinds["chip"],
        )
        for link in links:
            loads[link] = loads.get(link, 0) + given.packets[i]
    used = {link: load.tolist() for link, load in loads.items() if load.sum()}
    routers = zip(found.chip.tolist(), found.x.tolist(), found.y.tolist(), strict=True)
    got = {
        (at, TOWARDS[way]): load
        for at, way, load in zip(routers, found.towards.tolist(), found.loads.tolist(), strict=True)
    }
    assert got == used
    assert len(got) == len(found.towards)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Target, list[int], Flows]:
    width, height, each = (draw(st.integers(1, 4)) for _ in range(3))
    target = board(
        width,
        height,
        each,
        draw(st.one_of(st.none(), st.integers(1, 3))),
        draw(st.integers(1, width * height * each)),
    )
    per_chip = target.cores_per_chip.value
    assert per_chip is not None
    cores = draw(st.lists(st.integers(0, 7 * per_chip - 1), min_size=1, max_size=6))
    steps = draw(st.integers(1, 3))
    end = st.integers(HOST, len(cores) - 1)
    counts = st.lists(st.integers(0, 5), min_size=steps, max_size=steps)
    return target, cores, flows(draw(st.lists(st.tuples(end, end, counts), max_size=12)), steps)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_hops_and_loads_are_those_of_a_walk(case: tuple[Target, list[int], Flows]) -> None:
    target, cores, given = case
    check(routes(given, np.array(cores), target), given, cores, target)


def test_positions_count_along_x_first() -> None:
    found = board_of(targets()["loihi2"])
    assert found is not None
    at = positions(found, np.array([0, 3, 4, 31, 32, 127, 128, 4 * 128 + 5]))
    assert list(zip(at.chip.tolist(), at.x.tolist(), at.y.tolist(), strict=True)) == [
        (0, 0, 0),
        (0, 0, 0),
        (0, 1, 0),
        (0, 7, 0),
        (0, 0, 1),
        (0, 7, 3),
        (1, 0, 0),
        (4, 1, 0),
    ]
    assert (at.column[-2], at.row[-2]) == (8, 0)
    assert (at.column[-1], at.row[-1]) == (1, 4)


def test_a_packet_over_the_edge() -> None:
    """From router (7, 0) of chip 0 to router (0, 0) of chip 1 there is one link between chips and no hop."""
    given = flows([(0, 1, [2, 5])], 2)
    found = routes(given, np.array([28, 128]), board())
    assert (found.east_west[0], found.north_south[0], found.chip_links[0]) == (0, 0, 1)
    (link,) = found.link_loads(2)
    assert (link.chip, link.x, link.y, link.towards, link.packets, link.peak) == (0, 7, 0, "east", 3.5, 2.5)


def test_counts_beyond_float64_stay_exact() -> None:
    given = flows([(0, 1, [2**60 + 1]), (0, 1, [3])], 1)
    found = routes(given, np.array([0, 4]), board())
    assert found.loads.tolist() == [[2**60 + 4]]


def test_without_a_mesh_only_chips_count() -> None:
    target = replace(board(cores=10), mesh=None)
    found = routes(flows([(0, 1, [1]), (0, 2, [1]), (HOST, 2, [1])], 1), np.array([0, 9, 10]), target)
    assert found.chip_links.tolist() == [0, 1, 0]
    assert not found.east_west.any()
    assert not found.north_south.any()
    assert found.loads.shape == (0, 1)


def test_nothing_flows() -> None:
    found = routes(flows([], 3), np.array([0]), board())
    assert found.loads.shape == (0, 3)
    assert found.link_loads(1) == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 0}, "mesh.width: 0 where a number >= 1"),
        ({"wide": 0}, "mesh.chips_wide: 0"),
        ({"cores": 129}, "8 x 4 routers of 4 cores hold 128, the chip has 129"),
        ({"cores": 0}, "the chip has 0"),
    ],
)
def test_a_mesh_that_cannot_be(change: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        board_of(board(**change))
    assert caught.value.code == "ND410"
