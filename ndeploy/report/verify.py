"""The summary of `ndeploy verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ndeploy.ir.program import Program
from ndeploy.report import style
from ndeploy.runners import Executed
from ndeploy.verify import Verification

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(
    program: Program, result: Verification, reference: str, against: str, parts: Sequence[Executed] = ()
) -> list[RenderableType]:
    """The verdict, the first mismatch and how many each population has if there are any, and what computed `parts`."""
    seconds = ", ".join(f"{name} {style.si(s, 's')}" for name, s in result.seconds.items())
    facts = {
        "compared": f"{result.samples} samples, {result.populations} populations, {result.compared} values",
        "time": seconds,
    }
    facts |= executed(parts)
    first = result.first_mismatch
    if first is None:
        return [
            f"[bold green]0 mismatches[/bold green]: {reference} and {against} agree bit for bit",
            style.facts(facts),
        ]
    origin = program.population(first.population).origin
    where = style.plain(first.population + (f" (from {origin})" if origin else ""))
    many = "1 mismatch" if result.mismatches == 1 else f"{result.mismatches} mismatches"
    table = style.grid("by population", "population", ">mismatches")
    for name, n in result.by_population.items():
        if n:
            table.add_row(style.plain(name), str(n))
    return [
        f"[bold red]{many}[/bold red]: {reference} and {against} differ",
        style.facts(
            {
                **facts,
                "first in": where,
                "variable": first.variable,
                "sample": str(first.sample),
                "model step": f"{first.model_step} (chip step {first.chip_step} of the sample)",
                "neuron": str(list(first.neuron)),
                "values": ", ".join(f"{name} {value}" for name, value in first.values.items()),
            }
        ),
        table,
    ]


def executed(parts: Sequence[Executed]) -> dict[str, str]:
    """How many parts the platform's own models compute, and each that they do not, with the reason."""
    if not parts:
        return {}
    own = [p for p in parts if not p.native]
    found = {"native": f"{len(parts) - len(own)} of {len(parts)} parts"}
    if own:
        found["not native"] = style.plain("; ".join(f"{p.name} ({p.reason or p.by})" for p in own))
    return found
