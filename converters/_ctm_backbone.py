"""Backbones of the public CTM code: parity embedding, ResNet stages, shallow-wide, none; batch norm folded.

A ResNet here starts with a 3 x 3 convolution of stride 1 and a max pool (the public code's change), behind a 1 x 1
convolution to three channels, which is folded in: its bias meets the zero padding, so the fold has a bias a position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.errors import RefusedError, UsageError

from ._ctm_graph import Graph, Shape
from ._weights import FloatArray, Weights, folded

ROOT = "backbone"

RESNETS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 4, 36, 3)),
}
"""Kind of block and blocks a stage."""


@dataclass(frozen=True, eq=False)
class Features:
    """A feature map: gain * value of node `source` + shift, both (channels,)."""

    source: str
    gain: FloatArray
    shift: FloatArray


def kinds(weights: Weights) -> tuple[str, ...]:
    """Names of the public backbones that the keys fit: several where stages alone do not tell two ResNets apart.

    Raises RefusedError ND201 for a backbone that is none of them.
    """
    names = [name for name in weights.names() if name.startswith(f"{ROOT}.")]
    if not names:
        return ("none",)
    if f"{ROOT}.embedding.weight" in weights:
        return ("parity_backbone",)
    if f"{ROOT}.layers.3.weight" in weights:
        return ("shallow-wide",)
    if f"{ROOT}.layer1.0.conv1.weight" in weights:
        block, stages = _stages(weights)
        fits = [
            f"{name}-{len(stages)}"
            for name, (kind, blocks) in RESNETS.items()
            if kind == block and blocks[: len(stages)] == stages
        ]
        return tuple(fits) or (f"resnet of {block} blocks {'-'.join(map(str, stages))}",)
    raise RefusedError(
        "ND201",
        f"'{weights.path}': the backbone with tensor '{names[0]}' is not one of the public code's",
        help="resnet18 to resnet152 with stages 1 to 4, shallow-wide, parity_backbone and none are known; write a "
        "converter for this one, or compile the machine behind its own features with backbone none",
    )


def input_channels(weights: Weights, kind: str) -> int:
    """Channels of the images that the backbone takes."""
    if kind.startswith("resnet"):
        stored = weights.take("initial_rgb.weight", 3, None, 1, 1)
    elif kind == "shallow-wide":
        stored = weights.take(f"{ROOT}.layers.0.weight", None, None, None, None)
    else:
        stored = weights.take("kv_proj.0.weight", None, None)
    return int(stored.shape[1])


def build(graph: Graph, weights: Weights, kind: str, source: str, eps: float) -> Features:
    """The backbone's nodes behind the image `source` (C, H, W); none adds nothing."""
    if kind.startswith("resnet"):
        source = _resnet(graph, weights, source, eps)
    elif kind == "shallow-wide":
        return _shallow_wide(graph, weights, source, eps)
    channels = graph.shapes[source][0]
    return Features(source, np.ones(channels), np.zeros(channels))


def parity_tokens(weights: Weights, channels: int) -> tuple[FloatArray, FloatArray]:
    """(slope, offset), both (channels,): a token is slope x + offset, exactly, for x of -1 and +1.

    The public code looks row 1 of a table up for x = 1 and row 0 for any other x.
    """
    table = weights.take(f"{ROOT}.embedding.weight", 2, channels)
    return (table[1] - table[0]) / 2, (table[1] + table[0]) / 2


def border_bias(weight: FloatArray, shift: FloatArray, shape: Shape, groups: int = 1) -> FloatArray:
    """What a constant `shift` (C_in,) of the input adds behind a 3 x 3 convolution of stride 1 and zero padding 1.

    weight: (C_out, C_in/groups, kh, kw) of odd sizes; result (C_out, H, W): less at the borders, where zeros enter.
    """
    per_group = weight.shape[0] // groups
    by_tap = np.concatenate(
        [
            np.einsum("ocij,c->oij", weight[g * per_group : (g + 1) * per_group], part)
            for g, part in enumerate(np.split(shift, groups))
        ]
    )
    rows, columns = (_inside(size, k) for size, k in zip(shape, weight.shape[2:], strict=True))
    return np.asarray(np.einsum("oij,hi,wj->ohw", by_tap, rows, columns))


def _inside(size: int, kernel: int) -> FloatArray:
    """(size, kernel): 1 where tap j of position i lies inside, 0 in the padding."""
    at = np.arange(size)[:, None] + np.arange(kernel) - kernel // 2
    return ((at >= 0) & (at < size)).astype(np.float64)


def _stages(weights: Weights) -> tuple[str, tuple[int, ...]]:
    block = "bottleneck" if f"{ROOT}.layer1.0.conv3.weight" in weights else "basic"
    stages: list[int] = []
    while f"{ROOT}.layer{len(stages) + 1}.0.conv1.weight" in weights:
        stage, count = len(stages) + 1, 0
        while f"{ROOT}.layer{stage}.{count}.conv1.weight" in weights:
            count += 1
        stages.append(count)
    return block, tuple(stages)


def _resnet(graph: Graph, weights: Weights, source: str, eps: float) -> str:
    channels, *size = graph.shapes[source]
    rgb, shift = weights.take("initial_rgb.weight", 3, channels, 1, 1), weights.take("initial_rgb.bias", 3)
    name = f"{ROOT}.conv1"
    first = weights.take(f"{name}.weight", None, 3, 3, 3)
    first, bias = folded(weights, name, f"{ROOT}.bn1", first, eps)
    if shift.any():
        bias = bias[:, None, None] + border_bias(first, shift, tuple(size))
    weight = np.einsum("ocij,cn->onij", first, rgb[:, :, 0, 0])
    x = graph.activation(f"{ROOT}.relu", "relu", graph.conv(name, source, weight, bias, (1, 1), (1, 1)))
    x = graph.max_pool(f"{ROOT}.maxpool", x)
    block, stages = _stages(weights)
    for stage, count in enumerate(stages, 1):
        for i in range(count):
            stride = 2 if stage > 1 and i == 0 else 1
            x = _block(graph, weights, f"{ROOT}.layer{stage}.{i}", block, x, stride, eps)
    return x


def _block(graph: Graph, weights: Weights, root: str, kind: str, source: str, stride: int, eps: float) -> str:
    """relu(convolutions of x + x), x through a 1 x 1 convolution where its shape changes. The strided one is 3 x 3."""
    kernels, strided = ((1, 3, 1), 1) if kind == "bottleneck" else ((3, 3), 0)
    x = source
    for i, kernel in enumerate(kernels):
        name, norm = f"{root}.conv{i + 1}", f"{root}.bn{i + 1}"
        step = stride if i == strided else 1
        x = _normed_conv(graph, weights, (name, norm), x, kernel, step, eps)
        if i < len(kernels) - 1:
            x = graph.activation(f"{root}.relu{i + 1}", "relu", x)
    skip = source
    if f"{root}.downsample.0.weight" in weights:
        skip = _normed_conv(graph, weights, (f"{root}.downsample.0", f"{root}.downsample.1"), source, 1, stride, eps)
    if graph.shapes[skip] != graph.shapes[x]:
        raise UsageError(
            "ND125",
            f"'{weights.path}': block '{root}' adds {graph.shapes[x]} to {graph.shapes[skip]}",
            help="the block changes the shape but has no 'downsample' of that shape: was the file saved whole?",
        )
    return graph.activation(root, "relu", x, skip)


def _normed_conv(
    graph: Graph, weights: Weights, names: tuple[str, str], source: str, kernel: int, stride: int, eps: float
) -> str:
    name, norm = names
    weight = weights.take(f"{name}.weight", None, graph.shapes[source][0], kernel, kernel)
    weight, bias = folded(weights, name, norm, weight, eps)
    return graph.conv(name, source, weight, bias, (stride,) * 2, (kernel // 2,) * 2)


def _shallow_wide(graph: Graph, weights: Weights, source: str, eps: float) -> Features:
    """Two convolutions with gated linear units; the second is grouped, and reads half of the channels for each side.

    The first batch norm is folded into the second convolution, where its shift meets the zero padding; the last one is
    left to the projection that follows.
    """
    name = f"{ROOT}.layers"
    first = weights.take(f"{name}.0.weight", None, graph.shapes[source][0], 3, 3)
    first_bias = weights.take(f"{name}.0.bias", first.shape[0])
    second = weights.take(f"{name}.3.weight", first.shape[0], None, 3, 3)
    second_bias = weights.take(f"{name}.3.bias", first.shape[0])
    width = first.shape[0] // 2
    per_group = second.shape[1]
    if first.shape[0] % 4 or width % per_group or (width // per_group) % 2:
        raise UsageError(
            "ND125",
            f"'{weights.path}': '{name}.3.weight' reads {per_group} channels a group of {width}",
            help="the groups of the public shallow-wide backbone are even in number",
        )
    half, groups = width // 2, width // per_group // 2
    gain, shift = _batch_norm(weights, f"{name}.2", width, eps)
    sides: list[str] = []
    for side, at in (("low", 0), ("high", half)):
        parts = [
            graph.conv(f"{name}.0.{side}.{part}", source, first[rows], first_bias[rows], (2, 2), (1, 1))
            for part, rows in (
                ("value", slice(at, at + half)),
                ("gate", slice(width + at, width + at + half)),
            )
        ]
        sides.append(graph.gate(f"{name}.1.{side}", (parts[0],), (parts[1],)))
    ends: list[str] = []
    for part, side, at in (("value", sides[0], 0), ("gate", sides[1], 1)):
        rows, columns = slice(at * width, (at + 1) * width), slice(at * half, (at + 1) * half)
        weight = second[rows]
        bias = border_bias(weight, shift[columns], graph.shapes[side][1:], groups) + second_bias[rows, None, None]
        by_input = np.repeat(gain[columns].reshape(groups, per_group), width // groups, axis=0)
        ends.append(
            graph.conv(f"{name}.3.{part}", side, weight * by_input[:, :, None, None], bias, (1, 1), (1, 1), groups)
        )
    wide = graph.gate(f"{name}.4", (ends[0],), (ends[1],))
    return Features(wide, *_batch_norm(weights, f"{name}.5", width, eps))


def _batch_norm(weights: Weights, norm: str, channels: int, eps: float) -> tuple[FloatArray, FloatArray]:
    """A batch norm by itself: gain and shift."""
    return folded(weights, "", norm, np.ones(channels), eps)  # no linear layer has an empty name
