"""How the values that enter each port vary together on calibration data: what rounding weights together needs.

The float network is run once more; of every port with weighted synapses the mean and the covariance of all that enters
it are summed up, a batch at a time. Of a convolution the columns are what one output reads; where there are more
places and samples than it takes, some are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, unfold

from ndeploy.data import Data
from ndeploy.graph.machine import Machine
from ndeploy.graph.reference import inputs
from ndeploy.ir import network as net
from ndeploy.ir.lowered import (
    DeltaCoded,
    FloatArray,
    Held,
    Lowered,
    RealConv,
    RealDense,
    RealProjection,
    RealSparse,
    RealSynapses,
)
from ndeploy.passes.graded_units import port_key, weighted_ports

OBSERVATIONS = 1 << 15
"""Places of a convolution, over all images, that enter a covariance."""
MAX_COLUMNS = 4096
"""Messages into a port; more of them keep weights rounded to nearest."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the real values that enter a port through `projections`, side by side in that order; others may end there too
    (skips beside a convolution).

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
    arrays, length = inputs(network, data.x, lowered.steps)
    same = machine.constant(arrays).carriers
    sums = {
        key: _Sum(lowered, into, len(data) * (1 if all(name in same for _, name in into) else length))
        for key, into in ports.items()
    }
    needed = {name for s in sums.values() for name in s.sources}
    values: dict[str, Tensor] = {}
    order, constant = machine.plan.order, same
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
    """Ports whose projections are all dense, or one convolution with, perhaps, skips of one synapse a neuron."""
    found: dict[str, list[tuple[RealProjection, str]]] = {}
    for population in lowered.populations:
        for port in weighted_ports(population):
            into = weighed(lowered, population.name, port)
            seen = [(p, name) for p in into if (name := _seen(lowered, p, kept)) is not None]
            convs = [(p, name) for p, name in seen if isinstance(p.synapses, RealConv)]
            others = [p for p in into if not isinstance(p.synapses, RealConv)]
            if len(convs) == 1 and all(_is_skip(p, math.prod(population.shape)) for p in others):
                if math.prod(convs[0][0].synapses.weight.shape[1:]) <= MAX_COLUMNS:
                    found[port_key(population.name, port)] = convs
                continue
            if not seen or len(seen) < len(into) or not all(isinstance(p.synapses, RealDense) for p in into):
                continue
            if sum(p.synapses.weight.shape[1] for p in into) <= MAX_COLUMNS:
                found[port_key(population.name, port)] = seen
    return found


def _is_skip(projection: RealProjection, neurons: int) -> bool:
    synapses = projection.synapses
    return isinstance(synapses, RealSparse) and synapses.weight.size <= neurons


class _Sum:
    """Running sums of x and x x^T of one port, x counted from the first observation: what hardly varies keeps a
    covariance, and what never does has none, where the difference of two large sums would leave rounding noise."""

    def __init__(self, lowered: Lowered, into: list[tuple[RealProjection, str]], images: int) -> None:
        self.into = into
        self.every = thinning(into[0][0].synapses, images)
        self.sources = [name for _, name in into]
        self.static = all(lowered.population(p.source).updates is not None for p, _ in into)
        self.count = 0
        self.origin: Tensor | None = None
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, values: Mapping[str, Tensor]) -> None:
        x = torch.cat([conv_columns(p.synapses, values[name], self.every) for p, name in self.into], dim=2).double()
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


def thinning(synapses: RealSynapses, images: int) -> int:
    """Of so many places of so many images one is looked at; dense synapses see one place."""
    if not isinstance(synapses, RealConv):
        return 1
    height, width = (
        (size + 2 * edge - step * (kernel - 1) - 1) // stride + 1
        for size, edge, step, kernel, stride in zip(
            synapses.in_shape[1:],
            synapses.padding,
            synapses.dilation,
            synapses.weight.shape[2:],
            synapses.stride,
            strict=True,
        )
    )
    return max(1, int(images * height * width) // OBSERVATIONS)


def conv_columns(synapses: RealSynapses, value: Tensor, every: int = 1) -> Tensor:
    """(groups, observations, columns) of what the weights see, columns as in weight.reshape(groups, rows, -1).

    value: (images, *shape of the source). every: of so many places of a convolution one is taken, over all images.
    """
    if not isinstance(synapses, RealConv):
        return value.reshape(1, len(value), -1)
    channels, height, width = synapses.in_shape
    (top, left), kernel = synapses.padding, synapses.weight.shape[2:]
    image = pad(value.reshape(-1, channels, height, width), (left, left, top, top))
    # (images, channels * kernel, places)
    seen = unfold(image, (kernel[0], kernel[1]), dilation=synapses.dilation, stride=synapses.stride)
    grouped = seen.reshape(len(seen), synapses.groups, -1, seen.shape[2]).permute(1, 0, 3, 2)
    return grouped.reshape(synapses.groups, -1, grouped.shape[3])[:, ::every]
