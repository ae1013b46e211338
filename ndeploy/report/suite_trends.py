"""Lines over the runs of a history, as inline SVG: one case, one number. Each has a title and its ends in words."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ndeploy.printable import printable
from ndeploy.report import style
from ndeploy.suite.history import Point

WIDTH, HEIGHT, EDGE = 300, 56, 6
UNITS = {"energy": "J", "measured_energy": "J", "latency": "s"}
WORDS = {
    "accuracy": "accuracy",
    "energy": "energy a sample",
    "measured_energy": "energy a sample by the board's meter",
    "latency": "latency",
    "synaptic_ops": "synaptic operations",
    "speed": "simulator's time a sample, in yardsticks",
    "compile_time": "compile time, in yardsticks",
}
NOTCH = 7
"""Digits of a commit that are shown."""


def trend(case: str, name: str, points: Sequence[Point]) -> Markup:
    """The line of a number over runs, oldest left; nothing where fewer than two runs have it."""
    known = [(point, value) for point in points if (value := point.numbers.get(name)) is not None]
    if len(known) < 2:
        return Markup("")
    values = [value for _, value in known]
    low, high = min(values), max(values)
    room, base = (high - low, low) if high > low else (1.0, low - 0.5)  # a level line stands in the middle
    places = [
        (EDGE + i * (WIDTH - 2 * EDGE) / (len(known) - 1), HEIGHT - EDGE - (value - base) / room * (HEIGHT - 2 * EDGE))
        for i, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = Markup("").join(
        Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"><title>{}</title></circle>').format(
            "chip" if point.outcome == "passed" else "other", f"{x:.1f}", f"{y:.1f}", _told(point, name, value)
        )
        for (point, value), (x, y) in zip(known, places, strict=True)
    )
    first, last = known[0][1], known[-1][1]
    title = f"{case}: {WORDS[name]} from {shown(name, first)} to {shown(name, last)} over {len(known)} runs"
    told = f"{shown(name, first)} to {shown(name, last)}, between {shown(name, low)} and {shown(name, high)}"
    if low == high:
        told = f"{shown(name, last)} throughout"
    return Markup(
        '<figure style="margin:0"><figcaption>{}: {}</figcaption>'
        '<svg role="img" viewBox="0 0 {} {}" width="{}" height="{}"><title>{}</title>'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>{}</svg></figure>\n'
    ).format(WORDS[name], told, WIDTH, HEIGHT, WIDTH, HEIGHT, printable(title), line, dots)


def shown(name: str, value: float) -> str:
    """A number of that kind in words."""
    return style.percent(value) if name == "accuracy" else style.si(value, UNITS.get(name, ""))


def _told(point: Point, name: str, value: float) -> str:
    commit = point.commit[:NOTCH] or "no commit"
    return printable(f"{point.when}, {commit}, {point.outcome}: {shown(name, value)}")
