"""What depends on what: links with their lags, and the order in which populations can be evaluated.

A population whose inputs all come from populations that are already known is evaluated over all model steps at once;
populations that depend on each other form a component, which is stepped together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ndeploy.ir.program import Product, Program, Projection
from ndeploy.synapses import Sparse, Synapses

Node = TypeVar("Node", int, str)


@dataclass(frozen=True, eq=False)
class Link:
    """Synapses of one projection that share a delay: the update of model step k consumes the message of k - lag."""

    projection: Projection
    synapses: Synapses
    lag: int


@dataclass(frozen=True, eq=False)
class ProductLink:
    """A product and its lag."""

    product: Product
    lag: int


@dataclass(frozen=True, eq=False)
class Component:
    """Populations in an order of evaluation; `recurrent` if they depend on each other's or their own past."""

    populations: tuple[str, ...]
    recurrent: bool


@dataclass(frozen=True, eq=False)
class Schedule:
    """links, products: by (target, port). components: in an order of evaluation."""

    links: dict[tuple[str, str], tuple[Link, ...]]
    products: dict[tuple[str, str], tuple[ProductLink, ...]]
    components: tuple[Component, ...]


def split_by_delay(projection: Projection) -> list[tuple[int, Synapses]]:
    """The projection's synapses by extra delay; together they are all of its synapses."""
    if projection.delays is None:
        return [(0, projection.synapses)]
    extra = projection.delays.reshape(-1)
    found = [int(x) for x in np.unique(extra)]
    if len(found) == 1:
        return [(found[0], projection.synapses)]
    target, source, index = projection.synapses.to_coo()
    weight = projection.synapses.weight.reshape(-1)[index]
    groups: list[tuple[int, Synapses]] = []
    for delay in found:
        here = extra[index] == delay
        n_in, n_out = projection.synapses.n_in, projection.synapses.n_out
        groups.append((delay, Sparse(weight[here], target[here], source[here], n_in, n_out)))
    return groups


def schedule(program: Program) -> Schedule:
    """Links, lags and components of a valid program."""
    offset = {p.name: p.offset for p in program.populations}

    def lag(start: int, delay: int, target: str) -> int:
        return -((offset[target] - start - delay) // program.period)

    links: dict[tuple[str, str], tuple[Link, ...]] = {}
    products: dict[tuple[str, str], tuple[ProductLink, ...]] = {}
    edges: list[tuple[str, str, int]] = []
    for projection in program.projections:
        for extra, synapses in split_by_delay(projection):
            behind = lag(offset[projection.source], projection.delay + extra, projection.target)
            key = projection.target, projection.port
            links[key] = (*links.get(key, ()), Link(projection, synapses, behind))
            edges.append((projection.source, projection.target, behind))
    for product in program.products:
        behind = lag(max(offset[product.left], offset[product.right]), product.delay, product.target)
        key = product.target, product.port
        products[key] = (*products.get(key, ()), ProductLink(product, behind))
        edges += [(product.left, product.target, behind), (product.right, product.target, behind)]
    return Schedule(links, products, _components([p.name for p in program.populations], edges))


def _components(names: Sequence[str], edges: Sequence[tuple[str, str, int]]) -> tuple[Component, ...]:
    """Strongly connected components, sources first; inside one, populations in the order of their lag-0 edges."""
    number = _strong_components(names, edges)
    members: dict[int, list[str]] = {}
    for name in names:
        members.setdefault(number[name], []).append(name)
    between = [(number[s], number[t]) for s, t, _ in edges if number[s] != number[t]]
    loops = {number[s] for s, t, _ in edges if number[s] == number[t]}
    result = []
    for c in _topological(list(members), between):
        inside = [(s, t) for s, t, lag in edges if lag == 0 and number[s] == number[t] == c]
        result.append(Component(tuple(_topological(members[c], inside)), c in loops))
    return tuple(result)


def _topological(nodes: Sequence[Node], edges: Sequence[tuple[Node, Node]]) -> list[Node]:
    """Kahn's order. Edges must have no cycle: in a valid program every cycle holds a lag of at least one."""
    waiting = dict.fromkeys(nodes, 0)
    after: dict[Node, list[Node]] = {}
    for s, t in edges:
        waiting[t] += 1
        after.setdefault(s, []).append(t)
    ready = [n for n in nodes if not waiting[n]]
    order: list[Node] = []
    while ready:
        node = ready.pop(0)
        order.append(node)
        for t in after.get(node, ()):
            waiting[t] -= 1
            if not waiting[t]:
                ready.append(t)
    return order


def _strong_components(names: Sequence[str], edges: Sequence[tuple[str, str, int]]) -> dict[str, int]:
    """A number for each name; equal numbers depend on each other (Tarjan 1972, without recursion)."""
    after: dict[str, list[str]] = {n: [] for n in names}
    for s, t, _ in edges:
        after[s].append(t)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    number: dict[str, int] = {}
    stack: list[str] = []
    components = 0
    for root in names:
        if root in index:
            continue
        work = [(root, iter(after[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, children = work[-1]
            child = next((c for c in children if c not in index or c not in number), None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    while True:
                        member = stack.pop()
                        number[member] = components
                        if member == node:
                            break
                    components += 1
            elif child in index:
                low[node] = min(low[node], index[child])
            else:
                index[child] = low[child] = len(index)
                stack.append(child)
                work.append((child, iter(after[child])))
    return number
