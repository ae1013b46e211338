"""The summary of `ndeploy compile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndeploy.artifact import Artifact
from ndeploy.report import layers, style
from ndeploy.summary import summarise

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(path: Path, digest: str, made: Artifact, notes: Sequence[str] = ()) -> list[RenderableType]:
    """What was built, what it takes on the chip, what its meaning rests on, and notes of a search."""

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
        **coding(made.meta.get("coding")),
        "written": f"{path}  (sha256 {digest[:16]}...)",
    }
    found = layers.report(made.meta.get("quantisation"), notes)
    return [
        f"[bold]compiled[/bold] {style.plain(made.meta['source']['name'])} [bold]for[/bold] {made.meta['target']}",
        style.facts(facts),
        "",
        style.settings(made.meta["settings"]),
        *(["", *found] if found else []),
    ]


def _placed(made: Artifact) -> str:
    placement = made.placement
    if not placement["cores"]:
        return "no cores: this target is not laid out"
    return (
        f"{style.many(placement['cores'], 'core')} (lower bound {placement['cores_lower_bound']}, set by "
        f"{placement['bound_by']}), {style.many(placement['chips'], 'chip')}, "
        f"{style.size_in_bytes(placement['weight_memory_bytes'])} of synaptic memory"
        + (f"; {style.plain(str(placement['reason']))}" if placement.get("reason") else "")
    )


def _embedded(made: Artifact) -> str:
    operations = made.placement["embedded_ops"]
    if not operations:
        return "nothing: all runs on neurocores"
    return ", ".join(f"{op['name']} ({_work(op)} a sample)" for op in operations)


def _work(operation: Mapping[str, Any]) -> str:
    multiplies = operation["multiply_accumulates"]
    if multiplies:
        return f"{style.si(multiplies)} multiplies"
    return f"{style.si(operation.get('operations', 0))} operations"


def coding(found: object) -> dict[str, str]:
    """The line on delta coding, none where nothing is coded.

    found: what `passes.delta_threshold.with_threshold` tells, as the artifact keeps it.
    """
    if not isinstance(found, Mapping) or found.get("kind", "none") == "none":
        return {}
    line = str(found["kind"])
    numbers = {key: value for key, value in found.items() if _number(value)}
    if "threshold" in numbers:
        budget = f": the coarsest within {numbers['accuracy_budget']:g} points" if "accuracy_budget" in numbers else ""
        line += (
            f", threshold {numbers['threshold']:.4g} of the largest message ({found.get('chosen', 'given')}{budget})"
        )
    told = []
    if "events_share" in numbers:
        told.append(f"{style.percent(numbers['events_share'])} of the dense events of the coded synapses are left")
    if numbers.get("synaptic_ops_at_threshold_0") and "synaptic_ops" in numbers:
        saved = 1 - numbers["synaptic_ops"] / numbers["synaptic_ops_at_threshold_0"]
        told.append(f"{style.percent(saved)} of all synaptic operations saved against threshold 0")
    if "calibration_score" in numbers:
        told.append(f"{style.percent(numbers['calibration_score'])} right on calibration data")
    return {"coding": f"{line}: {', '.join(told)}" if told else line}


def _number(value: object) -> bool:
    # what an artifact says of itself was written by a stranger
    return isinstance(value, int | float) and not isinstance(value, bool)
