"""Values by neuron laid along the weights of synapses: by column (source) or gathered by row (target)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ndeploy.ir.lowered import FloatArray, RealConv, RealDense, RealSynapses


def columns(synapses: RealSynapses, value: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """`value`, which broadcasts to the source's `shape`, laid along the weight: per column, channel or synapse.

    For a convolution the value must be constant within each channel.
    """
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 0:
        return array
    full = np.broadcast_to(array, shape).reshape(-1)
    if isinstance(synapses, RealDense):
        return np.asarray(full[None, :])
    if isinstance(synapses, RealConv):
        channel = full.reshape(synapses.in_shape[0], -1)[:, 0]
        per_group = channel.reshape(synapses.groups, -1)
        group = np.repeat(np.arange(synapses.groups), synapses.weight.shape[0] // synapses.groups)
        return np.asarray(per_group[group][:, :, None, None])
    return np.asarray(full[synapses.source])


def by_row(synapses: RealSynapses, value: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """`value`, which broadcasts to the target's `shape`, laid along the weight: per row, channel or synapse."""
    full = np.broadcast_to(value, shape).reshape(-1)
    if isinstance(synapses, RealDense):
        return full[:, None]
    if isinstance(synapses, RealConv):
        return full.reshape(synapses.weight.shape[0], -1)[:, 0][:, None, None, None]
    return full[synapses.target]


def by_column(synapses: RealSynapses, weight: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The largest weight (already magnitudes) that reads each element of the source's `shape`, flat; of a convolution
    that of its channel."""
    size = math.prod(shape)
    if isinstance(synapses, RealDense):
        return np.asarray(weight.max(axis=0))
    if isinstance(synapses, RealConv):
        grouped = weight.reshape(synapses.groups, -1, weight.shape[1], weight.shape[2] * weight.shape[3])
        return np.repeat(grouped.max(axis=(1, 3)).reshape(-1), size // synapses.in_shape[0])
    result = np.zeros(size)
    np.maximum.at(result, synapses.source, weight)
    return result


def largest_by_row(synapses: RealSynapses, weight: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The largest weight (already magnitudes) of every row, shaped to broadcast to the target's `shape`."""
    if isinstance(synapses, RealDense):
        return np.asarray(weight.max(axis=1, initial=0.0).reshape(shape))
    if isinstance(synapses, RealConv):
        return _by_channel(weight.reshape(weight.shape[0], -1).max(axis=1), shape)
    rows = np.zeros(math.prod(shape))
    np.maximum.at(rows, synapses.target, weight)
    return rows.reshape(shape)


def sum_by_row(synapses: RealSynapses, weight: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The sum of the weights (already magnitudes) of every row, shaped to broadcast to the target's `shape`; of a
    convolution that of a row inside the image."""
    if isinstance(synapses, RealDense):
        return np.asarray(weight.sum(axis=1).reshape(shape))
    if isinstance(synapses, RealConv):
        return _by_channel(weight.reshape(weight.shape[0], -1).sum(axis=1), shape)
    rows = np.zeros(math.prod(shape))
    np.add.at(rows, synapses.target, weight)
    return rows.reshape(shape)


def _by_channel(value: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    if shape[0] == value.size:
        return value.reshape(-1, *(1,) * (len(shape) - 1))
    # a population of another shape than the convolution's output: every element gets its channel's
    return np.repeat(value, math.prod(shape) // value.size).reshape(shape)
