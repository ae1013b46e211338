"""How far two executions are apart, layer by layer, and where they part first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ndeploy.divergence.signals import FloatArray, Signals, carriers, shown
from ndeploy.ir.program import Population, Program
from ndeploy.ticks import decibels

TOLERANCE = 0.1
"""Of the root mean square of what a sample's reference shows: graded values of a float network part where they differ
by more, for every one differs by its rounding. Spikes, and values of two integer executions, part where they differ."""


@dataclass(frozen=True)
class Parting:
    """The first value of a layer that differs: a message, or between integer executions a membrane. neuron: its place
    in the population; reference, program: what each sent (of a population that sends nothing, its membrane), in real
    values; membranes: both membranes after that step, the reference's first, None where there are none."""

    layer: str
    sample: int
    step: int
    neuron: tuple[int, ...]
    reference: float
    program: float
    membranes: tuple[float, float] | None


@dataclass(frozen=True)
class Spikes:
    """Of a layer of spikes. reference, program: spikes a neuron and model step. rate_error: the differences of the
    neurons' counts of spikes in a sample, over the reference's spikes. shift: model steps by which spikes come early or
    late: the area between the two cumulative counts, over the spikes of the reference (a missing spike counts to the
    end of the sample). matched: of all spikes of either, the share that both send at the same step."""

    reference: float
    program: float
    rate_error: float
    shift: float
    matched: float


@dataclass(frozen=True)
class Layer:
    """kind: "spikes", "graded" or "membrane" (of a population that sends nothing). sqnr: dB, over all samples, steps
    and neurons; by_step: at each model step; membrane_sqnr: of the membranes, None where one side shows none."""

    name: str
    origin: str
    kind: str
    sqnr: float
    by_step: tuple[float, ...]
    membrane_sqnr: float | None
    spikes: Spikes | None
    first: Parting | None


@dataclass
class _Sums:
    power: FloatArray
    noise: FloatArray
    membrane: list[float] = field(default_factory=lambda: [0.0, 0.0])
    has_membrane: bool = False
    counts: list[float] = field(default_factory=lambda: [0.0] * 5)  # reference, program, count gaps, area, both
    values: int = 0
    first: Parting | None = None


class Layers:
    """Sums over batches of samples."""

    def __init__(self, program: Program, exact: bool, membranes: bool) -> None:
        """exact: both sides are integer executions, so that any difference counts; membranes: in one unit, so that a
        difference of membranes is one too."""
        self.program, self.exact, self.membranes = program, exact, membranes
        self.sums: dict[str, _Sums] = {}
        self.parted: dict[str, Parting] = {}

    def add(self, program_side: Signals, reference: Signals, start: int) -> None:
        """Samples from number `start` on."""
        for name in carriers(self.program):
            own, wanted = shown(program_side, name), shown(reference, name)
            if own is None or wanted is None or own.shape != wanted.shape:
                continue
            population = self.program.population(name)
            steps = own.shape[1]
            s = self.sums.setdefault(name, _Sums(np.zeros(steps), np.zeros(steps)))
            s.power += (wanted**2).sum(axis=(0, 2))
            s.noise += ((wanted - own) ** 2).sum(axis=(0, 2))
            s.values += own.size
            mine, theirs = program_side.membranes.get(name), reference.membranes.get(name)
            if mine is not None and theirs is not None:
                s.has_membrane = True
                s.membrane[0] += float((theirs**2).sum())
                s.membrane[1] += float(((theirs - mine) ** 2).sum())
            if kind_of(population) == "spikes":
                _count(s, own, wanted)
            if s.first is None:
                s.first = self._first(population, own, wanted, mine, theirs, start)

    def _first(
        self,
        population: Population,
        own: FloatArray,
        wanted: FloatArray,
        mine: FloatArray | None,
        theirs: FloatArray | None,
        start: int,
    ) -> Parting | None:
        bound: FloatArray | float = 0.0
        if not self.exact and kind_of(population) != "spikes":
            bound = TOLERANCE * np.sqrt(np.mean(wanted**2, axis=(1, 2), keepdims=True))
        differ = np.abs(own - wanted) > bound
        if self.membranes and mine is not None and theirs is not None:
            # a membrane goes wrong before a spike does
            differ |= mine != theirs
        if not differ.any():
            return None
        at = tuple(int(i) for i in np.unravel_index(int(differ.argmax()), differ.shape))
        membranes = None if mine is None or theirs is None else (float(theirs[at]), float(mine[at]))
        neuron = tuple(int(i) for i in np.unravel_index(at[2], population.shape))
        return Parting(population.name, start + at[0], at[1], neuron, float(wanted[at]), float(own[at]), membranes)

    def found(self) -> tuple[Layer, ...]:
        """Every layer that both sides show, in the program's order."""
        return tuple(self._layer(self.program.population(name), s) for name, s in self.sums.items())

    def first(self) -> Parting | None:
        """Of the lowest sample, its earliest step, the layer that values reach first."""
        offset = {p.name: p.offset for p in self.program.populations}
        found = [s.first for s in self.sums.values() if s.first is not None]
        return min(found, key=lambda p: (p.sample, p.step, offset[p.layer]), default=None)

    def _layer(self, population: Population, s: _Sums) -> Layer:
        kind = kind_of(population)
        by_step = tuple(decibels(float(p), float(n)) for p, n in zip(s.power, s.noise, strict=True))
        spikes = None
        if kind == "spikes":
            reference, program, gaps, area, both = s.counts
            spikes = Spikes(
                reference / s.values,
                program / s.values,
                gaps / max(reference, 1.0),
                area / max(reference, 1.0),
                both / max(reference + program - both, 1.0) if reference + program else 1.0,
            )
        membrane = decibels(*s.membrane) if s.has_membrane else None
        total = decibels(float(s.power.sum()), float(s.noise.sum()))
        return Layer(population.name, population.origin, kind, total, by_step, membrane, spikes, s.first)


def kind_of(population: Population) -> str:
    """What is compared of a population."""
    message = population.neuron.message
    if not message.bits:
        return "membrane"
    return "spikes" if message.bits == 1 and not message.signed else "graded"


def _count(s: _Sums, own: FloatArray, wanted: FloatArray) -> None:
    gap = np.cumsum(own - wanted, axis=1)
    sums = (wanted.sum(), own.sum(), np.abs(gap[:, -1]).sum(), np.abs(gap).sum(), np.minimum(own, wanted).sum())
    s.counts = [total + float(more) for total, more in zip(s.counts, sums, strict=True)]


def common(program: Program, one: Signals, other: Signals) -> list[str]:
    """Populations that both show in the same shape."""
    pairs: Mapping[str, tuple[FloatArray | None, FloatArray | None]] = {
        name: (shown(one, name), shown(other, name)) for name in carriers(program)
    }
    return [n for n, (a, b) in pairs.items() if a is not None and b is not None and a.shape == b.shape]
