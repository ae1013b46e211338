"""Two-dimensional convolution synapses with shared weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.synapses.base import Synapses


@dataclass(frozen=True, eq=False)
class Conv(Synapses):
    """weight: (C_out, C_in / groups, kh, kw), cross-correlation as in PyTorch; populations are (C, H, W).

    A one-dimensional convolution over (C, N) is stored as (C, N, 1) with kw = 1; a linear map shared over tokens is a
    1 x 1 kernel. Taps outside the input (zero padding) are no synapses.
    """

    kind: ClassVar[str] = "conv"
    in_shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(C_out, H_out, W_out)."""
        sizes = [
            (self.in_shape[i + 1] + 2 * self.padding[i] - self.dilation[i] * (self.weight.shape[i + 2] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        ]
        return int(self.weight.shape[0]), sizes[0], sizes[1]

    @property
    def n_in(self) -> int:
        return int(np.prod(self.in_shape))

    @property
    def n_out(self) -> int:
        return int(np.prod(self.out_shape))

    def to_coo(self) -> tuple[IntArray, IntArray, IntArray]:
        _, height, width = self.in_shape
        c_out, out_h, out_w = self.out_shape
        _, per_group, kh, kw = self.weight.shape
        o, i, y, x, oy, ox = np.indices((c_out, per_group, kh, kw, out_h, out_w)).reshape(6, -1)
        row = oy * self.stride[0] - self.padding[0] + y * self.dilation[0]
        col = ox * self.stride[1] - self.padding[1] + x * self.dilation[1]
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        channel = (o // (c_out // self.groups)) * per_group + i
        target = (o * out_h + oy) * out_w + ox
        source = (channel * height + row) * width + col
        index = ((o * per_group + i) * kh + y) * kw + x
        return target[inside], source[inside], index[inside]

    def sums(self) -> tuple[IntArray, IntArray]:
        """As in the base class, but for a whole kernel everywhere: an upper bound where the padding cuts taps off."""
        w = self.weight.astype(np.int64).reshape(self.weight.shape[0], -1)
        _, out_h, out_w = self.out_shape
        positive, negative = np.maximum(w, 0).sum(axis=1), np.minimum(w, 0).sum(axis=1)
        return np.repeat(positive, out_h * out_w), np.repeat(negative, out_h * out_w)

    def fan_out(self) -> IntArray:
        """Synapses that leave each source neuron, (n_in,): the taps that reach it along each axis, multiplied."""
        taps = [self._taps(axis) for axis in (0, 1)]
        per_channel = self.weight.shape[0] // self.groups
        return np.tile(np.multiply.outer(taps[0], taps[1]).reshape(-1) * per_channel, self.in_shape[0])

    def _taps(self, axis: int) -> IntArray:
        """How many (output position, kernel tap) pairs read each input position of an axis."""
        size, kernel = self.in_shape[axis + 1], self.weight.shape[axis + 2]
        position, tap = np.indices((self.out_shape[axis + 1], kernel)).reshape(2, -1)
        read = position * self.stride[axis] - self.padding[axis] + tap * self.dilation[axis]
        return np.bincount(read[(read >= 0) & (read < size)], minlength=size).astype(np.int64)
