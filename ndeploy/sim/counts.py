"""Exact event counts, from how often each neuron sent something."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Product
from ndeploy.realise import index_sizes
from ndeploy.sim.layout import order
from ndeploy.synapses import Conv, Synapses

IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


def fan_out(synapses: Synapses) -> IntArray:
    """Synapses that leave each source neuron; a convolution's without listing its synapses."""
    if not isinstance(synapses, Conv):
        return synapses.fan_out()
    channels, *sizes = synapses.in_shape
    covers = []
    for axis in (0, 1):
        place = np.arange(sizes[axis])[:, None] + synapses.padding[axis]
        taps = place - np.arange(synapses.weight.shape[2 + axis])[None, :] * synapses.dilation[axis]
        step = synapses.stride[axis]
        covers.append(((taps >= 0) & (taps % step == 0) & (taps // step < synapses.out_shape[1 + axis])).sum(axis=1))
    one = np.multiply.outer(covers[0], covers[1]) * (synapses.weight.shape[0] // synapses.groups)
    return np.tile(one.reshape(-1), channels).astype(np.int64)


class FanOut:
    """Synaptic operations of one projection from counts by neuron in simulator order."""

    def __init__(self, synapses: Synapses, layout: int) -> None:
        fan = fan_out(synapses)
        self.uniform = int(fan[0]) if (fan == fan[0]).all() else None
        self.fan = fan[order(synapses.n_in, layout)]

    def visits(self, counts: Array, totals: IntArray, compiled: bool = False) -> IntArray:
        """counts (B, N), totals (B,) of messages that are not zero; synapses visited, (B,)."""
        if self.uniform is not None:
            return totals * self.uniform
        if compiled:
            from ndeploy.sim.kernels_events import weigh

            weighed = np.empty(len(counts), dtype=np.int64)
            weigh(counts, self.fan, weighed)
            return weighed
        # in float64, whose products are fast, and exact below 2^53
        visits: IntArray = (counts.astype(np.float64) @ self.fan.astype(np.float64)).astype(np.int64)
        return visits


def add_counts(values: Array, counts: Array, compiled: bool) -> None:
    """Add to counts (B, N) how many of the messages (B, T, N) are not zero."""
    if compiled and values.flags.c_contiguous:
        from ndeploy.sim.kernels_neuron import count_messages

        count_messages(values, counts)
    else:
        counts += np.count_nonzero(values, axis=1).astype(counts.dtype)


def product_counts(
    product: Product, steps: int, left: IntArray, right: IntArray, live: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """(synaptic operations, spikes, neuron updates) by sample of a sample's `steps` model steps.

    left, right: messages of the operands that are not zero; live: scalar products of two of them; all (B,). The
    formulas are those of ndeploy/realise.py, which are linear in these three.
    """
    sizes = index_sizes(product)
    n = int(np.prod(list(sizes.values())))
    n_left, n_right = int(np.prod(product.left_view)), int(np.prod(product.right_view))
    visits = left * (n // n_left) + right * (n // n_right) + live
    updates = np.full(left.shape, steps * n, dtype=np.int64)
    if product.realisation == "parallel":
        return visits, live, updates
    updates += steps * sizes[product.stream] * (n_left + n_right)
    return visits + left + right, live + left + right, updates
