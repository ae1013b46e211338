"""Balanced time: busy layers lie on more cores, so that no core holds up the others.

The time of a sample is the max-affine bound of `ndeploy.energy.latency`: in every chip step the barrier and the work of
the busiest core. Units are cut evenly into parts in proportion to their work and spread over cores, the busiest part
first, each on the least busy core with room. Several numbers of cores are tried, for every part more is one more box
to send to; the packing with the fewest cores is among them, so the result is never slower than it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.place.assemble import Found, assemble
from ndeploy.place.fill import Room
from ndeploy.place.links import Box, volume
from ndeploy.place.packing import Packed, made
from ndeploy.place.placed import Placed
from ndeploy.place.split import Capacity, need, split
from ndeploy.place.units import Unit, Units
from ndeploy.target import Target

TRIES = 6
"""Numbers of cores that are tried, each half of the one before."""
SLACK = 0.01
"""Time over the shortest that is given for fewer cores."""


def balanced(
    program: Program, target: Target, units: Units, capacity: Capacity, packed: Packed, activity: Activity
) -> tuple[Packed, tuple[str, ...]]:
    """The fastest packing that was found on the cores of as many chips as the packing takes; and notes.

    activity: what neurons send. A target without times of events keeps its packing, with a note.
    """
    if not target.time:
        return packed, (f"nobody has published times of {target.name}'s events: placed for cores, not for latency",)
    own, work = _measured(program, target, units, packed, activity)
    per_chip = target.cores_per_chip.value or packed.used
    most = -(-packed.used // per_chip) * per_chip
    found = [(own, packed.used, 0, packed)]
    for number in range(1, TRIES + 1):
        if most <= packed.used:
            break
        tried = _spread(units, capacity, work, most)
        if tried is not None:
            time, _ = _measured(program, target, units, tried, activity)
            found.append((time, tried.used, number, tried))
        most //= 2
    fastest = min(time for time, _, _, _ in found)
    near = [entry for entry in found if entry[0] <= fastest * (1 + SLACK)]
    return min(near, key=lambda entry: (entry[1], entry[0], entry[2]))[3], ()


def _measured(
    program: Program, target: Target, units: Units, packed: Packed, activity: Activity
) -> tuple[float, dict[str, float]]:
    """Seconds between the starts of two samples, and seconds of work by unit."""
    from ndeploy.energy.latency import timing
    from ndeploy.energy.ledger import tally

    placed: Placed = assemble(program, target, units, packed, Found(0, 0, ""))
    ledger = tally(program, placed, target, activity)
    times = timing(program, ledger, target.table)
    work = dict.fromkeys((unit.name for unit in units.units), 0.0)
    for event, counts in ledger.events.items():
        price = target.duration(event)
        if price is not None:
            for piece, n in zip(ledger.slices, counts.sum(axis=1).tolist(), strict=True):
                work[piece.unit] += n * price.nominal / ledger.samples
    return (times.interval.nominal if times is not None else 0.0), work


def _spread(units: Units, capacity: Capacity, work: Mapping[str, float], most: int) -> Packed | None:
    """Units cut in proportion to their work onto at most so many cores; None where they do not fit."""
    parts = shares(work, {unit.name: unit.size for unit in units.units}, most)
    boxes = {unit.name: evenly(unit, parts[unit.name], capacity) for unit in units.units}
    pieces, hosted = made(units, boxes)
    sizes = {unit.name: unit.size for unit in units.units}
    busy = [work[piece.unit] * piece.need.neurons / sizes[piece.unit] for piece in pieces]
    rooms: list[Room] = []
    load: list[float] = []
    cores = [0] * len(pieces)
    for i in sorted(range(len(pieces)), key=lambda i: (-busy[i], i)):
        piece = pieces[i]
        free = sorted(range(len(rooms)), key=lambda core: (load[core], core))
        core = -1 if len(rooms) < most else next((c for c in free if rooms[c].fits(piece.need, piece.out_axons)), -1)
        if core < 0:
            if len(rooms) >= most or not Room(capacity).fits(piece.need, piece.out_axons):
                return None
            core = len(rooms)
            rooms.append(Room(capacity))
            load.append(0.0)
        rooms[core].take(piece.need, piece.out_axons)
        load[core] += busy[i]
        cores[i] = core
    return Packed(pieces, tuple(cores), hosted)


def shares(work: Mapping[str, float], sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """By unit a number of parts in proportion to its work, at least one, at most its neurons, in all at most `most`
    (or one each)."""

    def parts(each: float) -> dict[str, int]:
        return {name: max(1, min(sizes[name], int(-(-seconds // each)))) for name, seconds in work.items()}

    low, high = 0.0, max(work.values(), default=0.0) or 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if middle and sum(parts(middle).values()) <= most:
            high = middle
        else:
            low = middle
    return parts(high)


def evenly(unit: Unit, parts: int, capacity: Capacity) -> tuple[Box, ...]:
    """About so many boxes of about the same size, each of which fits a core: along one axis, and where that is too
    short along the next; of the orders of axes the one whose largest box is smallest, with the fewest in-axons."""
    axes = tuple(range(len(unit.grid)))
    found: list[tuple[int, int, int, tuple[Box, ...]]] = []
    for number, first in enumerate(axes):
        order = (first, *(axis for axis in axes if axis != first))
        boxes = tuple(box for cut in _cuts(unit.grid, parts, order) for box in _fitting(unit, cut, capacity))
        axons = sum(need(unit, box).in_axons for box in boxes)
        found.append((max(volume(box) for box in boxes), axons, number, boxes))
    return min(found, key=lambda entry: entry[:3])[3]


def _cuts(grid: Sequence[int], parts: int, order: Sequence[int]) -> list[Box]:
    boxes: list[Box] = [tuple((0, size) for size in grid)]
    for axis in order:
        n = min(parts, grid[axis])
        ends = [grid[axis] * i // n for i in range(n + 1)]
        boxes = [(*box[:axis], (a, b), *box[axis + 1 :]) for box in boxes for a, b in pairwise(ends)]
        parts = -(-parts // n)
        if parts < 2:
            break
    return boxes


def _fitting(unit: Unit, box: Box, capacity: Capacity) -> tuple[Box, ...]:
    """The box, or halves of halves of it that fit a core."""
    if need(unit, box).excess(capacity) is None:
        return (box,)
    axis = max(range(len(box)), key=lambda a: box[a][1] - box[a][0])
    start, stop = box[axis]
    if stop - start < 2:
        return split(unit, capacity)  # raises: a single neuron is too much
    middle = (start + stop + 1) // 2
    halves = ((start, middle), (middle, stop))
    return tuple(b for ends in halves for b in _fitting(unit, (*box[:axis], ends, *box[axis + 1 :]), capacity))
