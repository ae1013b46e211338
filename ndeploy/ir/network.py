"""Network: a trained network with its meaning made explicit.

NIR's 19 node types, extension nodes where NIR has none, and beside the graph what NIR does not say: dt, integrator,
reset, compare, steps. All shapes are without batch and time axes. Arrays are float64 unless a node says integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.neurons import Neuron

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the graph; several edges into a node mean the sum of their values."""


@dataclass(frozen=True, eq=False)
class Input(Node):
    """One input of the network. shape: a sample's, without time.

    whole: (low, high) where the network takes whole numbers as they are (networks that come quantised), None for real
    values; unit: the real value of 1. static: a sample is one value that holds for all model steps, never a sequence.
    typical: what inputs look like where the family says so, to calibrate without data: "signs" (each -1 or +1),
    "normal" (mean 0, variance 1), "" where it does not say.
    """

    shape: tuple[int, ...]
    whole: tuple[int, int] | None = None
    unit: float = 1.0
    static: bool = False
    typical: str = ""


@dataclass(frozen=True, eq=False)
class Output(Node):
    """One output of the network."""

    shape: tuple[int, ...]


# -- linear nodes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """Says that a linear node's weight is already an integer mantissa, to be taken over exactly."""

    bits: int = 8
    exponent: int = 0
    sign: str = "mixed"
    delays: IntArray | None = None
    """Extra model steps per synapse, in the layout of the weight."""


@dataclass(frozen=True, eq=False)
class Linear(Node):
    """y = W x + b over the flattened input (NIR Linear and Affine). weight: (n_out, n_in); bias: (n_out,) or None."""

    weight: FloatArray
    bias: FloatArray | None = None
    integer: IntegerWeights | None = None


@dataclass(frozen=True, eq=False)
class Conv(Node):
    """Cross-correlation (NIR Conv1d and Conv2d). weight: (C_out, C_in/groups, *kernel); bias: (C_out,) or None.

    bias may have the output's whole shape (C_out, *positions): what a fold adds at a padded border, or an embedding of
    the position.

    One or two spatial axes. padding holds numbers only: "same" and "valid" are resolved by the reader.
    """

    weight: FloatArray
    bias: FloatArray | None = None
    stride: tuple[int, ...] = (1,)
    padding: tuple[int, ...] = (0,)
    dilation: tuple[int, ...] = (1,)
    groups: int = 1
    integer: IntegerWeights | None = None


@dataclass(frozen=True, eq=False)
class Scale(Node):
    """y = scale * x, elementwise (NIR Scale). A Scale of ones that several edges enter is a residual join."""

    scale: FloatArray


@dataclass(frozen=True, eq=False)
class Pool(Node):
    """Sum, average or maximum over windows of the last two axes (NIR SumPool2d, AvgPool2d; maximum is an extension)."""

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """Merge axes start..end of `input_shape` (NIR Flatten)."""

    input_shape: tuple[int, ...]
    start: int = 0
    end: int = -1


@dataclass(frozen=True, eq=False)
class Reduce(Node):
    """Extension: sum or mean over `axes` of `input_shape` (token sum)."""

    input_shape: tuple[int, ...]
    axes: tuple[int, ...]
    kind: str = "sum"


@dataclass(frozen=True, eq=False)
class Delay(Node):
    """Delay in seconds per element (NIR Delay); a whole number of dt."""

    delay: FloatArray


@dataclass(frozen=True, eq=False)
class Product(Node):
    """Extension: einsum(subscripts, left, right) * scale of two dynamic values.

    left, right: names of the two source nodes (edges to this node exist from both); the views reshape their values
    in C order first. output_shape: the result's shape.
    """

    left: str
    right: str
    left_view: tuple[int, ...]
    right_view: tuple[int, ...]
    subscripts: str
    output_shape: tuple[int, ...]
    scale: float = 1.0
    stream: str = ""
    """The subscript letter a streamed realisation runs over."""


# -- graded nodes: each keeps its value, several edges into it mean the sum ------------------------------------------

ACTIVATIONS = ("identity", "relu", "silu")


@dataclass(frozen=True, eq=False)
class Activation(Node):
    """Extension: y = f(x) elementwise, f one of `ACTIVATIONS`; silu(x) = x sigmoid(x)."""

    function: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Gate(Node):
    """Extension: gated linear unit, y = x sigmoid(g) elementwise.

    x is the sum of the values of the nodes `value`, g of the nodes `gate`; an edge to this node exists from each of
    them. No node is in both.
    """

    value: tuple[str, ...]
    gate: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LayerNorm(Node):
    """Extension: y = (x - mean) / sqrt(var + epsilon) * gain + offset over `axis` of the input viewed as `view`.

    var is the biased variance (PyTorch's LayerNorm). gain, offset: (view[axis],). The output has the shape `shape`; the
    input has as many values, in C order.
    """

    shape: tuple[int, ...]
    view: tuple[int, ...]
    axis: int
    gain: FloatArray
    offset: FloatArray
    epsilon: float = 1e-5


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """Extension: softmax over the last axis of `shape`."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Register(Node):
    """Extension: a delay of one model step with a learned first value: y(k) = x(k - 1), y(0) = start (its shape)."""

    start: FloatArray


@dataclass(frozen=True, eq=False)
class Trace(Node):
    """Extension: the last M inputs of every neuron, oldest first, the current one last: (D,) -> (D, M).

    start: (D, M), what is remembered before the first step; the first step shifts it by one.
    """

    start: FloatArray


@dataclass(frozen=True, eq=False)
class Synchronisation(Node):
    """Extension: how pairs of neurons move together over time (CTM, arXiv 2505.05522): (D,) -> (S,).

    alpha <- r alpha + x[left] x[right];  beta <- r beta + 1;  y = alpha / sqrt(beta), with r = `decay` in (0, 1].
    left, right: (S,) indices into the flattened input; decay, alpha, beta: (S,), the last two before the first step.
    """

    left: IntArray
    right: IntArray
    decay: FloatArray
    alpha: FloatArray
    beta: FloatArray


# -- nodes with state; every parameter array has the neuron's shape ----------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stateful(Node):
    """Base of the neurons. `semantics` overrides the network's for this node."""


@dataclass(frozen=True, eq=False)
class Threshold(Node):
    """1 where the input passes the threshold, else 0 (NIR Threshold)."""

    threshold: FloatArray
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class Integrator(Stateful):
    """v' = R I (NIR I)."""

    r: FloatArray
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class IF(Stateful):
    """v' = R I, spike at v_threshold, reset (NIR IF)."""

    r: FloatArray
    v_threshold: FloatArray
    v_reset: FloatArray
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class LI(Stateful):
    """tau v' = v_leak - v + R I (NIR LI)."""

    tau: FloatArray
    r: FloatArray
    v_leak: FloatArray
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class LIF(Stateful):
    """tau v' = v_leak - v + R I, spike at v_threshold, reset to v_reset (NIR LIF)."""

    tau: FloatArray
    r: FloatArray
    v_leak: FloatArray
    v_threshold: FloatArray
    v_reset: FloatArray
    refractory: float = 0.0
    """Seconds; an extension, 0 in NIR."""
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class CubaLI(Stateful):
    """tau_syn I' = -I + w_in S;  tau_mem v' = v_leak - v + R I (NIR CubaLI)."""

    tau_syn: FloatArray
    tau_mem: FloatArray
    r: FloatArray
    v_leak: FloatArray
    w_in: FloatArray
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class CubaLIF(Stateful):
    """CubaLI with threshold and reset (NIR CubaLIF)."""

    tau_syn: FloatArray
    tau_mem: FloatArray
    r: FloatArray
    v_leak: FloatArray
    v_threshold: FloatArray
    v_reset: FloatArray
    w_in: FloatArray
    refractory: float = 0.0
    semantics: Semantics | None = None


@dataclass(frozen=True, eq=False)
class IntegerNeuron(Node):
    """Extension: an integer neuron model taken over exactly (networks that come already quantised, such as NetX)."""

    neuron: Neuron
    shape: tuple[int, ...]


# -- what NIR leaves open ----------------------------------------------------------------------------------------------

INTEGRATORS = ("euler", "exponential")
RESETS = ("zero", "subtract", "delayed-zero", "delayed-subtract", "none")
COMPARES = ("gt", "ge")
SYNAPSE_GAINS = ("ode", "impulse", "decayed")
MEMBRANE_GAINS = ("ode", "unit")


@dataclass(frozen=True)
class Semantics:
    """How an ODE becomes steps.

    dt: seconds. integrator: "euler" (factor 1 - dt/tau, gain dt/tau) or "exponential" (exp(-dt/tau), 1 - exp(...)).
    reset: "zero" (to v_reset in the step of the spike), "subtract" (threshold), one step later ("delayed-..."),
    or "none". compare: spike on v > threshold ("gt") or v >= threshold ("ge").
    recurrent_delay: model steps around a loop that states no delay of its own.
    synapse_first: for CUBA neurons whether the membrane sees the current after (True) or before its own update.
    synapse_gain: what a CUBA neuron's input adds to its current: w_in dt/tau_syn ("ode"), w_in ("impulse": a jump), or
    w_in times the current's own factor ("decayed": the jump comes before the decay, as in Rockpool).
    membrane_gain: R dt/tau ("ode") or 1 ("unit": current and v_leak are added as they are, as in Rockpool; an LI node
    with synapse_gain "decayed" is then a synapse whose input decays with the rest).
    if_gain: what IF and I nodes add per step: R dt ("ode") or R ("unit", as snnTorch, Norse and SpiNNaker2 do).
    """

    RESETS: ClassVar[tuple[str, ...]] = RESETS
    dt: float = 1e-4
    integrator: str = "euler"
    reset: str = "zero"
    compare: str = "gt"
    recurrent_delay: int = 1
    synapse_first: bool = True
    synapse_gain: str = "ode"
    membrane_gain: str = "ode"
    if_gain: str = "ode"


@dataclass(frozen=True, eq=False)
class Network:
    """nodes: by name; edges: (source, target) pairs.

    steps: model steps a sample, None where the data decide. decode: how model steps become an answer, as
    `program.OutputPort.decode`; answer: the shape in which the output is read, as `program.OutputPort.answer`.
    settings: every semantic choice as {"value": ..., "from": "file" | "preset snntorch" |
    "--set" | "default" | "args"}; recorded in the artifact and printed. input_values: what is known of the input:
    {"low": .., "high": .., "integer": ..} or empty.
    """

    name: str
    nodes: Mapping[str, Node]
    edges: tuple[tuple[str, str], ...]
    semantics: Semantics = Semantics()
    steps: int | None = None
    decode: str = "sum"
    answer: tuple[int, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    family: str = ""

    def sources(self, name: str) -> tuple[str, ...]:
        """Names of the nodes with an edge into `name`, in edge order."""
        return tuple(a for a, b in self.edges if b == name)

    def targets(self, name: str) -> tuple[str, ...]:
        """Names of the nodes `name` has an edge to, in edge order."""
        return tuple(b for a, b in self.edges if a == name)
