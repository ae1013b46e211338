"""The summary of `ndeploy compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ndeploy.artifact import Artifact
from ndeploy.report import style
from ndeploy.summary import summarise

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(path: Path, digest: str, made: Artifact) -> list[RenderableType]:
    """What was built, what it takes on the chip, and what its meaning rests on."""

    program, summary = made.program, summarise(made.program)
    facts = {
        "network": f"{program.name} ({made.meta['family'] or 'no known family'})",
        "program": f"{summary.populations} populations, {style.si(summary.neurons)} neurons, "
        f"{style.si(summary.synapses)} synapses",
        "weights": f"{style.si(summary.parameters)} trained, of {summary.weight_bits_mean:.2f} bits: "
        f"{style.size_in_bytes(summary.weight_memory_bytes)} with the constant ones of pools and joins",
        "time": f"{style.many(program.steps, 'model step')} of {style.many(program.period, 'chip step')}, "
        f"{program.mode}: {style.many(summary.chip_steps_per_sample, 'chip step')} a sample",
        "on the chip": _placed(made),
        "beside the neurocores": _embedded(made),
        "written": f"{path}  (sha256 {digest[:16]}...)",
    }
    return [
        f"[bold]compiled[/bold] {style.plain(made.meta['source']['name'])} [bold]for[/bold] {made.meta['target']}",
        style.facts(facts),
        "",
        style.settings(made.meta["settings"]),
    ]


def _placed(made: Artifact) -> str:
    placement = made.placement
    if not placement["cores"]:
        return "no cores: this target is not laid out"
    return (
        f"{style.many(placement['cores'], 'core')} (lower bound {placement['cores_lower_bound']}, set by "
        f"{placement['bound_by']}), {style.many(placement['chips'], 'chip')}, "
        f"{style.size_in_bytes(placement['weight_memory_bytes'])} of synaptic memory"
    )


def _embedded(made: Artifact) -> str:
    operations = made.placement["embedded_ops"]
    if not operations:
        return "nothing: all runs on neurocores"
    return ", ".join(f"{op['name']} ({style.si(op['multiply_accumulates'])} multiplies a sample)" for op in operations)
