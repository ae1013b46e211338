"""Words of memory that a neuron takes on its core beside its synapses: accumulators, state, parameters of its own.

A parameter that is the same for the whole population is part of its configuration, which neurons of a core share; one
that differs from neuron to neuron is a word of each. Of an embedded population only the accumulators are on cores: its
parameters are the processor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

import numpy as np

from ndeploy.check_graded import KINDS, updates_of
from ndeploy.ir.program import Population, Product, Program
from ndeploy.neurons import Neuron, Synchrony

WORD_BYTES = 4
"""A word holds a 24-bit state or a 16-bit constant; 32 bits are assumed, nobody has published the layout."""

Configuration = tuple[object, ...]


def _parameters(neuron: Neuron) -> Iterator[tuple[str, bool, object]]:
    """(name, whether it differs from neuron to neuron, value) of every number and array but tables."""
    for item in fields(neuron):
        value = getattr(neuron, item.name)
        if isinstance(value, np.ndarray) and item.name != "table":
            differs = bool((value != value.flat[0]).any()) if value.size else False
            yield item.name, differs, int(value.flat[0]) if value.size and not differs else value
        elif isinstance(value, int | str):
            yield item.name, False, value


def _table_words(neuron: Neuron) -> int:
    """Rows of a synchrony's table, where it differs from neuron to neuron."""
    if not isinstance(neuron, Synchrony) or bool((neuron.table == neuron.table[:, :1]).all()):
        return 0
    return len(neuron.table)


def population_words(program: Program, population: Population) -> int:
    """Words a neuron of the population takes."""
    neuron = population.neuron
    accumulators = len(neuron.ports)
    if neuron.embedded:
        return accumulators
    own = sum(differs for _, differs, _ in _parameters(neuron))
    counter = int(updates_of(program, population) < program.steps)
    return accumulators + len(neuron.state) + own + _table_words(neuron) + counter


def product_words(program: Program, product: Product, sizes: Mapping[str, int]) -> int:
    """Words a neuron of the product takes: two factors, and what it keeps of operands that are sent once.

    sizes: length of each index. A streamed product's neuron keeps one element for each slice.
    """
    each = sizes[product.stream] if product.realisation == "streamed" else 1
    latched = [
        name for name in (product.left, product.right) if updates_of(program, program.population(name)) < program.steps
    ]
    return 2 + each * len(latched)


def configuration(population: Population) -> Configuration | None:
    """What neurons of a graded kind share with others of the same program: the kind and its common parameters.

    None for other kinds, whose configuration is (decay, decay, refractory).
    """
    neuron = population.neuron
    if neuron.kind not in KINDS:
        return None
    if neuron.embedded:
        return ("sum",)
    shared = tuple((name, value) for name, differs, value in _parameters(neuron) if not differs)
    table = (
        tuple(int(x) for x in neuron.table[:, 0]) if isinstance(neuron, Synchrony) and not _table_words(neuron) else ()
    )
    return (neuron.kind, *shared, *table)
