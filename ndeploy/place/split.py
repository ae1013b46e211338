"""A unit is cut into boxes that fit a core: the longest stretch that fits, again and again.

Boxes are cut along one axis of the grid; where a single coordinate of it is too much, along the next. Two orders of
the axes are tried, channels first and rows first, and the one with fewer boxes wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.place.links import Box, neurons, volume
from ndeploy.place.state import WORD_BYTES, Configuration
from ndeploy.place.units import Unit
from ndeploy.target import CoreLimits

UNLIMITED = 2**62


@dataclass(frozen=True)
class Capacity:
    """What a core holds; UNLIMITED where the target states no limit. memory in bits, state in bytes."""

    neurons: int
    memory: int
    in_axons: int
    out_axons: int
    configurations: int
    thresholds: int
    state: int = UNLIMITED


def capacity_of(core: CoreLimits) -> Capacity:
    """The limits of a core as numbers to compare with."""

    def known(value: int | None) -> int:
        return UNLIMITED if value is None else value

    memory = core.synaptic_memory.value
    return Capacity(
        neurons=known(core.neurons.value),
        memory=UNLIMITED if memory is None else 8 * memory,
        in_axons=known(core.in_axons.value),
        out_axons=known(core.out_axons.value),
        configurations=known(core.neuron_configurations.value),
        thresholds=known(core.threshold_configurations.value),
        state=known(core.state_memory.value),
    )


@dataclass(frozen=True)
class Need:
    """What a box takes of a core, apart from out-axons, which depend on where its targets are. memory in bits,
    state in bytes."""

    neurons: int
    memory: int
    in_axons: int
    synapses: int
    configurations: frozenset[Configuration]
    thresholds: frozenset[Configuration]
    state: int

    def excess(self, capacity: Capacity) -> tuple[str, int, int] | None:
        """The first resource that is exceeded, as (name, value, limit)."""
        for name, value, limit in (
            ("neurons", self.neurons, capacity.neurons),
            ("in-axons", self.in_axons, capacity.in_axons),
            ("synaptic memory (bytes)", -(-self.memory // 8), capacity.memory // 8),
            ("state memory (bytes)", self.state, capacity.state),
            ("neuron configurations", len(self.configurations), capacity.configurations),
            ("threshold configurations", len(self.thresholds), capacity.thresholds),
        ):
            if value > limit:
                return name, value, limit
        return None


def _held(values: tuple[Configuration, ...], which: IntArray | None, index: IntArray) -> frozenset[Configuration]:
    if which is None:
        return frozenset(values)
    return frozenset(values[int(i)] for i in np.unique(which[index]))


def need(unit: Unit, box: Box) -> Need:
    """What the box takes."""
    loads = [link.load(box) for link in unit.links]
    mixed = unit.configuration_of is not None or unit.threshold_of is not None
    index = neurons(box, unit.grid) if mixed else np.zeros(0, dtype=np.int64)
    return Need(
        volume(box),
        sum(load.bits for load in loads),
        sum(load.axons for load in loads),
        sum(load.synapses for load in loads),
        _held(unit.configurations, unit.configuration_of, index),
        _held(unit.thresholds, unit.threshold_of, index),
        volume(box) * unit.words * WORD_BYTES,
    )


def longest(fits: Callable[[int], bool], most: int, guess: int) -> int:
    """The largest n in 0..most for which `fits(n)`, given that it holds for all smaller ones; 0 if it never does."""
    guess = min(max(guess, 1), most)
    low, high = (guess, most + 1) if fits(guess) else (0, guess)
    step = 1
    while low and low + step < high:  # gallop from the guess, which is right for all but the first stretch
        if not fits(low + step):
            high = low + step
            break
        low += step
        step *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _cut(unit: Unit, box: Box, order: tuple[int, ...], capacity: Capacity) -> Iterator[Box]:
    axis, rest = order[0], order[1:]
    start, stop = box[axis]
    across = volume(box) // max(stop - start, 1)
    guess = max(capacity.neurons // max(across, 1), 1)

    def part(first: int, length: int) -> Box:
        return (*box[:axis], (first, first + length), *box[axis + 1 :])

    while start < stop:
        first = start

        def fits(length: int, first: int = first) -> bool:
            return need(unit, part(first, length)).excess(capacity) is None

        guess = longest(fits, stop - start, guess)
        if guess:
            yield part(start, guess)
            start += guess
            continue
        one = part(start, 1)
        if not rest:
            raise cannot_split(unit, one, capacity)
        yield from _cut(unit, one, rest, capacity)
        start += 1


def cannot_split(unit: Unit, box: Box, capacity: Capacity) -> RefusedError:
    """The error for a neuron that is too much for an empty core: what it takes, for what, and what a core has."""
    found = need(unit, box).excess(capacity) or ("core", 0, 0)
    worst = max(unit.links, key=lambda link: link.axons(box), default=None)
    of = f", most of it for '{worst.name}'" if worst else ""
    at = tuple(start for start, _ in box)
    return RefusedError(
        "ND402",
        f"{unit.subject}: neuron {at} alone takes {found[1]} {found[0]}{of}; a core has {found[2]}",
        help="give the neuron fewer inputs (a smaller layer or kernel), or sum part of them in a layer before it",
    )


def split(unit: Unit, capacity: Capacity) -> tuple[Box, ...]:
    """Boxes that cover the unit's grid exactly once and each fit an empty core.

    Raises RefusedError ND402 where a single neuron is too much for a core.
    """
    whole: Box = tuple((0, size) for size in unit.grid)
    if need(unit, whole).excess(capacity) is None:
        return (whole,)
    axes = tuple(range(len(unit.grid)))
    orders = [axes]
    if sum(size > 1 for size in unit.grid) > 1:
        orders.append((*axes[1:], axes[0]))
    found = [tuple(_cut(unit, whole, order, capacity)) for order in orders]
    return min(found, key=len)
