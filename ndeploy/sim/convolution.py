"""Convolution of messages, channels last: torch's int8 kernel, or event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.synapses import Conv

Rows = npt.NDArray[Any]


class Int8Conv:
    """oneDNN's uint8 x int8 convolution with float32 results, exact while every sum is below 2^24.

    Messages must lie in 0 .. 127 (machines without VNNI add pairs of products in 16 bits; the others take 0 .. 255 as
    uint8) and weights in int8.
    """

    def __init__(self, conv: Conv) -> None:
        import torch

        self.torch = torch
        self.conv = conv
        c, h, w = conv.in_shape
        self.outputs = conv.n_out
        weight = torch.from_numpy(np.ascontiguousarray(conv.weight.astype(np.int8)))
        self.unit = torch.ones(weight.shape[0])
        self.zero = torch.zeros(weight.shape[0], dtype=torch.int64)
        geometry = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        self.geometry = geometry
        self.packed = torch.ops.onednn.qconv_prepack(weight, self.unit, 1.0, 0, *geometry, [1, c, h, w])

    def apply(self, rows: Rows) -> Rows:
        """(R, H * W * C) int8 messages to (R, H_out * W_out * C_out) float32."""
        c, h, w = self.conv.in_shape
        x = self.torch.from_numpy(rows.view(np.uint8)).view(-1, h, w, c).permute(0, 3, 1, 2)
        y = self.torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, 0, self.packed, self.unit, self.zero, None, *self.geometry,
            1.0, 0, self.torch.float32, "none", [], "",
        )  # fmt: skip
        flat: Rows = y.permute(0, 2, 3, 1).reshape(len(rows), self.outputs).numpy()
        return flat


class BlockedConv:
    """A strided convolution of few channels as an unstrided one over blocks of stride x stride pixels.

    The blocks' pixels become channels: oneDNN's kernel is two to four times as fast on them. Weights outside the kernel
    are zero. planes: the images come channels first (a plain population), so no other reordering is needed.
    """

    def __init__(self, conv: Conv, planes: bool) -> None:
        self.conv = conv
        self.planes = planes
        self.side = side = conv.stride[0]
        c_out, channels, *kernel = conv.weight.shape
        first = [-(-p // side) for p in conv.padding]
        self.first = -first[0], -first[1]
        last = [(k - 1 - p) // side for k, p in zip(kernel, conv.padding, strict=True)]
        taps = last[0] + first[0] + 1, last[1] + first[1] + 1
        weight = np.zeros((c_out, channels, taps[0] * side, taps[1] * side), dtype=np.int16)
        above, before = first[0] * side - conv.padding[0], first[1] * side - conv.padding[1]
        weight[:, :, above : above + kernel[0], before : before + kernel[1]] = conv.weight
        split = weight.reshape(c_out, channels, taps[0], side, taps[1], side)
        order = (0, 1, 3, 5, 2, 4) if planes else (0, 3, 5, 1, 2, 4)
        joined = split.transpose(order).reshape(c_out, -1, *taps)
        _, out_height, out_width = conv.out_shape
        self.blocks = out_height + taps[0] - 1, out_width + taps[1] - 1
        self.plain = Int8Conv(Conv(np.ascontiguousarray(joined), (joined.shape[1], *self.blocks)))

    @staticmethod
    def suits(conv: Conv) -> bool:
        """Square blocks that tile the image's lines, few enough channels that the detour pays."""
        side = conv.stride[0]
        return (
            conv.stride in ((2, 2), (4, 4))
            and conv.dilation == (1, 1)
            and conv.groups == 1
            and conv.in_shape[2] % side == 0
            and conv.in_shape[0] <= 16
        )

    def apply(self, rows: Rows) -> Rows:
        """(R, n_in) int8 messages, channels first if `planes`, to (R, H_out * W_out * C_out) float32."""
        from ndeploy.sim.kernels_events import blocks_of_pixels, blocks_of_planes

        c, h, w = self.conv.in_shape
        side = self.side
        blocks = np.zeros((len(rows), *self.blocks, c * side * side), dtype=np.int8)
        if self.planes:
            unit: Any = np.uint16 if side == 2 else np.uint32
            images: Rows = rows.view(unit).reshape(len(rows), c, h, w // side)
            blocks_of_planes(images, self.first, blocks.view(unit))
        else:
            wide: Any = np.uint64 if side * c % 8 == 0 else np.uint8
            images = rows.view(wide).reshape(len(rows), h, w // side, -1)
            blocks_of_pixels(images, self.first, side, blocks.view(wide).reshape(len(rows), *self.blocks, side, -1))
        return self.plain.apply(blocks.reshape(len(rows), -1))


class FloatConv:
    """torch's float32 convolution of integers, exact while every sum of magnitudes is below 2^24."""

    def __init__(self, conv: Conv) -> None:
        import torch

        self.torch = torch
        self.conv = conv
        self.weight = torch.from_numpy(conv.weight.astype(np.float32)).to(memory_format=torch.channels_last)

    def apply(self, rows: Rows) -> Rows:
        """(R, H * W * C) messages to (R, H_out * W_out * C_out) float32."""
        conv = self.conv
        c, h, w = conv.in_shape
        x = self.torch.from_numpy(rows.astype(np.float32)).view(-1, h, w, c).permute(0, 3, 1, 2)
        y = self.torch.conv2d(x, self.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        flat: Rows = y.permute(0, 2, 3, 1).reshape(len(rows), conv.n_out).numpy()
        return flat


class ChannelConv:
    """A convolution in which every channel has a kernel of its own (pooling)."""

    def __init__(self, conv: Conv) -> None:
        self.conv = conv
        self.weight = np.ascontiguousarray(conv.weight[:, 0].transpose(1, 2, 0)).astype(np.int32)

    @staticmethod
    def suits(conv: Conv) -> bool:
        """One output channel for each input channel, and more of them than one."""
        return bool(1 < conv.groups == conv.in_shape[0] == conv.weight.shape[0])

    def apply(self, rows: Rows, dtype: type[np.signedinteger[Any]]) -> Rows:
        """(R, H * W * C) messages to (R, H_out * W_out * C_out) sums of that type."""
        from ndeploy.sim.kernels_events import channel_conv

        _, height, width = self.conv.in_shape
        _, out_height, out_width = self.conv.out_shape
        sums = np.zeros((len(rows), self.conv.n_out), dtype=dtype)
        geometry = self.conv.stride, self.conv.padding, self.conv.dilation
        channel_conv(rows, height, width, out_height, out_width, *geometry, self.weight, sums)
        return sums


class EventConv:
    """Each message that is not zero is added to the outputs that it reaches."""

    def __init__(self, conv: Conv) -> None:
        self.conv = conv
        c_out, per_group, kh, kw = conv.weight.shape
        grouped = conv.weight.reshape(conv.groups, c_out // conv.groups, per_group, kh, kw)
        self.weight = np.ascontiguousarray(
            grouped.transpose(0, 2, 3, 4, 1).reshape(conv.groups * per_group, kh, kw, c_out // conv.groups)
        ).astype(np.int32)

    def apply(self, rows: Rows, dtype: type[np.signedinteger[Any]]) -> Rows:
        """(R, H * W * C) messages to (R, H_out * W_out * C_out) sums of that type."""
        from ndeploy.sim.kernels_events import scatter_conv

        _, height, width = self.conv.in_shape
        _, out_height, out_width = self.conv.out_shape
        sums = np.zeros((len(rows), self.conv.n_out), dtype=dtype)
        scatter_conv(
            rows, height, width, self.conv.groups, out_height, out_width,
            self.conv.stride, self.conv.padding, self.conv.dilation, self.weight, sums,
        )  # fmt: skip
        return sums
