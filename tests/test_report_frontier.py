"""The frontier as a table and as a picture: who beats whom, the same bytes, labels that never overlap."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from fixtures_path import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report_layers import text

from ndeploy.report.frontier import Frontier, best, fields, table
from ndeploy.report.picture import DARK, LIGHT, draw, svg
from ndeploy.search.explanation import Point


def point(method: str, bits: float, memory: int, accuracy: float | None, evaluated: float | None = None) -> Point:
    loss = 1.0 if accuracy is None else 1 - accuracy
    return Point(method, bits, memory, loss, accuracy, {"a": round(bits)}, {}, evaluated)


POINTS = (
    point("uniform", 2, 5800, 0.08, 0.106),
    point("uniform", 3, 6860, 0.937, 0.898),
    point("uniform", 4, 7780, 0.949, 0.929),
    point("uniform", 8, 14640, 0.959, 0.925),
    point("bit-budget", 2, 5840, 0.949, 0.911),
    point("bit-budget", 2.84, 6144, 0.957, 0.925),
    point("bit-budget", 3.78, 7060, 0.960, 0.922),
    point("bit-budget", 8, 14640, 0.961, 0.921),
)
FRONTIER = Frontier("mnist-conv", "loihi2", POINTS, 0.961, 0.922)


def test_the_best_are_beaten_by_none() -> None:
    marked = {(p["method"], p["mean_bits"]) for p in fields(FRONTIER) if p["best"]}
    # 2 bits: uniform takes less memory, however bad; 8 bits: the same memory, less loss
    assert marked == {("uniform", 2), ("bit-budget", 2), ("bit-budget", 2.84), ("bit-budget", 3.78), ("bit-budget", 8)}


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=8))
def test_best_is_what_its_definition_says(pairs: list[tuple[int, int]]) -> None:
    points = [Point("uniform", 4, memory, loss, None, {}) for memory, loss in pairs]
    marked = best(points)
    least = min(memory for memory, _ in pairs)
    assert any(points[i].memory_bytes == least for i in marked)
    for i, (memory, loss) in enumerate(pairs):
        beaten = any((m <= memory and x < loss) or (m < memory and x <= loss) for m, x in pairs)
        assert (i in marked) != beaten


def test_the_table_has_every_point_by_memory_and_the_float_network() -> None:
    shown = text([table(FRONTIER)])
    rows = [line for line in shown.splitlines() if line.strip().startswith(("uniform", "bit-budget", "float"))]
    assert len(rows) == len(POINTS) + 1
    assert "5.7 KiB" in rows[0]
    assert "10.60 %" in rows[0]
    assert "96.10 %" in rows[-1]
    assert "92.20 %" in rows[-1]
    assert [p["memory_bytes"] for p in fields(FRONTIER)] == sorted(p.memory_bytes for p in POINTS)


def test_without_other_data_there_is_no_column_of_it() -> None:
    bare = replace(FRONTIER, points=tuple(replace(p, evaluated=None) for p in POINTS))
    assert "--data" in text([table(FRONTIER)])
    assert "--data" not in text([table(bare)])
    assert draw(bare).axes[0].get_ylabel() == "accuracy on calibration data, %"


@pytest.mark.parametrize(
    ("whole", "labelled", "said"),
    [
        (False, True, "accuracy, %"),
        (True, True, "accuracy of whole sequences, %"),
        (False, False, "agreement with float, %"),
    ],
)
def test_shares_are_called_what_they_are(whole: bool, labelled: bool, said: str) -> None:
    assert draw(replace(FRONTIER, whole=whole, evaluated_labelled=labelled)).axes[0].get_ylabel() == said


def test_without_answers_the_loss_is_drawn() -> None:
    none = replace(FRONTIER, points=tuple(replace(p, accuracy=None, evaluated=None) for p in POINTS))
    assert draw(none).axes[0].get_ylabel() == "loss on calibration data"


def test_the_picture_is_the_same_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_report_frontier import FRONTIER; from ndeploy.report.picture import svg\n"
        "sys.stdout.buffer.write(svg(FRONTIER))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "11", "PATH": "", "HOME": "/nowhere", "MPLCONFIGDIR": "/tmp"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert made.stdout == svg(FRONTIER)


def test_a_users_settings_change_nothing() -> None:
    import matplotlib

    before = svg(FRONTIER)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "none", "savefig.dpi": 7}):
        assert svg(FRONTIER) == before


def test_the_picture_is_xml_without_a_date_or_a_path_and_has_both_schemes() -> None:
    drawn = svg(FRONTIER).decode()
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert str(ROOT) not in drawn
    assert not re.search(r"20\d\d-\d\d-\d\d", drawn)
    assert "prefers-color-scheme: dark" in drawn
    used = {colour for colour in re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawn.split("</style>", 1)[1])}
    assert used <= set(LIGHT.values())
    assert {LIGHT["uniform"], LIGHT["bit-budget"]} <= used


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(scheme: dict[str, str]) -> None:
    for role in ("ink", "faint", "uniform", "bit-budget", "other"):
        high, low = sorted((luminance(scheme[role]), luminance(scheme["paper"])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, role


def overlaps(frontier: Frontier) -> tuple[int, int]:
    """Labels that overlap, and labels there are."""
    figure = draw(frontier)
    renderer = figure.canvas.get_renderer()
    clashes = count = 0
    for axes in figure.axes:
        boxes = [label.get_window_extent(renderer) for label in axes.texts]
        count += len(boxes)
        clashes += sum(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    return clashes, count


def test_every_point_has_its_label_and_none_overlaps() -> None:
    assert overlaps(FRONTIER) == (0, 2 * len(POINTS))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["uniform", "bit-budget"]), st.floats(2, 8), st.integers(1, 10**7), st.floats(0, 1)),
        min_size=1,
        max_size=16,
    )
)
def test_labels_of_any_frontier_never_overlap(rows: list[tuple[str, float, int, float]]) -> None:
    points = tuple(point(method, bits, memory, share, share) for method, bits, memory, share in rows)
    clashes, count = overlaps(Frontier("x", "loihi2", points, 0.5, 0.5))
    assert clashes == 0
    assert count >= 2


def test_equal_points_are_drawn() -> None:
    same = Frontier("x", "loihi2", (point("uniform", 4, 100, 1.0, 1.0),) * 3, 1.0, 1.0)
    assert b"<svg" in svg(same)


def test_a_name_is_no_formula() -> None:
    assert b"<svg" in svg(replace(FRONTIER, name="$\\frac{1$"))


def test_no_points_no_picture() -> None:
    with pytest.raises(ValueError, match="without points"):
        svg(replace(FRONTIER, points=()))
