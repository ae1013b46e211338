"""Estimates side by side: what of a difference is certain."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
from energy_reports import report, term
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.energy.compare import Comparison, Contrast, compare, fields, ratio_bounds
from ndeploy.energy.ranges import Range

POSITIVE = st.floats(0.01, 100.0)
COUNTS = st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0))


def of(found: Comparison, quantity: str, index: int = 0) -> Contrast:
    return next(c for c in found.contrasts[index] if c.quantity == quantity)


@given(st.lists(st.tuples(COUNTS, POSITIVE, POSITIVE), min_size=1, max_size=7))
@settings(deadline=None)
def test_bounds_of_a_ratio_are_those_of_all_corners(drawn: Any) -> None:
    counts = [pair for pair, _, _ in drawn]
    prices = [Range(min(low, high), low, max(low, high)) for _, low, high in drawn]
    counts[0] = (counts[0][0] + 1.0, counts[0][1])  # something to divide by
    corners = [
        sum(b * p for (_, b), p in zip(counts, corner, strict=True))
        / sum(a * p for (a, _), p in zip(counts, corner, strict=True))
        for corner in itertools.product(*((price.low, price.high) for price in prices))
    ]
    low, high = ratio_bounds(counts, prices)
    assert math.isclose(low, min(corners), rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(high, max(corners), rel_tol=1e-9, abs_tol=1e-12)


def test_overlapping_intervals_are_told_apart_by_their_common_constants() -> None:
    """Half the events at the same prices are half the energy, however wide the bounds."""
    found = compare([report([term("spike", 100.0)]), report([term("spike", 50.0)])])
    energy = of(found, "energy")
    assert energy.shared
    assert energy.ratio is not None
    assert (energy.ratio.low, energy.ratio.nominal, energy.ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert energy.verdict == "less"


def test_what_depends_on_the_constants_is_left_open() -> None:
    one = report([term("spike", 100.0), term("hop.east-west", 10.0)])
    other = report([term("spike", 10.0), term("hop.east-west", 100.0)])
    energy = of(compare([one, other]), "energy")
    assert energy.verdict == "open"
    assert energy.ratio is not None
    assert energy.ratio.low < 1 < energy.ratio.high


def test_other_constants_leave_only_the_intervals() -> None:
    cheap = Range(5e-12, 10e-12, 30e-12)
    one = report([term("spike", 100.0)])
    other = report([term("spike", 100.0, cheap)], model="other")
    energy = of(compare([one, other]), "energy")
    assert not energy.shared
    assert energy.ratio is not None
    assert one.energy is not None
    assert other.energy is not None
    assert energy.ratio.low == pytest.approx(other.energy.low / one.energy.high)
    assert energy.ratio.high == pytest.approx(other.energy.high / one.energy.low)
    assert energy.verdict == "open"


def test_intervals_apart_are_told_apart() -> None:
    found = compare([report([term("spike", 1.0)]), report([term("spike", 1.0)], latency=Range(1.0, 2.0, 3.0))])
    latency = of(found, "latency")
    assert (latency.verdict, latency.shared) == ("more", False)
    assert latency.ratio is not None
    assert latency.ratio.low > 1


def test_equal_programs_are_equal_and_their_latency_is_not_said_to_differ() -> None:
    same = report([term("spike", 5.0), term("barrier", 3.0)])
    found = compare([same, same])
    assert of(found, "energy").verdict == "equal"
    assert of(found, "latency").verdict == "open"
    assert found.names == ("net (1)", "net (2)")


def test_what_has_no_total_is_not_compared() -> None:
    unpriced = report([term("spike", 5.0, None)])
    found = compare([unpriced, report([term("spike", 5.0)])])
    assert of(found, "energy").verdict == "unknown"
    assert of(found, "energy").ratio is None
    assert any("without a price" in warning for warning in found.warnings)


def test_terms_that_do_not_make_the_sum_are_not_taken_for_it() -> None:
    """A report that another program wrote: bounds come from its intervals then."""
    odd = report([term("spike", 100.0)], energy=Range(1.0, 2.0, 3.0))
    assert not of(compare([odd, odd]), "energy").shared


def test_nothing_is_divided_by_zero() -> None:
    silent = report([term("spike", 0.0)], latency=Range(0.0, 0.0, 0.0))
    found = compare([silent, report([term("spike", 5.0)])])
    assert (of(found, "energy").ratio, of(found, "energy").verdict) == (None, "more")
    assert of(found, "latency").verdict == "more"
    assert of(compare([silent, silent]), "energy").verdict == "unknown"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"target": "loihi1"}, "targets"),
        ({"model": "sanafe"}, "price tables"),
        ({"samples": 3}, "samples"),
        ({"mode": "pipelined"}, "modes"),
        ({"provenance": {"data": {"name": "b.npz", "sha256": "b" * 64}}}, "data"),
        ({"program": "other"}, "networks"),
    ],
)
def test_what_differs_beside_the_programs_is_warned_of(change: dict[str, Any], word: str) -> None:
    terms = [term("spike", 5.0)]
    given_ = {"provenance": {"data": {"name": "a.npz", "sha256": "a" * 64}}}
    assert compare([report(terms, **given_), report(terms, **given_)]).warnings == ()
    (warning,) = compare([report(terms, **given_), report(terms, **{**given_, **change})]).warnings
    assert f"different {word}" in warning or f"different numbers of {word}" in warning


def test_reports_and_names_must_match() -> None:
    one = report([term("spike", 5.0)])
    with pytest.raises(ValueError, match="two estimates"):
        compare([one])
    with pytest.raises(ValueError, match="1 names for 2"):
        compare([one, one], ["a"])


def test_plain_data_hold_every_report_and_contrast() -> None:
    one = report([term("spike", 5.0)])
    found = json.loads(json.dumps(fields(compare([one, one, one], ["a", "b", "c"])), allow_nan=False))
    assert [entry["name"] for entry in found["artifacts"]] == ["a", "b", "c"]
    assert found["compared_with"] == "a"
    assert [entry["name"] for entry in found["contrasts"]] == ["b", "c"]
    energy = next(q for q in found["contrasts"][0]["quantities"] if q["quantity"] == "energy")
    assert energy == {
        "quantity": "energy",
        "ratio": {"low": 1.0, "nominal": 1.0, "high": 1.0},
        "common_constants": True,
        "verdict": "equal",
    }
