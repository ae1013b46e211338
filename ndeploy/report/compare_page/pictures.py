"""Bars, SQNR by step and rasters as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ndeploy.divergence.rasters import Raster
from ndeploy.printable import printable

CELL = 6
"""Side of a spike in units of the picture."""
BEST = 60.0
"""dB at the top of a picture of SQNR; equal values stand there too."""

STYLE = Markup(
    ".raster { margin: 14px 0; } .raster svg { display: block; max-width: 100%; height: auto; }\n"
    "svg .both { fill: var(--static); } svg .lost { fill: var(--chip); } svg .extra { fill: var(--other); }\n"
    "svg .frame { fill: var(--panel); }\n"
    "svg.steps rect { fill: var(--chip); } svg.steps rect.off { fill: var(--poor); }\n"
    ".key span { white-space: nowrap; margin-right: 14px; } .key svg { vertical-align: -1px; }\n"
    "pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }\n"
)


def _key(kind: str, label: str) -> Markup:
    mark = _mark(kind, 0, 0)
    return Markup('<span><svg width="10" height="10" viewBox="0 0 6 6" aria-hidden="true">{}</svg> {}</span>').format(
        mark, label
    )


def _mark(kind: str, x: float, y: float) -> Markup:
    """A square for both, an upright bar for the reference alone, a lying one for the program alone: told apart without
    colours too."""
    w, h = {"both": (5, 5), "lost": (2, 5), "extra": (5, 2)}[kind]
    return Markup('<rect class="{}" x="{:g}" y="{:g}" width="{}" height="{}"/>').format(
        kind, x + (5 - w) / 2, y + (5 - h) / 2, w, h
    )


LEGEND = Markup('<p class="key faint">{}{}{}</p>\n').format(
    _key("both", "both"), _key("lost", "the reference alone"), _key("extra", "the program alone")
)


def bar(share: float) -> Markup:
    """A share of 0 to 1."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" height="10" role="img" '
        'aria-label="{:.1f} %"><rect class="frame" width="100" height="10"/><rect class="chip" width="{:.2f}" '
        'height="10"/></svg>'
    ).format(100 * share, 100 * max(0.0, min(1.0, share)))


def sqnr(values: Sequence[float]) -> Markup:
    """A column a step; below 0 dB in the colour of a fault."""
    n = max(1, len(values))
    columns = Markup("").join(
        Markup('<rect x="{:.3f}" y="{:.2f}" width="{:.3f}" height="{:.2f}"{}/>').format(
            100 * i / n,
            20 - 20 * max(0.04, min(1.0, v / BEST)),
            100 / n * 0.9,
            20 * max(0.04, min(1.0, v / BEST)),
            Markup(' class="off"') if v < 0 else "",
        )
        for i, v in enumerate(values)
    )
    least = min(values, default=0.0)
    return Markup(
        '<svg class="steps" viewBox="0 0 100 20" preserveAspectRatio="none" width="100%" height="20" role="img" '
        'aria-label="least {:.1f} dB over {} steps">{}</svg>'
    ).format(least, len(values), columns)


def raster(r: Raster) -> Markup:
    """A row a neuron, a column a model step."""
    width, height = max(1, r.steps) * CELL, max(1, len(r.neurons)) * CELL
    marks = Markup("").join(
        _mark(kind, step * CELL, row * CELL)
        for kind, spikes in (("both", r.both), ("lost", r.reference), ("extra", r.program))
        for row, step in spikes
    )
    shown = f"{len(r.neurons)} of {r.of} neurons" if len(r.neurons) < r.of else f"{r.of} neurons"
    steps = f"model steps {r.first_step} to {r.first_step + r.steps - 1}"
    counts = (len(r.both), len(r.reference), len(r.program))
    says = "{} spikes of both, {} of the reference alone, {} of the program alone".format(*counts)
    return Markup(
        '<figure class="raster"><figcaption>{}: {}, {}; {}</figcaption>\n'
        '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{}">'
        '<rect class="frame" width="{w}" height="{h}"/>{}</svg></figure>\n'
    ).format(printable(r.layer), shown, steps, says, says, marks, w=width, h=height)
