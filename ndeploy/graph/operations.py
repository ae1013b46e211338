"""What each linear node computes on a batch, in PyTorch. Values are (batch, *shape)."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ndeploy.errors import RefusedError
from ndeploy.graph.shapes import spread
from ndeploy.ir import network as ir
from ndeploy.ir.network import FloatArray


class Operation(Protocol):
    """A linear node, its parameters already tensors."""

    def __call__(self, x: Tensor) -> Tensor: ...


def tensor(value: FloatArray, dtype: torch.dtype) -> Tensor:
    """A copy as a tensor of the type the reference runs in."""
    return torch.from_numpy(value.copy()).to(dtype)


def operation(name: str, node: ir.Node, dtype: torch.dtype, delay: int | None = None) -> Operation:
    """The function a linear node is. delay: only synapses of that per-synapse delay (the bias goes with the least).

    Integer mantissas are scaled by 2^exponent; for a negative exponent the sum is rounded down, as on the chip.
    Raises RefusedError ND201 for a node that is not linear.
    """
    if isinstance(node, ir.Linear | ir.Conv):
        return _weighted(node, dtype, delay)
    if isinstance(node, ir.Scale):
        scale = tensor(node.scale, dtype)
        return lambda x: x * scale
    if isinstance(node, ir.Flatten):
        rank = len(node.input_shape)
        start, end = (d + 1 if d >= 0 else d + 1 + rank for d in (node.start, node.end))
        return lambda x: x.flatten(start, end)
    if isinstance(node, ir.Reduce):
        axes = tuple(a + 1 if a >= 0 else a + 1 + len(node.input_shape) for a in node.axes)
        return (lambda x: x.sum(axes)) if node.kind == "sum" else (lambda x: x.mean(axes))
    if isinstance(node, ir.Pool):
        return lambda x: pool(node, x)
    raise RefusedError(
        "ND201", f"node '{name}' ({type(node).__name__}) is no operation of the reference", help="report it"
    )


def pool(node: ir.Pool, x: Tensor) -> Tensor:
    """Sum, average (padding counts, as in PyTorch's and NIR's AvgPool2d) or maximum over the last two axes."""
    lead, rest = x.shape[:-2], x.shape[-2:]
    planes = x.reshape(-1, 1, *rest)
    if node.kind == "max":
        planes = F.max_pool2d(planes, node.kernel, node.stride, node.padding)
    else:
        # the sum is taken as such: an average times its count would round twice
        ones = torch.ones(1, 1, *node.kernel, dtype=x.dtype)
        planes = F.conv2d(planes, ones, stride=node.stride, padding=node.padding)
        if node.kind == "average":
            planes = planes / (node.kernel[0] * node.kernel[1])
    return planes.reshape(*lead, *planes.shape[-2:])


def _weighted(node: ir.Linear | ir.Conv, dtype: torch.dtype, delay: int | None) -> Operation:
    weight_array = node.weight
    bias_array = node.bias
    if delay is not None and node.integer is not None and node.integer.delays is not None:
        weight_array = weight_array * (node.integer.delays == delay)
        bias_array = bias_array if delay == int(node.integer.delays.min()) else None
    exponent = 0 if node.integer is None else node.integer.exponent
    weight = tensor(weight_array, dtype)
    bias = None if bias_array is None else tensor(bias_array, dtype)

    def finish(y: Tensor, axes: int) -> Tensor:
        if exponent > 0:
            y = y * 2.0**exponent
        elif exponent < 0:
            y = torch.floor(y * 2.0**exponent)
        if bias is None:
            return y
        # a bias of the whole output's shape has a value for every position
        return y + (bias.reshape(-1, *(1,) * axes) if bias.ndim == 1 else bias)

    if isinstance(node, ir.Linear):
        if exponent == 0:
            return lambda x: F.linear(x.flatten(1), weight, bias)
        return lambda x: finish(F.linear(x.flatten(1), weight), 0)
    axes = weight.ndim - 2
    stride, padding, dilation = (spread(v, axes) for v in (node.stride, node.padding, node.dilation))
    convolve = F.conv1d if axes == 1 else F.conv2d
    inner = bias if exponent == 0 and (bias is None or bias.ndim == 1) else None

    # a window that is the whole input: one small matrix a group, for which PyTorch's convolutions are slow
    matrices = _window_matrices(node, weight) if node.groups > 1 and not any(node.padding) else None

    def convolution(x: Tensor) -> Tensor:
        if matrices is not None and x.shape[2:] == weight.shape[2:]:
            y = torch.bmm(x.reshape(len(x), node.groups, -1).transpose(0, 1), matrices)
            y = y.transpose(0, 1).reshape(len(x), -1, *(1,) * axes)
            return finish(y, axes)
        y = convolve(x, weight, inner, stride=stride, padding=padding, dilation=dilation, groups=node.groups)
        return y if exponent == 0 and inner is bias else finish(y, axes)

    return convolution


def _window_matrices(node: ir.Conv, weight: Tensor) -> Tensor:
    """(groups, inputs of a window, output channels of a group)."""
    return weight.reshape(node.groups, weight.shape[0] // node.groups, -1).transpose(1, 2).contiguous()
