"""What a product costs on neurocores: neurons, synapses, chip steps and event counts of its realisation.

Let N be the number of scalar products, that is the size of the index space of the einsum.

parallel   N coincidence or product neurons. Each element of an operand fans out to the N / |operand| neurons that
           need it; each neuron has one unit synapse onto the target. Source -> neuron -> target: 2 chip steps.
streamed   over an index of length L that both operands carry and the result does not: buffer neurons hold each operand
           and release slice 0, 1, .. L-1 on successive chip steps to N / L neurons, whose products the target sums over
           L chip steps. Source -> buffer -> neuron -> target: L + 2 chip steps; the program's period must be >= L.
embedded   no neurons: the embedded processor reads both messages, multiplies, and injects the result: 2 chip steps
           here, and N multiply-accumulates charged to the processor.

An operand whose population makes fewer updates than there are model steps is latched (docs/program.md): the product
neurons keep its last message, one word a neuron (parallel) or one for each slice (streamed), and the embedded processor
keeps it in its memory. It is loaded, visited and buffered only in the model steps in which it is sent; the products
take place in every one.

tests/test_realise.py builds the parallel and the streamed networks from real neurons and checks values, chip steps and
counts against these formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Product

REALISATIONS = ("parallel", "streamed", "embedded")


@dataclass(frozen=True)
class Realisation:
    """neurons: buffers and product neurons; multiplies: scalar products a model step; chip_steps: the product's delay;
    busy: chip steps a model step during which it cannot take the next one (lower bound of the period)."""

    neurons: int
    synapses: int
    multiplies: int
    chip_steps: int
    busy: int


@dataclass(frozen=True)
class ProductEvents:
    """Exact events of one model step."""

    synaptic_ops: int
    spikes: int
    neuron_updates: int


def index_sizes(product: Product) -> dict[str, int]:
    """Length of each index of the einsum."""
    left, right = product.subscripts.split("->")[0].split(",")
    sizes = dict(zip(left, product.left_view, strict=True))
    sizes.update(zip(right, product.right_view, strict=True))
    return sizes


def realise(product: Product) -> Realisation:
    """Cost of the product in its realisation."""
    sizes = index_sizes(product)
    n = math.prod(sizes.values())
    if product.realisation == "embedded":
        return Realisation(neurons=0, synapses=0, multiplies=n, chip_steps=2, busy=1)
    if product.realisation == "parallel":
        return Realisation(neurons=n, synapses=3 * n, multiplies=n, chip_steps=2, busy=1)
    length = sizes[product.stream]
    operands = math.prod(product.left_view) + math.prod(product.right_view)
    return Realisation(
        neurons=operands + n // length,
        synapses=operands + 2 * n + n // length,
        multiplies=n,
        chip_steps=length + 2,
        busy=length,
    )


def product_events(
    product: Product, left: IntArray, right: IntArray, left_sent: bool = True, right_sent: bool = True
) -> ProductEvents:
    """Events of one model step for flat operand messages.

    left_sent, right_sent: whether the operand was sent at this model step; False where the product multiplies a message
    it has latched, which visits no synapse again.
    """
    if product.realisation == "embedded":
        return ProductEvents(0, 0, 0)
    sizes = index_sizes(product)
    n = math.prod(sizes.values())
    on_left, on_right = left != 0, right != 0
    live = int(
        np.einsum(
            product.subscripts.split("->")[0] + "->",
            on_left.reshape(product.left_view).astype(np.int64),
            on_right.reshape(product.right_view).astype(np.int64),
        )
    )
    n_left = int(on_left.sum()) if left_sent else 0
    n_right = int(on_right.sum()) if right_sent else 0
    visits = n_left * (n // left.size) + n_right * (n // right.size) + live
    if product.realisation == "parallel":
        return ProductEvents(synaptic_ops=visits, spikes=live, neuron_updates=n)
    length = sizes[product.stream]
    return ProductEvents(
        synaptic_ops=visits + n_left + n_right,
        spikes=live + n_left + n_right,
        neuron_updates=n + length * (left.size + right.size),
    )
