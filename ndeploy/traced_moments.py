"""How the messages that enter each population vary together, seen in a run of an integer program.

`ndeploy.moments` watches the float network, and covers graded ports. Here an integer program, exact enough to stand for
the network, is run on calibration data: whatever lowering made of the network, its messages are what synapses see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndeploy.data import Data
from ndeploy.decode import encode, for_data
from ndeploy.ir.lowered import GRADED, Lowered, RealConv, RealDense, RealPopulation, RealProjection
from ndeploy.ir.program import Program
from ndeploy.moments import MAX_COLUMNS, Moments, conv_columns, thinning

SAMPLES = 128
TOGETHER = 8
"""Samples in memory at a time."""


def traced_moments(program: Program, lowered: Lowered, data: Data, units: Mapping[str, Any]) -> dict[str, Moments]:
    """By population, of every one that is no graded neuron and has weighted inputs which are all dense, or convolutions
    onto one grid. Values are real: messages times `units` of their source (as `message_units`). What a synapse of lag 1
    sees is the message of the step before."""
    from ndeploy.sim import run

    ports = {p.name: into for p in lowered.populations if (into := _alike(lowered, p))}
    sources = {p.source for into in ports.values() for p in into}
    data = data.spread(SAMPLES)
    program = for_data(program, data.x)
    images = len(data) * program.steps
    sums = {name: _Sum(into, thinning(into[0].synapses, images)) for name, into in ports.items()}
    for part in _parts(data):
        found = run(
            program,
            encode(program, part.x, part.x_scale),
            counts=False,
            traces=[f"spikes/{name}" for name in sorted(sources)],
        )
        values = {
            name: found.traces[f"spikes/{name}"].astype(np.float32) * np.asarray(units[name], dtype=np.float32)
            for name in sources
        }
        for one in sums.values():
            one.add(values)
    return {name: one.moments() for name, one in sums.items()}


def _parts(data: Data) -> Iterator[Data]:
    for start in range(0, len(data), TOGETHER):
        yield data.slice(start, start + TOGETHER)


def _alike(lowered: Lowered, population: RealPopulation) -> list[RealProjection]:
    """Its weighted projections, where their rows can be laid side by side."""
    if isinstance(population.model, GRADED):
        return []
    into = [p for p in lowered.into(population.name) if not p.unit and p.integer is None]
    if not into or any(p.unit or p.integer is not None for p in lowered.into(population.name)):
        return []
    if all(isinstance(p.synapses, RealDense) for p in into):
        wide = sum(p.synapses.weight.shape[1] for p in into)
    elif all(isinstance(p.synapses, RealConv) for p in into):
        convs = [p.synapses for p in into if isinstance(p.synapses, RealConv)]
        if len({c.groups for c in convs}) > 1:
            return []
        wide = sum(math.prod(c.weight.shape[1:]) for c in convs)
    else:
        return []
    return into if wide <= MAX_COLUMNS else []


class _Sum:
    """Running sums of x and x x^T of all that enters one population."""

    def __init__(self, into: list[RealProjection], every: int) -> None:
        self.into, self.every = into, every
        self.count = 0
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
        parts = [conv_columns(p.synapses, _late(values[p.source], p.lag).flatten(0, 1), self.every) for p in self.into]
        x = torch.cat(parts, dim=2)
        first, second = x.sum(1).double(), (x.transpose(1, 2) @ x).double()
        self.count += x.shape[1]
        self.first = first if self.first is None else self.first + first
        self.second = second if self.second is None else self.second + second

    def moments(self) -> Moments:
        if self.first is None or self.second is None:
            raise ValueError("no observations")
        mean = (self.first / self.count).numpy()
        second = (self.second / self.count).numpy()
        return Moments(tuple(p.name for p in self.into), mean, second - mean[:, :, None] * mean[:, None, :])


def _late(value: np.ndarray[Any, Any], lag: int) -> Tensor:
    """(samples, steps, *shape), moved by `lag` steps."""
    x = torch.from_numpy(np.ascontiguousarray(value))
    if not lag:
        return x
    return torch.cat([torch.zeros_like(x[:, :lag]), x[:, :-lag]], dim=1) if lag < x.shape[1] else torch.zeros_like(x)
