"""Where on the board each core goes, so that packets have short ways.

The cost of a placement is the sum over packets of their hops, a crossing from chip to chip counted as `CROSSING` hops.
It is a quadratic assignment problem: no method of polynomial time comes near an optimum for certain, so a lower bound
stands beside what was found. Cores are spread over the board by recursive bisection (`ndeploy.place.regions`), and in
the given order as a second start; each start then gets better by exchanges of two cores until none helps, and the
better end by a tabu search on each chip (`ndeploy.place.exchange`).
Deterministic: no time limit, no random numbers, sums of integers only in exchanges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.place.exchange import apart, descended, searched, window
from ndeploy.place.flows import HOST
from ndeploy.place.mesh import PORT, Board, board_of, positions
from ndeploy.place.multilevel import FloatArray, Graph, added, graph
from ndeploy.place.regions import Routers, spread
from ndeploy.target import Target

CROSSING = 16
"""Hops that a crossing from chip to chip counts as. A choice: no price of it is public. It is above the ten hops from
corner to corner of an 8 x 4 mesh, so that no packet is sent over an edge to save hops."""
DENSE = 2048
"""Places (cores of the chips in use) up to which all exchanges are looked at; above it, those within a chip."""


@dataclass(frozen=True, eq=False)
class Arrangement:
    """cores: (logical cores,) the physical core of each. cost: packets times hops, crossings counted as `CROSSING`;
    before: what it would be in the given order; bound: what no arrangement on as few chips can go below."""

    cores: IntArray
    cost: int
    before: int
    bound: int

    @property
    def gap(self) -> float:
        """How far the cost is above the bound, as a fraction of the cost."""
        return 1 - self.bound / self.cost if self.cost else 0.0


def arrange(source: IntArray, target_: IntArray, packets: IntArray, cores: int, target: Target) -> IntArray:
    """(cores,) the physical core of each logical core. source, target_: (flows,) logical cores or HOST; packets:
    (flows,). The fewest chips that hold the cores are used. Without a mesh the order stays as it is.

    Raises UsageError ND410 where the target's mesh cannot be.
    """
    return arrangement(source, target_, packets, cores, target).cores


def arrangement(source: IntArray, target_: IntArray, packets: IntArray, cores: int, target: Target) -> Arrangement:
    """As `arrange`, with cost and lower bound."""
    board = board_of(target)
    if board is None or cores == 0:
        return Arrangement(np.arange(cores, dtype=np.int64), 0, 0, 0)
    routers = routers_of(board, -(-cores // board.cores_per_chip))
    weight, shift = _exact(np.asarray(packets, dtype=np.int64), routers)
    network, host = _network(np.asarray(source, dtype=np.int64), np.asarray(target_, dtype=np.int64), weight, cores)
    given = np.repeat(np.arange(len(routers.room)), routers.room)[:cores]
    before = _cost(network, host, routers, given)
    best, cost = given, before
    if before:
        at = exchanged(network, host, routers, (spread(network, host, routers), given))
        found = _cost(network, host, routers, at)
        if found < cost:
            best, cost = at, found
    bound = lower_bound(network, host, routers)
    return Arrangement(_physical(board, routers, best), cost << shift, before << shift, bound << shift)


def routers_of(board: Board, chips: int) -> Routers:
    """The routers of the first chips of a board, in the order of their cores' numbers, with distances as costs."""
    on_chip = -(-board.cores_per_chip // board.cores_per_router)
    chip, router = np.divmod(np.arange(chips * on_chip), on_chip)
    first = router * board.cores_per_router
    at = positions(board, chip * board.cores_per_chip + first)
    return Routers(
        room=np.minimum(board.cores_per_chip - first, board.cores_per_router),
        chip=chip,
        across=(at.column + (CROSSING - 1) * (at.column // board.width)).astype(np.float64),
        along=(at.row + (CROSSING - 1) * (at.row // board.height)).astype(np.float64),
        out=(np.abs(at.x - PORT[0]) + np.abs(at.y - PORT[1])).astype(np.float64),
    )


def _exact(packets: IntArray, routers: Routers) -> tuple[FloatArray, int]:
    """Packets divided by a power of two, so that costs stay below 2^53, and its exponent."""
    furthest = int(np.ptp(routers.across) + np.ptp(routers.along)) + 1
    shift = max(0, (sum(packets.tolist()) * furthest * 4).bit_length() - 53)
    return (packets >> shift).astype(np.float64), shift


def _network(source: IntArray, sink: IntArray, weight: FloatArray, cores: int) -> tuple[Graph, FloatArray]:
    """Packets between cores, either way, and (cores,) those from and to the host."""
    between = (source != HOST) & (sink != HOST)
    network = graph(np.ones(cores, dtype=np.int64), source[between], sink[between], weight[between])
    host = np.zeros(cores)
    for this, other in ((source, sink), (sink, source)):
        alone = (this != HOST) & (other == HOST)
        host += added(this[alone], weight[alone], cores)
    return network, host


def _cost(network: Graph, host: FloatArray, routers: Routers, at: IntArray) -> int:
    ways = apart(routers, at[network.rows()], at[network.ends])
    return int(network.weight @ ways) // 2 + int(host @ routers.out[at])


def _physical(board: Board, routers: Routers, at: IntArray) -> IntArray:
    """Physical cores: those of a router are taken in the order of the logical cores at it."""
    order = np.argsort(at, kind="stable")
    first = np.searchsorted(at[order], at[order])  # where the router's run begins
    within = np.empty(len(at), dtype=np.int64)
    within[order] = np.arange(len(at)) - first
    on_chip = len(routers.room) // (int(routers.chip[-1]) + 1)
    return routers.chip[at] * board.cores_per_chip + (at % on_chip) * board.cores_per_router + within


def exchanged(network: Graph, host: FloatArray, routers: Routers, starts: tuple[IntArray, ...]) -> IntArray:
    """Routers after exchanges of two cores, or of a core and an empty place, until none makes the cost smaller, from
    the better of the starts; then after searches past such a state, chip by chip."""
    chips = [np.flatnonzero(routers.chip == chip) for chip in range(int(routers.chip[-1]) + 1)]
    regions = [np.arange(len(routers.room))] if int(routers.room.sum()) <= DENSE else chips
    ends = []
    for at in starts:
        for region in regions:
            at = descended(window(network, host, routers, at, region), at)
        ends.append(at)
    at = min(ends, key=lambda end: _cost(network, host, routers, end))
    for region in chips:
        at = searched(window(network, host, routers, at, region), at)
    return at


def lower_bound(network: Graph, host: FloatArray, routers: Routers) -> int:
    """What no arrangement can go below: each core alone at its best router, its partners on the nearest places, the
    heaviest nearest (the bound of Gilmore, SIAM J. Appl. Math. 10(2), 1962, and Lawler, Management Science 9(4), 1963,
    without their assignment problem, so weaker). Above `DENSE` places, with the nearest places of an endless chip.
    """
    degree = np.diff(network.start)
    most = int(degree.max(initial=0))
    order = np.lexsort((-network.weight, network.rows()))
    rows, weight = network.rows()[order], network.weight[order]
    rank = np.arange(len(order)) - np.repeat(network.start[:-1], degree)  # of an edge among its core's
    if int(routers.room.sum()) <= DENSE:
        heavy = np.zeros((network.nodes, most))
        heavy[rows, rank] = weight
        every = np.arange(len(routers.room))
        ways = np.repeat(apart(routers, every[:, None], every[None, :]), routers.room, axis=1)
        near = np.sort(ways, axis=1)[:, 1 : most + 1]  # the first is the core's own place
        return _up((heavy @ near.T / 2 + np.outer(host, routers.out)).min(axis=1).sum())
    each = int(routers.room.max())
    rings = np.concatenate([[each - 1], 4 * each * np.arange(1, math.isqrt(most) + 2)])  # places at each distance
    ring = np.repeat(np.arange(len(rings)), rings)
    return _up(float(weight @ ring[rank]) / 2)


def _up(cost: float) -> int:
    return -int(-cost // 1)
