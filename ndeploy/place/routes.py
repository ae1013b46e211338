"""Routes: how far packets go on the mesh, and what each of its links carries at each model step.

Packets go along x, then along y (XY routing: Loihi 2, arXiv 2601.10035, quoted; dimension-ordered on Loihi 1, Davies et
al. 2018, quoted), one packet for each destination. Messages of the host and of the embedded processors enter and leave
at `ndeploy.place.mesh.PORT` of the chip that the other end is on: an assumption, told as one in reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ndeploy.energy.result import LinkLoad
from ndeploy.fixed import IntArray
from ndeploy.place.flows import HOST, Flows
from ndeploy.place.mesh import Board, Positions, board_of, distances, ports, positions
from ndeploy.target import Target

TOWARDS = ("east", "west", "north", "south")
"""Directions of links: x grows to the east, y to the south."""
EXACT = 2**53
"""Integers below it are exact as float64, in which bincount adds."""


@dataclass(frozen=True, eq=False)
class Routes:
    """east_west, north_south, chip_links: (flows,) hops of one packet of each flow, and how often it goes from chip to
    chip; all zero for a target without a mesh, but for chip_links: 1 between two chips.

    chip, x, y, towards: (links,) the directed links that carry anything, ordered: the router that a packet leaves and
    the index in `TOWARDS`; over the mesh's edge it is a link between chips. loads: (links, model steps) packets, summed
    over samples.
    """

    east_west: IntArray
    north_south: IntArray
    chip_links: IntArray
    chip: IntArray
    x: IntArray
    y: IntArray
    towards: IntArray
    loads: IntArray

    def link_loads(self, samples: int) -> tuple[LinkLoad, ...]:
        """The links as reports show them, packets a sample."""
        whole, peak = self.loads.sum(axis=1), self.loads.max(axis=1, initial=0)
        return tuple(
            LinkLoad(
                int(self.chip[i]),
                int(self.x[i]),
                int(self.y[i]),
                TOWARDS[self.towards[i]],
                int(whole[i]) / samples,
                int(peak[i]) / samples,
            )
            for i in range(len(whole))
        )


def routes(flows: Flows, cores: IntArray, target: Target) -> Routes:
    """Ways of flows. cores: (slices,) the physical core of each slice.

    Raises UsageError ND410 where the target's mesh cannot be.
    """
    board = board_of(target)
    source, sink = (_cores(ends, np.asarray(cores, dtype=np.int64)) for ends in (flows.source, flows.target))
    if board is None:
        return _without_mesh(flows, source, sink, target.cores_per_chip.value)
    chip_in, chip_out = source // board.cores_per_chip, sink // board.cores_per_chip
    start = _ends(board, source, np.where(sink == HOST, 0, chip_out))
    stop = _ends(board, sink, np.where(source == HOST, 0, chip_in))
    return Routes(*distances(board, start, stop), *_links(board, start, stop, flows.packets))


def _cores(ends: IntArray, cores: IntArray) -> IntArray:
    """The core of each end, HOST where it is no neurocore."""
    return np.append(cores, HOST)[np.asarray(ends, dtype=np.int64)]  # HOST is -1: the appended last


def _ends(board: Board, cores: IntArray, chip: IntArray) -> Positions:
    """Routers of cores; those of the host are the port of the chip given."""
    on, port = positions(board, np.maximum(cores, 0)), ports(board, chip)
    off = cores == HOST
    return Positions(
        np.where(off, port.chip, on.chip),
        np.where(off, port.x, on.x),
        np.where(off, port.y, on.y),
        np.where(off, port.column, on.column),
        np.where(off, port.row, on.row),
    )


def _without_mesh(flows: Flows, source: IntArray, sink: IntArray, per_chip: int | None) -> Routes:
    none = np.zeros(len(source), dtype=np.int64)
    crossings = none
    if per_chip:
        crossings = ((source // per_chip != sink // per_chip) & (source != HOST) & (sink != HOST)).astype(np.int64)
    empty = np.zeros(0, dtype=np.int64)
    loads = np.zeros((0, flows.packets.shape[1]), dtype=np.int64)
    return Routes(none, none, crossings, empty, empty, empty, empty, loads)


def _links(
    board: Board, start: Positions, stop: Positions, packets: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    """Chip, x, y, direction and loads of the links in use."""
    steps = packets.shape[1]
    if not len(packets):
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty, empty, np.zeros((0, steps), dtype=np.int64)
    columns = int(max(start.column.max(), stop.column.max())) + 1
    rows = int(max(start.row.max(), stop.row.max())) + 1
    runs = tuple(_runs(start, stop, rows, columns))
    whole = np.stack([run.loads(packets.sum(axis=1)) for run in runs])
    towards, row, column = np.nonzero(whole)
    loads = np.empty((len(towards), steps), dtype=np.int64)
    for step in range(steps):
        each = np.ascontiguousarray(packets[:, step])
        loads[:, step] = np.stack([run.loads(each) for run in runs])[towards, row, column]
    chip = column // board.width + (row // board.height) * (board.chips_wide or 0)
    x, y = column % board.width, row % board.height
    order = np.lexsort((towards, x, y, chip))
    return chip[order], x[order], y[order], towards[order], loads[order]


@dataclass(frozen=True, eq=False)
class _Run:
    """Straight parts of ways in one direction. flows: which have such a part; first, last: (flows,) indices, in a grid
    of lanes x (length + 1), of the first router that a packet leaves along it and of the one after the last."""

    flows: IntArray
    first: IntArray
    last: IntArray
    lanes: int
    length: int
    turned: bool  # lanes are columns

    def loads(self, packets: IntArray) -> IntArray:
        """(rows, columns) packets that leave each router in the direction; packets: (flows,)."""
        shape = (self.lanes, self.length + 1)
        each = packets[self.flows]
        size = shape[0] * shape[1]
        if int(each.sum()) < EXACT:
            enter = np.bincount(self.first, each, size).astype(np.int64)
            leave = np.bincount(self.last, each, size).astype(np.int64)
        else:
            enter, leave = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
            np.add.at(enter, self.first, each)
            np.add.at(leave, self.last, each)
        found = np.cumsum((enter - leave).reshape(shape), axis=1)[:, :-1]
        return found.T if self.turned else found


def _runs(start: Positions, stop: Positions, rows: int, columns: int) -> Iterator[_Run]:
    """The parts of all ways, in the order of `TOWARDS`: along x in the row of the start, along y in the column of the
    stop. Towards the larger index a packet leaves routers a .. b - 1, towards the smaller b + 1 .. a."""
    for lane, a, b, turned, grows in (
        (start.row, start.column, stop.column, False, True),
        (start.row, start.column, stop.column, False, False),
        (stop.column, start.row, stop.row, True, False),
        (stop.column, start.row, stop.row, True, True),
    ):
        lanes, length = (columns, rows) if turned else (rows, columns)
        flows = np.flatnonzero(a < b if grows else a > b)
        base = lane[flows] * (length + 1)
        first, last = (a[flows], b[flows]) if grows else (b[flows] + 1, a[flows] + 1)
        yield _Run(flows, base + first, base + last, lanes, length, turned)
