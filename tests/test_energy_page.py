"""The energy page: everything of a report is on it, it loads and runs nothing, and no name gets out of its place.

Longer than 400 lines: one page, whose every part is checked by the same parser and made reports.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from energy_page_reports import against, layer, made
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.report.energy_page import bars, charts, frontier, numbers, page, parts, scale, tables, verdict
from ndeploy.report.energy_page.render import picture

VOID = {"meta", "link", "br", "hr", "img", "input", "rect", "line", "circle"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><title>cores</title><rect width="4" height="4"/></svg>'


class Reader(HTMLParser):
    """What a page consists of: elements, ids, targets of links, and text by element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.unbalanced == []
    assert reader.open == []
    return reader


SWEEP = {
    "rows": [
        {"target": "loihi2", "bits": b, "accuracy": a, "energy_joules": {"low": e / 2, "nominal": e, "high": 2 * e}}
        for b, a, e in ((8, 0.965, 9e-6), (4, 0.93, 7e-6), (2, 0.61, 8e-6))
    ]
    + [{"target": "loihi1", "bits": 8, "refused": {"code": "ND402"}}]
}


def test_the_page_has_every_part_and_the_figures_of_the_report() -> None:
    report = made()
    found = read(page(report, SWEEP, SVG))
    assert verdict.verdict(report) in found.text
    for term in report.terms:
        assert term.name in found.text
    for name in ("dense0", "conv1", "dense2", "Lemaire 2022", "footprint", "queues in the mesh", "ab" * 32):
        assert name in found.text
    assert numbers.full(report.total, "J") in found.text
    assert "ndeploy energy digits.ndp --data x.npy" in found.text
    assert "configuration-byte: 125000 once, no price known" in found.text
    assert "96.25 %" in found.text


def test_links_lead_to_what_is_there_and_nowhere_else() -> None:
    found = read(page(made(), SWEEP, SVG))
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    assert found.values("href")
    assert all(link.startswith("#") and link[1:] in ids for link in found.values("href"))
    names = {name for name, _ in found.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not found.values("src")
    assert "url(" not in page(made())
    assert "@import" not in page(made())
    policy = next(a["content"] for n, a in found.elements if n == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_pictures_have_words_and_cells_their_headings() -> None:
    html = page(made(), SWEEP)
    found = read(html)
    after = [(attrs, found.elements[i + 1][0]) for i, (name, attrs) in enumerate(found.elements) if name == "svg"]
    assert len(after) > 40
    for attrs, first in after:
        assert attrs.get("aria-hidden") or attrs.get("aria-label") or (attrs.get("role") == "img" and first == "title")
    tables_ = re.findall(r'<table role="table">.*?</table>', html, re.DOTALL)
    assert len(tables_) > 8
    for table in tables_:
        heads = re.findall(r'<th role="columnheader" scope="col" class="\w+">([^<]*)', table)
        for row in re.findall(
            r'<tr role="row"(?: class="(?:sum|part)")?>\n<th role="rowheader".*?</tr>', table, re.DOTALL
        ):
            cells = re.findall(r'<td role="cell" class="\w+"(?: data-label="([^"]*)")?>', row)
            assert cells == heads[1:]


def test_the_same_report_gives_the_same_bytes() -> None:
    assert page(made(), SWEEP, SVG) == page(made(), SWEEP, SVG)


HOSTILE = '"><script>alert(1)</script>\x1b[2J\u202e{{ 7*7 }}&amp;\ud800'


def poisoned(report: EnergyReport) -> EnergyReport:
    """Every text of the report replaced by one that would get out of every place it stands in."""
    return replace(
        report,
        target=HOSTILE,
        program=HOSTILE,
        model_title=HOSTILE,
        label=HOSTILE,
        mode=HOSTILE,
        terms=tuple(
            replace(t, name=HOSTILE, source=HOSTILE, status=HOSTILE, scope=HOSTILE, note=HOSTILE) for t in report.terms
        ),
        layers=tuple(replace(x, name=HOSTILE, kind=HOSTILE, counts={HOSTILE: 1.0}) for x in report.layers),
        cores=tuple(replace(c, layers=(HOSTILE,)) for c in report.cores),
        baselines=tuple(replace(b, rules=HOSTILE, note=HOSTILE, source=HOSTILE) for b in report.baselines),
        unpriced=(HOSTILE,),
        not_modelled=(HOSTILE,),
        neurobench={HOSTILE: {HOSTILE: [HOSTILE]}},
        placement={HOSTILE: [{HOSTILE: HOSTILE}]},
        provenance={"command": HOSTILE, HOSTILE: HOSTILE},
    )


def test_no_name_gets_out_of_its_place() -> None:
    entry = {"name": HOSTILE, "accuracy": 0.5, "energy_joules": {"low": 1e-6, "nominal": 1e-6, "high": 1e-6}}
    html = page(poisoned(made()), {"rows": [entry]}, SVG)
    html.encode()
    found = read(html)
    assert "script" not in {name for name, _ in found.elements}
    # attributes hold the name as text, and none of its quotes ended one
    assert {key for _, attrs in found.elements for key in attrs} <= ATTRIBUTES
    assert "{{ 7*7 }}" in found.text
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "&amp;amp;" in html


ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "role", "scope", "colspan", "title"),
    *("data-label", "height", "width", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "fill-opacity", "xmlns"),
    *("text-anchor", "aria-label", "aria-hidden"),
}


@pytest.mark.parametrize(
    "bad",
    [
        "<svg><script>1</script></svg>",
        '<svg onload="x()"/>',
        '<svg><a href="https://example.org"/></svg>',
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><g xlink:href="#a"/></svg>',
        "<svg><foreignObject/></svg>",
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>',
        "<p>no picture</p>",
        "<svg>",
        "text",
    ],
)
def test_a_picture_that_could_load_or_run_something_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="picture of the placement"):
        picture(bad)


def test_a_picture_comes_without_its_declaration() -> None:
    assert picture('<?xml version="1.0"?>\n' + SVG) == SVG
    assert picture(" ") == ""


def test_the_placement_as_it_is_drawn_can_stand_in_the_page() -> None:
    placement = pytest.importorskip("ndeploy.report.placement", reason="the picture of the placement is not there yet")
    drawn = placement.picture(made())
    assert picture(drawn) in page(made(), None, drawn)


def test_a_thousand_cores_and_steps_stay_a_page() -> None:
    report = made(layers=60, cores=1000, steps=300)
    html = page(report)
    found = read(html)
    assert len(html) < 400_000
    assert f"{1000 - parts.MOST_CORES} other cores, in all" in found.text
    assert f"{60 - parts.MOST_LAYERS} other layers" in found.text
    assert html.count("<g><title>step") <= charts.MOST_COLUMNS


def test_sums_of_what_is_shown_and_the_rest_are_the_whole() -> None:
    report = made(layers=60, cores=50)
    shown, rest = tables.largest(report.layers, lambda x: x.energy.nominal if x.energy else 0.0, parts.MOST_LAYERS)
    assert len(shown) + len(rest) == 60
    assert min(x.energy.nominal for x in shown if x.energy) >= max(x.energy.nominal for x in rest if x.energy)
    shared = parts.outside_layers(report)
    barrier = next(t for t in report.terms if t.name == "barrier")
    assert shared is not None
    assert barrier.energy is not None
    assert shared.nominal == pytest.approx(barrier.energy.nominal, rel=1e-6)
    assert shared.high == pytest.approx(barrier.energy.high, rel=1e-6)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_the_largest_are_kept_in_their_order_and_one_is_never_the_rest(items: list[int], most: int) -> None:
    kept, rest = tables.largest(items, float, most)
    assert sorted(kept + rest) == sorted(items)
    assert len(rest) != 1
    assert not rest or (len(kept) == most and min(kept) >= max(rest))
    places = iter(items)
    assert all(any(item == other for other in places) for item in kept)


def test_without_prices_there_is_no_total_and_the_page_says_so() -> None:
    report = made()
    bare = replace(
        report,
        energy=None,
        terms=tuple(replace(t, energy=None, unit_energy=None, source="", covered="") for t in report.terms),
        layers=tuple(replace(x, energy=None, steps=()) for x in report.layers),
        cores=tuple(replace(c, energy=None, busy=None) for c in report.cores),
        steps=tuple(replace(s, energy=None) for s in report.steps),
        static=None,
        host=None,
        latency=None,
        interval=None,
        baselines=(),
        accuracy=None,
    )
    found = read(page(bare))
    assert "has no energy: no prices are known" in found.text
    assert "none: a term has no price" in found.text
    assert "100 %" not in [word.strip() for word in found.words]
    assert "not known" in found.text


def test_a_term_without_a_price_takes_the_total_and_a_bound_says_what_is_not_in_it() -> None:
    report = made()
    terms = tuple(replace(t, energy=None, unit_energy=None) if t.name == "message" else t for t in report.terms)
    none = replace(report, terms=terms, energy=None)
    assert "has no total: no price is known of message" in read(page(none)).text
    some = replace(none, bound=Range(1e-6, 2e-6, 3e-6))
    assert "costs at least 2 µJ (1 to 3 µJ) of dynamic energy (message not in it" in read(page(some)).text
    assert "sum of what is priced" in read(page(some)).text


def test_an_empty_run_is_shown_as_zeros() -> None:
    zero = Range(0.0, 0.0, 0.0)
    report = made()
    silent = replace(
        report,
        terms=tuple(replace(t, count=0.0, energy=zero) for t in report.terms),
        energy=zero,
        layers=tuple(
            replace(x, counts={}, rate=0.0, dense_synaptic_ops=0.0, energy=zero, steps=()) for x in report.layers
        ),
        cores=tuple(replace(c, energy=zero) for c in report.cores),
        steps=tuple(replace(s, energy=zero) for s in report.steps),
    )
    found = read(page(silent))
    assert "0 J of dynamic energy" in found.text
    assert "nan" not in found.text


@pytest.mark.parametrize(
    ("spiking", "quantised", "said"),
    [
        (1.0, 4.0, "spiking pays: 4 times less than the quantised ANN by H (a)"),
        (1.0, 1.5, "spiking pays, though the intervals overlap: 1.5 times less than the quantised ANN by H (a)"),
        (4.0, 1.0, "spiking does not pay: 4 times more than the quantised ANN by H (a)"),
        (1.0, 1.0, "spiking costs what the quantised ANN costs: as much as the quantised ANN by H (a)"),
    ],
)
def test_the_verdict_compares_under_the_same_rules(spiking: float, quantised: float, said: str) -> None:
    pair = (against("quantised ANN", "H: a", quantised, 0, 1e-6), against("spiking network", "H: a", 0, spiking, 1e-6))
    assert verdict.pays(replace(made(), baselines=pair)) == said
    # another's rules are nobody's opponent
    other = replace(pair[1], rules="L")
    assert verdict.pays(replace(made(), baselines=(pair[0], other))) == ""


def test_rules_that_disagree_are_said_to() -> None:
    assert verdict.pays(made()) == (
        "whether spiking pays depends on the rules: 8.5 times less than the quantised ANN by Horowitz 2014 and "
        "1.3 times more than the quantised ANN by Lemaire 2022 (intervals overlap)"
    )
    graded = tuple(
        replace(b, name=b.name.replace("spiking network", "graded network, event by event")) for b in made().baselines
    )
    assert verdict.pays(replace(made(), baselines=graded)).startswith("whether running event by event pays depends")


def test_programs_are_called_by_their_artifact() -> None:
    report = made()
    assert verdict.named(report) == "digits"
    assert verdict.named(replace(report, provenance={"artifact": {"name": "a.ndp"}})) == "a.ndp"
    assert verdict.named(replace(report, provenance={"artifact": ["a.ndp"]})) == "digits"


def test_a_frontier_is_drawn_with_this_program_in_it() -> None:
    found = frontier.read(SWEEP, made())
    assert found is not None
    assert [p.accuracy for p in found.points] == [0.9625, 0.93, 0.61, 0.965]
    assert found.points[0].here
    assert found.left_out == 1
    rows = frontier.table(found).rows
    assert [bool(row.cells[-1]) for row in rows] == [True, False, False, True]
    assert "loihi2, 8 bits" in rows[-1].cells[0]
    text = read(page(made(), SWEEP)).text
    assert "1 further entry without an accuracy or this cost" in text


def test_a_frontier_of_memory_is_drawn_against_memory() -> None:
    points = [{"method": "uniform", "mean_bits": 4.0, "memory_bytes": 7780, "accuracy": 0.9, "evaluated": None}]
    found = frontier.read({"schema": "ndeploy.quantize/1", "frontier": points}, made())
    assert found is not None
    assert found.cost is frontier.MEMORY
    assert "Accuracy against synaptic memory" in read(page(made(), {"frontier": points})).text


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*frontier.LISTS, *frontier.ACCURACIES, "energy_joules", "low", "nominal", "high"]), inner
        )
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(frontier.LISTS), JUNK))
def test_whatever_a_frontier_holds_there_is_a_page(junk: dict[str, object]) -> None:
    found = frontier.read(junk, made())
    assert found is not None
    assert all(p.cost.low <= p.cost.nominal <= p.cost.high and 0 <= p.accuracy <= 1 for p in found.points)
    if found.points:
        assert len(frontier.table(found).rows) == len(found.points)
        read(f"<p>{frontier.scatter(found)}</p>")


def test_a_frontier_without_a_point_is_not_passed_over() -> None:
    text = read(page(made(), {"rows": [{"refused": 1}, 3]})).text
    assert "has no program with both an accuracy and an energy or a memory" in text
    assert "2 entries without" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00105, "J", "1.05 mJ"),
        (999.6, "", "1 k"),
        (0.9996e-3, "J", "1 mJ"),
        (0, "J", "0 J"),
        (1e-19, "J", "0.0001 fJ"),
        (0.012, "", "0.012"),
        (1234567, "", "1.23 M"),
        (2.5e18, "", "2500 P"),
        (math.nan, "J", numbers.NOTHING),
        (None, "J", numbers.NOTHING),
    ],
)
def test_quantities_have_three_digits(value: float | None, unit: str, text: str) -> None:
    assert numbers.quantity(value, unit) == text


@given(st.floats(1e-14, 1e14))
def test_a_quantity_reads_back_within_its_digits(value: float) -> None:
    number, _, prefix = numbers.quantity(value, "J").partition(" ")
    power = {name: exponent for exponent, name in numbers.PREFIXES.items()}[prefix.removesuffix("J")]
    assert float(number) * 10**power == pytest.approx(value, rel=5.1e-3)


def test_intervals_share_a_unit_where_they_can() -> None:
    assert numbers.interval(Range(0.41e-3, 1e-3, 2.3e-3), "J") == "0.41 to 2.3 mJ"
    assert numbers.interval(Range(1e-9, 1e-3, 2.3e-3), "J") == "1 nJ to 2.3 mJ"
    assert numbers.interval(Range(0.0, 1e-3, 2e-3), "J") == "0 J to 2 mJ"
    assert numbers.interval(Range(2.2301, 2.231, 2.2312), "J") == "2.23 J"
    assert numbers.full(Range(2.0, 2.0, 2.0), "J") == "2 J"
    assert numbers.share(0.00001, 1) == "< 0.1 %"
    assert numbers.share(1, 0) == numbers.NOTHING


@given(st.lists(st.floats(1e-15, 1e15), min_size=1, max_size=8))
def test_every_value_stands_on_its_axis(values: list[float]) -> None:
    for found in (scale.linear(values), scale.logarithmic(values), scale.between(values)):
        places = [found.at(value) for value in sorted(values)]
        assert places == sorted(places)
        assert all(0 <= place <= 1 for place in places)
        assert 2 <= len(found.ticks) <= 8
        assert found.at(max(values)) > 0 or min(values) == max(values)
    assert scale.linear(values).at(0.0) == 0
    middle = scale.linear(values)
    assert middle.at(max(values) / 2) == pytest.approx(middle.at(max(values)) / 2)


def test_bars_are_as_long_as_their_values() -> None:
    axis = scale.Scale(0.0, 10.0, (0.0, 5.0, 10.0))
    drawn = bars.bar(Range(2.0, 5.0, 7.5), axis, "J")
    assert 'width="50.00%"' in drawn
    assert 'x1="20.00%" x2="75.00%"' in drawn
    assert "<title>5 J (2 to 7.5 J)</title>" in drawn
    assert bars.bar(None, axis, "J") == ""


def test_steps_share_columns_evenly() -> None:
    for steps in (1, 7, 64, 65, 1000):
        chosen = charts.columns(steps)
        assert [step for column in chosen for step in column] == list(range(steps))
        assert max(map(len, chosen)) - min(map(len, chosen)) <= 1


def test_a_layer_on_the_processor_has_no_rate() -> None:
    plain = layer("norm", 10, 0, 0.0, 1, 4)
    report = replace(made(), layers=(replace(plain, counts={"embedded-op": 5.0}),))
    assert "on the processor" in read(page(report)).text
