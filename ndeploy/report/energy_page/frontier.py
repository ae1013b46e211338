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
ACCURACIES = ("evaluated", "accuracy")
"""Of other data, of the data it was searched on: that which more entries have."""
LABELS = ("name", "label", "method", "target", "bits", "mean_bits", "steps")
MOST = 200
LONGEST = 80
HEIGHT = 260
SPREAD = 20.0
"""Most over least cost from which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """A program. accuracy: 0 to 1; cost: in the unit of the frontier; here: the program of this report."""

    label: str
    accuracy: float
    cost: Range
    here: bool = False


@dataclass(frozen=True)
class Cost:
    """What accuracy is drawn against. keys: in an entry, the first that is there."""

    title: str
    unit: str
    keys: tuple[str, ...]


ENERGY = Cost("dynamic energy a sample", "J", ("energy_joules", "energy"))
MEMORY = Cost("synaptic memory", "B", ("memory_bytes", "weight_memory_bytes"))
"""Where no entry has an energy: the frontier of a search is one of memory."""


@dataclass(frozen=True)
class Frontier:
    """points: by nominal cost; left_out: entries without an accuracy or this cost, or too many."""

    cost: Cost
    points: tuple[Point, ...]
    left_out: int


def read(found: Mapping[str, Any] | None, report: EnergyReport) -> Frontier | None:
    """What the JSON has, with this report's program beside it; None where there is no JSON."""
    if found is None:
        return None
    entries = _entries(found)
    read = [entry for entry in entries[:MOST] if isinstance(entry, Mapping)]
    accuracy = max(ACCURACIES, key=lambda name: sum(_number(entry.get(name)) is not None for entry in read))
    cost = next((c for c in (ENERGY, MEMORY) if any(_cost(entry, c) for entry in read)), ENERGY)
    points = [point for entry in read if (point := _point(entry, accuracy, cost)) is not None]
    left_out = len(entries) - len(points)
    own = report.energy if cost is ENERGY else _range(report.placement.get("weight_memory_bytes"))
    if points and report.accuracy is not None and own is not None:
        points.append(Point(f"this program: {named(report)}", report.accuracy, own, here=True))
    return Frontier(cost, tuple(sorted(points, key=lambda p: (p.cost.nominal, not p.here, p.label))), left_out)


def _entries(found: Mapping[str, Any]) -> Sequence[Any]:
    for name in LISTS:
        value = found.get(name)
        if isinstance(value, list | tuple):
            return value
    return ()


def _point(entry: Mapping[Any, Any], accuracy: str, cost: Cost) -> Point | None:
    share_right, spent = _number(entry.get(accuracy)), _cost(entry, cost)
    if share_right is None or spent is None or share_right > 1:
        return None
    return Point(_label(entry), share_right, spent)


def _cost(entry: Mapping[Any, Any], cost: Cost) -> Range | None:
    return next((found for key in cost.keys if (found := _range(entry.get(key))) is not None), None)


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


def scatter(frontier: Frontier) -> Markup:
    """Cost across with whiskers, accuracy upwards; the numbers are those of the table. There is a point at least."""
    found, unit = frontier.points, frontier.cost.unit
    ends = [end for p in found for end in (p.cost.low, p.cost.high) if end > 0]
    across = logarithmic(ends) if max(ends) > SPREAD * min(ends) else linear(ends)
    up = between(p.accuracy for p in found)
    body = _accuracies(up) + _costs(across, unit)
    # markers above all whiskers, so that each number can be read
    lines = Markup("").join(_whisker(point, across, up) for point in found)
    body += lines + Markup("").join(_marker(number, point, across, up, unit) for number, point in enumerate(found, 1))
    first, last, best = (_said(p, unit) for p in (found[0], found[-1], max(found, key=lambda p: p.accuracy)))
    words = (
        f"{len(found)} programs, from {first} to {last}. The most accurate: {best}. Across: {frontier.cost.title}; "
        "up: accuracy. Numbers are those of the table."
    )
    return frame(body, f"Accuracy against {frontier.cost.title}", words, HEIGHT)


def _height(point: Point, up: Scale) -> float:
    return round(HEIGHT * (1 - up.at(point.accuracy)), 1)


def _whisker(point: Point, across: Scale, up: Scale) -> Markup:
    low, high = percent(across.at(point.cost.low)), percent(across.at(point.cost.high))
    return Markup('<line class="reach" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(low, high, y=_height(point, up))


def _marker(number: int, point: Point, across: Scale, up: Scale, unit: str) -> Markup:
    x, y = percent(across.at(point.cost.nominal)), _height(point, up)
    told = f"{point.label}: {share(point.accuracy, 1.0)}, {quantity(point.cost.nominal, unit)}"
    return Markup(
        '<g><title>{}</title><circle class="{}" cx="{x}" cy="{}" r="9"/>'
        '<text class="inside" x="{x}" y="{}">{}</text></g>'
    ).format(told, "sum" if point.here else "chip", y, round(y + 4, 1), number, x=x)


def _said(point: Point, unit: str) -> str:
    return f"{quantity(point.cost.nominal, unit)} ({share(point.accuracy, 1.0)} right)"


def _accuracies(up: Scale) -> Markup:
    body = Markup("")
    for value in up.ticks:
        y = round(HEIGHT * (1 - up.at(value)), 1)
        body += Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y)
        body += Markup('<text class="tick" x="-6" y="{}" text-anchor="end">{}</text>').format(
            y + 4, f"{100 * value:.4g} %"
        )
    return body


def _costs(across: Scale, unit: str) -> Markup:
    body = Markup("")
    for value in across.ticks:
        place = across.at(value)
        anchor = "start" if place < 0.08 else "end" if place > 0.92 else "middle"
        body += Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(percent(place), HEIGHT)
        body += Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            percent(place), HEIGHT + 16, anchor, quantity(value, unit) if value else "0"
        )
    return body


def table(frontier: Frontier) -> Table:
    """The points with their numbers; those that none beats (as accurate for a lower nominal cost) are marked."""
    found, unit = frontier.points, frontier.cost.unit
    rows = []
    for number, point in enumerate(found, 1):
        beaten = any(_beats(other, point) for other in found)
        rows.append(
            Row(
                (
                    f"{number}. {point.label}",
                    share(point.accuracy, 1.0),
                    quantity(point.cost.nominal, unit),
                    interval(point.cost, unit),
                    "" if beaten else "on the frontier, nominally",
                ),
                "sum" if point.here else "",
            )
        )
    columns = (
        Column("program", "name"),
        Column("accuracy"),
        Column(frontier.cost.title),
        Column("interval"),
        Column("", "text"),
    )
    return Table(f"Accuracy against {frontier.cost.title}", columns, tuple(rows))


def _beats(a: Point, b: Point) -> bool:
    better = a.accuracy >= b.accuracy and a.cost.nominal <= b.cost.nominal
    return better and (a.accuracy > b.accuracy or a.cost.nominal < b.cost.nominal)
