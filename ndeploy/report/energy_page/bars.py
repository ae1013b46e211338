"""Interval bars and axes as inline SVG. Places are percentages and sizes pixels, so that text keeps its size on every
screen; colours are classes of page.css."""

from __future__ import annotations

from markupsafe import Markup

from ndeploy.energy.ranges import Range
from ndeploy.report.energy_page.numbers import full, quantity
from ndeploy.report.energy_page.scale import Scale

HEIGHT = 18
AXIS_HEIGHT = 16
NEAREST = 0.24
"""Of the axis, between two ticks that are both written."""


def percent(share: float) -> str:
    """A share of the axis as SVG writes it."""
    return f"{100 * share:.2f}%"


def bar(found: Range | None, scale: Scale, unit: str, kind: str = "chip") -> Markup:
    """A bar from zero to the nominal value, a whisker from low to high; on a logarithmic axis a point and a whisker.

    kind: a class of colour: "chip", "static", "host", "load", "sum", "other". Nothing where nothing is known.
    """
    if found is None:
        return Markup("")
    low, nominal, high = (scale.at(value) for value in (found.low, found.nominal, found.high))
    body = _line(0, 1, "grid") if scale.logarithmic else Markup("")
    if not scale.logarithmic:
        body += Markup('<rect class="{}" x="0" y="4" width="{}" height="10"/>').format(kind, percent(nominal))
    if found.high > found.low:
        body += _line(low, high, "whisker") + _cap(low) + _cap(high)
    if scale.logarithmic and found.nominal > 0:
        body += Markup('<circle class="{}" cx="{}" cy="9" r="5"/>').format(kind, percent(nominal))
    return Markup('<svg class="bar" height="{}" role="img"><title>{}</title>{}</svg>').format(
        HEIGHT, full(found, unit), body
    )


def plain_bar(part: float, words: str, kind: str = "chip") -> Markup:
    """A bar for a share of 0 to 1 in its frame."""
    return Markup(
        '<svg class="bar" height="{}" role="img"><title>{}</title><rect class="frame" x="0" y="4" width="100%" '
        'height="10"/><rect class="{}" x="0" y="4" width="{}" height="10"/></svg>'
    ).format(HEIGHT, words, kind, percent(min(max(part, 0.0), 1.0)))


def axis(scale: Scale, unit: str) -> Markup:
    """The ticks with their values; the outer ones are written inwards, so that none is cut off."""
    body = Markup("")
    last = -1.0
    for value in scale.ticks:
        place = scale.at(value)
        if last >= 0 and place - last < NEAREST:
            continue
        last = place
        anchor = "start" if place < 0.08 else "end" if place > 0.92 else "middle"
        body += Markup('<text x="{}" y="11" text-anchor="{}">{}</text>').format(
            percent(place), anchor, quantity(value, unit) if value else "0"
        )
    return Markup('<svg class="axis" height="{}" aria-hidden="true">{}</svg>').format(AXIS_HEIGHT, body)


def _line(start: float, end: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="9" y2="9"/>').format(kind, percent(start), percent(end))


def _cap(place: float) -> Markup:
    return Markup('<line class="whisker" x1="{0}" x2="{0}" y1="5" y2="13"/>').format(percent(place))
