"""Real synapses as integer ones: mantissas in units of the target's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import RefusedError
from ndeploy.ir import program as ir
from ndeploy.ir.lowered import GRADED, FloatArray, Lowered, Or, RealConv, RealDense, RealProjection, RealSynapses
from ndeploy.neurons import Neuron
from ndeploy.passes.along import by_row, columns
from ndeploy.passes.graded_units import port_key
from ndeploy.passes.schedule import Schedule
from ndeploy.quantizer import Choices
from ndeploy.synapses import Conv, Dense, Sparse, Synapses


def mantissas(weight: FloatArray, per_unit: FloatArray, bits: int, name: str) -> npt.NDArray[np.int16]:
    """round(weight / per_unit) in the symmetric range of `bits`. Raises RefusedError ND304, ND301 (out of range)."""
    top = (1 << (bits - 1)) - 1
    value = weight / per_unit
    if not np.isfinite(value).all():
        raise RefusedError(
            "ND304", f"projection '{name}' holds a weight that is no number", help="retrain or repair it"
        )
    worst = float(np.abs(value).max(initial=0.0))
    if worst > top + 0.5 + 1e-6 * top:
        raise RefusedError(
            "ND301",
            f"projection '{name}': a weight is {worst:.4g} units of its target's input, more than {top}",
            help="the units of a loop did not settle; raise --bits, or rescale the layers of the loop",
        )
    return np.clip(np.rint(value), -top, top).astype(np.int16)


def layout(synapses: RealSynapses, weight: npt.NDArray[np.int16]) -> Synapses:
    """Integer synapses in the layout of real ones."""
    if isinstance(synapses, RealDense):
        return Dense(weight)
    if isinstance(synapses, RealConv):
        return Conv(weight, synapses.in_shape, synapses.stride, synapses.padding, synapses.dilation, synapses.groups)
    return Sparse(weight, synapses.target, synapses.source, synapses.inputs, synapses.outputs)


def integer_projection(
    lowered: Lowered, schedule: Schedule, choices: Choices, units: Mapping[str, Any], p: RealProjection
) -> ir.Projection:
    """The projection with its weights as mantissas. Raises RefusedError ND301, ND304."""
    target = lowered.population(p.target)
    delays = None if p.delays is None else p.delays * schedule.period
    common = {
        "name": p.name,
        "source": p.source,
        "target": p.target,
        "delay": schedule.delay[p.name],
        "delays": delays,
        "origin": p.name,
        "unit": p.unit,
        "port": p.port,
    }
    if p.integer is not None:
        weight = np.rint(p.synapses.weight).astype(np.int16)
        return ir.Projection(
            synapses=layout(p.synapses, weight),
            weight_bits=p.integer.bits,
            exponent=p.integer.exponent,
            sign=p.integer.sign,
            **common,  # type: ignore[arg-type]
        )
    if isinstance(target.model, Neuron):
        # a model taken over exactly counts messages, whatever the host says that one is worth
        unit: FloatArray = np.asarray(units[p.source] if p.unit else 1.0)
    elif isinstance(target.model, GRADED) and p.unit:
        return _passage(p, common)
    elif port_key(p.target, p.port) in choices.unit:
        unit = choices.unit[port_key(p.target, p.port)]
    elif isinstance(target.model, Or):
        unit = np.asarray(float(np.abs(p.synapses.weight).max()) * units[p.source])
    else:
        unit = np.asarray(units[p.target])
    exponent = choices.exponent.get(p.target, 0) + choices.own_exponent.get(p.name, 0)
    unit = np.asarray(unit * 2.0**exponent)
    source = columns(p.synapses, units[p.source], lowered.population(p.source).shape)
    if p.name in choices.weights:
        weight = choices.weights[p.name]
        bits = choices.bits[p.name]
    elif p.unit:
        value = by_row(p.synapses, unit, target.shape)
        weight = np.rint(p.synapses.weight * source / value).astype(np.int16)
        bits = max(2, int(np.abs(weight).max()).bit_length() + 1)
    else:
        bits = choices.bits[p.name]
        weight = mantissas(p.synapses.weight * source, by_row(p.synapses, unit, target.shape), bits, p.name)
    return ir.Projection(
        synapses=layout(p.synapses, weight),
        weight_bits=bits,
        exponent=exponent,
        scale=np.asarray(unit) if np.size(unit) > 1 else float(np.max(unit)),
        **common,  # type: ignore[arg-type]
    )


def _passage(p: RealProjection, common: Mapping[str, Any]) -> ir.Projection:
    """Synapses that pass messages on as they are."""
    weight = np.rint(p.synapses.weight).astype(np.int16)
    return ir.Projection(synapses=layout(p.synapses, weight), weight_bits=2, **common)
