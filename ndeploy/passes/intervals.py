"""Interval arithmetic over messages: the least and greatest value that can travel on every projection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Product, Projection
from ndeploy.neurons import Neuron, Relay
from ndeploy.realise import index_sizes

Interval = tuple[int, int]


def current_interval(p: Projection, message: Interval) -> tuple[IntArray, IntArray]:
    """Per target neuron the least and greatest sum a projection can add for messages in an interval, (n_out,) each."""
    least, greatest = min(0, message[0]), max(0, message[1])
    positive, negative = p.synapses.sums()
    low = negative * greatest + positive * least
    high = positive * greatest + negative * least
    if p.exponent >= 0:
        return low << p.exponent, high << p.exponent
    return low >> -p.exponent, high >> -p.exponent


def product_interval(q: Product, left: Interval, right: Interval) -> Interval:
    """Least and greatest value of any element of a product's result."""
    out = q.subscripts.split("->")[1]
    terms = math.prod(n for letter, n in index_sizes(q).items() if letter not in out)
    corners = [a * b for a in left for b in right]
    return (terms * min(0, *corners)) >> q.exponent, (terms * max(0, *corners)) >> q.exponent


class Intervals:
    """Bounds of messages and of synaptic input, filled in as populations get their neurons, sources first.

    A relay's messages are bounded by its input, every other neuron's by its declared payload. Sources that are not
    known yet (they close a loop) count with no bound tighter than their payload, through `assume`.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], projections: Sequence[Projection], products: Sequence[Product]
    ) -> None:
        self.shapes = shapes
        self.projections = projections
        self.products = products
        self.messages: dict[str, Interval] = {}

    def assume(self, name: str, neuron: Neuron) -> None:
        """Bound a population's messages by its payload."""
        self.messages[name] = (neuron.message.low, neuron.message.high)

    def add(self, name: str, neuron: Neuron) -> None:
        """Bound a population's messages by its payload and, for a relay, by its input."""
        self.assume(name, neuron)
        if isinstance(neuron, Relay):
            low, high = self.input(name)
            known = self.messages[name]
            self.messages[name] = (max(known[0], int(low.min())), min(known[1], int(high.max())))

    def input(self, name: str) -> tuple[IntArray, IntArray]:
        """Least and greatest synaptic input of every neuron of the population, (neurons,) each."""
        size = math.prod(self.shapes[name])
        low, high = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        for p in self.projections:
            if p.target == name and p.source in self.messages:
                below, above = current_interval(p, self.messages[p.source])
                low, high = low + below, high + above
        for q in self.products:
            if q.target == name:
                least, greatest = product_interval(q, self.messages[q.left], self.messages[q.right])
                low, high = low + least, high + greatest
        return low, high
