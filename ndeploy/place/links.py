"""Which source neurons reach a box of target neurons, and with how many synapses, without listing synapses.

A box is a range on every axis of the target's grid. For dense and convolution synapses, and for the neurons of a
product, what a box takes is a product over the axes, so a few short arrays answer for millions of synapses. Listed
synapses are counted with numpy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import cast

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.pack import SynapseFormat

Box = tuple[tuple[int, int], ...]
"""(start, stop) on every axis of a grid."""
BoolArray = npt.NDArray[np.bool_]


def volume(box: Box) -> int:
    """Neurons in a box."""
    return math.prod(stop - start for start, stop in box)


def neurons(box: Box, grid: tuple[int, ...]) -> IntArray:
    """Flat indices (C order) of a box's neurons, in ascending order."""
    index = np.zeros(1, dtype=np.int64)
    for (start, stop), size in zip(box, grid, strict=True):
        index = (index[:, None] * size + np.arange(start, stop)).reshape(-1)
    return index


@dataclass(frozen=True)
class Load:
    """What a link takes on a core: synapses, distinct source neurons (in-axons), bits of synaptic memory."""

    synapses: int
    axons: int
    bits: int


@dataclass(frozen=True, eq=False)
class Link(ABC):
    """Synapses from unit `source` onto the unit that holds the link, whose neurons form `grid`.

    name: the projection or product it belongs to; sources: number of source neurons.
    """

    name: str
    source: str
    sources: int
    grid: tuple[int, ...]
    format: SynapseFormat

    @property
    def whole(self) -> Box:
        """The box that holds the whole grid."""
        return tuple((0, size) for size in self.grid)

    @property
    def uniform(self) -> bool:
        """Whether every source neuron is known to reach every box, as with dense synapses."""
        return False

    @property
    def exclusive(self) -> bool:
        """Whether every source neuron has exactly one synapse: it reaches one box, whatever the partition."""
        return False

    @abstractmethod
    def synapses(self, box: Box) -> int:
        """Synapses onto a box."""

    @abstractmethod
    def axon_sizes(self, box: Box) -> tuple[IntArray, IntArray]:
        """Weights stored for each in-axon of a box, as (distinct numbers, how many axons have each); 0 is no axon."""

    def axons(self, box: Box) -> int:
        """In-axons: source neurons with a synapse into the box."""
        return self._axons(box, *self.axon_sizes(box))

    def load(self, box: Box) -> Load:
        """What the synapses onto a box take."""
        n, times = self.axon_sizes(box)
        return Load(self.synapses(box), self._axons(box, n, times), int((self.format.axon_bits(n) * times).sum()))

    def _axons(self, box: Box, n: IntArray, times: IntArray) -> int:
        """In-axons of a box whose `axon_sizes` are known."""
        return int(times[n > 0].sum())

    def least_bits(self) -> int:
        """Synaptic memory that no placement of the whole link can go below."""
        n, times = self.axon_sizes(self.whole)
        return int((self.format.least_bits(n) * times).sum())

    def weight_bits(self) -> int:
        """Bits of the weights alone, each stored once."""
        n, times = self.axon_sizes(self.whole)
        return int((n * times).sum()) * self.format.weight

    @abstractmethod
    def reach(self, box: Box) -> BoolArray:
        """Which source neurons (flat, C order) have a synapse into the box; not asked of exclusive links."""


def _distinct(counts: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct values of small numbers, ascending, and how often each stands."""
    repeated = np.bincount(counts)
    distinct = np.flatnonzero(repeated)
    return distinct, repeated[distinct]


# -- separable links ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Every:
    """Each coordinate of the target's axis meets all `sources` coordinates of the source's axis."""

    sources: int

    def counts(self, start: int, stop: int) -> IntArray:
        """Pairs that each source coordinate makes with the target range."""
        return np.full(self.sources, stop - start, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Taps:
    """table: (target coordinates, taps) of source coordinates, -1 where there is none."""

    sources: int
    table: IntArray

    def counts(self, start: int, stop: int) -> IntArray:
        """Pairs that each source coordinate makes with the target range."""
        taps = self.table[start:stop].reshape(-1)
        return np.bincount(taps[taps >= 0], minlength=self.sources).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Separable(Link):
    """Source and target meet axis by axis. axes: one map per axis of the grid; source_axes: the order in which those
    axes make up the source's shape (axes with one source coordinate may stand anywhere)."""

    axes: tuple[Every | Taps, ...]
    source_axes: tuple[int, ...]

    @property
    def uniform(self) -> bool:
        return all(isinstance(axis, Every) for axis in self.axes)

    def counts(self, box: Box) -> list[IntArray]:
        """Per axis the pairs of each source coordinate."""
        return [axis.counts(start, stop) for axis, (start, stop) in zip(self.axes, box, strict=True)]

    def synapses(self, box: Box) -> int:
        return math.prod(int(c.sum()) for c in self.counts(box))

    def axon_sizes(self, box: Box) -> tuple[IntArray, IntArray]:
        """A source neuron's number of synapses is a product over the axes, and few products are distinct."""
        values, times = np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64)
        for c in self.counts(box):
            distinct, repeated = _distinct(c)
            values = np.multiply.outer(values, distinct).reshape(-1)
            times = np.multiply.outer(times, repeated).reshape(-1)
        return values, times

    def reach(self, box: Box) -> BoolArray:
        shape = reduce(np.logical_and.outer, [c > 0 for c in self.counts(box)])
        return cast(BoolArray, np.transpose(np.asarray(shape), self.source_axes).reshape(-1))


@dataclass(frozen=True, eq=False)
class SharedConv(Separable):
    """A convolution whose kernel is stored once a core for the output channels the core holds. kernel: taps."""

    kernel: int

    def axon_sizes(self, box: Box) -> tuple[IntArray, IntArray]:
        """Axis 0 is the channels: each input channel stores its taps for every output channel of its group."""
        distinct, repeated = _distinct(self.axes[0].counts(*box[0]))
        return distinct * self.kernel, repeated

    def _axons(self, box: Box, n: IntArray, times: IntArray) -> int:
        """Every source neuron has its own in-axon, though they share the weights."""
        return math.prod(int(np.count_nonzero(c)) for c in self.counts(box))


# -- other links -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Listed(Link):
    """Synapses in a list: target and source index of each, sorted by target."""

    target: IntArray
    source_index: IntArray

    def reaching(self, box: Box) -> IntArray:
        """The source neuron of every synapse into the box."""
        index = neurons(box, self.grid)
        if index.size == index[-1] - index[0] + 1:  # a run of neurons is a run of the list
            start, stop = np.searchsorted(self.target, [index[0], index[-1] + 1])
            return self.source_index[start:stop]
        inside = np.zeros(math.prod(self.grid), dtype=np.bool_)
        inside[index] = True
        return self.source_index[inside[self.target]]

    def synapses(self, box: Box) -> int:
        return int(self.reaching(box).size)

    def axon_sizes(self, box: Box) -> tuple[IntArray, IntArray]:
        repeated = np.bincount(np.bincount(self.reaching(box), minlength=self.sources))  # [n]: axons of n synapses
        n = np.flatnonzero(repeated)
        return n, repeated[n]

    def reach(self, box: Box) -> BoolArray:
        flags = np.zeros(self.sources, dtype=np.bool_)
        flags[self.reaching(box)] = True
        return flags


@dataclass(frozen=True, eq=False)
class Exclusive(Link):
    """Every target neuron has `each` source neurons of its own, with one synapse each (the neurons of a product)."""

    each: int

    def synapses(self, box: Box) -> int:
        return volume(box) * self.each

    def axon_sizes(self, box: Box) -> tuple[IntArray, IntArray]:
        return np.ones(1, dtype=np.int64), np.full(1, volume(box) * self.each, dtype=np.int64)

    @property
    def exclusive(self) -> bool:
        return True

    def reach(self, box: Box) -> BoolArray:
        raise TypeError(f"which sources of '{self.name}' reach a box is not known, and need not be")
