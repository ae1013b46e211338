"""Accuracy against energy, from the JSON of a frontier or a sweep: other programs of the same network beside this one.

The JSON comes from a file of a stranger: what is not as it should be is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.report.energy_page.bars import percent
from ndeploy.report.energy_page.charts import frame
from ndeploy.report.energy_page.numbers import interval, quantity, share
from ndeploy.report.energy_page.scale import Scale, between, linear, logarithmic
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.report.energy_page.verdict import named

LISTS = ("rows", "points", "frontier")
"""Where the JSON of `ndeploy sweep` and `ndeploy quantize --frontier` has its points."""
ACCURACIES = ("evaluated", "accuracy", "evaluated_accuracy")
ENERGIES = ("energy_joules", "energy")
LABELS = ("name", "label", "method", "target", "bits", "mean_bits", "steps")
MOST = 200
LONGEST = 80
HEIGHT = 260
SPREAD = 20.0
"""Most over least energy from which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """A program. energy: J a sample; accuracy: 0 to 1; here: the program of this report."""

    label: str
    accuracy: float
    energy: Range
    here: bool = False


def points(found: Mapping[str, Any] | None, report: EnergyReport) -> tuple[tuple[Point, ...], int]:
    """Points by nominal energy, this report's first among equals, and how many entries had no accuracy or no energy."""
    entries: Sequence[Any] = ()
    for name in LISTS:
        value = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(value, list | tuple):
            entries = value
            break
    read = [_point(entry) for entry in entries[:MOST]]
    known = [point for point in read if point is not None]
    left_out = len(entries) - len(known)
    if known and report.accuracy is not None and report.energy is not None:
        known.append(Point(f"this program: {named(report)}", report.accuracy, report.energy, here=True))
    return tuple(sorted(known, key=lambda p: (p.energy.nominal, not p.here, p.label))), left_out


def _point(entry: object) -> Point | None:
    if not isinstance(entry, Mapping):
        return None
    accuracy = next((v for name in ACCURACIES if (v := _number(entry.get(name))) is not None), None)
    energy = next((r for name in ENERGIES if (r := _range(entry.get(name))) is not None), None)
    if accuracy is None or energy is None or accuracy > 1:
        return None
    return Point(_label(entry), accuracy, energy)


def _label(entry: Mapping[Any, Any]) -> str:
    said = []
    for name in LABELS:
        value = entry.get(name)
        if isinstance(value, str) and value:
            said.append(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            said.append(f"{value:g} {name.replace('_', ' ')}")
    return ", ".join(said)[:LONGEST] or "without a name"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _range(value: object) -> Range | None:
    if not isinstance(value, Mapping):
        number = _number(value)
        return None if not number else Range(number, number, number)
    ends = [_number(value.get(name)) for name in ("low", "nominal", "high")]
    low, nominal, high = ends
    if low is None or nominal is None or high is None or nominal <= 0 or not low <= nominal <= high:
        return None
    return Range(low, nominal, high)


def scatter(found: Sequence[Point]) -> Markup:
    """Energy across with whiskers, accuracy upwards; the numbers are those of the table."""
    energies = [end for p in found for end in (p.energy.low, p.energy.high) if end > 0]
    across = logarithmic(energies) if max(energies) > SPREAD * min(energies) else linear(energies)
    up = between(p.accuracy for p in found)
    body = _accuracies(up) + _energies(across)
    # markers above all whiskers, so that each number can be read
    lines = Markup("").join(_whisker(point, across, up) for point in found)
    body += lines + Markup("").join(_marker(number, point, across, up) for number, point in enumerate(found, 1))
    first, last, best = (_said(p) for p in (found[0], found[-1], max(found, key=lambda p: p.accuracy)))
    words = (
        f"{len(found)} programs, from {first} to {last}. The most accurate: {best}. Across: dynamic energy a sample; "
        "up: accuracy. Numbers are those of the table."
    )
    return frame(body, "Accuracy against energy", words, HEIGHT)


def _height(point: Point, up: Scale) -> float:
    return round(HEIGHT * (1 - up.at(point.accuracy)), 1)


def _whisker(point: Point, across: Scale, up: Scale) -> Markup:
    low, high = percent(across.at(point.energy.low)), percent(across.at(point.energy.high))
    return Markup('<line class="reach" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(low, high, y=_height(point, up))


def _marker(number: int, point: Point, across: Scale, up: Scale) -> Markup:
    x, y = percent(across.at(point.energy.nominal)), _height(point, up)
    told = f"{point.label}: {share(point.accuracy, 1.0)}, {quantity(point.energy.nominal, 'J')}"
    return Markup(
        '<g><title>{}</title><circle class="{}" cx="{x}" cy="{}" r="9"/>'
        '<text class="inside" x="{x}" y="{}">{}</text></g>'
    ).format(told, "sum" if point.here else "chip", y, round(y + 4, 1), number, x=x)


def _said(point: Point) -> str:
    return f"{quantity(point.energy.nominal, 'J')} ({share(point.accuracy, 1.0)} right)"


def _accuracies(up: Scale) -> Markup:
    body = Markup("")
    for value in up.ticks:
        y = round(HEIGHT * (1 - up.at(value)), 1)
        body += Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y)
        body += Markup('<text class="tick" x="-6" y="{}" text-anchor="end">{}</text>').format(
            y + 4, f"{100 * value:.4g} %"
        )
    return body


def _energies(across: Scale) -> Markup:
    body = Markup("")
    for value in across.ticks:
        place = across.at(value)
        anchor = "start" if place < 0.08 else "end" if place > 0.92 else "middle"
        body += Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(percent(place), HEIGHT)
        body += Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            percent(place), HEIGHT + 16, anchor, quantity(value, "J") if value else "0"
        )
    return body


def table(found: Sequence[Point]) -> Table:
    """The points with their numbers; those that none beats (as accurate for less nominal energy) are marked."""
    rows = []
    for number, point in enumerate(found, 1):
        beaten = any(_beats(other, point) for other in found)
        rows.append(
            Row(
                (
                    f"{number}. {point.label}",
                    share(point.accuracy, 1.0),
                    quantity(point.energy.nominal, "J"),
                    interval(point.energy, "J"),
                    "" if beaten else "on the frontier, nominally",
                ),
                "sum" if point.here else "",
            )
        )
    columns = (
        Column("program", "name"),
        Column("accuracy"),
        Column("dynamic energy a sample"),
        Column("interval"),
        Column("", "text"),
    )
    return Table("Accuracy against energy", columns, tuple(rows))


def _beats(a: Point, b: Point) -> bool:
    better = a.accuracy >= b.accuracy and a.energy.nominal <= b.energy.nominal
    return better and (a.accuracy > b.accuracy or a.energy.nominal < b.energy.nominal)
