"""The fewest cores: boxes first fit, then cores filled with stretches in several ways; the best is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ndeploy.place.assign import Piece, first_fit, out_axons
from ndeploy.place.fill import Filled, Needs, Way, fill
from ndeploy.place.links import Box
from ndeploy.place.split import UNLIMITED, Capacity
from ndeploy.place.units import Unit, Units

EFFORT = 8_000
"""Boxes whose needs are worked out before no further way is tried."""
LEAST = (1 / 8, 1 / 3, 1 / 32)
PORTIONS = (1.0, 0.85, 0.7, 0.5, 0.3)
PASSES = 3
"""Fillings of one way, each with the out-axons that the boxes of the one before made."""


@dataclass(frozen=True)
class Packed:
    """pieces on cores (from 0, all used); hosted: axons that leave what is not on cores."""

    pieces: tuple[Piece, ...]
    cores: tuple[int, ...]
    hosted: Mapping[str, int]

    @property
    def used(self) -> int:
        return len(set(self.cores))


def pack(units: Units, capacity: Capacity, pieces: tuple[Piece, ...], hosted: Mapping[str, int], bound: int) -> Packed:
    """The best of first fit of the pieces and of all ways to fill; the first of equals.

    pieces: boxes that fit a core each; bound: cores at which nothing is left to gain.
    """
    best = Packed(pieces, first_fit(pieces, capacity), hosted)
    needs = Needs(capacity)
    for way in ways(units, pieces):
        if best.used <= bound or needs.effort > EFFORT:
            break
        found = _filled(units, capacity, way, needs, best)
        if found is not None:
            best = found
    return best


def ways(units: Units, pieces: tuple[Piece, ...]) -> Iterator[Way]:
    """Ways to fill, the most promising first."""
    first = {unit.name: _order(unit, [p.box for p in pieces if p.unit == unit.name]) for unit in units.units}
    other = {name: (*order[-1:], *order[:-1]) for name, order in first.items()}
    for axes in (first, other):
        for least in LEAST:
            for portion in PORTIONS:
                yield Way(True, True, axes, least, portion)
            for heavy, opposite in ((False, False), (True, False), (False, True)):
                yield Way(heavy, opposite, axes, least)


def _order(unit: Unit, boxes: list[Box]) -> tuple[int, ...]:
    """The axes in the order in which `split` cut them: the last are those that boxes hold whole."""
    axes = tuple(range(len(unit.grid)))
    rows_first = (*axes[1:], axes[0])
    whole = all(box[0] == (0, unit.grid[0]) for box in boxes)
    return rows_first if whole and len(axes) > 1 else axes


def _filled(units: Units, capacity: Capacity, way: Way, needs: Needs, best: Packed) -> Packed | None:
    """A filling with fewer cores than the best, None where this way has none."""
    limited = capacity.out_axons < UNLIMITED
    boxes: dict[str, list[Box]] = {unit.name: [] for unit in units.units}
    for piece in best.pieces:
        boxes[piece.unit].append(piece.box)
    for _ in range(PASSES if limited else 1):
        if limited:
            needs.count_out(units.units, boxes, units.to_processor)
        filled = fill(units.units, needs, way, best.used - 1)
        if filled is None:
            return None
        found = _packed(units, needs, filled)
        if _kept(found, capacity):
            return found
        boxes = {unit.name: [box for name, box, _ in filled if name == unit.name] for unit in units.units}
    return None


def _packed(units: Units, needs: Needs, filled: Filled) -> Packed:
    by_unit: dict[str, list[tuple[Box, int]]] = {unit.name: [] for unit in units.units}
    for name, box, core in filled:
        by_unit[name].append((box, core))
    count, hosted = out_axons(units, {name: tuple(box for box, _ in held) for name, held in by_unit.items()})
    pieces: list[Piece] = []
    cores: list[int] = []
    for unit in units.units:
        for (box, core), axons in zip(by_unit[unit.name], count[unit.name], strict=True):
            pieces.append(Piece(unit.name, box, needs.of(unit, box), int(axons)))
            cores.append(core)
    return Packed(tuple(pieces), tuple(cores), hosted)


def _kept(packed: Packed, capacity: Capacity) -> bool:
    """Whether no core sends over more out-axons than it has: the one limit that filling only estimates."""
    sent: dict[int, int] = {}
    for piece, core in zip(packed.pieces, packed.cores, strict=True):
        sent[core] = sent.get(core, 0) + piece.out_axons
    return max(sent.values(), default=0) <= capacity.out_axons
