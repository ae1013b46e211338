"""Convolution of messages, channels last: torch's int8 kernel, or event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.synapses import Conv

Rows = npt.NDArray[Any]


class Int8Conv:
    """oneDNN's uint8 x int8 convolution with float32 results, exact while every sum is below 2^24.

    Messages must lie in 0 .. 127 (machines without VNNI add pairs of products in 16 bits) and weights in int8.
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
