"""Small random Networks of graded nodes, with loops through registers, for round trips and executions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from random_networks import NAMES

from ndeploy.graph import shapes
from ndeploy.ir import network as ir


class _Growing:
    """A network that grows node by node. `shapes`: what every node so far puts out."""

    def __init__(self, draw, names: list[str]) -> None:
        self.draw, self.names = draw, iter(names)
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.nodes: dict[str, ir.Node] = {}
        self.edges: list[tuple[str, str]] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def add(self, node: ir.Node, *sources: str, shape: tuple[int, ...] | None = None) -> str:
        name = next(self.names)
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        self.shapes[name] = shape if shape is not None else shapes.own_shape(node)
        return name

    def any(self) -> str:
        return self.draw(st.sampled_from(list(self.nodes)))

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape)

    def linear(self, source: str, n: int) -> str:
        bias = self.draw(st.sampled_from([None, self.normal(n)]))
        return self.add(ir.Linear(self.normal(n, math.prod(self.shapes[source])), bias), source)

    def grow(self) -> None:
        kinds = [
            "Activation",
            "Gate",
            "LayerNorm",
            "Softmax",
            "Register",
            "Trace",
            "Synchronisation",
            "models",
            "Product",
        ]
        source = self.any()
        shape = self.shapes[source]
        size, kind = math.prod(shape), self.draw(st.sampled_from(kinds))
        if kind == "Activation":
            self.add(ir.Activation(self.draw(st.sampled_from(ir.ACTIVATIONS)), shape), source)
        elif kind == "Gate":
            n = self.draw(st.integers(1, 3))
            sides = [[self.linear(self.any(), n) for _ in range(self.draw(st.integers(1, 2)))] for _ in range(2)]
            self.add(ir.Gate(tuple(sides[0]), tuple(sides[1]), (n,)), *sides[0], *sides[1])
        elif kind == "LayerNorm":
            view = self.draw(st.sampled_from([shape, (1, size), (size,), shape[::-1]]))
            axis = self.draw(st.integers(0, len(view) - 1))
            epsilon = self.draw(st.sampled_from([1e-5, 0.1]))
            n = view[axis]
            out = self.draw(st.sampled_from([shape, (size,)]))
            self.add(ir.LayerNorm(out, view, axis, self.normal(n), self.normal(n), epsilon), source)
        elif kind == "Softmax":
            self.add(ir.Softmax(shape), source)
        elif kind == "Register":
            self.add(ir.Register(self.normal(*shape)), source)
        elif kind == "Trace":
            self.add(ir.Trace(self.normal(3, 2)), self.linear(source, 3))
        elif kind == "Synchronisation":
            n = self.draw(st.integers(1, 4))
            left, right = self.rng.integers(0, size, (2, n))
            decay = self.draw(st.sampled_from([np.ones(n), self.rng.uniform(0.1, 1, n)]))
            self.add(ir.Synchronisation(left, right, decay, self.normal(n), self.rng.uniform(0, 1, n)), source)
        elif kind == "models":
            self.models(source)
        else:
            self.add(
                ir.Product(source, other := self.any(), (size,), (math.prod(self.shapes[other]),), "i,j->i", shape)
            )
            self.edges += [(s, self.last) for s in dict.fromkeys((source, other))]

    @property
    def last(self) -> str:
        return next(reversed(self.nodes))

    def models(self, source: str) -> None:
        """A trace, a model for each of its neurons, and back into a register."""
        trace = self.add(ir.Trace(self.normal(2, 3)), self.linear(source, 2))
        bias = self.draw(st.sampled_from([None, self.normal(4), self.normal(4, 1)]))
        hidden = self.add(ir.Conv(self.normal(4, 1, 3), bias, groups=2), trace, shape=(4, 1))
        self.add(ir.Flatten((4, 1), 0, 1), hidden)


@st.composite
def graded_networks(draw, max_nodes: int = 6) -> ir.Network:
    """Inputs, static and not, graded nodes of every kind on anything before them, loops through registers."""
    names = draw(st.lists(NAMES, min_size=6, max_size=6, unique=True))
    # a few of any kind, and plain ones in any number
    net = _Growing(draw, [*names, *(name for i in range(99) if (name := f"node{i}") not in names)])
    for _ in range(draw(st.integers(1, 2))):
        typical = draw(st.sampled_from(["", "signs", "normal"]))
        whole = draw(st.sampled_from([{}, {"whole": (-1, 1), "unit": 0.5}]))
        net.add(ir.Input(draw(st.sampled_from([(3,), (2, 4)])), static=draw(st.booleans()), typical=typical, **whole))
    remembered = net.add(ir.Register(net.normal(3)))
    for _ in range(draw(st.integers(1, max_nodes))):
        net.grow()
    net.edges.append((net.linear(net.last, 3), remembered))
    net.add(ir.Output((3,)), remembered)
    last = net.any()
    net.add(ir.Output(net.shapes[last]), last)
    made = ir.Network("graded", net.nodes, tuple(draw(st.permutations(net.edges))), steps=draw(st.integers(1, 4)))
    # which edge comes first says in which order values are summed, nothing else
    decode, answer = draw(st.sampled_from([("sum", ()), ("most-certain", (3, 1)), ("ctc", (1, 3)), ("last", (3,))]))
    return replace(made, decode=decode, answer=answer, name=draw(NAMES))
