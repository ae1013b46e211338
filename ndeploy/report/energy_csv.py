"""A report as rows a layer, for a spreadsheet: `ndeploy energy --csv`."""

from __future__ import annotations

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport, LayerCost
from ndeploy.report import csv_rows
from ndeploy.report.energy_page.parts import outside_layers
from ndeploy.target import EVENTS

FIXED = (
    "layer",
    "kind",
    "neurons",
    "cores",
    "messages_per_neuron_and_update",
    "dense_synaptic_ops",
    "energy_low_joules",
    "energy_nominal_joules",
    "energy_high_joules",
)
"""Columns before those of the events."""
ELSEWHERE = "(of no single layer)"


def header(report: EnergyReport) -> tuple[str, ...]:
    """The columns: `FIXED`, then a column an event that some layer has, in the order of `ndeploy.target.EVENTS`."""
    return (*FIXED, *_events(report))


def rows(report: EnergyReport) -> list[tuple[object, ...]]:
    """A row a layer in the network's order, and one of the energy that is no layer's: sums are left to the reader.

    Counts are events a sample; energies are dynamic, joules a sample, None where an event has no price.
    """
    events = _events(report)
    found = [_row(layer, events) for layer in report.layers]
    shared = outside_layers(report)
    if shared is not None:
        found.append((ELSEWHERE, "", None, None, None, None, *_ends(shared), *(None for _ in events)))
    return found


def text(report: EnergyReport) -> str:
    """The file."""
    return csv_rows.text(header(report), rows(report))


def _events(report: EnergyReport) -> tuple[str, ...]:
    having = {event for layer in report.layers for event in layer.counts}
    return (*(event for event in EVENTS if event in having), *sorted(having.difference(EVENTS)))


def _row(layer: LayerCost, events: tuple[str, ...]) -> tuple[object, ...]:
    counts = (layer.counts.get(event, 0.0) for event in events)
    named = (layer.name, layer.kind, layer.neurons, layer.cores, layer.rate, layer.dense_synaptic_ops)
    return (*named, *_ends(layer.energy), *counts)


def _ends(found: Range | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (found.low, found.nominal, found.high)
