"""How the values that enter each port vary together on calibration data: what rounding weights together needs.

The float network is run once more; of every port with weighted synapses the mean and the covariance of all that enters
it are summed up, a batch at a time. Convolutions are covered where every output reads all of its group at one place
(kernel 1, or as large as the image): those of neuron-level models and of token projections.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ndeploy.data import Data
from ndeploy.graph.machine import Machine
from ndeploy.graph.reference import inputs
from ndeploy.ir import network as net
from ndeploy.ir.lowered import DeltaCoded, FloatArray, Held, Lowered, RealConv, RealDense, RealProjection
from ndeploy.passes.graded_units import port_key, weighted_ports

MAX_COLUMNS = 4096
"""Messages into a port; more of them keep weights rounded to nearest."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the real values that enter a port through `projections`, side by side in that order.

    mean: (groups, columns); covariance: (groups, columns, columns). Dense projections have one group.
    """

    projections: tuple[str, ...]
    mean: FloatArray
    covariance: FloatArray


def port_moments(network: net.Network, lowered: Lowered, data: Data, *, batch: int = 64) -> dict[str, Moments]:
    """By port, as `graded_units.port_key`. Raises what `observe` raises."""
    machine = Machine(network, torch.float32)
    kept = set(machine.plan.order)
    ports = _ports(lowered, kept)
    sums = {key: _Sum(lowered, into) for key, into in ports.items()}
    needed = {name for s in sums.values() for name in s.sources}
    arrays, length = inputs(network, data.x, lowered.steps)
    values: dict[str, Tensor] = {}
    order, constant = machine.plan.order, machine.constant(arrays).carriers
    # what is the same at every step is put out at the first one only
    last = order[-1], next((name for name in reversed(order) if name not in constant), "")

    def visit(name: str, k: int, value: Tensor, membrane: Tensor | None) -> None:
        if name in needed:
            values[name] = value
        if name == last[k > 0]:
            for s in sums.values():
                if k == 0 or not s.static:
                    s.add(values)

    for start in range(0, len(data), batch):
        part = {name: value[start : start + batch] for name, value in arrays.items()}
        values.clear()
        machine.run(part, length, data.x_scale, visit)
    return {key: s.moments() for key, s in sums.items()}


def _seen(lowered: Lowered, projection: RealProjection, kept: set[str]) -> str | None:
    """The node whose value the projection's messages carry."""
    name = projection.source
    model = lowered.population(name).model
    if isinstance(model, DeltaCoded):
        # the sum of weighed changes is the weighed value that the register holds
        sums = {p.target for p in lowered.projections if p.source == name and p.unit}
        name = next((p.target for p in lowered.projections if p.source in sums and p.unit and p.lag == 1), name)
    elif name not in kept and isinstance(model, Held):
        above = [p.source for p in lowered.into(name) if p.unit]
        name = above[0] if len(above) == 1 else name
    return name if name in kept else None


def weighed(lowered: Lowered, population: str, port: str) -> list[RealProjection]:
    """The weighted projections whose sum reaches a port: those that end on it, and those behind a sum of changes."""
    found = []
    for p in lowered.into(population):
        if p.port == port and not p.unit:
            found.append(p)
        elif p.port == port and isinstance(lowered.population(p.source).model, Held):
            found += [x for x in lowered.into(p.source) if not x.unit]
    return found


def _ports(lowered: Lowered, kept: set[str]) -> dict[str, list[tuple[RealProjection, str]]]:
    """Ports whose projections are all dense, or one convolution that reads each group at one place."""
    found: dict[str, list[tuple[RealProjection, str]]] = {}
    for population in lowered.populations:
        for port in weighted_ports(population):
            into = weighed(lowered, population.name, port)
            seen = [(p, name) for p in into if (name := _seen(lowered, p, kept)) is not None]
            if not seen or len(seen) < len(into):
                continue
            dense = [p.synapses for p in into if isinstance(p.synapses, RealDense)]
            columns = sum(s.weight.shape[1] for s in dense)
            if (len(dense) == len(into) and columns <= MAX_COLUMNS) or (len(into) == 1 and _at_one_place(into[0])):
                found[port_key(population.name, port)] = seen
    return found


def _at_one_place(projection: RealProjection) -> bool:
    conv = projection.synapses
    if not isinstance(conv, RealConv):
        return False
    kernel = conv.weight.shape[2:]
    plain = conv.padding == (0, 0) and conv.stride == (1, 1)
    whole = plain and kernel == conv.in_shape[1:]
    point = plain and kernel == (1, 1)
    return (whole or point) and conv.weight.shape[1] * math.prod(kernel) <= MAX_COLUMNS


class _Sum:
    """Running sums of x and x x^T of one port, x counted from the first observation: what hardly varies keeps a
    covariance, and what never does has none, where the difference of two large sums would leave rounding noise."""

    def __init__(self, lowered: Lowered, into: list[tuple[RealProjection, str]]) -> None:
        self.into = into
        self.sources = [name for _, name in into]
        self.static = all(lowered.population(p.source).updates is not None for p, _ in into)
        self.count = 0
        self.origin: Tensor | None = None
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, values: Mapping[str, Tensor]) -> None:
        x = torch.cat([_columns(p, values[name]) for p, name in self.into], dim=2).double()
        self.origin = x[:, :1] if self.origin is None else self.origin
        x = x - self.origin
        first, second = x.sum(1), x.transpose(1, 2) @ x
        self.count += x.shape[1]
        self.first = first if self.first is None else self.first + first
        self.second = second if self.second is None else self.second + second

    def moments(self) -> Moments:
        assert self.first is not None
        assert self.second is not None
        assert self.origin is not None
        mean = (self.first / self.count).numpy()
        covariance = (self.second / self.count).numpy() - mean[:, :, None] * mean[:, None, :]
        return Moments(tuple(p.name for p, _ in self.into), mean + self.origin[:, 0].numpy(), covariance)


def _columns(projection: RealProjection, value: Tensor) -> Tensor:
    """(groups, observations, columns) of what the projection's weights see."""
    conv = projection.synapses
    if not isinstance(conv, RealConv):
        return value.reshape(1, len(value), -1)
    channels, height, width = conv.in_shape
    if conv.weight.shape[2:] == (1, 1):
        x = value.reshape(len(value), conv.groups, channels // conv.groups, height * width)
        return x.permute(1, 0, 3, 2).reshape(conv.groups, -1, channels // conv.groups)
    return value.reshape(len(value), conv.groups, -1).transpose(0, 1)
