"""Cores are filled one after another with stretches of units, cut so that they take what a core has left.

A unit's neurons stand in a line, one axis of its grid after another. A core takes the longest stretch that fits what it
still holds: whole slabs along the first axis, then rows of the next slab, then single neurons of the next row, each a
box of its own. What is left of the unit goes on the next core. Every box pays for its own axons and weights, so a
stretch that does not finish its unit must be worth a core's `least` share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.place.links import Box, Listed, volume
from ndeploy.place.split import UNLIMITED, Capacity, Need, longest, need
from ndeploy.place.state import WORD_BYTES, Configuration
from ndeploy.place.units import Unit

LISTED, REACHED = 5_000, 20_000
"""Listed sources, and source neurons asked whether they reach a box, that take as long as a box (measured, roughly)."""


class Room:
    """What one core still holds. Amounts as in `Capacity`."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.neurons, self.memory, self.in_axons = capacity.neurons, capacity.memory, capacity.in_axons
        self.out_axons, self.state = capacity.out_axons, capacity.state
        self.configurations: frozenset[Configuration] = frozenset()
        self.thresholds: frozenset[Configuration] = frozenset()

    def fits(self, wanted: Need, out: int) -> bool:
        """Whether a box with these needs and out-axons goes on the core."""
        return (
            wanted.neurons <= self.neurons
            and wanted.memory <= self.memory
            and wanted.in_axons <= self.in_axons
            and out <= self.out_axons
            and wanted.state <= self.state
            and len(self.configurations | wanted.configurations) <= self.capacity.configurations
            and len(self.thresholds | wanted.thresholds) <= self.capacity.thresholds
        )

    def take(self, wanted: Need, out: int) -> None:
        """Put the box on the core."""
        self.neurons -= wanted.neurons
        self.memory -= wanted.memory
        self.in_axons -= wanted.in_axons
        self.out_axons -= out
        self.state -= wanted.state
        self.configurations |= wanted.configurations
        self.thresholds |= wanted.thresholds

    def keep(self, portion: float) -> tuple[int, int]:
        """Hold back all but a portion of an empty core's memory and in-axons: what `give` gives back."""
        kept = self.memory - int(self.memory * portion), self.in_axons - int(self.in_axons * portion)
        self.give((-kept[0], -kept[1]))
        return kept

    def give(self, kept: tuple[int, int]) -> None:
        """Memory and in-axons that were kept back."""
        self.memory += kept[0]
        self.in_axons += kept[1]


class Needs:
    """Needs of boxes, remembered; `effort` counts what was worked out, in boxes: a measure that no clock disturbs.

    out: by unit and neuron (its grid) the boxes that hold a target of it; none before `count_out`.
    """

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.out: Mapping[str, IntArray] = {}
        self.effort = 0.0
        self._known: dict[tuple[str, Box], Need] = {}

    def of(self, unit: Unit, box: Box) -> Need:
        """What the box takes of a core."""
        key = (unit.name, box)
        found = self._known.get(key)
        if found is None:
            self.effort += 1 + sum(link.sources for link in unit.links if isinstance(link, Listed)) / LISTED
            found = self._known[key] = need(unit, box)
        return found

    def count_out(self, units: tuple[Unit, ...], boxes: Mapping[str, list[Box]], extra: Mapping[str, int]) -> None:
        """Take out-axons to be those that these boxes make, and `extra` for each neuron, by unit."""
        self.effort += sum(len(boxes[unit.name]) * link.sources for unit in units for link in unit.links) / REACHED
        self.out = out_counts(units, boxes, extra)

    def out_axons(self, unit: Unit, box: Box) -> int:
        """Out-axons of the box, 0 where they are unlimited."""
        if self.capacity.out_axons >= UNLIMITED or unit.name not in self.out:
            return 0
        return int(self.out[unit.name][tuple(slice(start, stop) for start, stop in box)].sum())

    def share(self, wanted: Need, out: int) -> float:
        """The largest share of a core that the needs take of any resource but configurations, which boxes share."""
        c = self.capacity
        amounts = (
            (wanted.neurons, c.neurons),
            (wanted.memory, c.memory),
            (wanted.in_axons, c.in_axons),
            (out, c.out_axons),
            (wanted.state, c.state),
        )
        return max(amount / limit if limit else 1.0 for amount, limit in amounts)


@dataclass(frozen=True)
class Way:
    """How cores are filled. heavy: units by synaptic memory a neuron, the most first, not in program order;
    opposite: after the unit that a core begins with, units come from the other end; axes: by unit, the order in which
    its axes are cut; least: share of a core that a stretch must be worth unless it finishes what it is a stretch of;
    portion: share of a core's synaptic memory and in-axons that the unit it begins with may take before the others, so
    that what is heavy in memory and what is heavy in neurons share cores."""

    heavy: bool
    opposite: bool
    axes: Mapping[str, tuple[int, ...]]
    least: float
    portion: float = 1.0


Filled = list[tuple[str, Box, int]]
"""(unit, box, core)."""


def _prefix(box: Box, axis: int, length: int) -> Box:
    start = box[axis][0]
    return (*box[:axis], (start, start + length), *box[axis + 1 :])


def _without(box: Box, axis: int, length: int) -> list[Box]:
    start, stop = box[axis]
    return [(*box[:axis], (start + length, stop), *box[axis + 1 :])] if start + length < stop else []


def stretch(box: Box, order: tuple[int, ...], fits: Callable[[Box], bool], guess: int) -> tuple[Box, list[Box]] | None:
    """The longest beginning of the box that fits and what is left of it; None where not even one neuron fits.

    order: the axes, the one cut first first; guess: neurons that may fit.
    """
    axis = order[0]
    width = box[axis][1] - box[axis][0]
    across = volume(box) // width
    n = longest(lambda length: fits(_prefix(box, axis, length)), width, guess // max(across, 1))
    if n:
        return _prefix(box, axis, n), _without(box, axis, n)
    if len(order) == 1:
        return None
    if width == 1 and len(order) > 1:
        return stretch(box, order[1:], fits, guess)
    found = stretch(_prefix(box, axis, 1), order[1:], fits, guess)
    if found is None:
        return None
    part, rest = found
    return part, rest + _without(box, axis, 1)


def fill(units: tuple[Unit, ...], needs: Needs, way: Way, most: int = UNLIMITED) -> Filled | None:
    """Every unit on cores. None where `most` cores do not suffice, or where a neuron fits no empty core."""
    capacity = needs.capacity
    whole = {unit.name: tuple((0, size) for size in unit.grid) for unit in units}
    left = {unit.name: deque([whole[unit.name]]) for unit in units}
    total = {unit.name: needs.of(unit, whole[unit.name]) for unit in units}
    queue = sorted(units, key=lambda unit: -total[unit.name].memory / unit.size) if way.heavy else list(units)
    filled: Filled = []
    core = 0
    while queue:
        if core >= most:
            return None
        room = Room(capacity)
        began = len(filled)
        first, others = queue[0], queue[1:]
        others = others[::-1] if way.opposite else others
        kept = room.keep(way.portion)
        _pour(first, left[first.name], total[first.name], needs, way, room, filled, core, True)
        room.give(kept)
        for unit in (*others, first) if way.portion < 1 else others:
            if not room.neurons:
                break
            _pour(unit, left[unit.name], total[unit.name], needs, way, room, filled, core, len(filled) == began)
        if len(filled) == began:
            return None
        queue = [unit for unit in queue if left[unit.name]]
        core += 1
    return filled


def _pour(
    unit: Unit,
    left: deque[Box],
    total: Need,
    needs: Needs,
    way: Way,
    room: Room,
    filled: Filled,
    core: int,
    empty: bool,
) -> None:
    """Stretches of one unit onto a core, as many as fit and are worth it. empty: the core holds nothing yet."""

    def fits(box: Box) -> bool:
        return room.fits(needs.of(unit, box), needs.out_axons(unit, box))

    while left:
        box = left[0]
        found = stretch(box, way.axes[unit.name], fits, _guess(unit, total, room))
        if found is None:
            return
        part, rest = found
        wanted, out = needs.of(unit, part), needs.out_axons(unit, part)
        if rest and not empty and needs.share(wanted, out) < way.least:
            return
        left.popleft()
        left.extendleft(reversed(rest))
        room.take(wanted, out)
        filled.append((unit.name, part, core))
        empty = False


def _guess(unit: Unit, total: Need, room: Room) -> int:
    """Neurons of the unit that the room would hold if each took the mean."""
    mean = (
        (room.neurons, unit.size),
        (room.memory, total.memory),
        (room.state, unit.size * unit.words * WORD_BYTES),
    )
    return int(min(left * unit.size // amount for left, amount in mean if amount))


def out_counts(
    units: tuple[Unit, ...], boxes: Mapping[str, list[Box]], extra: Mapping[str, int]
) -> dict[str, IntArray]:
    """By unit, an array of its grid's shape: for each neuron the boxes that hold a target of it, and `extra`."""
    by_name = {unit.name: unit for unit in units}
    count = {unit.name: np.full(unit.size, extra.get(unit.name, 0), dtype=np.int64) for unit in units}
    for unit in units:
        for link in unit.links:
            if link.source not in by_name:
                continue
            if link.exclusive or link.uniform:
                count[link.source] += 1 if link.exclusive else len(boxes[unit.name])
                continue
            for box in boxes[unit.name]:
                count[link.source] += link.reach(box)
    return {name: found.reshape(by_name[name].grid) for name, found in count.items()}
