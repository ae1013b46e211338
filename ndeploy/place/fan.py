"""How many synapses each source neuron of a link has into a box of targets, as an array over the source neurons."""

from __future__ import annotations

from functools import reduce

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Product
from ndeploy.place.links import Box, Exclusive, Link, Listed, Separable, neurons, volume
from ndeploy.realise import index_sizes


def destinations(product: Product, shape: tuple[int, ...]) -> IntArray:
    """Per neuron of a product (flat, its einsum's index space without a streamed index), the target neuron it feeds.

    shape: the product's neurons', one axis an index, 1 for the streamed one.
    """
    sizes = index_sizes(product)
    _, result = product.subscripts.split("->")
    at = dict(zip(sizes, np.indices(shape).reshape(len(shape), -1), strict=True))
    if not result:
        return np.zeros(int(np.prod(shape)), dtype=np.int64)
    view = tuple(sizes[letter] for letter in result)
    return np.ravel_multi_index(tuple(at[letter] for letter in result), view).astype(np.int64)


def fan(link: Link, box: Box, onto: IntArray | None = None) -> IntArray:
    """Synapses of each source neuron (flat, C order) into the box, int64 (sources,).

    onto: for an exclusive link, the target neuron of each source neuron.
    """
    if isinstance(link, Separable):
        if link.uniform:
            return np.full(link.sources, volume(box), dtype=np.int64)
        counts = reduce(np.multiply.outer, link.counts(box))
        return np.transpose(np.asarray(counts), link.source_axes).reshape(-1).astype(np.int64)
    if isinstance(link, Listed):
        return np.bincount(link.reaching(box), minlength=link.sources).astype(np.int64)
    if isinstance(link, Exclusive):
        held = np.zeros(int(np.prod(link.grid)), dtype=np.int64)
        held[neurons(box, link.grid)] = 1
        targets = np.arange(link.sources) // max(link.each, 1) if onto is None else onto
        found: IntArray = held[targets]
        return found
    raise TypeError(f"no fan is known of {type(link).__name__}")
