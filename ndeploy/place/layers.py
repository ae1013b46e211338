"""Cores as Lava's compiler takes them: no core is shared by two layers, a layer is halved until its parts fit."""

from __future__ import annotations

from collections.abc import Iterator

from ndeploy.place.links import Box
from ndeploy.place.split import Capacity, cannot_split, need
from ndeploy.place.units import Unit


def halved(unit: Unit, capacity: Capacity) -> tuple[Box, ...]:
    """Boxes that each fit a core: halves of halves of the unit's grid.

    Each axis in turn is tried as the first to be halved (the others follow in their order once it is a single
    coordinate wide); the way with the fewest boxes counts. Raises RefusedError ND402 where a neuron alone is too much.
    """
    whole: Box = tuple((0, size) for size in unit.grid)
    axes = tuple(range(len(unit.grid)))
    orders = [(first, *(axis for axis in axes if axis != first)) for first in axes if unit.grid[first] > 1] or [axes]
    return min((tuple(_halves(unit, whole, order, capacity)) for order in orders), key=len)


def _halves(unit: Unit, box: Box, order: tuple[int, ...], capacity: Capacity) -> Iterator[Box]:
    if need(unit, box).excess(capacity) is None:
        yield box
        return
    for axis in order:
        start, stop = box[axis]
        if stop - start > 1:
            middle = (start + stop + 1) // 2
            yield from _halves(unit, (*box[:axis], (start, middle), *box[axis + 1 :]), order, capacity)
            yield from _halves(unit, (*box[:axis], (middle, stop), *box[axis + 1 :]), order, capacity)
            return
    raise cannot_split(unit, box, capacity)
