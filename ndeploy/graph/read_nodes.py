"""NIR's node types, each as it lies in the file, to nodes of a Network. One function a type; the table is at the end.

Parameters may still have fewer axes than their neuron here: `read.py` broadcasts them once shapes are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.fields import Fields
from ndeploy.ir import network as ir
from ndeploy.ir.network import FloatArray


def _input(f: Fields) -> ir.Node:
    return ir.Input(f.shape("shape"))


def _output(f: Fields) -> ir.Node:
    return ir.Output(f.shape("shape"))


def _weight(f: Fields) -> FloatArray:
    weight = f.array("weight")
    if weight.ndim > 2:
        raise RefusedError(
            "ND201",
            f"node '{f.name}': a weight of shape {weight.shape} holds one matrix for every leading index",
            help="split the node into one Linear a matrix, or write it as a grouped convolution",
        )
    if weight.ndim != 2 or 0 in weight.shape:
        raise f.bad("weight", f"has shape {weight.shape}, must be (outputs, inputs)")
    return weight


def _linear(f: Fields) -> ir.Node:
    return ir.Linear(_weight(f))


def _affine(f: Fields) -> ir.Node:
    weight, bias = _weight(f), f.array("bias")
    if bias.size not in (1, weight.shape[0]):
        raise f.bad("bias", f"has shape {bias.shape}, but the weight has {weight.shape[0]} outputs")
    return ir.Linear(weight, np.broadcast_to(bias.reshape(-1), weight.shape[:1]).copy())


def _conv(f: Fields, axes: int) -> ir.Node:
    weight = f.array("weight", axes + 2)
    if 0 in weight.shape:
        raise f.bad("weight", f"has shape {weight.shape}")
    bias = f.array("bias") if "bias" in f else None
    if bias is not None and bias.size not in (1, weight.shape[0]):
        raise f.bad("bias", f"has shape {bias.shape}, but the weight has {weight.shape[0]} outputs")
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), weight.shape[:1]).copy()
    groups = f.integer("groups")
    if groups < 1 or weight.shape[0] % groups:
        raise f.bad("groups", f"is {groups}, which does not divide the {weight.shape[0]} output channels")
    stride, dilation = f.per_axis("stride", axes, 1), f.per_axis("dilation", axes, 1)
    if "input_shape" in f:
        f.shape("input_shape")  # what the exporter believed; the shape that arrives is what counts
    if not f.is_text("padding"):
        return ir.Conv(weight, bias, stride, f.per_axis("padding", axes, 0), dilation, groups)
    padding = f.text("padding")
    if padding == "valid":
        return ir.Conv(weight, bias, stride, (0,) * axes, dilation, groups)
    if padding != "same":
        raise f.bad("padding", f"is '{padding}', must be numbers, 'same' or 'valid'")
    if set(stride) != {1}:
        raise f.bad("padding", f"is 'same' with stride {stride}; 'same' needs stride 1")
    return same_padding(ir.Conv(weight, bias, stride, (0,) * axes, dilation, groups))


def same_padding(conv: ir.Conv) -> ir.Conv:
    """The convolution whose output has its input's size, padded as PyTorch's padding="same".

    That pads d (k - 1) in all, one more at the end where that is odd. Paddings of a `Conv` are symmetric, so an odd
    axis gets a tap of weight zero in front of its kernel, which asks for exactly one more at the start.
    """
    weight, dilation, padding = conv.weight, list(conv.dilation), []
    for axis in range(weight.ndim - 2):
        where = axis + 2
        total = dilation[axis] * (weight.shape[where] - 1)
        if total % 2:
            spread = np.zeros((*weight.shape[:where], total + 2, *weight.shape[where + 1 :]))
            taps = [slice(None)] * weight.ndim
            taps[where] = slice(1, None, dilation[axis])
            spread[tuple(taps)] = weight
            weight, dilation[axis], total = spread, 1, total + 1
        padding.append(total // 2)
    return replace(conv, weight=weight, dilation=tuple(dilation), padding=tuple(padding))


def _conv1d(f: Fields) -> ir.Node:
    return _conv(f, 1)


def _conv2d(f: Fields) -> ir.Node:
    return _conv(f, 2)


def _pool(f: Fields, kind: str) -> ir.Node:
    kernel, stride = f.per_axis("kernel_size", 2, 1), f.per_axis("stride", 2, 1)
    padding = f.per_axis("padding", 2, 0)
    return ir.Pool(kind, (kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1]))


def _sum_pool(f: Fields) -> ir.Node:
    return _pool(f, "sum")


def _average_pool(f: Fields) -> ir.Node:
    return _pool(f, "average")


def _flatten(f: Fields) -> ir.Node:
    # a Flatten without input_type takes the shape that arrives: () stands for "not stated" until shapes are known
    shape = f.shape("input_type") if "input_type" in f else ()
    return ir.Flatten(shape, f.integer("start_dim"), f.integer("end_dim"))


def _scale(f: Fields) -> ir.Node:
    return ir.Scale(f.array("scale"))


def _delay(f: Fields) -> ir.Node:
    return ir.Delay(f.array("delay"))


def _threshold(f: Fields) -> ir.Node:
    return ir.Threshold(f.array("threshold"))


def _reset_value(f: Fields) -> FloatArray:
    """Files of NIR 0.1 and 0.2 have no v_reset and mean zero (nir.read does the same)."""
    return f.array("v_reset") if "v_reset" in f else np.zeros_like(f.array("v_threshold"))


def _input_weight(f: Fields) -> FloatArray:
    return f.array("w_in") if "w_in" in f else np.ones(())


def _i(f: Fields) -> ir.Node:
    return ir.Integrator(f.array("r"))


def _if(f: Fields) -> ir.Node:
    return ir.IF(f.array("r"), f.array("v_threshold"), _reset_value(f))


def _li(f: Fields) -> ir.Node:
    return ir.LI(f.array("tau"), f.array("r"), f.array("v_leak"))


def _lif(f: Fields) -> ir.Node:
    return ir.LIF(f.array("tau"), f.array("r"), f.array("v_leak"), f.array("v_threshold"), _reset_value(f))


def _cuba_li(f: Fields) -> ir.Node:
    return ir.CubaLI(f.array("tau_syn"), f.array("tau_mem"), f.array("r"), f.array("v_leak"), _input_weight(f))


def _cuba_lif(f: Fields) -> ir.Node:
    return ir.CubaLIF(
        f.array("tau_syn"),
        f.array("tau_mem"),
        f.array("r"),
        f.array("v_leak"),
        f.array("v_threshold"),
        _reset_value(f),
        _input_weight(f),
    )


READERS: dict[str, Callable[[Fields], ir.Node]] = {
    "Input": _input,
    "Output": _output,
    "Linear": _linear,
    "Affine": _affine,
    "Conv1d": _conv1d,
    "Conv2d": _conv2d,
    "SumPool2d": _sum_pool,
    "AvgPool2d": _average_pool,
    "Flatten": _flatten,
    "Scale": _scale,
    "Delay": _delay,
    "Threshold": _threshold,
    "I": _i,
    "IF": _if,
    "LI": _li,
    "LIF": _lif,
    "CubaLI": _cuba_li,
    "CubaLIF": _cuba_lif,
}
"""Reader by NIR type; NIRGraph, the nineteenth, is unnested by `unnest.py`."""
