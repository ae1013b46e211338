"""How messages vary together when it matters: while the membrane is near its threshold.

An error of a sum changes an answer where it moves a spike, that is where the membrane is about to cross the threshold.
Every observation of a neuron is weighted with exp(-|v - threshold| / (width threshold)), spikes with 1, and part of the
covariance (`share`) is that of messages filtered by the neuron's current and membrane. Every neuron (every channel of a
convolution) has its own moments: for layers of few weights, where bits are scarce.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndeploy.data import Data
from ndeploy.decode import encode, for_data
from ndeploy.ir.lowered import FloatArray, Lowered, RealConv, RealProjection
from ndeploy.ir.program import Population, Program
from ndeploy.moments import Moments, conv_columns, thinning
from ndeploy.neurons import CubaLif
from ndeploy.traced_moments import alike, filtered, late, memory, parts

SAMPLES = 512
MOST = 1 << 18
"""Numbers that the covariances of one population may have, less one: larger layers take minutes."""


@dataclass(frozen=True)
class Style:
    """share: of the filtered messages in the covariance; width: of what counts as near, in thresholds."""

    share: float
    width: float


SHARES, WIDTHS = (0.3, 0.5, 0.7), (1.0, 1.5, 2.5)
STYLES: Mapping[str, Style] = {f"near-{share:g}-{width:g}": Style(share, width) for share in SHARES for width in WIDTHS}
"""Tried one against the other on the end task: on the recurrent Braille fixture others are the best at other
widths."""


def near_moments(
    program: Program, lowered: Lowered, data: Data, units: Mapping[str, Any]
) -> dict[str, dict[str, Moments]]:
    """By style and population, of spiking ones small enough; arrays have one row a row of weights: (rows, columns) and
    (rows, columns, columns). Arguments as of `traced_moments.traced_moments`."""
    from ndeploy.sim import run

    data = data.spread(SAMPLES)
    program = for_data(program, data.x)
    images = len(data) * program.steps
    sums: dict[str, _Sum] = {}
    for population in program.populations:
        if not isinstance(population.neuron, CubaLif):
            continue
        into = alike(lowered, lowered.population(population.name))
        if into and _rows(into) * _columns(into) ** 2 < MOST:
            own = memory(lowered.population(population.name))
            sums[population.name] = _Sum(into, population, thinning(into[0].synapses, images), own)
    if not sums:
        return {}
    sources = {p.source for one in sums.values() for p in one.into}
    wanted = {f"spikes/{name}" for name in sources | sums.keys()} | {f"state/{name}/v" for name in sums}
    for part in parts(data):
        found = run(program, encode(program, part.x, part.x_scale), counts=False, traces=sorted(wanted))
        values = {
            name: found.traces[f"spikes/{name}"].astype(np.float32) * np.asarray(units[name], dtype=np.float32)
            for name in sources
        }
        for name, one in sums.items():
            one.add(values, found.traces[f"state/{name}/v"], found.traces[f"spikes/{name}"])
    return {
        style_name: {name: one.moments(style) for name, one in sums.items()} for style_name, style in STYLES.items()
    }


def _rows(into: list[RealProjection]) -> int:
    return int(into[0].synapses.weight.shape[0])


def _columns(into: list[RealProjection]) -> int:
    return sum(math.prod(p.synapses.weight.shape[1:]) for p in into)


class _Sum:
    """Weighted sums of 1, x and x x^T, by width and row: 0 of messages as they are, 1 filtered."""

    def __init__(
        self, into: list[RealProjection], population: Population, every: int, memory: tuple[float, float]
    ) -> None:
        self.into, self.every, self.memory = into, every, memory
        neuron = population.neuron
        threshold = np.asarray(getattr(neuron, "vth", 1), dtype=np.float64)
        self.threshold = np.maximum(np.broadcast_to(threshold, population.shape), 1.0)
        self.rows = _rows(into)
        self.origin: dict[int, Tensor] = {}
        size, widths = _columns(into), len(WIDTHS)
        self.total = torch.zeros(widths, self.rows, dtype=torch.float64)
        self.plain = torch.zeros(2, dtype=torch.float64)
        self.first = torch.zeros(2, widths, self.rows, size, dtype=torch.float64)
        self.second = torch.zeros(2, widths, self.rows, size, size, dtype=torch.float64)

    def add(self, values: Mapping[str, np.ndarray[Any, Any]], v: np.ndarray[Any, Any], spikes: Any) -> None:
        """v, spikes: (samples, steps, *shape) of the population."""
        away = np.abs(v - self.threshold)
        weights = [
            self._by_observation(np.where(spikes > 0, 1.0, np.exp(-(away / (width * self.threshold)))))
            for width in WIDTHS
        ]
        for i, weight in enumerate(weights):
            self.total[i] += weight.sum(0)
        messages = [late(values[p.source], p.lag) for p in self.into]
        for which, held in enumerate((messages, [filtered(x, *self.memory) for x in messages])):
            x = torch.cat([self._seen(p, m) for p, m in zip(self.into, held, strict=True)], dim=2).double()
            self.plain[which] += x.sum()
            # counted from the first observation: what never varies has no covariance, not rounding noise
            x = x - self.origin.setdefault(which, x[:, :1])
            per_group = self.rows // len(x)
            for row in range(self.rows):
                own = x[row // per_group]
                for i, weight in enumerate(weights):
                    weighted = own * weight[:, row, None]
                    self.first[which, i, row] += weighted.sum(0)
                    self.second[which, i, row] += weighted.T @ own

    def moments(self, style: Style) -> Moments:
        """Both kinds put together, each by its own size."""
        i = WIDTHS.index(style.width)
        total = self.total[i].clamp(min=1e-12)
        first = (self.first[:, i] / total[:, None]).numpy()
        second = (self.second[:, i] / total[:, None, None]).numpy()
        covariance = second - first[..., :, None] * first[..., None, :]
        size = np.maximum(np.trace(covariance, axis1=2, axis2=3), 1e-30)
        share = style.share
        mixed = covariance[0] * (1 - share) / size[0][:, None, None] + covariance[1] * share / size[1][:, None, None]
        # what a bias makes up for: the filtered mean, brought to the size of a single step
        gain = float(self.plain[1] / self.plain[0]) if float(self.plain[0]) else 1.0
        start = np.stack([np.repeat(self.origin[k][:, 0].numpy(), self.rows // len(self.origin[k]), 0) for k in (0, 1)])
        first = first + start
        mean: FloatArray = first[1] / gain if gain else first[0]
        return Moments(tuple(p.name for p in self.into), mean, mixed)

    def _by_observation(self, value: np.ndarray[Any, Any]) -> Tensor:
        """(observations, rows): of a convolution a place is an observation, as in conv_columns."""
        weight = torch.from_numpy(value)
        weight = weight.reshape(-1, self.rows, weight[0, 0].numel() // self.rows).transpose(1, 2)
        return weight.reshape(-1, self.rows)[:: self.every]

    def _seen(self, p: RealProjection, x: Tensor) -> Tensor:
        seen = conv_columns(p.synapses, x.flatten(0, 1), self.every)
        return seen if isinstance(p.synapses, RealConv) else seen.reshape(1, -1, p.synapses.weight.shape[1])
