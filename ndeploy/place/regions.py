"""Cores to routers by cutting board and network in halves, together, down to single routers.

Chips are parted before routers. A half's pull on a core counts edges to cores outside too, as if those stood in the
middle of the region they are known to be in (dual recursive bipartitioning: Pellegrini, SHPCC 1994; terminal
propagation: Dunlop and Kernighan, IEEE TCAD 1985).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.place.multilevel import BoolArray, FloatArray, Graph, added, bisected, induced


@dataclass(frozen=True, eq=False)
class Routers:
    """Where cores may go. room: cores of each router; chip: its chip; across, along: coordinates whose absolute
    differences add up to the cost of a packet's way; out: cost of the way to the port of its chip."""

    room: IntArray
    chip: IntArray
    across: FloatArray
    along: FloatArray
    out: FloatArray


def halves(routers: Routers, region: IntArray) -> tuple[IntArray, IntArray]:
    """A region's routers in two parts of about the same room, cut across its longer side, between chips first."""
    chips = np.unique(routers.chip[region])
    spans = [float(np.ptp(axis[region])) for axis in (routers.across, routers.along)]
    first, second = (routers.across, routers.along) if spans[0] >= spans[1] else (routers.along, routers.across)
    if len(chips) > 1:
        of_chip = [region[routers.chip[region] == chip] for chip in chips]
        middle = np.array([(first[of].mean(), second[of].mean()) for of in of_chip])
        ordered = chips[np.lexsort((chips, middle[:, 1], middle[:, 0]))]
        left = np.isin(routers.chip[region], ordered[: (len(ordered) + 1) // 2])
        return region[left], region[~left]
    ordered = region[np.lexsort((region, second[region], first[region]))]
    return ordered[: (len(ordered) + 1) // 2], ordered[(len(ordered) + 1) // 2 :]


def spread(network: Graph, host: FloatArray, routers: Routers) -> IntArray:
    """The router of each core. network: cores and packets between them; host: (cores,) packets from and to the host."""
    router = np.zeros(network.nodes, dtype=np.int64)
    everywhere = np.arange(len(routers.room))
    across = np.full(network.nodes, routers.across.mean())  # where each core is, as far as is known
    along = np.full(network.nodes, routers.along.mean())
    queue = [(everywhere, np.arange(network.nodes))]
    while queue:
        following = []
        for region, held in queue:
            if len(region) == 1 or not len(held):
                router[held] = region[0]
                continue
            parts = halves(routers, region)
            side = _left(network, host, routers, parts, held, (across, along))
            for part, cores in zip(parts, (held[side], held[~side]), strict=True):
                across[cores], along[cores] = routers.across[part].mean(), routers.along[part].mean()
                following.append((part, cores))
        queue = following
    return router


def _left(
    network: Graph,
    host: FloatArray,
    routers: Routers,
    parts: tuple[IntArray, IntArray],
    held: IntArray,
    known: tuple[FloatArray, FloatArray],
) -> BoolArray:
    """Which of the cores held go to the first part."""
    rooms = [int(routers.room[part].sum()) for part in parts]
    low, high = max(0, len(held) - rooms[1]), min(len(held), rooms[0])
    (left, right) = ((routers.across[part].mean(), routers.along[part].mean()) for part in parts)
    apart = abs(left[0] - right[0]) + abs(left[1] - right[1])
    inside = np.zeros(network.nodes, dtype=np.bool_)
    inside[held] = True
    rows = network.rows()
    outward = np.flatnonzero(inside[rows] & ~inside[network.ends])
    x, y = (axis[network.ends[outward]] for axis in known)
    further = np.abs(x - right[0]) + np.abs(y - right[1]) - np.abs(x - left[0]) - np.abs(y - left[1])
    saved = added(rows[outward], network.weight[outward] * further, network.nodes)[held]
    saved += host[held] * (routers.out[parts[1]].mean() - routers.out[parts[0]].mean())
    return bisected(induced(network, held), low, high, saved / apart)
