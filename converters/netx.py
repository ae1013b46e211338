"""lava-dl NetX networks (.net, HDF5): integer weights and neurons, taken over exactly.

The file describes layers in sequence. Shapes are (C, H, W) and kernels (C_out, C_in, kH, kW), cross-correlated, as in
PyTorch: netx/hdf5.py flips and transposes kernels only because Lava's Conv is a true convolution over (W, H, C).

- input: with neurons, whole numbers drive them (Lava sets them as biases), by default those that lava-dl's data sets
  deliver, weight (2 x - 1) + bias for pixels x in 0..1; --set input=image takes x itself. Without: only a shape.
- dense, conv: weights and neurons. pool: a depthwise convolution by one kernel. flatten: nothing.
- average: neurons sorted into equal groups; the groups' spike counts are the answer (lava-dl trains with their mean).
- delay: of the spikes a layer sends (SLAYER's axonal delay), laid on the synapses they meet; at the end, dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ndeploy.contents import Contents
from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir import network as net
from ndeploy.neurons import Neuron, Relay
from ndeploy.settings import Settings

from ._netx_file import Layer, read
from ._netx_neurons import COMPARE, SPIKING, build, build_input, neuron_type

NAME = "netx"
FAMILY = "lava-dl NetX"

MAX_DELAY = 62
"""Model steps (lava-dl netx/utils.py)."""
IMAGE_WEIGHT = 64
"""The input layer's weight where the file has none (netx/hdf5.py)."""


def detect(path: Path, contents: Contents) -> bool:
    """Whether the HDF5 file holds numbered layers with types."""
    return contents.kind == "hdf5" and "layer/0/type" in contents.keys()  # noqa: SIM118


def load(path: Path, contents: Contents, settings: Settings) -> net.Network:
    """The file as a Network of integer nodes; its input is (C, H, W) or (N,), spikes or whole numbers.

    Raises UsageError ND121, ND123, ND131, ND304 (file), ND204 (input shape of a convolution not stated), ND205;
    RefusedError ND132 (a layer type without integer model), ND301 (a weight beyond lava-dl's range).
    """
    layers, t_sample = read(path)
    kinds = {neuron_type(layer) for layer in layers} & set(SPIKING)
    compare = "by-type"
    if kinds:
        default = COMPARE[next(iter(kinds))] if len(kinds) == 1 else "by-type"
        compare = settings.get("compare", (*net.COMPARES, "by-type"), default, "file")
    build_ = _Build(settings, compare)
    steps = settings.get("steps", int, default=t_sample, origin="file")
    for layer in layers:
        build_.add(layer)
    decode = build_.finish()
    return net.Network(
        name=path.name.split(".", 1)[0],
        nodes=build_.nodes,
        edges=tuple(build_.edges),
        steps=steps,
        decode=decode,
        settings={**settings.record, **build_.notes},
        family=NAME,
    )


@dataclass
class _Build:
    """The network up to the layer read last: `end` is its last node, `shape` what that puts out."""

    settings: Settings
    compare: str
    nodes: dict[str, net.Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    end: str = ""
    shape: tuple[int, ...] = ()
    delay: IntArray | None = None

    def add(self, layer: Layer) -> None:
        """One more layer."""
        kinds = {
            "input": self._input,
            "dense": self._dense,
            "conv": self._conv,
            "pool": self._pool,
            "flatten": self._flatten,
            "average": self._average,
        }
        if layer.type not in kinds:
            raise RefusedError(
                "ND132",
                f"'{layer.path}': layer {layer.index} has the type '{layer.type}'",
                help=f"supported types: {', '.join(kinds)}",
            )
        odd = [k for k in layer.numbers if k not in _KNOWN and not k.startswith("neuron/")]
        if odd:
            raise RefusedError(
                "ND132",
                f"'{layer.path}': layer {layer.index} ({layer.type}) holds '{odd[0]}', which has no integer model",
                help="recurrent, complex and masked layers are not supported; export plain layers",
            )
        kinds[layer.type](layer)

    def finish(self) -> str:
        """Add the output; returns how the steps are decoded."""
        if not self.end:
            raise UsageError("ND131", "the file has no layers", help="export the network again")
        self._put("output", net.Output(self.shape), self.shape)
        if self.delay is not None:
            self.notes["dropped"] = {"value": "delay of the last layer: no synapse follows", "from": "file"}
        if int(np.prod(self.shape)) == 1:
            return "none"  # a regression: there is no class to choose
        last = self.nodes[self.edges[-1][0]]
        summing = isinstance(last, net.IntegerNeuron) and last.neuron.kind in ("cuba-li", "sigma")
        return "last" if summing else "sum"

    def _put(self, name: str, node: net.Node, shape: tuple[int, ...]) -> None:
        self.nodes[name] = node
        if self.end:
            self.edges.append((self.end, name))
        self.end, self.shape = name, shape

    def _neuron(self, layer: Layer, shape: tuple[int, ...], neuron: Neuron) -> None:
        self._put(layer.name, net.IntegerNeuron(neuron, shape), shape)
        refractory = layer.integer("neuron/refDelay", 1)
        if refractory > 1:
            self.notes[f"{layer.name}.refDelay"] = {"value": refractory, "from": "file, not used, as in lava-dl"}
        self.delay = _delay(layer, shape)

    def _compare(self, layer: Layer) -> str:
        return COMPARE.get(neuron_type(layer), "gt") if self.compare == "by-type" else self.compare

    def _input(self, layer: Layer) -> None:
        if self.end:
            raise layer.error("an input layer must be the first")
        shape = layer.shape()
        if not layer.has_neuron:
            self._put("input", net.Input(shape, whole=(0, 1)), shape)
            return
        weight, bias = abs(layer.integer("weight", IMAGE_WEIGHT)), layer.integer("bias", 0)
        form = self.settings.get("input", ("integer", "image"), default="integer")
        if form == "integer":
            node, offset = net.Input(shape, whole=(bias - weight, bias + weight)), 0
        elif neuron_type(layer) == "SDNN":
            raise UsageError(
                "ND205",
                f"input=image: layer {layer.index} has sigma-delta neurons, whose input takes no offset",
                help="give the data as whole numbers, weight (2 x - 1) + bias, and leave out --set input",
            )
        else:
            node, offset = net.Input(shape, whole=(0, 2 * weight), unit=1.0 / (2 * weight)), bias - weight
        self._put("input", node, shape)
        self._neuron(layer, shape, build_input(layer, self._compare(layer), offset))

    def _source(self, layer: Layer, shape: tuple[int, ...] | None) -> None:
        """Make sure that something comes before the layer: a file may start without an input layer."""
        if self.end:
            return
        text = self.settings.get("input_shape", str, default=None) if shape is None else None
        if text is not None:
            parts = text.lower().split("x")
            if not all(p.isdigit() and 0 < int(p) < 2**16 for p in parts) or len(parts) != 3:
                raise UsageError("ND205", f"input_shape is '{text}'", help="write CHANNELSxHEIGHTxWIDTH")
            shape = tuple(int(p) for p in parts)
        if shape is None:
            raise UsageError(
                "ND204",
                f"'{layer.path}': the file starts with a convolution and does not say the input's shape",
                help="give it: --set input_shape=CHANNELSxHEIGHTxWIDTH",
            )
        self._put("input", net.Input(shape, whole=(0, 1)), shape)

    def _dense(self, layer: Layer) -> None:
        outputs = int(np.prod(layer.shape()))
        weight = layer.integers("weight")
        if weight.size % outputs or weight.size == 0:
            raise layer.error(f"{weight.size} weights for {outputs} neurons")
        weight = weight.reshape(outputs, -1)
        self._source(layer, (weight.shape[1],))
        inputs = int(np.prod(self.shape))
        if inputs != weight.shape[1]:
            raise layer.error(f"its weights take {weight.shape[1]} values, the layer before gives {self.shape}")
        delays = self._row_delays(outputs)
        if len(self.shape) > 1:
            self._put(f"{layer.name}.flatten", net.Flatten(self.shape), (inputs,))
        mantissa, integer = _integer(layer, weight, delays)
        self._put(f"{layer.name}.weight", net.Linear(mantissa, integer=integer), (outputs,))
        self._neuron(layer, (outputs,), build(layer, (outputs,), self._compare(layer)))

    def _row_delays(self, rows: int) -> IntArray | None:
        """Delays of the sending neurons in the layout of a dense weight of that many rows."""
        if self.delay is None:
            return None
        return np.tile(np.broadcast_to(self.delay, self.shape).reshape(1, -1), (rows, 1))

    def _conv(self, layer: Layer) -> None:
        weight = layer.integers("weight")
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]  # SLAYER's kernels have a time axis of length 1
        if weight.ndim != 4:
            raise layer.error(f"a kernel must be (C_out, C_in, kH, kW), it has shape {weight.shape}")
        self._correlate(layer, weight, layer.integer("groups", 1), layer.pair("stride", 1))

    def _pool(self, layer: Layer) -> None:
        kernel, stride = layer.pair("kernelSize", 1), layer.pair("stride", 1)
        self._source(layer, None)
        if len(self.shape) != 3:
            raise layer.error(f"it pools planes, the layer before gives {self.shape}")
        weight = layer.integers("weight").reshape(-1)
        if weight.size != kernel[0] * kernel[1]:
            raise layer.error(f"{weight.size} weights for a kernel of {kernel}")
        # SLAYER stacks the channels' planes and pads odd ones: plain pooling only where windows tile every plane
        if (
            stride != kernel
            or layer.pair("padding", 0) != (0, 0)
            or self.shape[1] % kernel[0]
            or self.shape[2] % kernel[1]
        ):
            raise RefusedError(
                "ND132",
                f"'{layer.path}': layer {layer.index} pools {self.shape} by {kernel} with stride {stride}",
                help="windows must tile the plane: stride equal to the kernel, no padding, sizes divisible by it",
            )
        channels = self.shape[0]
        depthwise = np.broadcast_to(weight.reshape(1, 1, *kernel), (channels, 1, *kernel)).copy()
        self._correlate(layer, depthwise, channels, stride)

    def _correlate(self, layer: Layer, weight: IntArray, groups: int, stride: tuple[int, int]) -> None:
        self._source(layer, None)
        padding, dilation = layer.pair("padding", 0), layer.pair("dilation", 1)
        if len(self.shape) != 3 or groups < 1 or self.shape[0] != weight.shape[1] * groups or weight.shape[0] % groups:
            raise layer.error(f"kernel {weight.shape} in {groups} groups does not fit the {self.shape} before it")
        if min(*stride, *dilation, *weight.shape) < 1 or min(padding) < 0:
            raise layer.error(f"stride {stride}, dilation {dilation}, padding {padding}, kernel {weight.shape}")
        size = [
            (self.shape[i + 1] + 2 * padding[i] - dilation[i] * (weight.shape[i + 2] - 1) - 1) // stride[i] + 1
            for i in (0, 1)
        ]
        shape = (weight.shape[0], size[0], size[1])
        if shape != layer.shape():
            raise layer.error(f"it says its shape is {layer.shape()}, its kernel makes {shape} of {self.shape}")
        mantissa, integer = _integer(layer, weight, self._kernel_delays(layer, weight, groups))
        node = net.Conv(mantissa, None, stride, padding, dilation, groups, integer)
        self._put(f"{layer.name}.weight", node, shape)
        self._neuron(layer, shape, build(layer, shape, self._compare(layer)))

    def _kernel_delays(self, layer: Layer, weight: IntArray, groups: int) -> IntArray | None:
        """Delays of the sending neurons in the layout of the kernel: one a channel."""
        if self.delay is None:
            return None
        planes = np.broadcast_to(self.delay, self.shape).reshape(self.shape[0], -1)
        if (planes != planes[:, :1]).any():
            raise RefusedError(
                "ND132",
                f"'{layer.path}': delays before layer {layer.index} differ inside a channel",
                help="a shared kernel holds one delay a channel; train one delay a channel, or use a dense layer",
            )
        group = np.arange(weight.shape[0]) // (weight.shape[0] // groups)
        channel = group[:, None] * weight.shape[1] + np.arange(weight.shape[1])
        return np.array(np.broadcast_to(planes[:, 0][channel][:, :, None, None], weight.shape), dtype=np.int64)

    def _flatten(self, layer: Layer) -> None:
        if len(self.shape) > 1 and self.delay is None:
            size = int(np.prod(self.shape))
            self._put(f"{layer.name}.flatten", net.Flatten(self.shape), (size,))

    def _average(self, layer: Layer) -> None:
        groups, inputs = int(np.prod(layer.shape())), int(np.prod(self.shape))
        if not self.end or inputs % groups:
            raise layer.error(f"{inputs} neurons make no {groups} equal groups")
        before = self.nodes[self.end]
        if isinstance(before, net.IntegerNeuron) and not before.neuron.message.bits:
            raise layer.error("it averages a layer that sends no spikes")
        each, delays = inputs // groups, self._row_delays(groups)
        if len(self.shape) > 1:
            self._put(f"{layer.name}.flatten", net.Flatten(self.shape), (inputs,))
        member = np.asarray(np.kron(np.eye(groups), np.ones((1, each))), dtype=np.float64)
        self._put(f"{layer.name}.weight", net.Linear(member, integer=net.IntegerWeights(2, delays=delays)), (groups,))
        self.delay = None
        self._put(layer.name, net.IntegerNeuron(Relay(each.bit_length(), signed=False), (groups,)), (groups,))


_KNOWN = (
    "shape", "type", "weight", "bias", "delay", "inFeatures", "outFeatures", "inChannels", "outChannels",
    "kernelSize", "stride", "padding", "dilation", "groups",
)  # fmt: skip


def _delay(layer: Layer, shape: tuple[int, ...]) -> IntArray | None:
    """Axonal delays in model steps, broadcasting to the layer's shape; None for none."""
    if "delay" not in layer.numbers:
        return None
    delay = np.floor(layer.numbers["delay"]).reshape(-1)
    if not (np.isfinite(delay).all() and (delay >= 0).all() and (delay <= MAX_DELAY).all()):
        raise layer.error(f"delays must be 0..{MAX_DELAY} steps")
    if not delay.any():
        return None
    whole = delay.astype(np.int64)
    if whole.size == 1:
        return np.full(shape, int(whole[0]), dtype=np.int64)
    if whole.size == int(np.prod(shape)):
        return whole.reshape(shape)
    if whole.size == shape[0]:
        return np.asarray(whole.reshape(-1, *(1,) * (len(shape) - 1)), dtype=np.int64)
    raise layer.error(f"{whole.size} delays for neurons of shape {shape}")


def _integer(layer: Layer, weight: IntArray, delays: IntArray | None) -> tuple[Any, net.IntegerWeights]:
    """(mantissas as float64, how they are stored): the power of two that all weights share is the exponent.

    Raises RefusedError ND301 for weights beyond -256..255, which lava-dl clips with a warning.
    """
    low, high = int(weight.min()), int(weight.max())
    if low < -256 or high > 255:
        raise RefusedError(
            "ND301",
            f"'{layer.path}': layer {layer.index}: weights from {low} to {high} leave -256..255",
            help="train with SLAYER's 8-bit weights; lava-dl would clip these",
        )
    shared = int(np.bitwise_or.reduce(np.abs(weight).reshape(-1)))
    exponent = (shared & -shared).bit_length() - 1 if shared else 0
    mantissa = weight >> exponent
    mixed = max(2, int(mantissa.max()).bit_length() + 1, int(-mantissa.min() - 1).bit_length() + 1)
    sign, bits = "mixed", mixed
    if mixed > 8 and low >= 0:
        sign, bits = "excitatory", mixed - 1
    elif mixed > 8 and high <= 0:
        sign, bits = "inhibitory", int(-mantissa.min()).bit_length()
    return mantissa.astype(np.float64), net.IntegerWeights(bits, exponent, sign, delays)
