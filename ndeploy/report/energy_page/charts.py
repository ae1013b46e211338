"""Charts as inline SVG: energy by model step, layers by step, cores in order of energy. Places are percentages, text is
in pixels; each chart has a title and a description in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import EnergyReport, LayerCost, StepCost
from ndeploy.report.energy_page.bars import percent
from ndeploy.report.energy_page.numbers import full, quantity
from ndeploy.report.energy_page.scale import Scale, linear
from ndeploy.report.energy_page.tables import largest

HEIGHT = 180
MOST_COLUMNS = 64
"""Of more steps, neighbours are drawn as one column: their mean."""
MOST_ROWS = 16
FEW_CORES = 12
LEAST_REST = 1e-6
"""Of a whole, below which a difference is one of rounding."""


@dataclass(frozen=True)
class Strip:
    """A layer's energy by step. cells: Markup; total: joules in words."""

    name: str
    cells: Markup
    total: str


def columns(steps: int) -> tuple[range, ...]:
    """Which steps stand in which column, as even as can be."""
    count = min(steps, MOST_COLUMNS)
    return tuple(range(i * steps // count, (i + 1) * steps // count) for i in range(count))


def by_step(steps: Sequence[StepCost], whole: Range | None) -> Markup:
    """Columns with whiskers, one a model step; nothing where no step has an energy. whole: a sample's energy."""
    known = [step.energy for step in steps]
    if not known or any(energy is None for energy in known):
        return Markup("")
    found = [energy for energy in known if energy is not None]
    means = [_mean(found[chosen.start : chosen.stop]) for chosen in columns(len(found))]
    scale = linear(mean.high for mean in means)
    body = horizontal(scale, "J")
    width = 100 / len(means)
    for i, (chosen, mean) in enumerate(zip(columns(len(found)), means, strict=True)):
        top, low, high = (_up(scale.at(value)) for value in (mean.nominal, mean.low, mean.high))
        middle = f"{width * (i + 0.5):.2f}%"
        body += Markup('<g><title>{}: {}</title><rect class="chip" x="{}" y="{}" width="{}" height="{}"/>').format(
            _which(chosen),
            full(mean, "J"),
            f"{width * (i + 0.12):.2f}%",
            top,
            f"{width * 0.76:.2f}%",
            _px(HEIGHT - top),
        )
        body += Markup('<line class="whisker" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/></g>').format(middle, low, high)
    body += _step_ticks(len(found))
    most = max(range(len(found)), key=lambda i: found[i].nominal)
    words = (
        f"Energy by model step, {len(found)} steps. The most is step {most}: {full(found[most], 'J')}; "
        f"the mean is {full(_mean(found), 'J')}.{_elsewhere(found, whole)}"
    )
    return frame(body, "Energy by model step", words)


def _elsewhere(found: Sequence[Range], whole: Range | None) -> str:
    """What of a sample's energy belongs to no step."""
    if whole is None:
        return ""
    rest = whole.nominal - sum(energy.nominal for energy in found)
    if rest <= LEAST_REST * whole.nominal:
        return ""
    what = "of barriers, of resting neurons and of the embedded processor"
    return f" {quantity(rest, 'J')} a sample, {what}, belong to no step."


def layers_by_step(report: EnergyReport) -> tuple[Strip, ...]:
    """A strip a layer, darker where it used more; nothing where there are fewer than two steps."""
    having = [layer for layer in report.layers if len(layer.steps) > 1 and max(layer.steps) > 0]
    shown, _ = largest(having, lambda layer: sum(layer.steps), MOST_ROWS - 1)
    most = max((max(_binned(layer)) for layer in shown), default=0.0)
    return tuple(_strip(layer, most) for layer in shown)


def _strip(layer: LayerCost, most: float) -> Strip:
    means = _binned(layer)
    width = 100 / len(means)
    cells = Markup("")
    for i, value in enumerate(means):
        cells += Markup('<rect class="chip" x="{}" width="{}" height="16" fill-opacity="{}"/>').format(
            f"{width * i:.2f}%", f"{width + 0.05:.2f}%", f"{value / most:.3f}"
        )
    peak = max(range(len(layer.steps)), key=lambda i: layer.steps[i])
    words = f"{layer.name}: most at step {peak}, {quantity(layer.steps[peak], 'J')}"
    drawn = Markup('<svg class="strip" height="16" role="img"><title>{}</title>{}</svg>').format(words, cells)
    return Strip(layer.name, drawn, quantity(sum(layer.steps), "J"))


def _binned(layer: LayerCost) -> list[float]:
    return [sum(layer.steps[c.start : c.stop]) / len(c) for c in columns(len(layer.steps))]


def cores_in_order(report: EnergyReport) -> Markup:
    """Every core's energy, from the most to the least, as one outline; nothing for few cores, which a table shows."""
    found = sorted((core.energy.nominal for core in report.cores if core.energy is not None), reverse=True)
    if len(found) < FEW_CORES or len(found) != len(report.cores) or found[0] <= 0:
        return Markup("")
    scale = linear([found[0]])
    body = horizontal(scale, "J")
    count = min(len(found), 256)
    width = 100 / count
    for i in range(count):
        chosen = found[i * len(found) // count : (i + 1) * len(found) // count]
        top = _up(scale.at(sum(chosen) / len(chosen)))
        body += Markup('<rect class="chip" x="{}" y="{}" width="{}" height="{}"/>').format(
            f"{width * i:.3f}%", top, f"{width + 0.03:.3f}%", _px(HEIGHT - top)
        )
    words = (
        f"Dynamic energy of {len(found)} cores in order: from {quantity(found[0], 'J')} over a median of "
        f"{quantity(found[len(found) // 2], 'J')} to {quantity(found[-1], 'J')}."
    )
    body += Markup('<text class="tick" x="0" y="{}">core of most energy</text>').format(HEIGHT + 16)
    body += Markup('<text class="tick" x="100%" y="{}" text-anchor="end">of least</text>').format(HEIGHT + 16)
    return frame(body, "Cores in order of energy", words)


def frame(body: Markup, title: str, words: str, height: int = HEIGHT) -> Markup:
    """A chart with room for its ticks, and its description below."""
    return Markup(
        '<figure><div class="plot"><svg class="chart" height="{}" role="img" aria-label="{}">{}</svg></div>'
        "<figcaption>{}</figcaption></figure>"
    ).format(height + 24, title, body, words)


def horizontal(scale: Scale, unit: str) -> Markup:
    """Lines across at the ticks of the vertical axis, with their values at the left."""
    body = Markup("")
    for value in scale.ticks:
        place = _up(scale.at(value))
        body += Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(place)
        body += Markup('<text class="tick" x="-6" y="{}" text-anchor="end">{}</text>').format(
            _px(place + 4), quantity(value, unit) if value else "0"
        )
    return body


def _up(share: float) -> float:
    return _px(HEIGHT * (1 - share))


def _px(value: float) -> float:
    return round(value, 1)


def _mean(found: Sequence[Range]) -> Range:
    total = ZERO
    for energy in found:
        total = total + energy
    return total.times(1 / len(found))


def _which(chosen: range) -> str:
    return f"step {chosen.start}" if len(chosen) == 1 else f"steps {chosen.start} to {chosen.stop - 1}, mean"


def _step_ticks(steps: int) -> Markup:
    body = Markup("")
    for place, value, anchor in ((0.0, 0, "start"), (0.5, steps // 2, "middle"), (1.0, steps - 1, "end")):
        if value == 0 and place:
            continue
        body += Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">step {}</text>').format(
            percent(place), HEIGHT + 16, anchor, value
        )
    return body
