"""What one unit of every population's message is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import STATE_SHIFT
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import GRADED, Join, Lowered, Source
from ndeploy.passes.order import topological
from ndeploy.quantizer import Choices

EMIT_BITS = 16
"""Payload with which a membrane inside the network (not a readout) is sent on."""


def message_units(lowered: Lowered, choices: Choices) -> dict[str, Any]:
    """The real value of one unit of each population's message, sources first: a number, of graded populations an
    array that broadcasts to the population's shape.

    Raises RefusedError ND301 where branches of a join have values that are no whole multiples of one another.
    """
    units: dict[str, Any] = {}
    for population in topological(lowered):
        model, name = population.model, population.name
        if isinstance(model, GRADED):
            units[name] = choices.message[name].scale
        elif isinstance(model, Source):
            units[name] = choices.inputs[name].scale
        elif isinstance(model, Join) and name not in choices.unit:
            units[name] = _join_unit(lowered, name, units)
        elif name in choices.unit and isinstance(model, Join):
            units[name] = float(np.max(choices.unit[name]))
        elif isinstance(model, DiscreteNeuron) and not model.spiking and name in choices.unit:
            gain = np.asarray(model.input_gain * model.gain)
            state = np.asarray(gain * choices.unit[name] / (1 << choices.shift.get(name, STATE_SHIFT)))
            units[name] = float(state.flat[0]) * 2.0 ** (24 - EMIT_BITS)
        else:
            units[name] = 1.0
    return units


def contributions(lowered: Lowered, name: str, units: Mapping[str, Any]) -> list[float]:
    """The real values that one unit of each incoming unit-weight projection or product is worth."""
    values = [
        float(np.abs(p.synapses.weight).max()) * units[p.source] for p in lowered.into(name) if p.unit and p.lag == 0
    ]
    return values + [units[q.left] * units[q.right] * q.scale for q in lowered.products if q.target == name]


def _join_unit(lowered: Lowered, name: str, units: Mapping[str, Any]) -> float:
    values = contributions(lowered, name, units)
    if not values:  # only what is delayed enters: what is known of that, else a unit for the time being
        late = [p for p in lowered.into(name) if p.unit and p.source in units]
        values = [float(np.abs(p.synapses.weight).max()) * float(np.max(units[p.source])) for p in late] or [1.0]
    smallest = min(values)
    for value in values:
        if abs(value / smallest - round(value / smallest)) > 1e-9:
            raise RefusedError(
                "ND301",
                f"join '{name}': its branches are worth {value:g} and {smallest:g} a unit, which no integer relates",
                help="put a neuron before the join, or scale one branch by a whole number",
            )
    return smallest
