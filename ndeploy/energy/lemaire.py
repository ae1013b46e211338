"""Energy of operations, addresses and memory traffic, after Lemaire et al.

E. Lemaire et al., "An analytical estimation of spiking neural networks energy efficiency", ICONIP 2022, arXiv
2210.13107. Equation numbers are the paper's, as its co-authors' and spikingjelly's code carry them
(qualia_plugin_snn `EnergyEstimationMetric`, spikingjelly 2.0.0 `op_counter/analytical_energy.py`); Eq. 2.4 is read as
both read it, one fan-out a spike. Every memory holds what one layer needs and costs 10, 20 and 100 pJ an access of
4 bytes at 8 KB, 32 KB and 1 MB, linear between (and from 0 at size 0), and no more beyond 1 MB, which is a bound from
below. Accesses of other widths cost in proportion.

Two differences to the paper: visits of convolutions are those that happen, at borders and with strides too, where the
paper takes the whole kernel for each spike; and a graded message multiplies each weight it visits, where the paper
evaluates a layer with graded input densely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.energy.horowitz import PJ, Arithmetic
from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.workload import Layer, Node

SOURCE = "Lemaire et al., ICONIP 2022, arXiv 2210.13107, memory of 45 nm as in spikingjelly 2.0.0 op_counter"
STATUS = "code"
TERMS = ("operations", "addressing", "inputs and outputs", "parameters", "potentials")
ACCESS = 4.0
"""Bytes of the access that `POINTS` prices."""
POINTS = ((0.0, 0.0), (8 * 1024.0, 10 * PJ), (32 * 1024.0, 20 * PJ), (1024 * 1024.0, 100 * PJ))
"""(bytes of a memory, J an access)."""
QUEUE = 1000
"""Messages that a layer's queue holds, in and out (the paper's experiments)."""


@dataclass(frozen=True)
class Widths:
    """Bytes of one weight, activation, membrane potential and queued message."""

    weight: float
    activation: float
    potential: float
    message: float


Energies = Mapping[str, Range]


def access(width: float, size: float) -> float:
    """J to read or write `width` bytes in a memory of `size` bytes."""
    sizes, joules = zip(*POINTS, strict=True)
    return float(np.interp(size, sizes, joules)) * width / ACCESS


def dense(layer: Layer, arithmetic: Arithmetic, widths: Widths, bias: int = 0) -> Energies:
    """A layer of an ANN, a sample: Eqs. 1.1 to 4, 6.1, 6.2. bias: numbers of a bias, of which each output reads one."""
    macs, adds = layer.macs, layer.adds
    reads = layer.inputs if layer.kind == "dense" else macs + adds
    if layer.kind == "product":
        reads = 2 * macs
    biased = layer.outputs if bias else 0
    stored = (layer.weights + bias) * widths.weight
    fetched = (macs if layer.kind != "product" else 0) + biased
    addresses = layer.inputs + layer.outputs + layer.taps
    one = {
        "operations": arithmetic.mac.times(macs) + arithmetic.add.times(adds + biased),
        "addressing": _flat(addresses * arithmetic.address_add),
        "inputs and outputs": _flat(reads * access(widths.activation, layer.inputs * widths.activation)),
        "parameters": _flat(fetched * access(widths.weight, stored)),
    }
    return {name: value.times(layer.passes) for name, value in one.items()}


def outputs(node: Node, widths: Widths) -> Energies:
    """An ANN writes each output once a pass: Eqs. 11, 12."""
    written = node.size * node.passes
    return {"inputs and outputs": _flat(written * access(widths.activation, node.size * widths.activation))}


def events(layer: Layer, arithmetic: Arithmetic, widths: Widths) -> Energies:
    """A layer that visits synapses for each message, a sample: Eqs. 1.4, 2.4, 5, 7, 8, 14 to 17."""
    per_visit = arithmetic.add if layer.spikes else arithmetic.mac
    parameters = 0.0 if layer.kind == "product" else layer.visits
    addresses = layer.visits * arithmetic.address_add
    if layer.kind == "conv":
        addresses += 2 * layer.messages * arithmetic.address_mac
    potentials = access(widths.potential, layer.outputs * widths.potential)
    return {
        "operations": per_visit.times(layer.visits),
        "addressing": _flat(addresses),
        "inputs and outputs": _flat(layer.messages * access(widths.message, QUEUE * widths.message)),
        "parameters": _flat(parameters * access(widths.weight, layer.weights * widths.weight)),
        "potentials": _flat(2 * layer.visits * potentials),
    }


def updates(node: Node, arithmetic: Arithmetic, widths: Widths, bias: int = 0) -> Energies:
    """Neurons of a spiking layer, a sample: leak, bias, reset, potentials and spikes out (Eqs. 1.3, 1.4, 13 to 15)."""
    made = node.size * node.updates
    operations = arithmetic.add.times(node.sent + (made if node.bias else 0))
    if node.leak:
        operations = operations + arithmetic.mac.times(made)
    potentials = 2 * made * access(widths.potential, node.size * widths.potential) if node.state else 0.0
    return {
        "operations": operations,
        "inputs and outputs": _flat(node.sent * access(widths.message, QUEUE * widths.message)),
        "parameters": _flat(made * access(widths.weight, bias * widths.weight) if bias else 0.0),
        "potentials": _flat(potentials),
    }


def total(parts: Iterable[Energies]) -> dict[str, Range]:
    """The sum of each term, in the order of `TERMS`."""
    found = dict.fromkeys(TERMS, ZERO)
    for part in parts:
        for name, value in part.items():
            found[name] = found[name] + value
    return found


def _flat(joules: float) -> Range:
    return Range(joules, joules, joules)
