"""Lines over the runs of a history, as inline SVG: one case, one number. Each has a title and its ends in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from ndeploy.printable import printable
from ndeploy.report import style
from ndeploy.suite.history import Point

WIDTH, HEIGHT = 300, 104
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 26
LEAST = {"accuracy": 0.02}
"""What the axis spans at least, in the number's own unit: so that a hundredth of a point is no cliff."""
SHARE = {"speed": 1.0, "compile_time": 1.0}
"""What it spans at least of the largest value; times vary from run to run and begin at 0."""
COMMON_SHARE = 0.1
LABEL = 56
"""Room of a commit below the line."""
STEP = 0.25
"""Share of the axis that a number moves from one run to the next for that run to be named."""
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
    low, high = _axis(name, values)
    across = (WIDTH - LEFT - RIGHT) / (len(known) - 1)
    places = [
        (LEFT + i * across, TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM))
        for i, value in enumerate(values)
    ]
    body = Markup("").join(
        Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick" x="{}" y="{}" '
            'text-anchor="end">{}</text>'
        ).format(LEFT - 4, WIDTH - RIGHT + 4, LEFT - 8, y + 4, shown(name, value), y=y)
        for y, value in ((TOP, high), (HEIGHT - BOTTOM, low))
    )
    body += Markup('<polyline points="{}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>').format(
        " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    )
    body += Markup("").join(
        Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
            "chip" if point.outcome == "passed" else "other",
            f"{x:.1f}",
            f"{y:.1f}",
            2.5 if point.outcome == "passed" else 4,
            _told(point, name, value),
        )
        for (point, value), (x, y) in zip(known, places, strict=True)
    )
    for i in _named(values, high - low, across):
        anchor = "start" if i == 0 else "end" if i == len(known) - 1 else "middle"
        x = {"start": LEFT - 4, "end": WIDTH - RIGHT + 4}.get(anchor, places[i][0])
        body += Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            f"{x:.1f}", HEIGHT - 8, anchor, _commit(known[i][0])
        )
    first, last, least, most = (shown(name, value) for value in (values[0], values[-1], min(values), max(values)))
    title = f"{case}: {WORDS[name]} from {first} to {last} over {len(known)} runs"
    told = f"{last} throughout" if least == most else f"{first} to {last}, between {least} and {most}"
    return Markup(
        '<figure style="margin:0"><figcaption>{}: {}</figcaption>'
        '<svg role="img" viewBox="0 0 {} {}" width="{}" height="{}"><title>{}</title>{}</svg></figure>\n'
    ).format(WORDS[name], told, WIDTH, HEIGHT, WIDTH, HEIGHT, printable(title), body)


def _axis(name: str, values: Sequence[float]) -> tuple[float, float]:
    """(low, high), low below high: all values, and no less than what is worth seeing; never below 0."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    least = LEAST.get(name, SHARE.get(name, COMMON_SHARE) * size) or 1.0
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    if name in SHARE or low < 0 <= min(values):
        low, high = 0.0, max(high - low, max(values))
    if name == "accuracy" and high > 1:
        low, high = max(0.0, low - (high - 1)), 1.0
    return low, high


def _named(values: Sequence[float], span: float, across: float) -> list[int]:
    """Runs whose commit is shown: the one before which the number moved most, the newest, and the oldest; those first
    named have the room. across: pixels from one run to the next."""
    moves = [0.0, *(abs(new - old) for old, new in pairwise(values))]
    most = max(range(len(values)), key=lambda i: moves[i])
    asked = [*([most] if moves[most] >= STEP * span else []), len(values) - 1, 0]
    found: list[int] = []
    for i in asked:
        centre = _centre(i, len(values), across)
        if all(abs(centre - _centre(other, len(values), across)) >= LABEL for other in found):
            found.append(i)
    return found


def _centre(i: int, runs: int, across: float) -> float:
    """Of a label; those at the ends stand inside."""
    inside = {0: LABEL / 2, runs - 1: -LABEL / 2}
    return i * across + inside.get(i, 0.0)


def _commit(point: Point) -> str:
    """Of a history without commits, the day."""
    return printable(point.commit[:NOTCH] or point.when[:10])


def shown(name: str, value: float) -> str:
    """A number of that kind in words."""
    return style.percent(value) if name == "accuracy" else style.si(value, UNITS.get(name, ""))


def _told(point: Point, name: str, value: float) -> str:
    commit = point.commit[:NOTCH] or "no commit"
    return printable(f"{point.when}, {commit}, {point.outcome}: {shown(name, value)}")
