"""Exact composition of the linear nodes between two populations into one set of synapses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ndeploy.errors import RefusedError
from ndeploy.ir.lowered import FloatArray, RealConv, RealDense, RealSparse, RealSynapses
from ndeploy.ir.network import Conv, Flatten, IntegerWeights, Linear, Node, Pool, Reduce, Scale

MAX_COMPOSED = 50_000_000
"""Synapses a composition may unroll to before it is refused: 0.4 GB of float64."""

SPARSE = 0.3
"""Share of non-zero weights below which they are stored as a list."""


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear map from `in_shape` to `out_shape`; synapses None is the identity (up to a reshape)."""

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    synapses: RealSynapses | None = None
    unit: bool = True
    integer: IntegerWeights | None = None


def identity(shape: tuple[int, ...]) -> LinearMap:
    """The map that changes nothing."""
    return LinearMap(shape, shape)


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of a population: (C, N) is (C, N, 1), (N,) is (N, 1, 1)."""
    return (*shape, *(1,) * (3 - len(shape)))[:3]  # type: ignore[return-value]


def _pair(value: tuple[int, ...], fill: int) -> tuple[int, int]:
    return (value[0], value[1]) if len(value) > 1 else (value[0], fill)


def conv_synapses(node: Conv, in_shape: tuple[int, ...]) -> RealConv:
    """The node as two-dimensional synapses; one spatial axis becomes (N, 1)."""
    weight = node.weight if node.weight.ndim == 4 else node.weight[..., None]
    return RealConv(
        weight.astype(np.float64),
        image_shape(in_shape),
        _pair(node.stride, 1),
        _pair(node.padding, 0),
        _pair(node.dilation, 1),
        node.groups,
    )


def pool_synapses(node: Pool, in_shape: tuple[int, ...], value: float) -> RealConv:
    """Depthwise synapses of weight `value` over the pool's windows."""
    channels = image_shape(in_shape)[0]
    weight = np.full((channels, 1, *node.kernel), value)
    return RealConv(weight, image_shape(in_shape), node.stride, node.padding, (1, 1), channels)


def reduce_synapses(node: Reduce) -> RealSparse:
    """Synapses that sum (or average) over the node's axes."""
    shape = node.input_shape
    axes = {axis % len(shape) for axis in node.axes}
    kept = [n for i, n in enumerate(shape) if i not in axes]
    index = np.indices(shape)
    flat = np.zeros(shape, dtype=np.int64)
    for i in range(len(shape)):
        if i not in axes:
            flat = flat * shape[i] + index[i]
    source = np.arange(math.prod(shape), dtype=np.int64)
    target = flat.reshape(-1)
    order = np.lexsort((source, target))
    count = math.prod(shape[i] for i in axes)
    value = 1.0 / count if node.kind == "mean" else 1.0
    return RealSparse(np.full(source.size, value), target[order], source[order], source.size, math.prod(kept))


def to_matrix(synapses: RealSynapses) -> sp.csr_array:
    """The synapses as a sparse matrix (n_out, n_in)."""
    if isinstance(synapses, RealDense):
        return sp.csr_array(synapses.weight)
    if isinstance(synapses, RealSparse):
        return sp.csr_array(
            (synapses.weight, (synapses.target, synapses.source)), shape=(synapses.outputs, synapses.inputs)
        )
    from ndeploy.synapses import Conv as ConvLayout

    layout = ConvLayout(
        np.zeros(synapses.weight.shape, dtype=np.int16),
        synapses.in_shape,
        synapses.stride,
        synapses.padding,
        synapses.dilation,
        synapses.groups,
    )
    target, source, index = layout.to_coo()
    return sp.csr_array((synapses.weight.reshape(-1)[index], (target, source)), shape=(layout.n_out, layout.n_in))


def from_matrix(matrix: sp.csr_array) -> RealSynapses:
    """Dense where at least 30 % of the entries are there, else sparse."""
    if matrix.nnz >= SPARSE * math.prod(matrix.shape):
        return RealDense(matrix.toarray())
    return _sparse(matrix)


def _sparse(matrix: sp.csr_array) -> RealSparse:
    coo = matrix.tocoo()
    target, source = coo.coords
    order = np.lexsort((source, target))
    return RealSparse(
        coo.data[order],
        target[order].astype(np.int64),
        source[order].astype(np.int64),
        int(matrix.shape[1]),
        int(matrix.shape[0]),
    )


def without_zeros(synapses: RealSynapses) -> RealSparse:
    """Only the synapses that have a weight: a synapse that is not stored is not visited."""
    matrix = to_matrix(synapses)
    matrix.eliminate_zeros()
    return _sparse(matrix)


def _scaled(synapses: RealSynapses, scale: FloatArray) -> RealSynapses | None:
    """Rows times `scale` (output shape) in the same layout, or None where the layout cannot hold it."""
    if isinstance(synapses, RealDense):
        return RealDense(synapses.weight * scale.reshape(-1, 1))
    if isinstance(synapses, RealSparse):
        return replace(synapses, weight=synapses.weight * scale.reshape(-1)[synapses.target])
    by_channel = scale.reshape(synapses.weight.shape[0], -1)
    if (by_channel == by_channel[:, :1]).all():
        return replace(synapses, weight=synapses.weight * by_channel[:, 0].reshape(-1, 1, 1, 1))
    return None


def scaled_rows(synapses: RealSynapses, scale: FloatArray) -> RealSynapses:
    """Rows times `scale` (output shape), in the same layout where it can hold that."""
    scaled = _scaled(synapses, scale)
    if scaled is None:
        scaled = from_matrix(sp.diags_array(scale.reshape(-1)).tocsr() @ to_matrix(synapses))
    return scaled


def _scaled_columns(synapses: RealSynapses, scale: FloatArray) -> RealSynapses | None:
    """Columns times `scale` (input shape), or None where the layout cannot hold it."""
    if isinstance(synapses, RealDense):
        return RealDense(synapses.weight * scale.reshape(1, -1))
    if isinstance(synapses, RealSparse):
        return replace(synapses, weight=synapses.weight * scale.reshape(-1)[synapses.source])
    by_channel = scale.reshape(synapses.in_shape[0], -1)
    if not (by_channel == by_channel[:, :1]).all():
        return None
    groups, per_group = synapses.groups, synapses.weight.shape[1]
    factor = by_channel[:, 0].reshape(groups, per_group)
    channel_group = np.repeat(np.arange(groups), synapses.weight.shape[0] // groups)
    return replace(synapses, weight=synapses.weight * factor[channel_group][:, :, None, None])


def _diagonal(scale: FloatArray) -> RealSparse:
    index = np.arange(scale.size, dtype=np.int64)
    return RealSparse(scale.reshape(-1).astype(np.float64), index, index, scale.size, scale.size)


def _is_diagonal(synapses: RealSynapses) -> bool:
    return isinstance(synapses, RealSparse) and synapses.inputs == synapses.outputs == synapses.weight.size


def synapses_of(node: Node, name: str, in_shape: tuple[int, ...]) -> tuple[RealSynapses, bool]:
    """Synapses of one linear node and whether all their weights are one constant."""
    if isinstance(node, Linear):
        if node.integer is None and np.count_nonzero(node.weight) < SPARSE * node.weight.size:
            return _sparse(sp.csr_array(node.weight.astype(np.float64))), False
        return RealDense(node.weight.astype(np.float64)), False
    if isinstance(node, Conv):
        return conv_synapses(node, in_shape), False
    if isinstance(node, Pool) and node.kind in ("sum", "average"):
        value = 1.0 if node.kind == "sum" else 1.0 / math.prod(node.kernel)
        return pool_synapses(node, in_shape, value), True
    if isinstance(node, Reduce):
        return reduce_synapses(node), True
    raise RefusedError(
        "ND201",
        f"node '{name}': {type(node).__name__} has no form as synapses",
        help="`ndeploy inspect MODEL` lists the nodes; replace this one, or put a neuron after it",
    )


def then(map_: LinearMap, node: Node, name: str, out_shape: tuple[int, ...]) -> LinearMap:
    """`map_` followed by the linear node `name`. Raises RefusedError ND201, ND203."""
    if isinstance(node, Flatten):
        return replace(map_, out_shape=out_shape)
    if isinstance(node, Scale):
        scale = np.broadcast_to(node.scale, out_shape)
        if (scale == 1).all():
            return replace(map_, out_shape=out_shape)
        unit = bool(map_.unit and (scale == scale.flat[0]).all())
        if map_.synapses is None:
            return replace(map_, out_shape=out_shape, synapses=_diagonal(scale), unit=unit)
        scaled = scaled_rows(map_.synapses, scale)
        return replace(map_, out_shape=out_shape, synapses=scaled, unit=unit, integer=None)
    synapses, unit = synapses_of(node, name, map_.out_shape)
    integer = node.integer if isinstance(node, Linear | Conv) else None
    if map_.synapses is None:
        return LinearMap(map_.in_shape, out_shape, synapses, unit, integer)
    if _is_diagonal(map_.synapses):
        folded = _scaled_columns(synapses, map_.synapses.weight)
        if folded is not None:
            return LinearMap(map_.in_shape, out_shape, folded, unit and map_.unit)
    first, second = to_matrix(map_.synapses), to_matrix(synapses)
    product = second @ first
    if product.nnz > MAX_COMPOSED:
        raise RefusedError(
            "ND203",
            f"node '{name}' follows another linear operation; folded together they make {product.nnz} synapses, "
            f"more than {MAX_COMPOSED}",
            help="put a neuron between the two, or a target with graded spikes, so that the value can be relayed",
        )
    return LinearMap(map_.in_shape, out_shape, from_matrix(product.tocsr()), False)


def apply(synapses: RealSynapses | None, x: FloatArray) -> FloatArray:
    """W x for a flat x, for folding biases."""
    if synapses is None:
        return x
    return np.asarray(to_matrix(synapses) @ x.reshape(-1), dtype=np.float64)
