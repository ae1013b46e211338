"""The summary of `ndeploy run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndeploy.decode import fitted
from ndeploy.evaluate import Evaluation, certain_ticks, mean_per_sample
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Input
from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ndeploy.adaptive import Adaptive, Saving
    from ndeploy.ir.result import PowerReading

MAX_CLASSES = 20
"""Predictions with more classes than this are listed by their commonest."""


def report(
    program: Program,
    evaluation: Evaluation,
    runner: str,
    y: IntArray | None,
    early: Adaptive | None = None,
    saving: Saving | None = None,
) -> list[RenderableType]:
    """Headline, predictions, layers; with samples that ended early, when they did and what it saved."""
    parts: list[RenderableType] = [_headline(program, evaluation, runner, y, saving), ""]
    if early is not None and saving is not None:
        parts += [adaptive(program, early, saving), ""]
    if evaluation.result.predictions is not None and evaluation.result.predictions.ndim == 1:
        parts.append(_predictions(evaluation.result.predictions, y))
    elif evaluation.result.predictions is not None and y is not None and y.ndim == 2 and y.shape[1] <= MAX_CLASSES:
        parts.append(_positions(program, evaluation.result.predictions, y))
    parts.append(_layers(program, evaluation))
    lost = {f"{p}: {event}": n for p, events in evaluation.result.overflow.items() for event, n in events.items() if n}
    if lost:
        parts.append(
            "[yellow]values left their declared width[/yellow] and were clipped or wrapped to it (times, over all "
            f"{evaluation.samples} samples; a few clipped messages are what calibration expects)"
        )
        parts.append(style.facts({name: str(n) for name, n in lost.items()}))
    return parts


def _headline(
    program: Program, evaluation: Evaluation, runner: str, y: IntArray | None, saving: Saving | None
) -> Table:
    from rich.text import Text

    result, counts = evaluation.result, evaluation.result.counts
    rows: dict[str, object] = {"program": f"{program.name}, {program.steps} model steps, runner {runner}"}
    if evaluation.accuracy is not None and y is not None:
        right = round(evaluation.accuracy * y.size)
        rows["accuracy"] = Text(f"{style.percent(evaluation.accuracy)}  ({right} of {y.size})", style="bold green")
    if evaluation.sequence_accuracy is not None:
        rows["whole sequences"] = Text(style.percent(evaluation.sequence_accuracy), style="bold green")
    rows["a sample takes"] = (
        f"{style.si(mean_per_sample(counts.synaptic_ops))} synaptic operations, "
        f"{style.si(mean_per_sample(counts.neuron_updates))} neuron updates, "
        f"{style.si(mean_per_sample(counts.spikes))} spikes, "
        f"{result.chip_steps if saving is None else round(saving.chip_steps, 1)} chip steps"
    )
    certain = certain_ticks(program, evaluation)
    if certain is not None and saving is None:
        rows["answered"] = f"at the most certain tick: {certain.mean():.1f} of {program.steps} on average"
    if counts.embedded_ops:
        rows["embedded processor"] = f"{style.si(mean_per_sample(counts.embedded_ops))} operations a sample"
    if result.seconds > 0:
        total = sum(int(value.sum()) for value in counts.synaptic_ops.values())
        rows["speed"] = (
            f"{evaluation.samples} samples in {style.si(result.seconds, 's')}: "
            f"{style.si(evaluation.samples / result.seconds)} samples/s, "
            f"{style.si(total / result.seconds)} synaptic operations/s"
        )
    if result.power is not None:
        rows["energy by a meter"] = measured(result.power)
    return style.facts(rows)


def measured(power: PowerReading) -> str:
    """A meter's reading in words, and who says so."""
    kind = "dynamic" if power.scope == "dynamic" else "dynamic and static"
    found = (
        f"{style.si(power.joules_per_sample, 'J')} a sample, {kind}: {style.si(power.joules, 'J')} in "
        f"{style.si(power.seconds, 's')} over {style.many(power.samples, 'sample')}, by {style.plain(power.meter)}"
    )
    return found + (f"; not counted: {style.si(power.discarded, 'J')} of runs tried again" if power.discarded else "")


def adaptive(program: Program, early: Adaptive, saving: Saving) -> Table:
    """Accuracy against ticks, what was saved, and how many samples ended at each tick."""
    from rich.text import Text

    full = early.full
    events = (
        ("synaptic operations", "synaptic_ops"),
        ("neuron updates", "neuron_updates"),
        ("spikes", "spikes"),
        ("embedded operations", "embedded_ops"),
    )
    saved = [f"{style.percent(early.saved(kind))} of the {name}" for name, kind in events if early.saved(kind)]
    rows: dict[str, object] = {
        "a sample ends": f"at the first tick of certainty {early.least:g}, after {early.ticks.mean():.2f} of "
        f"{program.steps} ticks on average"
    }
    if full.accuracy is not None:
        whole = "" if full.sequence_accuracy is None else f", whole sequences {style.percent(full.sequence_accuracy)}"
        rows["all ticks"] = f"{style.percent(full.accuracy)} at the most certain one{whole}"
    rows["saved"] = ", ".join([*saved, f"{style.percent(saving.chip_steps_saved)} of the chip steps"])
    if saving.energy is not None:
        before, after = (style.si(value, "J") for value in saving.energy)
        rows["energy saved"] = Text(
            f"{style.percent(saving.energy_saved)} on {saving.target}: {after} instead of {before} a sample "
            "(rough estimate, events only)",
            style="bold green",
        )
    else:
        rows["energy saved"] = f"no prices known for {saving.target or 'the target'}: see the events above"
    ended = np.bincount(early.ticks, minlength=program.steps + 1)
    for tick in range(1, program.steps + 1):
        if ended[tick]:
            rows[f"tick {tick}"] = f"{style.bar(ended[tick] / ended.max(), 24)} {ended[tick]}"
    return style.facts(rows)


def _predictions(predictions: IntArray, y: IntArray | None) -> Table:
    labelled = y is not None and y.shape == predictions.shape
    classes, counts = np.unique(predictions, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_CLASSES] if len(classes) > MAX_CLASSES else np.arange(len(classes))
    columns = ["class", ">predicted", "", *([">in y", ">right"] if labelled else [])]
    table = style.grid("predictions", *columns)
    for i in order:
        row = [str(classes[i]), str(counts[i]), f"[cyan]{style.bar(counts[i] / counts.max(), 24)}[/cyan]"]
        if labelled and y is not None:
            there = y == classes[i]
            right = int((predictions[there] == classes[i]).sum())
            row += [str(int(there.sum())), style.percent(right / there.sum()) if there.any() else "-"]
        table.add_row(*row)
    return table


def _positions(program: Program, predictions: IntArray, y: IntArray) -> Table:
    """How often each element of a sequence is right."""
    if program.outputs[0].decode == "ctc":
        predictions = fitted(predictions, y.shape[1])
    table = style.grid("positions", "position", ">right", "")
    for position, share in enumerate((predictions == y).mean(axis=0)):
        table.add_row(str(position), style.percent(share), f"[cyan]{style.bar(share, 24)}[/cyan]")
    return table


def _layers(program: Program, evaluation: Evaluation) -> Table:

    counts = evaluation.result.counts
    into: dict[str, float] = {}
    for projection in program.projections:
        into[projection.target] = into.get(projection.target, 0.0) + float(counts.synaptic_ops[projection.name].mean())
    table = style.grid(
        "layers, a sample", "population", "neuron", ">neurons", ">spikes", ">rate", "", ">synaptic ops in", ">updates"
    )
    for population in program.populations:
        spikes = float(counts.spikes[population.name].mean())
        updates = (
            float(counts.neuron_updates[population.name].mean()) if population.name in counts.neuron_updates else 0.0
        )
        # the host's messages are no updates; a population that stops, or a sample that ends, makes fewer
        made = program.steps if population.updates is None else min(population.updates, program.steps)
        rate = spikes / (updates or population.size * made)
        table.add_row(
            style.plain(population.name),
            population.neuron.kind,
            str(population.size),
            style.si(spikes),
            style.percent(rate) if _sends(population) else "-",
            f"[green]{style.bar(rate, 10)}[/green]",
            style.si(into.get(population.name, 0.0)) if not isinstance(population.neuron, Input) else "",
            style.si(updates),
        )
    for product in program.products:
        name = product.name
        table.add_row(
            style.plain(name),
            f"product, {product.realisation}",
            "",
            style.si(float(counts.spikes[name].mean())) if name in counts.spikes else "",
            "",
            "",
            style.si(float(counts.synaptic_ops[name].mean())),
            style.si(float(counts.neuron_updates[name].mean())) if name in counts.neuron_updates else "",
        )
    return table


def _sends(population: Population) -> bool:
    return population.neuron.message.bits > 0
