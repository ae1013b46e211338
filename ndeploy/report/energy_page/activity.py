"""How active the network was, layer by layer: what is not sent costs nothing, what is idle costs still."""

from __future__ import annotations

from ndeploy.energy.ranges import ZERO
from ndeploy.energy.result import EnergyReport, LayerCost
from ndeploy.report.energy_page.bars import plain_bar
from ndeploy.report.energy_page.numbers import NOTHING, quantity, share
from ndeploy.report.energy_page.parts import MOST_LAYERS, dense_share, synaptic_operations
from ndeploy.report.energy_page.tables import Column, Row, Table, largest

ACTIVE, IDLE = "neuron-update.active", "neuron-update.idle"


def table(report: EnergyReport) -> Table:
    """A row a layer, and the network's sum."""
    shown, rest = largest(report.layers, lambda layer: (layer.energy or ZERO).nominal, MOST_LAYERS)
    rows = [_row(layer) for layer in shown]
    if rest:
        rows.append(Row((f"{len(rest)} other layers", "", "", "", *_sums(rest)), "part"))
    if len(report.layers) > 1:
        rows.append(Row(("all layers", "", "", "", *_sums(report.layers)), "sum"))
    columns = (
        Column("layer", "name"),
        Column("messages a neuron and update"),
        Column("", "bar"),
        Column("sparsity"),
        Column("messages"),
        Column("synaptic operations"),
        Column("of dense"),
        Column("updates"),
        Column("idle"),
    )
    note = (
        "Sparsity: the share of updates after which nothing was sent. Of dense: synaptic operations made, of those "
        "that would be if every neuron sent at every update. Idle: updates into which no message came."
    )
    return Table("Activity by layer", columns, tuple(rows), note=note)


def _row(layer: LayerCost) -> Row:
    if layer.counts.get("embedded-op") and not layer.counts.get("spike"):
        return Row((layer.name, "on the processor", "", "", *_sums([layer])))
    return Row(
        (
            layer.name,
            share(layer.rate, 1.0),
            plain_bar(layer.rate, f"{quantity(layer.rate)} messages a neuron and update", "other"),
            share(max(0.0, 1.0 - layer.rate), 1.0),
            *_sums([layer]),
        )
    )


def _sums(layers: tuple[LayerCost, ...] | list[LayerCost]) -> tuple[str, str, str, str, str]:
    made = sum(synaptic_operations(layer) for layer in layers)
    dense = sum(layer.dense_synaptic_ops for layer in layers)
    active, idle = (sum(layer.counts.get(event, 0.0) for layer in layers) for event in (ACTIVE, IDLE))
    sent = sum(layer.counts.get("spike", 0.0) for layer in layers)
    of_dense = dense_share(layers[0]) if len(layers) == 1 else made / dense if dense > 0 else None
    return (
        quantity(sent),
        quantity(made),
        NOTHING if of_dense is None else share(of_dense, 1.0),
        quantity(active + idle),
        share(idle, active + idle),
    )
