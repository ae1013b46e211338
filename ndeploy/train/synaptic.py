"""Synapses as differentiable operations on batches of messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Product, Projection
from ndeploy.synapses import Conv, Dense, Synapses
from ndeploy.train.straight import EXACT32, shift

DENSE_ENTRIES = 1 << 18
"""Synapses listed one by one become a matrix up to this size; beyond, messages are gathered."""


def weight_range(projection: Projection) -> tuple[int, int]:
    """Lowest and highest mantissa that the projection's width and sign hold."""
    top = 1 << projection.weight_bits
    if projection.sign == "excitatory":
        return 0, top - 1
    if projection.sign == "inhibitory":
        return -(top - 1), 0
    return -(top >> 1), (top >> 1) - 1


class Operation(ABC):
    """Sums of weighted messages. fan_in: most synapses that end on one neuron."""

    fan_in: int

    @abstractmethod
    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """(R, n_in) messages and the projection's weights, of one type, to (R, n_out)."""


class DenseOperation(Operation):
    """A matrix. mask: which of its synapses are meant, where they differ in delay."""

    def __init__(self, synapses: Dense, mask: Tensor | None = None) -> None:
        self.fan_in = synapses.n_in
        self.mask = mask

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, weight if self.mask is None else weight * self.mask.to(weight.dtype))


class ConvOperation(Operation):
    """A convolution with shared weights."""

    def __init__(self, synapses: Conv) -> None:
        self.synapses = synapses
        self.fan_in = int(np.prod(synapses.weight.shape[1:]))

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        s = self.synapses
        images = x.view(-1, *s.in_shape)
        return torch.conv2d(images, weight, None, s.stride, s.padding, s.dilation, s.groups).flatten(1)


class BlockOperation(Operation):
    """A convolution whose kernel covers its input: a matrix for every group of channels, which a grouped convolution
    in float64 takes many times as long for."""

    def __init__(self, synapses: Conv) -> None:
        self.groups = synapses.groups
        self.fan_in = int(np.prod(synapses.weight.shape[1:]))

    @staticmethod
    def suits(synapses: Conv) -> bool:
        """Whether the kernel has one place to be."""
        covers = tuple(synapses.weight.shape[2:]) == tuple(synapses.in_shape[1:])
        return covers and not any(synapses.padding) and all(d == 1 for d in synapses.dilation)

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        groups = x.reshape(len(x), self.groups, -1).transpose(0, 1)
        sums = torch.bmm(groups, weight.reshape(self.groups, len(weight) // self.groups, -1).transpose(1, 2))
        return sums.transpose(0, 1).reshape(len(x), -1)


class ListedOperation(Operation):
    """Synapses one by one: index says which weight is whose."""

    def __init__(self, target: IntArray, source: IntArray, index: IntArray, n_in: int, n_out: int) -> None:
        order = np.lexsort((source, target))
        target, source, index = target[order], source[order], index[order]
        self.n_in, self.n_out = n_in, n_out
        counts = np.bincount(target, minlength=n_out)
        self.fan_in = int(counts.max(initial=0))
        self.even = bool((counts == self.fan_in).all()) and self.fan_in > 0
        self.matrix = n_in * n_out <= DENSE_ENTRIES and not (self.even and self.fan_in == 1)
        self.place = torch.from_numpy(target * n_in + source)
        self.target, self.source = torch.from_numpy(target.copy()), torch.from_numpy(source.copy())
        self.index = torch.from_numpy(index.copy())
        self.in_order = len(source) == n_in and bool((source == np.arange(n_in)).all())

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        listed = weight.reshape(-1).index_select(0, self.index)
        if self.matrix:
            flat = torch.zeros(self.n_in * self.n_out, dtype=weight.dtype).index_copy(0, self.place, listed)
            return torch.nn.functional.linear(x, flat.view(self.n_out, self.n_in))
        sent = x if self.in_order else x.index_select(1, self.source)
        if weight.requires_grad or not bool((listed == 1).all()):
            sent = sent * listed
        if self.even:
            return sent if self.fan_in == 1 else sent.view(-1, self.n_out, self.fan_in).sum(2)
        return torch.zeros((len(x), self.n_out), dtype=x.dtype).index_add(1, self.target, sent)


@dataclass(frozen=True, eq=False)
class Passage:
    """Synapses of one projection that share a delay, `lag` model steps behind.

    bound: largest magnitude of the shifted sum, None where messages have none; dtype: exact for the sums.
    """

    projection: Projection
    lag: int
    operation: Operation
    bound: int | None
    dtype: torch.dtype

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """(R, *source shape) messages to what arrives, (R, n_out)."""
        sums = self.operation(x.to(self.dtype).flatten(1), weight.to(self.dtype))
        return shift(sums, self.projection.exponent)


@dataclass(frozen=True, eq=False)
class ProductPassage:
    """A product with its lag; bound and dtype as of `Passage`."""

    product: Product
    lag: int
    bound: int | None
    dtype: torch.dtype

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """(R, *shape) messages of both operands to what arrives, (R, n_out)."""
        p = self.product
        operands, result = p.subscripts.replace(" ", "").split("->")
        first, second = operands.split(",")
        a = left.to(self.dtype).reshape(-1, *p.left_view)
        b = right.to(self.dtype).reshape(-1, *p.right_view)
        sums = torch.einsum(f"...{first},...{second}->...{result}", a, b)
        return shift(sums.reshape(len(a), -1), -p.exponent)


def passages(projection: Projection, lags: dict[int, int], top: int | None) -> list[Passage]:
    """The projection by extra delay of its synapses. lags: in model steps, by extra delay; top: of its messages."""
    synapses, made = projection.synapses, []
    for extra, lag in lags.items():
        operation = _operation(synapses, projection.delays, extra)
        bound, dtype = None, torch.float64
        if top is not None:
            if projection.unit:
                largest = int(np.abs(synapses.weight.astype(np.int64)).max(initial=0))
            else:
                largest = max(abs(x) for x in weight_range(projection))
            sums = operation.fan_in * largest * top
            e = projection.exponent
            bound = sums << e if e >= 0 else (sums >> -e) + 1
            dtype = torch.float32 if max(sums, bound) < EXACT32 else torch.float64
        made.append(Passage(projection, lag, operation, bound, dtype))
    return made


def _operation(synapses: Synapses, delays: IntArray | None, extra: int) -> Operation:
    whole = delays is None or bool((delays == extra).all())
    if isinstance(synapses, Dense):
        if whole or delays is None:
            return DenseOperation(synapses)
        return DenseOperation(synapses, torch.from_numpy((delays == extra).reshape(synapses.weight.shape)))
    if isinstance(synapses, Conv) and whole:
        return BlockOperation(synapses) if BlockOperation.suits(synapses) else ConvOperation(synapses)
    target, source, index = (np.asarray(part, dtype=np.int64) for part in synapses.to_coo())
    if not whole and delays is not None:
        here = delays.reshape(-1)[index] == extra
        target, source, index = target[here], source[here], index[here]
    return ListedOperation(target, source, index, synapses.n_in, synapses.n_out)
