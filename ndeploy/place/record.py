"""A placement in an artifact: the summary that people read, and the slices from which all else follows.

What is read may be a stranger's: slices must cover the program's neurons exactly once and fit the target's cores;
everything else of the placement is worked out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.place.assemble import Found, assemble, chips_of, core_use, largest_system, shares, unplaced
from ndeploy.place.assign import Piece, cut_all, out_axons
from ndeploy.place.bounds import lower_bound
from ndeploy.place.links import Box
from ndeploy.place.packing import Packed
from ndeploy.place.placed import Placed
from ndeploy.place.split import UNLIMITED, Capacity, capacity_of, need
from ndeploy.place.units import Unit, Units, units_of
from ndeploy.target import Target

OBJECTIVES = ("cores", "traffic", "latency", "layers")
METHODS = ("greedy", "cp-sat")
MOST_SLICES = 1_000_000


def record(placed: Placed) -> dict[str, Any]:
    """JSON-like data: `Placed.summary()` and, under "slices", [unit, core, [[start, stop] by axis]] of each slice."""
    slices = [[piece.unit, piece.core, [list(ends) for ends in piece.box]] for piece in placed.slices]
    return {**placed.summary(), "slices": slices}


def restore(program: Program, target: Target, placement: Mapping[str, Any]) -> Placed:
    """The placement that `record` wrote.

    Raises UsageError ND415 where it is not of this program (a unit is unknown, a neuron stands twice or nowhere), is
    no such data, or where a core holds more than the target's cores do (says which limit, and by how much).
    """
    units = units_of(program, target)
    objective, method = _choice(placement, "objective", OBJECTIVES), _choice(placement, "method", METHODS)
    slices = placement.get("slices")
    if not isinstance(slices, list) or len(slices) > MOST_SLICES:
        raise _bad(f"its slices are no list of at most {MOST_SLICES:,}")
    if not target.placed:
        if slices:
            raise _bad(f"{target.name} has no cores, and it holds {len(slices)} slices")
        return unplaced(program, target, units, objective)
    capacity = capacity_of(target.core)
    boxes = _boxes(units, slices, _cores(target))
    tiles = {name: tuple(box for box, _ in held) for name, held in boxes.items()}
    count, hosted = out_axons(units, tiles)
    pieces: list[Piece] = []
    cores: list[int] = []
    for unit in units.units:
        for (box, core), axons in zip(boxes[unit.name], count[unit.name], strict=True):
            pieces.append(Piece(unit.name, box, need(unit, box), int(axons)))
            cores.append(core)
    packed = Packed(tuple(pieces), tuple(cores), hosted)
    _check_cores(packed, capacity)
    _check_chips(packed, target)
    bound, by = lower_bound(units, capacity)
    alone = sum(piece.need.memory for piece in cut_all(units, capacity)[0])
    return assemble(program, target, units, packed, Found(alone, bound, by, objective, method))


def _bad(why: str) -> UsageError:
    return UsageError(
        "ND415",
        f"the placement in the artifact is not one of its program: {why}",
        help="compile the model again; a target whose limits were changed needs that too",
    )


def _choice(placement: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = placement.get(name, known[0])
    if value not in known:
        raise _bad(f"{name} {value!r:.60} is none of {', '.join(known)}")
    return str(value)


def _cores(target: Target) -> int:
    """Cores of the largest system."""
    largest = largest_system(target)
    if target.cores_per_chip.value is None or largest is None or largest.chips.value is None:
        return UNLIMITED
    return target.cores_per_chip.value * largest.chips.value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _boxes(units: Units, slices: list[Any], cores: int) -> dict[str, list[tuple[Box, int]]]:
    """Boxes and cores by unit, which cover every unit exactly once."""
    by_name: dict[str, Unit] = {unit.name: unit for unit in units.units}
    found: dict[str, list[tuple[Box, int]]] = {name: [] for name in by_name}
    held = {name: np.zeros(unit.grid, dtype=np.bool_) for name, unit in by_name.items()}
    for number, entry in enumerate(slices):
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
            raise _bad(f"slice {number} is not [unit, core, box]")
        name, core, box = entry
        if name not in by_name:
            raise _bad(f"slice {number} is of {name!r:.60}, which the program does not have")
        if not _is_number(core) or not 0 <= core < cores:
            raise _bad(f"slice {number} of '{name}' is on core {core!r:.30}; the largest system has {cores:,}")
        ends = _box(box, by_name[name].grid)
        if ends is None:
            raise _bad(f"slice {number} of '{name}' is no box within {by_name[name].grid}")
        at = tuple(slice(start, stop) for start, stop in ends)
        if held[name][at].any():
            raise _bad(f"slice {number} of '{name}' holds neurons of a slice before it")
        held[name][at] = True
        found[name].append((ends, core))
    for name, flags in held.items():
        if not flags.all():
            raise _bad(f"{int(np.count_nonzero(~flags))} of {flags.size} neurons of '{name}' are on no core")
    return found


def _box(box: Any, grid: tuple[int, ...]) -> Box | None:
    """(start, stop) by axis, None where it is no box of the grid."""
    if not isinstance(box, list) or len(box) != len(grid):
        return None
    ends: list[tuple[int, int]] = []
    for pair, size in zip(box, grid, strict=True):
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_number(end) for end in pair):
            return None
        start, stop = pair
        if not 0 <= start < stop <= size:
            return None
        ends.append((start, stop))
    return tuple(ends)


def _check_chips(packed: Packed, target: Target) -> None:
    """Cores lie on the fewest chips that hold them, as the placer puts them: time and static power count no others."""
    per_chip, chips = target.cores_per_chip.value, chips_of(packed.used, target)
    last = max(packed.cores, default=0)
    if per_chip is not None and last // per_chip >= chips:
        raise _bad(
            f"core {last} is on chip {last // per_chip}; {packed.used} cores take {chips}, chip 0 to {chips - 1}"
        )


def _check_cores(packed: Packed, capacity: Capacity) -> None:
    held: dict[int, list[Piece]] = {}
    for piece, core in zip(packed.pieces, packed.cores, strict=True):
        held.setdefault(core, []).append(piece)
    for core, pieces in sorted(held.items()):
        full = shares(core_use(core, pieces), capacity)
        name = max(full, key=lambda resource: full[resource], default="")
        if name and full[name] > 1:
            raise _bad(f"core {core} holds {full[name]:.4g} times the {name} of a core")
