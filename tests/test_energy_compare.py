"""Estimates side by side: what of a difference is certain."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from compared_reports import report, term
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ndeploy.energy.compare import Comparison, Contrast, compare, ratio_bounds
from ndeploy.energy.ranges import Range
from ndeploy.energy.result import LayerCost
from ndeploy.report import energy_compare as side

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


def test_host_energy_has_common_constants_too() -> None:
    def sent(count: float) -> Any:
        byte = term("host-byte.in", count, group="host")
        return report([term("spike", 1.0), byte], host=byte.energy)

    host = of(compare([sent(100.0), sent(150.0)]), "host")
    assert (host.shared, host.verdict) == (True, "more")
    assert host.ratio is not None
    assert (host.ratio.low, host.ratio.high) == pytest.approx((1.5, 1.5))


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
    found = json.loads(json.dumps(compare([one, one, one], ["a", "b", "c"]).to_json(), allow_nan=False))
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


# -- what is shown -----------------------------------------------------------------------------------------------------


def shown(found: Comparison) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, width=160, highlight=False)
    for part in side.report(found):
        console.print(part)
    return buffer.getvalue()


def two() -> Comparison:
    one = report([term("spike", 100.0), term("static", 1.0, group="static")], accuracy=0.9)
    return compare([one, report([term("spike", 50.0)], accuracy=0.875)], ["a.ndp", "b.ndp"])


def test_the_text_says_first_what_is_certain() -> None:
    text = shown(two())
    assert "b.ndp: 0.5 times the dynamic energy of a.ndp (0.5 to 0.5 times, whatever the constants are" in text
    assert (
        "b.ndp: 1 times the latency of a.ndp at nominal, but the intervals overlap (0.25 to 4 times): nothing" in text
    )
    assert "50  (0.5x)" in text
    assert "90.00 %" in text
    assert "87.50 %" in text


def test_a_bound_stands_where_there_is_no_total() -> None:
    unpriced = report([term("spike", 5.0, None)], bound=Range(1e-9, 2e-9, 3e-9))
    text = shown(compare([unpriced, unpriced]))
    assert "at least 1 nJ" in text
    assert "cannot be compared" in text


def test_the_csv_has_every_number_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(side.csv_text(compare(two().reports, ["=a.ndp", "b.ndp"])))))
    energy = [row for row in rows if (row["kind"], row["name"]) == ("quantity", "energy")]
    assert [row["artifact"] for row in energy] == ["'=a.ndp", "b.ndp"]
    assert two().reports[0].energy is not None
    assert float(energy[0]["nominal"]) == two().reports[0].energy.nominal
    spikes = [float(row["count"]) for row in rows if (row["kind"], row["name"]) == ("event", "spike")]
    assert spikes == [100.0, 50.0]


def test_the_page_is_whole_and_loads_nothing() -> None:
    hostile = "<script>alert(1)</script>"
    page = side.page(compare(two().reports, [hostile, "b\x1b[31m"]))
    assert "&lt;script&gt;" in page
    assert hostile not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    root = ElementTree.fromstring(re.sub(r"<(meta|!DOCTYPE)[^>]*>", "", page))
    assert [h.text for h in root.iter("h2")][:2] == ["Totals with their intervals", "Every quantity"]


def test_of_many_layers_the_largest_are_shown() -> None:
    layers = tuple(
        LayerCost(f"l{i}", "cuba-lif", 1, 1, {}, 0.0, 0.0, Range(0.0, i * 1e-9, i * 1e-9)) for i in range(60)
    )
    many = report([term("spike", 5.0)], layers=layers)
    text = shown(compare([many, many]))
    assert "l59" in text
    assert "l36" in text
    assert "l35" not in text
