"""The summary of `ndeploy compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.divergence.ablation import DEFECT, LEAST, Ablation, Effect, Share
from ndeploy.divergence.compare import Comparison
from ndeploy.divergence.layers import Layer, Parting
from ndeploy.report import style
from ndeploy.ticks import LIMIT

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LAYERS = 40
"""Rows of the table of layers; with more, those furthest apart are shown."""


def report(found: Comparison) -> list[RenderableType]:
    """The verdict, the first divergence, a row a layer, and the causes."""
    shown: list[RenderableType] = [f"[bold]{style.plain(verdict(found))}[/bold]"]
    shown.append(style.facts(facts(found)))
    shown.append(_layers(found))
    if any(layer.spikes is not None for layer in found.layers):
        shown.append(
            "[dim]rate: spikes a neuron and step; rate error: of the counts; shift: steps early or late; matched: of "
            "all spikes, sent by both at the same step; parts: at sample, step[/dim]"
        )
    if found.mistakes is not None and found.mistakes.shares:
        shown.append(_causes(found.mistakes, MISTAKES))
    if found.apart is not None:
        shown.append(_apart(found))
    elif found.ablation is not None and found.ablation.shares:
        shown.append(_causes(found.ablation, CAUSES))
    if found.named is not None:
        shown.append(style.facts(remedy(found.named)))
    if found.no_ablation:
        shown.append(f"[dim]no cause is named: {style.plain(found.no_ablation)}[/dim]")
    shown += [f"[yellow]note[/yellow]: {style.plain(note)}" for note in found.notes]
    return shown


MISTAKE = "a mistake: a compile of today gives other {what}"
"""Of a program that is not what its network compiles to."""


def verdict(found: Comparison) -> str:
    """One sentence."""
    if found.first is None:
        kind = "agree on every value" if found.exact else "agree within the rounding of graded values"
        mistaken = None if found.mistakes is None else found.mistakes.named
        if mistaken is not None:
            kind += f"; {MISTAKE.format(what=mistaken.cause + where(mistaken))}"
        return f"The program and {found.against} {kind}."
    start = (
        f"The program parts from {found.against} in layer '{found.first.layer}' at model step {found.first.step} of "
        f"sample {found.first.sample}"
    )
    named = found.named
    if named is None:
        return f"{start}."
    if found.mistakes is not None and found.mistakes.named is not None:
        also = [s.cause for s in found.mistakes.shares if s.cause != named.cause]
        more = f" (and {', '.join(also)}, which matters less)" if also else ""
        if found.mistakes.program.distance <= LEAST:
            more += ", which no message of these samples shows"
        return f"{start}; {MISTAKE.format(what=named.cause + where(named))}{more}."
    if found.apart is not None:
        row = found.apart.rows[0]
        return (
            f"{start}; beside their float networks {named.cause}{where(named)} sets the two most apart: distance "
            f"{row.program:.3g} in the program, {row.reference:.3g} in {found.against}."
        )
    if found.ablation is not None and len(found.ablation.shares) == 1:
        return f"{start}; the one thing that differs is {named.cause}{where(named)}."
    beyond = " (more than rounding)" if named.beyond and not found.exact else ""
    if found.as_compiled and not beyond:
        beyond = ", which is rounding: a compile of today gives this program"
    if named.share < DEFECT:
        return f"{start}; what differs by more than rounding is {named.cause}{where(named)}."
    return f"{start}; {style.percent(named.share)} of the distance comes from {named.cause}{where(named)}{beyond}."


def remedy(named: Share) -> dict[str, str]:
    """What the named cause is, what mends it and what differs, as label and sentence."""
    places = where(named).replace(" of ", ", at ", 1)
    lines = {"cause": f"{named.title}{places}", "to mend it": named.remedy}
    return lines | {"what differs" if i == 0 else " " * i: line for i, line in enumerate(named.findings)}


def where(share: Share) -> str:
    """ " of 'a' (90.00 %) and 'b'", "" where the layers are not known."""
    told = [(name, part) for name, part in share.layers if part >= 0.05][:3]
    if not told:
        return ""
    if len(told) == 1:
        return f" of '{told[0][0]}'"
    return " of " + ", ".join(f"'{name}' ({style.percent(part)})" for name, part in told)


def facts(found: Comparison) -> dict[str, str]:
    """Numbers beside the verdict."""
    lines = {"compared": f"{style.many(found.samples, 'sample')}, {style.many(found.steps, 'model step')} each"}
    if found.answers is not None:
        lines["answers alike"] = style.percent(found.answers.same)
        if found.answers.program is not None:
            lines["accuracy"] = (
                f"{style.percent(found.answers.program)}, of {found.against} {style.percent(found.answers.reference)}"
            )
    if found.first is not None:
        lines["first divergence"] = parting(found.first)
    if found.today:
        lines["rounding or mistake" if found.apart is None else "units"] = found.today
    return lines


def parting(p: Parting) -> str:
    """Where, and both values."""
    text = (
        f"'{p.layer}', sample {p.sample}, model step {p.step}, neuron {list(p.neuron)}: {p.program:g}, "
        f"in the reference {p.reference:g}"
    )
    if p.membranes is not None:
        text += f" (membrane after the step {p.membranes[1]:.6g}, in the reference {p.membranes[0]:.6g})"
    return text


def decibels(value: float | None) -> str:
    """ "equal" at the limit."""
    if value is None:
        return "-"
    return "equal" if value >= LIMIT else f"{value:.1f}"


def chosen(found: Comparison) -> tuple[Layer, ...]:
    """The layers that are shown, in the program's order."""
    if len(found.layers) <= LAYERS:
        return found.layers
    kept = {layer.name for layer in sorted(found.layers, key=lambda layer: layer.sqnr)[:LAYERS]}
    return tuple(layer for layer in found.layers if layer.name in kept)


def columns(found: Comparison) -> tuple[int, ...]:
    """Which of `HEADS` say something: networks without spikes have no rates."""
    shown = [cells(layer) for layer in chosen(found)]
    return tuple(i for i, head in enumerate(HEADS) if head in ALWAYS or any(row[i] != "-" for row in shown))


def cells(layer: Layer) -> tuple[str, ...]:
    """A cell for each of `HEADS`."""
    s = layer.spikes
    rates = ("-",) * 4
    if s is not None:
        rate = f"{s.program:.3g} / {s.reference:.3g}"
        rates = (rate, style.percent(s.rate_error), f"{s.shift:.3g}", style.percent(s.matched))
    first = "-" if layer.first is None else f"{layer.first.sample}, {layer.first.step}"
    return (decibels(layer.sqnr), decibels(layer.membrane_sqnr), *rates, first)


HEADS = ("SQNR dB", "of v", "rate / ref.", "rate error", "shift", "matched", "parts")
"""SQNR of messages and of membranes; spikes a neuron and model step of the program and the reference; differences of
the counts of spikes; model steps by which spikes come early or late; spikes that both send at the same step; sample and
model step of the first difference."""


ALWAYS = ("SQNR dB", "parts")


def _layers(found: Comparison) -> Table:
    kept = columns(found)
    table = style.grid("layers", "layer", *(f">{HEADS[i]}" for i in kept))
    for layer in chosen(found):
        row = cells(layer)
        table.add_row(style.plain(layer.name), *(row[i] for i in kept))
    return table


CAUSES = "causes"
MISTAKES = "beside a compile of today"
"""Titles of tables of causes."""


def _apart(found: Comparison) -> Table:
    assert found.apart is not None
    table = style.grid(
        f"distance from the float network: {style.many(found.apart.program.samples, 'sample')}",
        "cause",
        ">the program",
        f">{style.plain(found.against)}",
        ">gap",
    )
    own, theirs = found.apart.distances
    table.add_row("[dim]all[/dim]", f"{own:.3g}", f"{theirs:.3g}", f"{own - theirs:+.3g}")
    for row in found.apart.rows:
        table.add_row(row.cause, f"{row.program:.3g}", f"{row.reference:.3g}", f"{row.gap:+.3g}")
    return table


def _causes(ablation: Ablation, what: str) -> Table:
    title = (
        f"{what}: {style.many(ablation.samples, 'sample')} with one cause mended, and with it alone in the reference"
    )
    table = style.grid(
        title, "cause", ">explains", ">distance mended", ">alone", ">answers alike mended", "beyond rounding"
    )
    table.add_row("[dim]the program as it is[/dim]", "", distance(ablation.program), "", alike(ablation.program), "")
    for share in ablation.shares:
        table.add_row(
            share.cause,
            style.percent(share.share),
            distance(share.mended),
            distance(share.alone),
            alike(share.mended),
            "yes" if share.beyond else "",
        )
    return table


def distance(effect: Effect | None) -> str:
    """0 to 1."""
    return "-" if effect is None else f"{effect.distance:.3g}"


def alike(effect: Effect | None) -> str:
    """Share of samples answered as the reference."""
    return "-" if effect is None or effect.agreement is None else style.percent(effect.agreement)
