"""Two halves of a graph with little weight between them: coarsened by heavy edges, refined at every level.

Heavy-edge matching and the multilevel scheme: Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998; moves with rollback
to the best prefix: Fiduccia and Mattheyses, DAC 1982. Ties go to the lower number, so the result is a function of the
graph alone. Edge weights are integers held as float64: sums below 2^53 are exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

COARSE = 48
"""Nodes at which coarsening stops."""
SHRINK = 0.9
"""Coarsening also stops when a level keeps more than this part of the nodes."""
PASSES = 6
"""Refinement passes a level at most; a pass that gains nothing is the last."""
PATIENCE = 150
"""Moves without a new best after which a pass ends."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Undirected. start: (nodes + 1,), ends: (2 edges,), weight: (2 edges,) as compressed rows without self-loops; each
    pair stands once in each row. size: (nodes,) what a node takes of a side's room."""

    start: IntArray
    ends: IntArray
    weight: FloatArray
    size: IntArray

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.size)

    def around(self, node: int) -> tuple[IntArray, FloatArray]:
        """Neighbours of a node and the weights of its edges."""
        span = slice(self.start[node], self.start[node + 1])
        return self.ends[span], self.weight[span]

    def rows(self) -> IntArray:
        """(2 edges,) the node whose row each entry is in."""
        return np.repeat(np.arange(self.nodes), np.diff(self.start))


def added(at: IntArray, weight: FloatArray, length: int) -> FloatArray:
    """(length,) weights summed by index; numpy's bincount counts integers where nothing is given."""
    return np.bincount(at, weight, length).astype(np.float64)


def graph(size: IntArray, a: IntArray, b: IntArray, weight: FloatArray) -> Graph:
    """Of edges between a and b, in both directions summed; self-loops and edges without weight are left out."""
    nodes = len(size)
    kept = (a != b) & (weight > 0)
    a, b, weight = a[kept], b[kept], weight[kept]
    key = np.concatenate([a * nodes + b, b * nodes + a])
    unique, place = np.unique(key, return_inverse=True)
    summed = added(place.ravel(), np.concatenate([weight, weight]), len(unique))
    row, column = np.divmod(unique, max(nodes, 1))
    start = np.zeros(nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=nodes), out=start[1:])
    return Graph(start, column, summed, size)


def induced(whole: Graph, nodes: IntArray) -> Graph:
    """The graph of some nodes only, in the order given."""
    number = np.full(whole.nodes, -1, dtype=np.int64)
    number[nodes] = np.arange(len(nodes))
    rows, columns = number[whole.rows()], number[whole.ends]
    inside = (rows >= 0) & (columns >= 0) & (rows < columns)
    return graph(whole.size[nodes], rows[inside], columns[inside], whole.weight[inside])


def coarsen(fine: Graph, largest: int) -> tuple[Graph, IntArray]:
    """Nodes matched along their heaviest edges, none larger than `largest` together, and the coarse node of each."""
    mate = np.full(fine.nodes, -1, dtype=np.int64)
    degree = np.diff(fine.start)
    for node in np.argsort(degree, kind="stable").tolist():
        if mate[node] >= 0:
            continue
        near, weight = fine.around(node)
        free = (mate[near] < 0) & (fine.size[near] + fine.size[node] <= largest)
        if free.any():
            other = int(near[free][np.argmax(weight[free])])
            mate[node], mate[other] = other, node
        else:
            mate[node] = node
    first = np.minimum(np.arange(fine.nodes), mate)
    names, coarse = np.unique(first, return_inverse=True)
    coarse = coarse.ravel()
    size = np.bincount(coarse, fine.size, len(names)).astype(np.int64)
    rows = fine.rows()
    once = rows < fine.ends
    return graph(size, coarse[rows[once]], coarse[fine.ends[once]], fine.weight[once]), coarse


def grown(whole: Graph, want: int, bias: FloatArray) -> BoolArray:
    """A first pair of halves: side True grows node by node, along the heaviest ties, until it has the size wanted.

    It starts at the node that is best without the rest (bias: weight saved by being on side True), then takes what is
    tied most to it and least to the rest.
    """
    side = np.zeros(whole.nodes, dtype=np.bool_)
    total = added(whole.rows(), whole.weight, whole.nodes)
    score = bias - total
    held = 0
    while held < want:
        score[side] = -np.inf
        node = int(np.argmax(score))
        side[node] = True
        held += int(whole.size[node])
        near, weight = whole.around(node)
        score[near] += 2 * weight
    return side


def _excess(held: int, low: int, high: int) -> int:
    return max(low - held, held - high, 0)


def refined(whole: Graph, side: BoolArray, low: int, high: int, bias: FloatArray) -> BoolArray:
    """Better halves: nodes move one by one, the one that gains most first, and the best state met is kept.

    low, high: bounds of the size of side True; a state within them is better than any outside, by however little.
    """
    side = side.copy()
    rows = whole.rows()
    slack = int(whole.size.max(initial=0))
    for _ in range(PASSES):
        across = side[rows] != side[whole.ends]
        gain = added(rows, np.where(across, whole.weight, -whole.weight), whole.nodes)
        gain += np.where(side, -bias, bias)
        held = int(whole.size[side].sum())
        before = best = (_excess(held, low, high), 0.0)
        free = np.ones(whole.nodes, dtype=np.bool_)
        moved: list[int] = []
        kept, saved = 0, 0.0
        for _ in range(whole.nodes):
            # a side may overflow by one node for a while: with full sides nothing could move otherwise
            allowed = free & np.where(side, held > low - slack, held < high + slack)
            if held > high:
                allowed &= side
            elif held < low:
                allowed &= ~side
            node = int(np.argmax(np.where(allowed, gain, -np.inf)))
            if not allowed[node]:
                break
            saved += float(gain[node])
            held += int(whole.size[node]) * (-1 if side[node] else 1)
            near, weight = whole.around(node)
            gain[near] += np.where(side[near] == side[node], 2 * weight, -2 * weight)
            side[node] = not side[node]
            free[node] = False
            moved.append(node)
            if (_excess(held, low, high), -saved) < best:
                best, kept = (_excess(held, low, high), -saved), len(moved)
            elif len(moved) - kept > PATIENCE:
                break
        undone = np.array(moved[kept:], dtype=np.int64)
        side[undone] = ~side[undone]
        if best >= before:
            break
    return side


def bisected(whole: Graph, low: int, high: int, bias: FloatArray) -> BoolArray:
    """(nodes,) True for the nodes of one half, whose size is within low..high where node sizes allow it.

    bias: (nodes,) weight saved by a node that is on side True, for edges that leave the graph.
    """
    levels: list[tuple[Graph, IntArray, FloatArray]] = []
    at, pull = whole, bias
    smallest = min(high, int(whole.size.sum()) - low)  # room of the smaller side
    while at.nodes > COARSE:
        smaller, coarse = coarsen(at, max(1, smallest // 4))
        if smaller.nodes > SHRINK * at.nodes:
            break
        levels.append((at, coarse, pull))
        at, pull = smaller, added(coarse, pull, smaller.nodes)
    starts = [refined(at, grown(at, want, pull), low, high, pull) for want in sorted({high, (low + high) // 2, low})]
    side = min(starts, key=lambda side: _quality(at, side, low, high, pull))
    for finer, coarse, pull_of in reversed(levels):
        side = refined(finer, side[coarse], low, high, pull_of)
    return side


def _quality(whole: Graph, side: BoolArray, low: int, high: int, bias: FloatArray) -> tuple[int, float]:
    """Less is better: size out of bounds, then what is cut or pulls the other way."""
    cut = float(whole.weight[side[whole.rows()] != side[whole.ends]].sum()) / 2
    return _excess(int(whole.size[side].sum()), low, high), cut - float(bias[side].sum())
