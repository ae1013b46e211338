"""The fewest cores: boxes first fit, then cores filled with stretches in several ways, then, for what is small, CP-SAT
on finer boxes; the best is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ndeploy.place import cpsat
from ndeploy.place.assign import Piece, first_fit, out_axons
from ndeploy.place.fill import Filled, Needs, Room, Way, fill
from ndeploy.place.links import Box
from ndeploy.place.merge import merged
from ndeploy.place.split import UNLIMITED, Capacity, need, split
from ndeploy.place.units import Unit, Units

EFFORT, EFFORT_EACH = 8_000, 40
"""Boxes whose needs are worked out before no further way is tried: so many, and so many for each piece."""
LEAST = (1 / 8, 1 / 32, 1 / 3)
PORTIONS = (0.9, 0.85, 0.95, 0.8, 0.7, 1.0, 0.5, 0.3)
PASSES = 3
"""Fillings of one way, each with the out-axons that the boxes of the one before made."""


GRAINS = 72
"""Boxes into which a small program is cut for CP-SAT, about."""


@dataclass(frozen=True)
class Packed:
    """pieces on cores (from 0, all used); hosted: axons that leave what is not on cores; method: who found it."""

    pieces: tuple[Piece, ...]
    cores: tuple[int, ...]
    hosted: Mapping[str, int]
    method: str = "greedy"

    @property
    def used(self) -> int:
        return len(set(self.cores))


def pack(
    units: Units,
    capacity: Capacity,
    pieces: tuple[Piece, ...],
    hosted: Mapping[str, int],
    bound: int,
    method: str = "auto",
) -> tuple[Packed, tuple[str, ...]]:
    """The best of first fit of the pieces, of all ways to fill and of CP-SAT, the first of equals; and notes.

    pieces: boxes that fit a core each; bound: cores at which nothing is left to gain; method: "auto", "greedy" or
    "cp-sat". Raises UsageError ND416 where cp-sat was asked for and is not installed.
    """
    if method == "cp-sat":
        cpsat.require()
    best = Packed(pieces, first_fit(pieces, capacity), hosted)
    needs = Needs(capacity)
    for way in ways(units, pieces):
        if best.used <= bound or needs.effort > EFFORT + EFFORT_EACH * len(pieces):
            break
        found = filled(units, capacity, way, needs, best, best.used - 1)
        if found is not None:
            best = found
    notes: tuple[str, ...] = ()
    if best.used > bound and method != "greedy":
        if cpsat.installed():
            best = _solved(units, capacity, best, bound) or best
        elif cpsat.is_small(len(best.pieces), best.used):
            notes = ("packed greedily: ortools is not installed (pip install ndeploy[place]), so CP-SAT was not tried",)
    return _merged(units, capacity, best), notes


def _solved(units: Units, capacity: Capacity, best: Packed, bound: int) -> Packed | None:
    """A packing by CP-SAT with fewer cores than the best; None where none is found, or nothing is small enough."""
    each = -(-sum(unit.size for unit in units.units) // GRAINS)
    fine = {unit.name: split(unit, replace(capacity, neurons=min(each, capacity.neurons))) for unit in units.units}
    coarse = {unit.name: tuple(p.box for p in best.pieces if p.unit == unit.name) for unit in units.units}
    for boxes in (coarse, fine):
        if not cpsat.is_small(sum(len(held) for held in boxes.values()), best.used):
            continue
        pieces, hosted = made(units, boxes)
        cores = cpsat.solve(pieces, capacity, bound, best.used - 1)
        if cores is not None:
            return Packed(pieces, cores, hosted, "cp-sat")
    return None


def made(units: Units, boxes: Mapping[str, Sequence[Box]]) -> tuple[tuple[Piece, ...], dict[str, int]]:
    """Boxes by unit as pieces, in that order, and the axons that leave what is not on cores."""
    count, hosted = out_axons(units, {name: tuple(held) for name, held in boxes.items()})
    pieces = tuple(
        Piece(unit.name, box, need(unit, box), int(axons))
        for unit in units.units
        for box, axons in zip(boxes[unit.name], count[unit.name], strict=True)
    )
    return pieces, hosted


def _merged(units: Units, capacity: Capacity, packed: Packed) -> Packed:
    """The packing with boxes of a unit that meet on a core joined, where all cores still hold what they have."""
    if len({(piece.unit, core) for piece, core in zip(packed.pieces, packed.cores, strict=True)}) == len(packed.cores):
        return packed
    of_unit: dict[str, dict[int, list[Box]]] = {unit.name: {} for unit in units.units}
    for piece, core in zip(packed.pieces, packed.cores, strict=True):
        of_unit[piece.unit].setdefault(core, []).append(piece.box)
    joined = {
        name: sorted((box, core) for core, boxes in held.items() for box in merged(boxes))
        for name, held in of_unit.items()
    }
    if sum(len(held) for held in joined.values()) == len(packed.pieces):
        return packed
    pieces, hosted = made(units, {name: [box for box, _ in held] for name, held in joined.items()})
    cores = tuple(core for unit in units.units for _, core in joined[unit.name])
    found = Packed(pieces, cores, hosted, packed.method)
    return found if fits(found, capacity) else packed


def fits(packed: Packed, capacity: Capacity) -> bool:
    """Whether every core holds what is on it."""
    rooms: dict[int, Room] = {}
    for piece, core in zip(packed.pieces, packed.cores, strict=True):
        room = rooms.setdefault(core, Room(capacity))
        if not room.fits(piece.need, piece.out_axons):
            return False
        room.take(piece.need, piece.out_axons)
    return True


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


def filled(units: Units, capacity: Capacity, way: Way, needs: Needs, begun: Packed, most: int) -> Packed | None:
    """A filling of at most `most` cores, None where this way has none. begun: a packing, for its out-axons."""
    limited = capacity.out_axons < UNLIMITED
    boxes: dict[str, list[Box]] = {unit.name: [] for unit in units.units}
    for piece in begun.pieces:
        boxes[piece.unit].append(piece.box)
    for _ in range(PASSES if limited else 1):
        if limited:
            needs.count_out(units.units, boxes, units.to_processor)
        poured = fill(units.units, needs, way, most)
        if poured is None:
            return None
        found = _packed(units, poured)
        if fits(found, capacity):  # filling only estimates out-axons
            return found
        boxes = {unit.name: [box for name, box, _ in poured if name == unit.name] for unit in units.units}
    return None


def _packed(units: Units, poured: Filled) -> Packed:
    by_unit: dict[str, list[tuple[Box, int]]] = {unit.name: [] for unit in units.units}
    for name, box, core in poured:
        by_unit[name].append((box, core))
    pieces, hosted = made(units, {name: [box for box, _ in held] for name, held in by_unit.items()})
    return Packed(pieces, tuple(core for unit in units.units for _, core in by_unit[unit.name]), hosted)
