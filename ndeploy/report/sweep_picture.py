"""A sweep as a picture: accuracy against dynamic energy and against latency, with their intervals (SVG).

It has its own colours for light and dark, a title and a description for who cannot see it, and a text on every point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ndeploy.energy.ranges import Range
from ndeploy.printable import printable
from ndeploy.report import style
from ndeploy.report.energy_page.numbers import full, quantity
from ndeploy.report.energy_page.scale import Scale, between, linear, logarithmic
from ndeploy.report.sweep import HEADINGS, Swept, answered, shown, verdict, what
from ndeploy.sweep_rows import BEST, Case, Row, quality, varying

WIDTH, HEIGHT = 960, 440
TOP, BOTTOM, LEFT, GAP, RIGHT = 56, 92, 64, 40, 20
SPREAD = 20.0
"""High over low from which an axis is logarithmic."""
WIDE = 10.0
"""Points between the best and the worst share from which the axis is spread towards 100."""
SHARES = (0.0, 20.0, 40.0, 60.0, 80.0, 90.0, 95.0, 98.0, 99.0, 100.0)
SHORT = {"bits": "b", "steps": "T", "activation_bits": "m"}
COLOURS = (("#1558b0", "#6cb0ff"), ("#b35309", "#f0a35e"), ("#6b3fa0", "#c39bf0"), ("#116329", "#6fce85"))
"""Of the targets, in light and in dark; more targets share them and differ by their texts."""
STYLE = """
.sweep { --paper: #fdfdfc; --ink: #24292f; --faint: #59636e; --grid: #e4e6ea; LIGHT
  font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
@media screen and (prefers-color-scheme: dark) {
  .sweep { --paper: #0f141b; --ink: #e6edf3; --faint: #9aa4af; --grid: #28303a; DARK }
}
.sweep .sheet { fill: var(--paper); } .sweep text { fill: var(--ink); }
.sweep .tick { fill: var(--faint); } .sweep .line { stroke: var(--grid); }
.sweep .float { stroke: var(--faint); stroke-dasharray: 5 3; }
.sweep .reach { stroke-width: 1.5; stroke-opacity: 0.55; }
.sweep .point { stroke: var(--paper); stroke-width: 1.5; }
.sweep .hollow { fill: var(--paper); stroke-width: 2; }
.sweep .mark { font-size: 11px; paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.sweep .head { font-size: 15px; font-weight: 600; }
@media screen and (max-width: 760px) { .sweep { min-width: 760px; } }
"""


@dataclass(frozen=True)
class Panel:
    """What is drawn across. find: the interval of a row, None where it is not known."""

    words: str
    unit: str
    find: Callable[[Row], Range | None]


def panels(rows: Sequence[Row]) -> tuple[Panel, ...]:
    """The two first of dynamic energy, latency and memory that any row has."""

    def known(name: str) -> Callable[[Row], Range | None]:
        return lambda row: None if row.measured is None else row.measured.cost.quantities[name]

    def memory(row: Row) -> Range | None:
        size = 0 if row.measured is None else row.measured.memory_bytes
        return Range(size, size, size) if size else None

    every = (
        Panel("dynamic energy a sample", "J", known("energy")),
        Panel("latency", "s", known("latency")),
        Panel("synaptic memory as packed", "B", memory),
    )
    return tuple(panel for panel in every if any(panel.find(row) for row in rows))[:2]


def svg(swept: Swept) -> str:
    """The picture; a line of text where no row has anything to draw. The same sweep gives the same bytes."""
    drawn = panels(swept.rows)
    rows = [row for row in swept.rows if any(panel.find(row) for panel in drawn)]
    body = _text(LEFT, 24, _shorter(f"{swept.model}: {what(swept)} against cost, {swept.data}", 100), "head")
    if not rows or not drawn:
        body += _text(LEFT, 60, "no combination has a cost that could be drawn")
        return _document(swept, body)
    heights = [_height(row) for row in rows]
    original = swept.float_accuracy if what(swept) == "accuracy" else None
    up = _up([*heights, *([] if original is None else [100 * original])], what(swept) != "loss")
    width = (WIDTH - LEFT - RIGHT - GAP * (len(drawn) - 1)) / len(drawn)
    places = {row.case: place for row, place in zip(swept.rows, swept.standings, strict=True)}
    for i, panel in enumerate(drawn):
        body += _panel(panel, rows, places, LEFT + i * (width + GAP), width, up, first=i == 0, swept=swept)
        if original is not None:
            y = _y(up, 100 * original)
            x = LEFT + i * (width + GAP)
            body += Markup('<line class="float" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                _n(x), _n(x + width), y=_n(y)
            )
    return _document(swept, body + _legend(rows, len(swept.rows) - len(rows), swept, original))


def _document(swept: Swept, body: Markup) -> str:
    words = Markup("<title>{}</title>\n<desc>{}</desc>\n").format(
        printable(f"{swept.model}: {what(swept)} against cost"), printable(verdict(swept))
    )
    rules = STYLE
    for scheme, name in enumerate(("LIGHT", "DARK")):
        rules = rules.replace(name, " ".join(f"--t{i}: {pair[scheme]};" for i, pair in enumerate(COLOURS)))
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="sweep" viewBox="0 0 {} {}" role="img">\n'
            '{}<style>{}</style>\n<rect class="sheet" width="{}" height="{}"/>\n{}</svg>\n'
        ).format(WIDTH, HEIGHT, words, Markup(rules), WIDTH, HEIGHT, body)
    )


def _height(row: Row) -> float:
    measured, found = row.measured, quality(row) or 0.0
    # an accuracy in percent, or the loss itself
    return -found if measured is None or measured.accuracy is None else 100 * found


def _panel(
    panel: Panel,
    rows: Sequence[Row],
    places: Mapping[Case, str],
    x: float,
    width: float,
    up: Scale,
    *,
    first: bool,
    swept: Swept,
) -> Markup:
    found = [(row, value) for row in rows if (value := panel.find(row)) is not None]
    ends = [end for _, value in found for end in (value.low, value.nominal, value.high) if end > 0]
    across = logarithmic(ends) if not ends or max(ends) > SPREAD * min(ends) else linear(ends)
    body = Markup("")
    unit = "" if what(swept) == "loss" else " %"
    for tick in up.ticks:
        y = _y(up, tick)
        body += Markup('<line class="line" x1="{}" x2="{}" y1="{y}" y2="{y}"/>\n').format(_n(x), _n(x + width), y=_n(y))
        if first:
            body += _text(x - 8, y + 4, f"{tick:.4g}{unit}", "tick", "end")
    for tick in across.ticks:
        place = x + width * across.at(tick)
        body += Markup('<line class="line" x1="{x}" x2="{x}" y1="{}" y2="{}"/>\n').format(
            TOP, HEIGHT - BOTTOM, x=_n(place)
        )
        body += _text(place, HEIGHT - BOTTOM + 18, quantity(tick, panel.unit) if tick else "0", "tick", "middle")
    kind = ", logarithmic" if across.logarithmic else ""
    body += _text(x + width / 2, HEIGHT - BOTTOM + 40, f"{panel.words}{kind}", "", "middle")
    # places and half widths of what a label must not cover: the markers first
    taken = [(x + width * across.at(value.nominal), _y(up, _height(row)) - 4, 7.0) for row, value in found]
    # what is on the frontier is drawn last, above the others, and has the first choice of places for its label
    order = sorted(found, key=lambda pair: (places[pair[0].case] != BEST, pair[1].nominal))
    names = [name for name in varying(swept.rows) if name != "target"]
    marks = Markup("").join(
        _mark(row, names, x + width * across.at(value.nominal), _y(up, _height(row)), taken) for row, value in order
    )
    for row, value in reversed(order):
        body += _point(row, value, panel, x, width, across, _y(up, _height(row)), places[row.case], swept)
    return body + marks


def _point(
    row: Row, value: Range, panel: Panel, x: float, width: float, across: Scale, y: float, place: str, swept: Swept
) -> Markup:
    colour = f"var(--t{_colour(row, swept)})"
    low, nominal, high = (_n(x + width * across.at(v)) for v in (value.low, value.nominal, value.high))
    told = "" if row.measured is None else answered(row.measured)
    body = Markup("<g><title>{}</title>").format(printable(f"{row.case.named}: {told}, {full(value, panel.unit)}"))
    if value.high > value.low:
        body += Markup('<line class="reach" stroke="{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            colour, low, high, y=_n(y)
        )
    if place == BEST:
        return body + Markup('<circle class="point" fill="{}" cx="{}" cy="{}" r="6.5"/></g>\n').format(
            colour, nominal, _n(y)
        )
    return body + Markup('<circle class="hollow" stroke="{}" cx="{}" cy="{}" r="5"/></g>\n').format(
        colour, nominal, _n(y)
    )


def _mark(row: Row, names: Sequence[str], x: float, y: float, taken: list[tuple[float, float, float]]) -> Markup:
    """What varies but the target, beside the point; left out where it would cover another one."""
    words = " ".join(f"{shown(row, name)}{SHORT.get(name, '')}" for name in names)
    half = 3.4 * len(words)
    aside = half + 10
    for right, down in ((0, -16), (0, 19), (aside, 4), (-aside, 4), (0, -28), (0, 32)):
        here = (x + right, y + down, half)
        inside = TOP - 8 < y + down < HEIGHT - BOTTOM and here[0] - half > LEFT and here[0] + half < WIDTH - RIGHT
        if inside and all(abs(here[0] - ox) > half + oh or abs(here[1] - oy) > 11 for ox, oy, oh in taken):
            taken.append(here)
            return _text(here[0], here[1], words, "mark", "middle")
    return Markup("")


def _legend(rows: Sequence[Row], missing: int, swept: Swept, original: float | None) -> Markup:
    body, x, y = Markup(""), float(LEFT), HEIGHT - 28
    for name, row in {row.case.target: row for row in rows}.items():
        body += Markup('<circle class="point" style="fill: var(--t{})" cx="{}" cy="{}" r="6"/>').format(
            _colour(row, swept), _n(x + 6), y - 4
        )
        body += _text(x + 18, y, _shorter(name, 24))
        x += 34 + 7 * min(len(name), 24)
    body += _text(x + 8, y, "filled: on the frontier; lines: from low to high", "tick")
    words = [] if original is None else [f"dashed: float network, {style.percent(original)}"]
    labels = [f"{HEADINGS[n]} ({SHORT[n]})" for n in varying(swept.rows) if n in SHORT]
    if labels:
        words.append("labels: " + ", ".join(labels))
    if missing:
        words.append(f"{missing} of {len(swept.rows)} not drawn: no cost is known")
    return body + _text(LEFT, y + 18, "; ".join(words), "tick")


def _colour(row: Row, swept: Swept) -> int:
    return list(dict.fromkeys(other.case.target for other in swept.rows)).index(row.case.target) % len(COLOURS)


def _up(values: Sequence[float], shares: bool) -> Scale:
    """The axis of what is good. Where shares are far apart, what is wrong counts by its ratio, not its difference: from
    98 to 99 is as far as from 96 to 98. A program that lost all but chance would press the others into one line."""
    if not shares or max(values) - min(values) < WIDE:
        return between(values)
    low = max((tick for tick in SHARES if tick <= min(values)), default=0.0)
    high = min((tick for tick in SHARES if tick >= max(values)), default=100.0)
    return Wrongs(low, high, tuple(tick for tick in SHARES if low <= tick <= high))


@dataclass(frozen=True)
class Wrongs(Scale):
    """Percentages of right answers, by the logarithm of what is wrong, one point more of it so that 100 is there."""

    def at(self, value: float) -> float:
        """The share of the axis, 0 to 1."""
        low, high, here = (-math.log2(101.0 - min(max(v, self.low), self.high)) for v in (self.low, self.high, value))
        return (here - low) / (high - low)


def _y(up: Scale, value: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - up.at(value))


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>\n').format(
        kind, _n(x), _n(y), anchor, printable(words)
    )


def _shorter(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}"
