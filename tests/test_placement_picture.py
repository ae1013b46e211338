"""The picture of a placement: every core and link with its numbers, nothing that loads or runs, names kept as text."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from compared_reports import report
from test_routes import board, flows

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import CoreCost, EnergyReport
from ndeploy.place.mesh import board_of, positions
from ndeploy.place.routes import routes
from ndeploy.report.energy_page import page
from ndeploy.report.placement import CHIPS, picture
from ndeploy.target import Target

SVG = "{http://www.w3.org/2000/svg}"


def costs(cores: list[int], target: Target) -> tuple[CoreCost, ...]:
    found = board_of(target)
    assert found is not None
    at = positions(found, np.array(cores))
    return tuple(
        CoreCost(
            core,
            int(at.chip[i]),
            int(at.x[i]),
            int(at.y[i]),
            (f"layer{i}",),
            100 + i,
            2000 + i,
            0.25,
            0.5 if i else 1.0,
            {"synaptic-op.dense": 1000.0 * i, "neuron-update.idle": 7.0, "spike": 1e9},
            Range(1e-9, 2e-9, 3e-9),
            Range(1e-6, 2e-6, 4e-6),
        )
        for i, core in enumerate(cores)
    )


def placed(cores: list[int], rows: list[tuple[int, int, list[int]]], target: Target | None = None) -> EnergyReport:
    target = target or board()
    found = routes(flows(rows, len(rows[0][2]) if rows else 1), np.array(cores), target)
    mesh = {"mesh": asdict(board_of(target))}  # type: ignore[call-overload]
    return report([], cores=costs(cores, target), links=found.link_loads(2), placement=mesh)


def elements(svg: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter() if kind in e.attrib.get("class", "").split()]


def titles(svg: str, kind: str) -> list[str]:
    found = (element.find(f"{SVG}title") for element in elements(svg, kind))
    return [str(title.text) for title in found if title is not None]


def test_each_core_stands_on_both_maps_with_its_numbers() -> None:
    svg = picture(placed([0, 5, 131], [(0, 1, [3, 9])]))
    assert titles(svg, "use") == [
        "core 0 (chip 0, router 0, 0): layer0; 100 neurons (100 %), 2,000 bytes of synaptic memory (25 %)",
        "core 5 (chip 0, router 1, 0): layer1; 101 neurons (50 %), 2,001 bytes of synaptic memory (25 %)",
        "core 131 (chip 1, router 0, 0): layer2; 102 neurons (50 %), 2,002 bytes of synaptic memory (25 %)",
    ]
    work = titles(svg, "work")
    assert work[2].startswith("core 131 (chip 1, router 0, 0): layer2; 2.01 k operations and updates a sample, 2 nJ (")
    assert "busy for 2 µs (1 to 4 µs)" in work[2]
    assert "3 of 256 cores in use on 2 chips" in svg


def test_links_are_drawn_where_packets_go_and_as_wide_as_their_load() -> None:
    svg = picture(placed([0, 4, 8], [(0, 1, [30, 10]), (1, 2, [4, 0]), (2, 0, [0, 0])]))
    assert titles(svg, "link") == [
        "link from router (0, 0) of chip 0 to the east: 20 packets a sample, 15 in its busiest step",
        "link from router (1, 0) of chip 0 to the east: 2 packets a sample, 2 in its busiest step",
    ]
    first, second = (
        [tuple(map(float, point.split(","))) for point in e.attrib["points"].split()]
        for e in elements(svg, "link")
        if e.find(f"{SVG}title") is not None
    )
    assert abs(first[0][1] - first[1][1]) > 3 * abs(second[0][1] - second[1][1])
    assert first[2][0] > first[0][0]  # it points east
    assert "20 packets a sample on the busiest link" in svg


def test_links_to_other_chips_say_so() -> None:
    (title,) = titles(picture(placed([28, 128], [(0, 1, [2])])), "link")
    assert "of chip 0 to the east, to another chip" in title


def test_the_fullest_and_the_busiest_are_darkest() -> None:
    svg = picture(placed([0, 5, 9], []))
    shades = [[float(e.attrib["fill-opacity"]) for e in elements(svg, kind)][:3] for kind in ("use", "work")]
    assert shades[0][0] == 1.0
    assert shades[0][1] == shades[0][2] < 1.0
    assert shades[1][0] < shades[1][1] < shades[1][2] == 1.0


def test_cores_do_not_overlap() -> None:
    svg = picture(placed(list(range(0, 512, 3)), [(0, 1, [1])]))
    spots = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in elements(svg, "use") if len(e)]
    side = float(next(e for e in elements(svg, "use") if len(e)).attrib["width"])
    assert len(spots) == 171
    for i, (x, y) in enumerate(spots):
        assert all(max(abs(x - a), abs(y - b)) >= side for a, b in spots[:i])


def test_names_of_strangers_stay_text() -> None:
    hostile = '<script>alert(1)</script>"&\x1b[31m' + "x" * 500
    given = placed([0, 1], [])
    cores = tuple(replace(core, layers=(hostile,) * 9) for core in given.cores)
    given = replace(given, cores=cores, program=hostile)
    svg = picture(given)
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert "and 5 more" in svg
    assert len(svg) < 20000
    assert svg in page(given, None, svg)


def test_nothing_is_loaded() -> None:
    given = placed([0, 40], [(0, 1, [5])])
    svg = picture(given)
    assert not re.search(r"href|url\(|@import|<image|<script|http(?!://www\.w3\.org/2000/svg)", svg)
    assert svg in page(given, None, svg)  # which refuses what loads or runs


def test_the_same_report_gives_the_same_picture() -> None:
    given = placed([3, 1, 77], [(0, 1, [5]), (2, 0, [1])])
    assert picture(given) == picture(replace(given, cores=given.cores[::-1]))


def test_a_target_without_a_mesh() -> None:
    given = placed(list(range(40)), [])
    bare = tuple(replace(core, chip=-1, x=-1, y=-1, memory_share=None, neuron_share=None) for core in given.cores)
    svg = picture(replace(given, cores=bare, placement={}))
    assert "mesh is not known" in svg
    assert len(titles(svg, "use")) == 40
    assert titles(svg, "use")[0].startswith("core 0: layer0; 100 neurons, ")
    assert "Use: neurons" in svg


def test_without_cores_there_is_no_picture() -> None:
    assert picture(report([])) == ""


@pytest.mark.parametrize("mesh", [None, 3, {"width": "8", "height": -1, "cores_per_router": True, "chips_wide": 10**9}])
def test_a_mesh_that_is_none_is_not_believed(mesh: Any) -> None:
    given = placed([0, 127], [])
    svg = picture(replace(given, placement={"mesh": mesh}))
    assert len(titles(svg, "use")) == 2
    assert len(svg) < 40000


def test_of_many_chips_the_busiest_are_drawn() -> None:
    svg = picture(placed([128 * chip for chip in range(CHIPS + 5)], []))
    assert f"the busiest {CHIPS} chips are drawn, 5 are not" in svg
    assert "core 0 " not in svg  # its 7 events are the fewest
    assert len(titles(svg, "work")) == CHIPS
