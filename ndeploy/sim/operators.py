"""Synapses as exact linear operators on rows of messages.

Every operator takes rows (R, n_in) and gives (R, n_out) sums, before the exponent, both in simulator order. Results are
float32 or float64 arrays of exact integers, int32, or int64. `Sent.low`, `Sent.high` bound the messages; each way of
computing is taken only where the bound proves it exact, and among those by measured speed and the density of messages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.sim.convolution import BlockedConv, ChannelConv, EventConv, FloatConv, Int8Conv
from ndeploy.sim.layout import convert, order
from ndeploy.sim.machine import machine
from ndeploy.synapses import Conv, Dense, Sparse, Synapses

Rows = npt.NDArray[Any]
FLOAT32_EXACT = 2**24
FLOAT64_EXACT = 2**53
INT32 = 2**31
DENSIFY = 0.04
"""Sparse synapses denser than this are multiplied as a matrix."""
CONV_EVENTS = 0.004
"""Below this density of messages convolution goes event by event (measured: 1.3 G synapses/s against 300 G)."""


@dataclass(frozen=True, eq=False)
class Sent:
    """Messages of a population: values (B, T, N) in simulator order, all within low .. high; the share not zero."""

    values: Rows
    low: int
    high: int
    density: float

    @property
    def top(self) -> int:
        """Bound on the magnitude."""
        return max(self.high, -self.low)


class Operator(ABC):
    """Synapses with their source's and target's layout."""

    @abstractmethod
    def reach(self, top: int) -> int:
        """Bound on every sum, and on every partial sum, for messages of magnitude <= top."""

    @abstractmethod
    def apply(self, rows: Rows, sent: Sent) -> Rows:
        """Sums of contiguous rows (R, n_in) of the messages `sent`."""


class CsrOperator(Operator):
    """Any synapses in 64 bits, in the program's order; for small work and for messages without a bound."""

    def __init__(self, synapses: Synapses) -> None:
        from scipy.sparse import csr_array

        target, source, index = synapses.to_coo()
        weight = synapses.weight.reshape(-1).astype(np.int64)[index]
        self.matrix = csr_array((weight, (target, source)), shape=(synapses.n_out, synapses.n_in))
        self.largest = int(abs(self.matrix).sum(axis=1).max()) if weight.size else 0

    def reach(self, top: int) -> int:
        return self.largest * top

    def apply(self, rows: Rows, sent: Sent) -> Rows:
        sums: Rows = (self.matrix @ rows.astype(np.int64).T).T
        return np.ascontiguousarray(sums)


class DenseOperator(Operator):
    """A matrix; `tokens` > 1: the same matrix for that many tokens in a row (a 1 x 1 convolution)."""

    def __init__(self, matrix: Rows, tokens: int = 1, plain: bool = False) -> None:
        """matrix: (n_out, n_in) of one token, integers. plain: the messages come channels first, all tokens of each."""
        self.matrix = matrix.astype(np.int32)
        self.tokens = tokens
        self.plain = plain
        self.n_out, self.n_in = matrix.shape
        self.largest = int(np.abs(self.matrix).sum(axis=1, dtype=np.int64).max(initial=0))
        low, high = int(self.matrix.min(initial=0)), int(self.matrix.max(initial=0))
        # weights of 0 .. 255 or -255 .. 0 become int8 by an offset that is added back as offset * (sum of messages)
        self.offset = 0 if low >= -128 and high <= 127 else (high + low + 1) // 2
        self.narrow = high - self.offset <= 127 and low - self.offset >= -128

    def reach(self, top: int) -> int:
        return self.largest * top

    @cached_property
    def rows_int8(self) -> Rows:
        """(n_in, n_out) int8: a row for each source."""
        return np.ascontiguousarray((self.matrix - self.offset).T).astype(np.int8)

    @cached_property
    def int8(self) -> Any:
        import torch

        return torch.from_numpy(self.rows_int8)

    @cached_property
    def float32(self) -> Any:
        import torch

        return torch.from_numpy(self.matrix.T.astype(np.float32))

    @cached_property
    def float64(self) -> Any:
        import torch

        return torch.from_numpy(self.matrix.T.astype(np.float64))

    def apply(self, rows: Rows, sent: Sent) -> Rows:
        import torch

        lead = len(rows)
        if self.plain:
            rows = convert(rows, 1, self.n_in)
        rows = rows.reshape(lead * self.tokens, self.n_in)
        speed = machine()
        reach = (self.largest + abs(self.offset) * self.n_in) * sent.top
        if rows.dtype == np.int8 and self.narrow and reach < INT32:
            binary = sent.low >= 0 and sent.high <= 1
            if binary and sent.density * max(speed.int8_rate, speed.float_rate) < speed.event_rate and self.n_out >= 32:
                from ndeploy.sim.kernels_events import gather_rows

                sums = np.empty((len(rows), self.n_out), dtype=np.int32)
                gather_rows(rows, self.rows_int8, sums)
                return self._finish(sums, rows, lead)
            if speed.int8_matmul:
                return self._finish(torch._int_mm(torch.from_numpy(rows), self.int8).numpy(), rows, lead)
        if self.reach(sent.top) < FLOAT32_EXACT:
            found: Rows = (torch.from_numpy(rows).to(torch.float32) @ self.float32).numpy()
        elif self.reach(sent.top) < FLOAT64_EXACT:
            found = (torch.from_numpy(rows).to(torch.float64) @ self.float64).numpy()
        else:
            found = rows.astype(np.int64) @ self.matrix.T.astype(np.int64)
        return found.reshape(lead, -1)

    def _finish(self, sums: Rows, rows: Rows, lead: int) -> Rows:
        if self.offset:
            sums += (self.offset * rows.sum(axis=1, dtype=np.int32))[:, None]
        return sums.reshape(lead, -1)


class SparseOperator(Operator):
    """Lists of synapses by source."""

    def __init__(self, target: Rows, source: Rows, weight: Rows, n_in: int, n_out: int) -> None:
        by_source = np.argsort(source, kind="stable")
        self.start = np.searchsorted(source[by_source], np.arange(n_in + 1)).astype(np.int64)
        self.target = np.ascontiguousarray(target[by_source]).astype(np.int32)
        self.weight = np.ascontiguousarray(weight[by_source]).astype(np.int32)
        self.n_out = n_out
        total = np.bincount(target, weights=np.abs(weight.astype(np.float64)), minlength=n_out)
        self.largest = int(total.max(initial=0))
        unit = n_in == n_out == len(target) and np.array_equal(target, source) and len(set(weight.tolist())) == 1
        self.identity = int(weight[0]) if unit else None

    def reach(self, top: int) -> int:
        return self.largest * top

    @cached_property
    def unit(self) -> tuple[Rows, Rows, Rows] | None:
        """Synapses (target, source, weight) by target where no target has two: shifts, selections, joins."""
        if len(np.unique(self.target)) < len(self.target):
            return None
        source = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        by_target = np.argsort(self.target)
        return tuple(x[by_target].astype(np.int64) for x in (self.target, source, self.weight))  # type: ignore[return-value]

    def apply(self, rows: Rows, sent: Sent) -> Rows:
        dtype = np.int32 if self.reach(sent.top) < INT32 else np.int64
        if self.identity is not None:
            return np.multiply(rows, np.asarray(self.identity, dtype=dtype), dtype=dtype)
        sums = np.zeros((len(rows), self.n_out), dtype=dtype)
        if self.unit is not None:
            from ndeploy.sim.kernels_step import add_selected

            add_selected(rows, *self.unit, 0, sums, True)
            return sums
        from ndeploy.sim.kernels_events import scatter_lists

        scatter_lists(rows, self.start, self.target, self.weight, sums)
        return sums


_PROVED: dict[tuple[object, ...], bool] = {}
"""By shape, whether torch's convolution of small integers is exact here."""


class ConvOperator(Operator):
    """A convolution, channels last on both sides unless the populations are kept otherwise."""

    def __init__(self, conv: Conv, source_layout: int, target_layout: int) -> None:
        self.conv = conv
        self.source_layout, self.target_layout = source_layout, target_layout
        self.largest = int(np.abs(conv.weight.astype(np.int64)).reshape(conv.weight.shape[0], -1).sum(axis=1).max())
        self.narrow = bool(conv.weight.min() >= -128 and conv.weight.max() <= 127)
        # torch 2.13.0's oneDNN kernel returns wrong sums for images one column wide when the strides differ (found by
        # random convolutions: 35 of 281 such shapes, none of 5,000 others); those go event by event
        self.trusted = conv.out_shape[2] > 1 or conv.stride[0] == conv.stride[1]

    def reach(self, top: int) -> int:
        return self.largest * top

    @cached_property
    def int8(self) -> Int8Conv:
        return Int8Conv(self.conv)

    @cached_property
    def blocked(self) -> BlockedConv | None:
        known = self.source_layout in (1, self.conv.in_shape[0])
        return BlockedConv(self.conv, self.source_layout == 1) if known and BlockedConv.suits(self.conv) else None

    @cached_property
    def proved(self) -> bool:
        """Whether torch's kernels agree with the event-driven one on random messages: no shape is taken on trust."""
        if not (self.narrow and self.trusted and machine().int8_conv and 1 <= self.largest < FLOAT32_EXACT):
            return False
        c = self.conv
        shape = (c.in_shape, c.weight.shape, c.stride, c.padding, c.dilation, c.groups, self.source_layout)
        if shape not in _PROVED:  # the programs of a search have one shape and many weights
            _PROVED[shape] = self._agrees()
        return _PROVED[shape]

    def _agrees(self) -> bool:
        rng = np.random.default_rng(0)
        top = min(machine().conv_top, (FLOAT32_EXACT - 1) // self.largest)
        rows = rng.integers(0, top + 1, size=(8, self.conv.n_in)).astype(np.uint8)
        rows[rng.random(rows.shape) < 0.6] = 0
        last = convert(rows, 1, self.conv.in_shape[0])
        expected = self.events.apply(last, np.int64)
        if not np.array_equal(self.int8.apply(last), expected):
            return False
        if self.blocked is None:
            return True
        return np.array_equal(self.blocked.apply(rows if self.blocked.planes else last), expected)

    @cached_property
    def float_proved(self) -> bool:
        """Whether torch's float32 convolution is exact on random messages of either sign at the largest magnitude."""
        rng = np.random.default_rng(1)
        top = min(2**16, (FLOAT32_EXACT - 1) // max(1, self.largest))
        rows = rng.integers(-top, top + 1, size=(4, self.conv.n_in)).astype(np.int32)
        return np.array_equal(self.float32.apply(rows), self.events.apply(rows, np.int64))

    @cached_property
    def float32(self) -> FloatConv:
        return FloatConv(self.conv)

    @cached_property
    def events(self) -> EventConv | ChannelConv:
        return ChannelConv(self.conv) if ChannelConv.suits(self.conv) else EventConv(self.conv)

    def apply(self, rows: Rows, sent: Sent) -> Rows:
        dense = sent.density >= CONV_EVENTS and not ChannelConv.suits(self.conv) and self.proved
        fits = self.reach(sent.top) < FLOAT32_EXACT
        single = dense and fits and sent.low >= 0 and sent.high <= machine().conv_top
        if single and rows.dtype.itemsize > 1:
            rows = rows.astype(np.uint8)
        if dense and single and self.blocked is not None:
            return convert(self.blocked.apply(rows), self.conv.out_shape[0], self.target_layout)
        rows = convert(rows, self.source_layout, self.conv.in_shape[0])
        dtype = np.int32 if self.reach(sent.top) < INT32 else np.int64
        if not dense:
            sums = self.events.apply(rows, dtype)
        elif single:
            sums = self.int8.apply(rows)
        elif fits and self.float_proved:
            sums = self.float32.apply(rows)
        else:
            sums = self._digits(rows, sent, dtype)
        return convert(sums, self.conv.out_shape[0], self.target_layout)

    def _digits(self, rows: Rows, sent: Sent, dtype: type[np.signedinteger[Any]]) -> Rows:
        """Messages of any width and sign, as digits of up to 7 bits, positive and negative ones apart."""
        bits = min(7, (FLOAT32_EXACT // self.largest).bit_length() - 1)
        sums = np.zeros((len(rows), self.conv.n_out), dtype=dtype)
        for sign, top in ((1, sent.high), (-1, -sent.low)):
            if top <= 0:
                continue
            magnitude = np.maximum(rows.astype(np.int64) * sign, 0)
            for place in range(0, top.bit_length(), bits):
                digit = (magnitude >> place) & ((1 << bits) - 1)
                part = self.int8.apply(np.ascontiguousarray(digit.astype(np.int8))).astype(dtype)
                sums += sign * (part << place)
        return sums


def operator(synapses: Synapses, source_layout: int, target_layout: int) -> Operator:
    """The operator of compiled evaluation for these synapses."""
    if isinstance(synapses, Conv):
        kernel = synapses.weight.shape[2:]
        plain = synapses.stride == (1, 1) and synapses.padding == (0, 0) and synapses.groups == 1
        channels, tokens = synapses.in_shape[0], int(np.prod(synapses.in_shape[1:]))
        agreed = (source_layout in (channels, 1) or tokens == 1) and target_layout == synapses.out_shape[0]
        if kernel == (1, 1) and plain and agreed:
            return DenseOperator(synapses.weight[:, :, 0, 0], tokens, source_layout != channels and tokens > 1)
        return ConvOperator(synapses, source_layout, target_layout)
    if isinstance(synapses, Dense):
        rows = order(synapses.n_out, target_layout)
        columns = order(synapses.n_in, source_layout)
        return DenseOperator(synapses.weight[rows][:, columns])
    target, source, index = synapses.to_coo()
    weight = synapses.weight.reshape(-1)[index]
    target = np.argsort(order(synapses.n_out, target_layout))[target]
    source = np.argsort(order(synapses.n_in, source_layout))[source]
    area = synapses.n_in * synapses.n_out
    if isinstance(synapses, Sparse) and area <= 2**24 and len(weight) >= DENSIFY * area and area > 2**10:
        matrix = np.zeros((synapses.n_out, synapses.n_in), dtype=np.int32)
        matrix[target, source] = weight
        return DenseOperator(matrix)
    return SparseOperator(target, source, weight, synapses.n_in, synapses.n_out)
