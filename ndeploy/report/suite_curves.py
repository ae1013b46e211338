"""Accuracy under injected faults as inline SVG: the mean over the draws as a line, least to most as a band."""

from __future__ import annotations

import math

from markupsafe import Markup

from ndeploy.printable import printable
from ndeploy.report import side_page as pages
from ndeploy.report import style
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.report.suite import faults_of, spread
from ndeploy.suite.measured import Curve
from ndeploy.suite.verdict import SuiteResult

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 40
ROOM = 0.02
"""Share of accuracy below the lowest draw and above the highest that the axis shows at least."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
MOST_TICKS = 6


def curves(result: SuiteResult) -> Markup:
    """Every case's picture, then the numbers."""
    body = Markup("")
    rows: list[Row] = []
    for case in result.results:
        if case.curve is None:
            continue
        body += _picture(case.name, case.curve)
        draws = max(len(found) for _, found in case.curve.points)
        head = f"{case.name}: {faults_of(case.curve)}, {case.curve.samples} samples, {style.many(draws, 'draw')}"
        rows.append(Row((head,), "head"))
        for faults, found in case.curve.points:
            least, mean, most = spread(found)
            rows.append(Row((str(faults), style.percent(least), style.percent(mean), style.percent(most))))
    columns = (Column("faults", "name"), Column("least"), Column("mean accuracy"), Column("most"))
    note = "Each draw has other places; those of fewer faults are among those of more. Fewer faults need not cost less."
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:12px 20px"
    return Markup('<div style="{}">{}</div>\n').format(grid, body) + pages.table(
        Table("Accuracy under injected faults", columns, tuple(rows), note=note)
    )


def _picture(case: str, curve: Curve) -> Markup:
    """Faults on a logarithmic axis, with a place of its own for none."""
    found = [(faults, *spread(accuracies)) for faults, accuracies in curve.points]
    low = max(0.0, min(entry[1] for entry in found) - ROOM)
    high = min(1.0, max(entry[3] for entry in found) + ROOM)
    step = next((s for s in STEPS if (high - low) / s <= MOST_TICKS - 1), STEPS[-1])
    low, high = math.floor(low / step + 1e-9) * step, min(1.0, math.ceil(high / step - 1e-9) * step)
    most = max(1, found[-1][0])

    def x(faults: int) -> float:
        share = 0.0 if faults == 0 else (1 + math.log2(faults)) / (1 + math.log2(most))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return TOP + (high - share) / (high - low) * (HEIGHT - TOP - BOTTOM)

    body = Markup("")
    for i in range(round((high - low) / step) + 1):
        value = min(high, low + i * step)
        body += Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
            '<text class="tick" x="{}" y="{}" text-anchor="end">{:g} %</text>'
        ).format(LEFT, WIDTH - RIGHT, LEFT - 6, f"{y(value) + 4:.1f}", round(100 * value, 1), y=f"{y(value):.1f}")
    for faults, *_ in found:
        body += Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            f"{x(faults):.1f}", HEIGHT - BOTTOM + 16, _short(faults)
        )
    band = [f"{x(n):.1f},{y(most_):.1f}" for n, _, _, most_ in found]
    band += [f"{x(n):.1f},{y(least):.1f}" for n, least, _, _ in reversed(found)]
    line = " ".join(f"{x(n):.1f},{y(mean):.1f}" for n, _, mean, _ in found)
    body += Markup(
        '<polygon class="chip" points="{}" fill-opacity="0.22"/>'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    ).format(" ".join(band), line)
    for n, least, mean, top in found:
        told = f"{n} faults: mean {style.percent(mean)}, {style.percent(least)} to {style.percent(top)}"
        body += Markup('<circle class="sum" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
            f"{x(n):.1f}", f"{y(mean):.1f}", told
        )
    body += Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        (LEFT + WIDTH - RIGHT) // 2, HEIGHT - 6, faults_of(curve)
    )
    _, least, mean, _ = found[-1]
    title = (
        f"{case}: accuracy {style.percent(found[0][2])} without faults, with {found[-1][0]} {faults_of(curve)} "
        f"{style.percent(mean)} on average, {style.percent(least)} at worst"
    )
    return Markup(
        '<figure style="margin:0"><figcaption>{}: mean and spread of accuracy</figcaption>'
        '<svg role="img" viewBox="0 0 {} {}" width="100%" style="max-width:520px"><title>{}</title>{}</svg></figure>\n'
    ).format(printable(case), WIDTH, HEIGHT, printable(title), body)


def _short(faults: int) -> str:
    return str(faults) if faults < 10_000 else style.si(float(faults)).replace(" ", "")
