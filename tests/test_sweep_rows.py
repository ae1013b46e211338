"""Rows of a sweep: what is said of them beside each other, and their way through a journal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from compared_reports import PRICE
from swept_rows import refused, row

from ndeploy.energy.ranges import Range
from ndeploy.sweep_rows import BEATEN, BEST, OPEN, Case, Row, from_json, standing, to_json, varying


def test_what_takes_more_for_less_is_beaten_whatever_the_constants() -> None:
    rows = [
        row(bits=8, spikes=100, accuracy=0.9),
        row(bits=6, spikes=50, accuracy=0.9),
        row(bits=4, spikes=20, accuracy=0.8),
    ]
    assert standing(rows) == (BEATEN, BEST, BEST)


def test_other_constants_leave_an_order_open() -> None:
    dear, cheap = Range(10e-12, 20e-12, 60e-12), Range(5e-12, 15e-12, 30e-12)
    rows = [row("loihi1", price=dear), row("loihi2", price=cheap)]
    assert standing(rows) == (OPEN, BEST)


def test_intervals_apart_are_no_open_question() -> None:
    rows = [row("loihi1", price=PRICE), row("loihi2", price=Range(1e-12, 2e-12, 3e-12))]
    assert standing(rows) == (BEATEN, BEST)


def test_equal_energy_for_more_right_answers_beats() -> None:
    assert standing([row(bits=8, accuracy=0.9), row(bits=6, accuracy=0.8)]) == (BEST, BEATEN)
    assert standing([row(bits=8), row(bits=6)]) == (BEST, BEST)


def test_without_answers_the_loss_decides() -> None:
    rows = [row(accuracy=None, loss=0.2, labels=""), row(accuracy=None, loss=0.1, labels="", bits=6)]
    assert standing(rows) == (BEATEN, BEST)


def test_where_nobody_can_tell_only_energy_decides() -> None:
    rows = [row(accuracy=None, loss=None, spikes=100), row(accuracy=None, loss=None, spikes=50, bits=4)]
    assert standing(rows) == (BEATEN, BEST)


def test_refused_and_unpriced_rows_have_no_standing() -> None:
    assert standing([refused(), row(price=None), row()]) == ("", "", BEST)


def test_agreement_is_not_held_against_accuracy() -> None:
    assert standing([row(spikes=100), row(bits=6, spikes=50, labels="float model")]) == (BEST, BEST)


def test_only_what_varies_is_shown() -> None:
    assert varying([row()]) == ("target", "bits")
    assert varying([Row(Case("a", 8, steps=4)), Row(Case("a", 8, steps=6))]) == ("target", "bits", "steps")
    named = Case("loihi2", 4, 6, 8, "streamed", "traffic").named
    assert named == "loihi2, 4 bits, 6 steps, 8-bit messages, streamed attention, placed for traffic"


@pytest.mark.parametrize(
    "made", [row(), refused(), row(price=None, bound=Range(0.0, 1.0, 2.0), unpriced=("a",), warnings=(("ND420", "b"),))]
)
def test_a_row_comes_back_from_plain_data_as_it_was(made: Row) -> None:
    assert from_json(json.loads(json.dumps(to_json(made), allow_nan=False))) == made


def changed(path: str, value: Any) -> dict[str, Any]:
    plain: Any = json.loads(json.dumps(to_json(row())))
    *parents, last = path.split(".")
    at = plain
    for name in parents:
        at = at[int(name)] if name.isdigit() else at[name]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return dict(plain)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("case", None),
        ("case.bits", "8"),
        ("case.bits", True),
        ("case.target", ...),
        ("measured.accuracy", "good"),
        ("measured.loss", float("nan")),
        ("measured.cost", []),
        ("measured.cost.quantities", {}),
        ("measured.cost.quantities.energy", {"low": 1.0}),
        ("measured.cost.terms.0.count", None),
        ("measured.cost.terms.0.energy", 5),
        ("measured.unpriced", [1]),
        ("measured.warnings", [["ND420"]]),
        ("measured", None),
        ("refusal", {"code": "ND411", "message": "a", "help": "b", "exit_code": 1}),
    ],
)
def test_what_is_no_row_is_refused(path: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        from_json(changed(path, value))
