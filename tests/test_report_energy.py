"""The text and the CSV of an energy report."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from energy_page_reports import made
from test_report_layers import text

from ndeploy.energy.ranges import Range
from ndeploy.report import energy_csv
from ndeploy.report.energy import headline, report


def test_the_text_has_the_verdict_the_terms_and_their_sources() -> None:
    found = made()
    shown = text(report(found))
    assert "costs 5.26 µJ (3.29 to 7.75 µJ) of dynamic energy" in shown
    for term in found.terms:
        assert term.name in shown
    assert "[1] Davies 2018, Table 2, 0.75 V, pre-silicon simulation" in shown
    assert "quoted [1]" in shown
    assert "spike: in the price of neuron-update" in shown
    assert "queues in the mesh" in shown
    assert "Lemaire 2022" in shown


def test_names_are_no_markup_and_move_no_cursor() -> None:
    found = made()
    bad = "[red]x[/red]\x1b[2J"
    shown = text(report(replace(found, program=bad, layers=(replace(found.layers[0], name=bad),), unpriced=(bad,))))
    assert "\x1b" not in shown
    assert shown.count("[red]x[/red]\\x1b[2J") == 3


def test_many_layers_are_the_largest_and_the_rest() -> None:
    shown = text(report(made(layers=40)))
    assert "24 others" in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"energy": None}, "no total: an event has no price (--allow-unpriced prints the sum of the others)"),
        ({"energy": None, "bound": Range(1e-6, 2e-6, 3e-6)}, "at least 2 µJ (1 to 3 µJ): the sum of what has a price"),
        ({"energy": None, "terms": ()}, "no public prices: not estimated"),
    ],
)
def test_where_there_is_no_total_the_headline_says_why(changes: dict[str, object], said: str) -> None:
    assert headline(replace(made(), **changes))["dynamic energy"] == said


def test_the_csv_has_a_row_a_layer_and_adds_up() -> None:
    found = made()
    rows = list(csv.DictReader(io.StringIO(energy_csv.text(found))))
    assert [row["layer"] for row in rows] == ["dense0", "conv1", "dense2", energy_csv.ELSEWHERE]
    assert found.energy is not None
    for end in ("low", "nominal", "high"):
        total = sum(float(row[f"energy_{end}_joules"]) for row in rows)
        assert total == pytest.approx(getattr(found.energy, end))
    ops = sum(float(row["synaptic-op.dense"]) for row in rows if row["synaptic-op.dense"])
    assert ops == pytest.approx(next(t.count for t in found.terms if t.name == "synaptic-op.dense"))


def test_the_csv_has_no_formulas_and_no_made_up_numbers() -> None:
    found = made()
    bad = replace(found, layers=(replace(found.layers[0], name="=1+1", energy=None),))
    row = next(csv.DictReader(io.StringIO(energy_csv.text(bad))))
    assert row["layer"] == "'=1+1"
    assert row["energy_nominal_joules"] == ""
