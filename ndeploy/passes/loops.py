"""Which projections close a loop, and so carry the previous model step's messages."""

from __future__ import annotations

from collections.abc import Sequence

from ndeploy.ir.lowered import RealPopulation, RealProduct, RealProjection


def back_edges(
    populations: Sequence[RealPopulation],
    projections: Sequence[RealProjection],
    products: Sequence[RealProduct],
    inputs: Sequence[str],
) -> frozenset[str]:
    """Names of the projections that close a loop in a depth-first walk from the inputs, in the order of the network.

    Projections that already carry a lag are no part of a loop within a model step. A loop is thus cut at the edge that
    leads back to a population the value has already passed, as a step-by-step execution would.
    """
    after: dict[str, list[tuple[str, str | None]]] = {p.name: [] for p in populations}
    for projection in projections:
        if projection.lag == 0:
            after[projection.source].append((projection.target, projection.name))
    for product in products:
        after[product.left].append((product.target, None))
        after[product.right].append((product.target, None))
    found: set[str] = set()
    state: dict[str, int] = {}  # 1: on the current walk, 2: done
    for start in [*inputs, *after]:
        if start in state:
            continue
        state[start] = 1
        walk = [(start, iter(after[start]))]
        while walk:
            here, edges = walk[-1]
            for target, name in edges:
                if state.get(target) == 1 and name is not None:
                    found.add(name)
                elif target not in state:
                    state[target] = 1
                    walk.append((target, iter(after[target])))
                    break
            else:
                state[here] = 2
                walk.pop()
    return frozenset(found)
