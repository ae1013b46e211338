"""How the messages that enter each population vary together, seen in a run of an integer program.

`ndeploy.moments` watches the float network, and covers graded ports. Here an integer program, exact enough to stand for
the network, is run on calibration data: whatever lowering made of the network, its messages are what synapses see. A
neuron that forgets slowly answers to what its current and membrane keep of them: half of its covariance is then that of
messages filtered as its state filters, so that errors which cancel over time cost less.
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
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import (
    GRADED,
    FloatArray,
    Lowered,
    RealConv,
    RealDense,
    RealPopulation,
    RealProjection,
)
from ndeploy.ir.program import Program
from ndeploy.moments import MAX_COLUMNS, Moments, conv_columns, thinning

SAMPLES = 128
SLOW = 0.75
"""What a current or a membrane keeps of a step from which its memory counts."""
TOGETHER = 8
"""Samples in memory at a time."""


def traced_moments(program: Program, lowered: Lowered, data: Data, units: Mapping[str, Any]) -> dict[str, Moments]:
    """By population, of every one that is no graded neuron and has weighted inputs which are all dense, or convolutions
    onto one grid. Values are real: messages times `units` of their source (as `message_units`). What a synapse of lag 1
    sees is the message of the step before."""
    from ndeploy.sim import run

    ports = {p.name: into for p in lowered.populations if (into := alike(lowered, p))}
    sources = {p.source for into in ports.values() for p in into}
    data = data.spread(SAMPLES)
    program = for_data(program, data.x)
    images = len(data) * program.steps
    sums = {
        name: _Sum(into, thinning(into[0].synapses, images), *memory(lowered.population(name)))
        for name, into in ports.items()
    }
    for part in parts(data):
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


def parts(data: Data) -> Iterator[Data]:
    """A few samples at a time: traces are wide."""
    for start in range(0, len(data), TOGETHER):
        yield data.slice(start, start + TOGETHER)


def alike(lowered: Lowered, population: RealPopulation) -> list[RealProjection]:
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


def memory(population: RealPopulation) -> tuple[float, float]:
    """What the current and the membrane keep from one step to the next, on average over the neurons."""
    model = population.model
    if isinstance(model, DiscreteNeuron):
        return float(np.mean(model.alpha)), float(np.mean(model.beta))
    return 0.0, 0.0


class _Sum:
    """Running sums of x and x x^T of all that enters one population: 0 as it is, 1 filtered.

    x is counted from the first observation: what hardly varies keeps a covariance, and what never does has none.
    """

    def __init__(self, into: list[RealProjection], every: int, alpha: float, beta: float) -> None:
        self.into, self.every, self.alpha, self.beta = into, every, alpha, beta
        self.slow = max(alpha, beta) > SLOW
        self.count = 0
        self.origin: dict[int, Tensor] = {}
        self.sums: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
        messages = [late(values[p.source], p.lag) for p in self.into]
        self._add(0, messages)
        if self.slow:
            self._add(1, [filtered(x, self.alpha, self.beta) for x in messages])

    def _add(self, which: int, messages: list[Tensor]) -> None:
        x = torch.cat([self._seen(p, m) for p, m in zip(self.into, messages, strict=True)], dim=2)
        x = x - self.origin.setdefault(which, x[:, :1])
        found = x.sum(1).double(), (x.transpose(1, 2) @ x).double()
        self.count += x.shape[1] if which == 0 else 0
        before = self.sums.get(which)
        self.sums[which] = found if before is None else (before[0] + found[0], before[1] + found[1])

    def _seen(self, p: RealProjection, x: Tensor) -> Tensor:
        return conv_columns(p.synapses, x.flatten(0, 1), self.every)

    def moments(self) -> Moments:
        mean, covariance = self._moments(0)
        if self.slow:
            other = self._moments(1)[1]
            size, own = np.trace(other, axis1=1, axis2=2), np.trace(covariance, axis1=1, axis2=2)
            share = np.divide(own, size, out=np.zeros_like(own), where=size > 0)
            covariance = (covariance + other * share[:, None, None]) / 2
        return Moments(tuple(p.name for p in self.into), mean, covariance)

    def _moments(self, which: int) -> tuple[FloatArray, FloatArray]:
        first, second = (s.numpy() / self.count for s in self.sums[which])
        mean = first + self.origin[which][:, 0].double().numpy()
        return mean, second - first[:, :, None] * first[:, None, :]


def filtered(x: Tensor, alpha: float, beta: float) -> Tensor:
    """(samples, steps, *shape) as a current that keeps alpha and a membrane that keeps beta of a step hold it."""
    result, current, state = torch.empty_like(x), torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0])
    for k in range(x.shape[1]):
        current = alpha * current + x[:, k]
        state = beta * state + current
        result[:, k] = state
    return result


def late(value: np.ndarray[Any, Any], lag: int) -> Tensor:
    """(samples, steps, *shape), moved by `lag` steps."""
    x = torch.from_numpy(np.ascontiguousarray(value))
    if not lag:
        return x
    return torch.cat([torch.zeros_like(x[:, :lag]), x[:, :-lag]], dim=1) if lag < x.shape[1] else torch.zeros_like(x)
