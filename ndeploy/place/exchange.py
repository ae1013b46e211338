"""Exchanges of two cores, or of a core and an empty place, within a region of the board.

All exchanges with one core are looked at together: the cost of each core at each router is kept and brought up to date
when two cores change places (the bookkeeping of Taillard, Parallel Computing 17, 1991, by router instead of by pair).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.place.multilevel import BoolArray, FloatArray, Graph
from ndeploy.place.regions import Routers

ROUNDS = 40
"""Rounds of a descent at most; one without an exchange is the last."""
SEARCH = (1500, 50)
"""Exchanges that a search makes after its descent, at most and for each core."""
TENURE = 12
"""Exchanges for which a core does not go back to a router it left, at least; up to twice as many."""


def apart(routers: Routers, a: IntArray, b: IntArray) -> FloatArray:
    """Cost of a packet's way between routers (broadcast)."""
    across, along = routers.across, routers.along
    return np.asarray(np.abs(across[a] - across[b]) + np.abs(along[a] - along[b]))


@dataclass(frozen=True, eq=False)
class Window:
    """The places of a region. region: (routers,); cores: those in it; place: (places,) the router, as an index into the
    region, of each core and then of cores without traffic that fill it up; weight: (places, places) packets; ways:
    (routers, routers); cost: (places, routers) of each core at each router while the others stay."""

    region: IntArray
    cores: IntArray
    place: IntArray
    weight: FloatArray
    ways: FloatArray
    cost: FloatArray

    def exchange(self, i: int, j: int) -> None:
        """Two places' cores change routers (in the arrays)."""
        here, there = self.place[i], self.place[j]
        self.place[i], self.place[j] = there, here
        moved = self.weight[:, i] - self.weight[:, j]
        touched = np.flatnonzero(moved)
        self.cost[touched] += np.outer(moved[touched], self.ways[there] - self.ways[here])

    def written(self, at: IntArray, place: IntArray) -> IntArray:
        """Routers of all cores, with places of this window."""
        at = at.copy()
        at[self.cores] = self.region[place[: len(self.cores)]]
        return at


def window(network: Graph, host: FloatArray, routers: Routers, at: IntArray, region: IntArray) -> Window:
    """A region, with packets that leave it as a cost of each place. at: (cores,) routers."""
    local = np.full(len(routers.room), -1, dtype=np.int64)
    local[region] = np.arange(len(region))
    cores = np.flatnonzero(local[at] >= 0)
    number = np.full(len(at), -1, dtype=np.int64)
    number[cores] = np.arange(len(cores))
    filled = np.bincount(local[at[cores]], minlength=len(region))
    place = np.concatenate([local[at[cores]], np.repeat(np.arange(len(region)), routers.room[region] - filled)])
    rows = network.rows()
    inside: BoolArray = number[rows] >= 0
    within = np.flatnonzero(inside & (number[network.ends] >= 0))
    outward = np.flatnonzero(inside & (number[network.ends] < 0))
    weight = np.zeros((len(place), len(place)))
    weight[number[rows[within]], number[network.ends[within]]] = network.weight[within]
    ways = apart(routers, region[:, None], region[None, :])
    cost = weight @ ways[place]
    cost[: len(cores)] += np.outer(host[cores], routers.out[region])
    far = network.weight[outward, None] * apart(routers, region[None, :], at[network.ends[outward]][:, None])
    np.add.at(cost, number[rows[outward]], far)
    return Window(region, cores, place, weight, ways, cost)


def descended(within: Window, at: IntArray) -> IntArray:
    """Routers after the best exchange of each core in turn, again and again, until none makes the cost smaller."""
    place, cost = within.place, within.cost
    every = np.arange(len(place))
    busiest = np.argsort(-cost[: len(within.cores)].max(axis=1), kind="stable").tolist()
    for _ in range(ROUNDS):
        still = True
        for i in busiest:
            here = place[i]
            change = cost[i, place] - cost[i, here] + cost[:, here] - cost[every, place]
            change += 2 * within.weight[i] * within.ways[here, place]
            j = int(np.argmin(change))
            if change[j] < 0:
                within.exchange(i, j)
                still = False
        if still:
            break
    return within.written(at, place)


def searched(within: Window, at: IntArray) -> IntArray:
    """Routers after a descent and a tabu search: the best exchange is made even where it costs, a core does not go back
    soon, and the best state met is the answer (Taillard 1991, with a tenure that cycles instead of a random one)."""
    at = descended(within, at)
    cores, place, cost = len(within.cores), within.place, within.cost
    if not within.cost.any():
        return at
    every, real = np.arange(len(place)), np.arange(cores)
    until = np.zeros((len(place), len(within.region)), dtype=np.int64)  # of each core at each router
    best, now, lowest = place.copy(), 0.0, 0.0
    for turn in range(1, min(SEARCH[0], SEARCH[1] * cores) + 1):
        of_place = cost[:, place]  # each core where each other one is
        own = of_place[every, every]
        change = of_place[real] + of_place.T[real] - own[real, None] - own
        change += 2 * within.weight[real] * within.ways[place[real]][:, place]
        barred = (until[real][:, place] > turn) | (turn < until[:, place[real]].T)
        refused = barred & (now + change >= lowest)
        change[refused | (place[real, None] == place)] = np.inf
        i, j = np.unravel_index(int(np.argmin(change)), change.shape)
        if not np.isfinite(change[i, j]):
            continue
        now += float(change[i, j])
        held = turn + TENURE + turn * 7 % TENURE
        until[i, place[i]] = held
        if j < cores:
            until[j, place[j]] = held
        within.exchange(int(i), int(j))
        if now < lowest:
            best, lowest = place.copy(), now
    return within.written(at, best)
