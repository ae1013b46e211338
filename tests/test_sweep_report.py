"""What is shown of a sweep: text, CSV, plain data, picture and page."""

from __future__ import annotations

import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest
from compared_reports import PRICE
from rich.console import Console
from swept_rows import refused, row, swept

from ndeploy.energy.ranges import Range
from ndeploy.report import sweep as shown
from ndeploy.report import sweep_page, sweep_picture
from ndeploy.report.sweep import Swept
from ndeploy.sweep_rows import Case, Row

HOSTILE = "<script>alert('x')</script>\x1b[31m"
SVG = "{http://www.w3.org/2000/svg}"


def usual() -> Swept:
    return swept(
        row(bits=8, spikes=100, accuracy=0.95),
        row(bits=4, spikes=50, accuracy=0.85),
        row("loihi1", 8, 200, 0.95, price=Range(40e-12, 50e-12, 60e-12)),
        refused(),
        command="ndeploy sweep small.nir",
    )


def text(found: Swept) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, width=150, highlight=False)
    for part in shown.report(found):
        console.print(part)
    return buffer.getvalue()


def points(picture: str) -> list[ElementTree.Element]:
    return [g for g in ElementTree.fromstring(picture).iter(f"{SVG}g")]


def test_the_text_has_every_row_and_every_reason() -> None:
    found = text(usual())
    lines = [line.split() for line in found.splitlines()]
    assert [
        "loihi2",
        "8",
        "95.00",
        "%",
        "1",
        "512",
        "B",
        "2",
        "nJ",
        "1",
        "to",
        "6",
        "nJ",
        "-",
        "2",
        "µs",
        "frontier",
    ] in lines
    assert ["loihi2", "4"] in [line[:2] for line in lines]
    assert ["loihi1", "12", "ND411", "refused"] in lines
    assert "- loihi1, 12 bits: [ND411] weights of 12 bits (take 8 bits)" in found
    assert "3 of 4 combinations can be built." in found
    assert "The most accurate is loihi2, 8 bits (95.00 %, 2 nJ); the least energy takes loihi2, 4 bits" in found
    assert "The float network: 95.00 %. Of 48 samples, one is 2.1 points." in found


def test_one_row_may_be_the_best_in_both() -> None:
    found = swept(row(bits=8, spikes=100, accuracy=0.9), row(bits=4, spikes=50, accuracy=0.95))
    assert "loihi2, 4 bits (95.00 %, 1 nJ): none is better, and none takes less." in shown.verdict(found)


def test_without_prices_it_says_so() -> None:
    found = swept(
        row(price=None, unpriced=("spike: no price",)), row(bits=4, price=None, bound=Range(1e-9, 2e-9, 3e-9))
    )
    assert "None has a dynamic energy" in text(found)
    assert "no total" in text(found)
    assert "> 1 nJ" in text(found)


def test_nothing_built_is_said() -> None:
    assert text(swept(refused())).startswith("0 of 1 combination can be built.")
    assert "no combination has a cost" in sweep_picture.svg(swept(refused()))
    assert "Refused" in sweep_page.page(swept(refused()))


def test_warnings_stand_once_with_the_rows_they_are_of() -> None:
    told = (("ND420", "limits are not published"),)
    found = swept(row(warnings=told), row(bits=4, warnings=told), row("loihi1"), row("loihi1", 4, overflow=3))
    assert shown.warnings(found) == [
        "loihi2: [ND420] limits are not published",
        "loihi1, 4 bits: states left their width 3 times, all samples together",
    ]
    assert shown.warnings(swept(row(warnings=told), notes=("a note",))) == [
        "[ND420] limits are not published",
        "a note",
    ]


def test_one_reason_stands_once() -> None:
    found = swept(row(), refused(), refused(bits=10), refused("loihi2", 12, "other"))
    assert shown.refusals(found) == [
        "loihi1: [ND411] weights of 12 bits (take 8 bits)",
        "loihi2, 12 bits: [ND411] other (take 8 bits)",
    ]


def test_networks_without_answers_are_judged_by_their_loss() -> None:
    found = swept(row(accuracy=None, labels="", loss=0.125), row(bits=4, accuracy=None, labels="", loss=0.5))
    assert shown.what(found) == "loss"
    assert "0.125" in text(found)
    assert "loss" in sweep_picture.svg(found)


def test_a_silent_float_network_judges_nobody() -> None:
    found = swept(row(accuracy=None, labels="", loss=None), row(bits=4, accuracy=None, labels="", loss=None))
    assert "not known" in text(found)
    assert json.dumps(shown.fields(found), allow_nan=False)
    assert len(points(sweep_picture.svg(found))) == 4


def test_plain_data_can_be_drawn_by_the_energy_page() -> None:
    plain = json.loads(json.dumps(shown.fields(usual()), allow_nan=False))
    assert [entry["bits"] for entry in plain["rows"]] == [8, 4, 8, 12]
    first, last = plain["rows"][0], plain["rows"][-1]
    assert first["accuracy"] == 0.95
    assert first["energy_joules"] == PRICE.times(100.0).to_json()
    assert first["latency_seconds"] == {"low": 1e-6, "nominal": 2e-6, "high": 4e-6}
    assert first["total_joules"] == {"low": None, "nominal": None, "high": None}
    assert (first["standing"], first["refused"]) == ("best", None)
    assert last["refused"] == {"code": "ND411", "message": "weights of 12 bits", "help": "take 8 bits"}


def test_the_csv_has_a_row_for_each_of_one_length() -> None:
    rows = list(csv.reader(io.StringIO(shown.csv_text(usual()))))
    assert {len(line) for line in rows} == {len(rows[0])}
    named = [dict(zip(rows[0], line, strict=True)) for line in rows[1:]]
    assert [(r["target"], r["bits"], r["standing"], r["code"]) for r in named] == [
        ("loihi2", "8", "best", ""),
        ("loihi2", "4", "best", ""),
        ("loihi1", "8", "beaten", ""),
        ("loihi1", "12", "refused", "ND411"),
    ]
    assert float(named[0]["energy_nominal_J"]) == PRICE.times(100.0).nominal
    assert float(named[0]["latency_high_s"]) == 4e-6
    formula = shown.csv_text(swept(refused(message="=1+1")))
    assert "'=1+1" in formula


def test_the_picture_draws_each_row_in_each_panel() -> None:
    picture = sweep_picture.svg(usual())
    drawn = points(picture)
    assert len(drawn) == 2 * 3
    titles = [g.findtext(f"{SVG}title") or "" for g in drawn]
    assert "loihi2, 8 bits: 95.00 %, 2 nJ (1 to 6 nJ)" in titles
    assert "loihi1, 8 bits: 95.00 %, 2 µs (1 to 4 µs)" in titles
    filled = [g for g in drawn if g.find(f"{SVG}circle[@class='point']") is not None]
    assert len(filled) == 2 * 2
    assert "1 of 4 not drawn" in picture
    assert "prefers-color-scheme: dark" in picture
    assert sweep_picture.svg(usual()) == picture


def test_places_in_the_picture_are_those_of_the_numbers() -> None:
    found = points(sweep_picture.svg(swept(*usual().rows[:2])))
    at = {
        (g.findtext(f"{SVG}title") or "").split(":")[0]: c
        for g in found[:2]
        if (c := g.find(f"{SVG}circle")) is not None
    }
    wide, narrow = at["loihi2, 8 bits"], at["loihi2, 4 bits"]
    zero = sweep_picture.LEFT
    ratio = (float(wide.attrib["cx"]) - zero) / (float(narrow.attrib["cx"]) - zero)
    assert ratio == pytest.approx(2.0, rel=0.01)  # twice the energy
    assert float(wide.attrib["cy"]) < float(narrow.attrib["cy"])  # more accurate


def test_no_two_labels_or_a_label_and_a_point_overlap() -> None:
    rows = [row(bits=b, spikes=90 + b + 3 * t, accuracy=0.9 + b / 1000, steps=t) for b in range(2, 9) for t in (1, 2)]
    rows = [Row(Case("loihi2", r.case.bits, m.steps), measured=m) for r in rows if (m := r.measured) is not None]
    root = ElementTree.fromstring(sweep_picture.svg(swept(*rows)))
    labels = [
        (float(t.attrib["x"]), float(t.attrib["y"])) for t in root.iter(f"{SVG}text") if t.attrib["class"] == "mark"
    ]
    assert labels
    for i, (x, y) in enumerate(labels):
        assert all(abs(x - a) > 2 * 3.4 * 5 or abs(y - b) > 11 for a, b in labels[i + 1 :])


def test_a_lost_row_does_not_press_the_others_into_a_line() -> None:
    found = swept(row(accuracy=0.1), row(bits=6, accuracy=0.98), row(bits=4, accuracy=0.99))
    places = {
        (g.findtext(f"{SVG}title") or "").split(":")[0]: float(c.attrib["cy"])
        for g in points(sweep_picture.svg(found))[:3]
        if (c := g.find(f"{SVG}circle")) is not None
    }
    assert places["loihi2, 6 bits"] - places["loihi2, 4 bits"] > 30


def test_what_strangers_wrote_is_shown_and_never_run() -> None:
    found = swept(
        row(warnings=(("ND420", HOSTILE),)), refused(message=HOSTILE), model=HOSTILE, data=HOSTILE, command=HOSTILE
    )
    page = sweep_page.page(found)
    for made in (page, sweep_picture.svg(found)):
        assert "<script" not in made
        assert "\x1b" not in made
    ElementTree.fromstring(sweep_picture.svg(found))
    root = ElementTree.fromstring(re.sub(r"<(meta|!DOCTYPE)[^>]*>", "", page))
    assert len(list(root.iter("table"))) == 3
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=|url\(|@import", page.replace("http://www.w3.org/2000/svg", ""))
    assert "\x1b" not in text(found)


def test_the_page_has_the_numbers_of_every_row() -> None:
    page = sweep_page.page(usual())
    for words in ("2 nJ", "1 to 6 nJ", "95.00 %", "beaten whatever the constants", "[ND411] weights of 12 bits"):
        assert words in page
    assert "<pre>ndeploy sweep small.nir</pre>" in page
