"""Synapses as exact fast operators on whole messages: what our own Lava processes compute with.

A sum of integers computed in floating point is exact as long as no partial sum leaves the mantissa, which is checked
for every message; what is larger is summed in 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from ndeploy.targets._lava.parameters import largest_sums

from ndeploy.fixed import IntArray, shift
from ndeploy.ir.program import Product, Projection
from ndeploy.synapses import Conv, Dense, Sparse, Synapses

Operator = Callable[[IntArray], IntArray]
"""(batch, n_in) messages to (batch, n_out) sums."""


def matrix_product(left: npt.NDArray[Any], right: npt.NDArray[Any], bound: int) -> IntArray:
    """left @ right of integers whose every partial sum stays within +-bound, exactly."""
    if bound < 2**24:
        return np.asarray((left.astype(np.float32) @ right.astype(np.float32)), dtype=np.int64)
    if bound < 2**53:
        return np.asarray((left.astype(np.float64) @ right.astype(np.float64)), dtype=np.int64)
    return np.asarray(left.astype(np.int64) @ right.astype(np.int64), dtype=np.int64)


def _peak(message: IntArray) -> int:
    return max(int(message.max(initial=0)), -int(message.min(initial=0)))


def _weight_reach(synapses: Synapses) -> int:
    positive, negative = largest_sums(synapses)
    return positive - negative


def dense(synapses: Dense) -> Operator:
    """A matrix product."""
    reach = _weight_reach(synapses)
    by_source = np.ascontiguousarray(synapses.weight.T.astype(np.float32))

    def apply(message: IntArray) -> IntArray:
        return matrix_product(message, by_source, reach * _peak(message))

    return apply


def sparse(synapses: Sparse) -> Operator:
    """scipy's compressed rows in 64-bit integers (scipy comes with Lava)."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(
        (synapses.weight.astype(np.int64), (synapses.target, synapses.source)), shape=(synapses.n_out, synapses.n_in)
    )

    def apply(message: IntArray) -> IntArray:
        return np.asarray(np.ascontiguousarray((matrix @ message.T).T), dtype=np.int64)

    return apply


def conv(synapses: Conv) -> Operator:
    """Patches of the padded input times the kernel, group by group."""
    channels, height, width = synapses.in_shape
    c_out, out_h, out_w = synapses.out_shape
    kh, kw = synapses.weight.shape[2:]
    groups = synapses.groups
    reach = _weight_reach(synapses)
    kernel = synapses.weight.reshape(groups, c_out // groups, -1).transpose(0, 2, 1).astype(np.float32)
    (pad_y, pad_x), (dil_y, dil_x), (step_y, step_x) = synapses.padding, synapses.dilation, synapses.stride

    def apply(message: IntArray) -> IntArray:
        batch = len(message)
        bound = reach * _peak(message)
        kind: Any = np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64
        image = message.reshape(batch, channels, height, width).astype(kind)
        if pad_y or pad_x:
            image = np.pad(image, ((0, 0), (0, 0), (pad_y, pad_y), (pad_x, pad_x)))
        span = ((kh - 1) * dil_y + 1, (kw - 1) * dil_x + 1)
        windows = np.lib.stride_tricks.sliding_window_view(image, span, axis=(2, 3))
        windows = windows[:, :, ::step_y, ::step_x, ::dil_y, ::dil_x][:, :, :out_h, :out_w]
        # (batch, groups, C / groups, oh, ow, kh, kw) -> (groups, batch oh ow, C / groups kh kw)
        patches = windows.reshape(batch, groups, channels // groups, out_h, out_w, kh, kw)
        patches = patches.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, batch * out_h * out_w, -1)
        sums = np.stack([matrix_product(patches[g], kernel[g], bound) for g in range(groups)])
        sums = sums.reshape(groups, batch, out_h * out_w, c_out // groups).transpose(1, 0, 3, 2)
        return np.ascontiguousarray(sums.reshape(batch, -1))

    return apply


def operator(synapses: Synapses) -> Operator:
    """The sum over synapses, (batch, n_in) to (batch, n_out)."""
    if isinstance(synapses, Dense):
        return dense(synapses)
    if isinstance(synapses, Conv):
        return conv(synapses)
    if isinstance(synapses, Sparse):
        return sparse(synapses)
    raise TypeError(f"no operator for '{synapses.kind}' synapses")


def deliveries(projection: Projection) -> Callable[[IntArray], dict[int, IntArray]]:
    """Input that messages (batch, n_in) add to the target, by chip steps of travel: {delay: (batch, n_out)}."""
    if projection.delays is None:
        whole = operator(projection.synapses)
        return lambda message: {projection.delay: shift(whole(message), projection.exponent)}
    target, source, index = projection.synapses.to_coo()
    weight = projection.synapses.weight.reshape(-1)[index]
    extra = projection.delays.reshape(-1)[index]
    size = projection.synapses.n_in, projection.synapses.n_out
    parts = {
        projection.delay + int(more): sparse(
            Sparse(weight[extra == more], target[extra == more], source[extra == more], *size)
        )
        for more in np.unique(extra)
    }
    return lambda message: {d: shift(part(message), projection.exponent) for d, part in parts.items()}


def contraction(product: Product) -> Callable[[IntArray, IntArray], IntArray]:
    """The flat input a product adds to its target, for operands (batch, neurons) of one model step."""
    operands, result = product.subscripts.split("->")
    left_index, right_index = operands.split(",")
    batch = next(letter for letter in "zyxwvutsrqponm" if letter not in product.subscripts)
    subscripts = f"{batch}{left_index},{batch}{right_index}->{batch}{result}"

    def apply(left: IntArray, right: IntArray) -> IntArray:
        terms = left.shape[1] * right.shape[1]
        bound = _peak(left) * _peak(right) * terms
        kind: Any = np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64
        left_view = left.reshape(-1, *product.left_view).astype(kind)
        right_view = right.reshape(-1, *product.right_view).astype(kind)
        summed = np.einsum(subscripts, left_view, right_view, optimize=kind is not np.int64)
        return np.asarray(summed).astype(np.int64).reshape(len(left), -1) >> product.exponent

    return apply
