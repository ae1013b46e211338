"""Bars, SQNR by step and rasters as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ndeploy.divergence.layers import Parting
from ndeploy.divergence.rasters import FULL, LEVELS, Raster, Shades
from ndeploy.printable import printable

CELL = 6
"""Side of a spike in units of the picture; a column is up to `WIDEST` cells wide where there are few steps."""
WIDEST = 4
COLUMNS = 64
"""Steps from which a column is one cell wide."""
BEST = 60.0
"""dB at the top of a picture of SQNR; equal values stand there too."""

STYLE = Markup(
    ".rasters { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: flex-start; }\n"
    ".raster { margin: 8px 0; max-width: 100%; } .raster svg { display: block; max-width: 100%; height: auto; }\n"
    ".raster figcaption { max-width: 27em; } .raster.first svg { outline: 2px solid var(--poor); }\n"
    "svg .more { fill: var(--other); } svg .less { fill: var(--chip); }\n"
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


def _mark(kind: str, x: float, y: float, wide: int = 5) -> Markup:
    """A block for both, an upright bar for the reference alone, a lying one for the program alone: told apart without
    colours too."""
    w, h = {"both": (wide, 5), "lost": (2, 5), "extra": (wide, 2)}[kind]
    return Markup('<rect class="{}" x="{:g}" y="{:g}" width="{}" height="{}"/>').format(
        kind, x + (wide - w) / 2, y + (5 - h) / 2, w, h
    )


LEGEND = Markup('<p class="key faint">{}{}{}</p>\n').format(
    _key("both", "both"), _key("lost", "the reference alone"), _key("extra", "the program alone")
)

SHADES = Markup(
    '<p class="key faint"><span><svg width="10" height="10" viewBox="0 0 6 6" aria-hidden="true">'
    '<rect class="more" width="5" height="5"/></svg> the program\'s value is larger</span>'
    '<span><svg width="10" height="10" viewBox="0 0 6 6" aria-hidden="true">'
    '<rect class="less" width="5" height="5"/></svg> smaller</span>'
    "<span>full colour: by half of the layer's root mean square or more</span></p>\n"
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


def pictures(drawn: Sequence[Raster | Shades], first: Parting | None) -> Markup:
    """All of them, keys above; the layer where the two part first has a frame and comes first."""
    alike = [r.layer for r in drawn if isinstance(r, Shades) and not r.cells]
    kept = [r for r in drawn if isinstance(r, Raster) or r.cells]
    kept.sort(key=lambda r: first is None or r.layer != first.layer)
    keys, made = Markup(""), Markup("")
    if any(isinstance(r, Raster) for r in kept):
        keys += LEGEND
    if any(isinstance(r, Shades) for r in kept):
        keys += SHADES
    for r in kept:
        parts = first is not None and first.layer == r.layer
        made += raster(r, parts) if isinstance(r, Raster) else shades(r, parts)
    made = Markup('<div class="rasters">\n{}</div>\n').format(made)
    if alike:
        least = 50 * FULL / LEVELS
        text = f"Not drawn, no value is off by {least:.2g} % of the root mean square or more: {', '.join(alike)}."
        made += Markup('<p class="faint">{}</p>\n').format(printable(text))
    return keys + made


def _wide(steps: int) -> int:
    return CELL * max(1, min(WIDEST, COLUMNS // max(1, steps)))


def _frame(r: Raster | Shades, marks: Markup, says: str, parts: bool) -> Markup:
    width, height = max(1, r.steps) * _wide(r.steps), max(1, len(r.neurons)) * CELL
    shown = f"{len(r.neurons)} of {r.of} neurons" if len(r.neurons) < r.of else f"{r.of} neurons"
    steps = f"model steps {r.first_step} to {r.first_step + r.steps - 1}"
    return Markup(
        '<figure class="raster{}"><figcaption>{}{}: {}, {}; {}</figcaption>\n'
        '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{}">'
        '<rect class="frame" width="{w}" height="{h}"/>{}</svg></figure>\n'
    ).format(
        " first" if parts else "",
        Markup("<strong>{}</strong>").format(printable(r.layer)),
        " (parts first)" if parts else "",
        shown,
        steps,
        says,
        says,
        marks,
        w=width,
        h=height,
    )


def raster(r: Raster, parts: bool) -> Markup:
    """Spikes: a row a neuron, a column a model step. parts: the two part here first."""
    wide = _wide(r.steps)
    marks = Markup("").join(
        _mark(kind, step * wide, row * CELL, wide - 1)
        for kind, spikes in (("both", r.both), ("lost", r.reference), ("extra", r.program))
        for row, step in spikes
    )
    counts = (len(r.both), len(r.reference), len(r.program))
    says = "{} spikes of both, {} of the reference alone, {} of the program alone".format(*counts)
    return _frame(r, marks, says, parts)


def shades(r: Shades, parts: bool) -> Markup:
    """Graded values: the darker a cell, the larger the difference; two colours for its sign."""
    wide = _wide(r.steps)
    marks = Markup("").join(
        Markup('<rect class="{}" x="{}" y="{}" width="{}" height="5" opacity="{:.2f}"/>').format(
            "more" if sign > 0 else "less", step * wide, row * CELL, wide - 1, shade / LEVELS
        )
        for row, step, shade, sign in r.cells
    )
    return _frame(r, marks, f"largest difference {100 * r.largest:.3g} % of the root mean square", parts)
