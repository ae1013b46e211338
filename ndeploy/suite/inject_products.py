"""Stuck neurons of products: what they add to the sums is taken out and replaced, exactly.

A product's neurons are those of `ndeploy.realise`: one for every scalar product ("parallel"), or one for the scalar
products along the streamed index, which it forms one after another ("streamed"; its buffers are left alone). The
processor of "embedded" products has no neurons. Of the sums that a stuck neuron takes part in, all scalar products are
built as product neurons, twice: as they are, subtracted, and with the stuck ones, added. A sum S is shifted before it
arrives, and -(S >> e) = (2^e - 1 - S) >> e: a neuron that always sends 2^e - 1 makes the difference exact.

An operand that is latched (its population makes fewer updates than there are model steps) is kept by the product, which
no other neuron does: of such products no neuron is stuck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.neurons import ProductNeuron
from ndeploy.realise import index_sizes
from ndeploy.synapses import Sparse

if TYPE_CHECKING:
    from ndeploy.suite.inject_stuck import Held

LEAST_DELAY = 2
"""Chip steps: from the operands to the product's neurons, and on to the target."""


def neurons(program: Program, product: Product) -> int:
    """How many of the product's neurons can be stuck."""
    operands = [program.population(name) for name in (product.left, product.right)]
    latched = any(p.updates is not None and p.updates < program.steps for p in operands)
    if product.realisation == "embedded" or latched or product.delay < LEAST_DELAY:
        return 0
    return math.prod(_own_sizes(product).values())


def with_stuck(program: Program, product: Product, found: Held) -> Program:
    """The program in which neurons of the product are stuck. found.places: as `neurons` counts them."""
    from ndeploy.suite.inject_stuck import Stuck

    terms = _terms(product, found.places)
    total = len(terms.sums)
    left, right = program.population(product.left), program.population(product.right)
    offset = max(left.offset, right.offset) + 1
    neuron = _neuron(left, right)
    low, high = neuron.message.low, neuron.message.high
    order = np.argsort(found.places)
    place = np.searchsorted(found.places[order], terms.owners)
    stuck = np.flatnonzero(np.append(found.places[order], -1)[place] == terms.owners)
    ill = Stuck(neuron, total, stuck, found.values(low, high)[order][place[stuck]], {})
    rest = (1 << product.exponent) - 1
    touched = np.unique(terms.sums) if rest else np.zeros(0, dtype=np.int64)
    room = replace(neuron, bits=max(neuron.bits, product.exponent + neuron.signed))
    size = total + bool(rest)
    always = np.arange(total, size, dtype=np.int64)
    well = Stuck(room, size, always, np.full(len(always), rest, dtype=np.int64), {})
    name = f"{product.name}, stuck"
    populations = (
        Population(f"{name}: as they are", (size,), well, offset),
        Population(f"{name}: as they are stuck", (total,), ill, offset),
    )
    target = program.population(product.target)
    source = np.arange(total, dtype=np.int64)
    minus = _sparse(source, terms.sums, size, target.size, -1, np.full(len(touched), total), touched)
    plus = _sparse(source, terms.sums, total, target.size, 1)
    links: list[Projection] = []
    for population, back in zip(populations, (minus, plus), strict=True):
        for operand, which, port in zip((left, right), (terms.left, terms.right), neuron.ports, strict=True):
            there = _sparse(which, source, operand.size, population.size, 1)
            delay = offset - operand.offset
            links.append(
                Projection(f"{population.name}, {port}", operand.name, population.name, there, port, delay=delay)
            )
        links.append(
            Projection(
                population.name,
                population.name,
                product.target,
                back,
                product.port,
                exponent=-product.exponent,
                delay=product.delay - 1,
            )
        )
    return replace(
        program,
        populations=(*program.populations, *populations),
        projections=(*program.projections, *links),
    )


@dataclass(frozen=True, eq=False)
class _Terms:
    """Scalar products, one an entry: its sum, its operands and the product's neuron that forms it, flat."""

    sums: IntArray
    left: IntArray
    right: IntArray
    owners: IntArray


def _terms(product: Product, places: IntArray) -> _Terms:
    """All scalar products of the sums that the neurons at `places` take part in."""
    sizes, own = index_sizes(product), _own_sizes(product)
    sides, result = product.subscripts.split("->")
    along = np.unravel_index(places, tuple(own.values())) if own else ()  # one neuron that all is streamed to
    at = dict(zip(own, along, strict=True))
    touched = np.unique(_flat(at, sizes, result, len(places)))
    inner = "".join(x for x in sizes if x not in result)
    each = math.prod(sizes[x] for x in inner)
    count = len(touched) * each
    index: dict[str, IntArray] = {}
    for letters, flat in ((result, np.repeat(touched, each)), (inner, np.tile(np.arange(each), len(touched)))):
        if letters:
            found = np.unravel_index(flat, tuple(sizes[x] for x in letters))
            index.update(zip(letters, (np.asarray(x, dtype=np.int64) for x in found), strict=True))
    left, right = (_flat(index, sizes, side, count) for side in sides.split(","))
    return _Terms(_flat(index, sizes, result, count), left, right, _flat(index, sizes, "".join(own), count))


def _flat(index: Mapping[str, IntArray], sizes: Mapping[str, int], letters: str, count: int) -> IntArray:
    """Flat positions (count,) in an array whose axes are the letters, in C order."""
    found = np.zeros(count, dtype=np.int64)
    for letter in letters:
        found = found * sizes[letter] + index[letter]
    return found


def _neuron(left: Population, right: Population) -> ProductNeuron:
    """A product neuron for the messages of both; a spike takes no room."""
    messages = left.neuron.message, right.neuron.message
    widths = [m.bits for m in messages if m.bits > 1 or m.signed]
    return ProductNeuron(bits=sum(widths) or 1, signed=any(m.signed for m in messages))


def _sparse(
    source: IntArray,
    target: IntArray,
    n_in: int,
    n_out: int,
    weight: int,
    more_source: IntArray | None = None,
    more_target: IntArray | None = None,
) -> Sparse:
    """One synapse an entry; those of the last two lists weigh 1."""
    weights = np.full(len(source), weight, dtype=np.int16)
    if more_source is not None and more_target is not None:
        source, target = np.append(source, more_source), np.append(target, more_target)
        weights = np.append(weights, np.ones(len(more_source), dtype=np.int16))
    sort = np.lexsort((source, target))
    return Sparse(weights[sort], target[sort], source[sort], n_in, n_out)


def _own_sizes(product: Product) -> dict[str, int]:
    """Length of each index that numbers the product's neurons."""
    sizes = index_sizes(product)
    if product.realisation == "streamed":
        del sizes[product.stream]
    return sizes
