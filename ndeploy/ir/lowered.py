"""Lowered: the network as populations, projections and products, still in real numbers.

This is what a quantiser works on. Model steps are known here, chip steps are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.network import IntegerWeights
from ndeploy.neurons import Neuron

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Source:
    """What the host injects."""


@dataclass(frozen=True, eq=False)
class Join:
    """Sums its inputs and passes them on as a graded message."""


@dataclass(frozen=True, eq=False)
class Or:
    """Binary: any of its inputs is non-zero (maximum of binary spikes)."""


@dataclass(frozen=True, eq=False)
class Accumulate:
    """Readout of a linear value: its sum over the model steps so far."""


@dataclass(frozen=True, eq=False)
class Compare:
    """Binary: the input passes the threshold; inclusive with `ge`."""

    threshold: FloatArray
    ge: bool


@dataclass(frozen=True, eq=False)
class Graded:
    """Sends f(input), f one of `network.ACTIVATIONS`, as a graded message of its own scale."""

    function: str = "identity"


@dataclass(frozen=True, eq=False)
class Gated:
    """Sends in * sigmoid(gate); ports "in" and "gate"."""


@dataclass(frozen=True, eq=False)
class Normed:
    """Layer norm over `axis` of the population viewed as `view`; gain, offset: (view[axis],)."""

    view: tuple[int, ...]
    axis: int
    gain: FloatArray
    offset: FloatArray
    epsilon: float


@dataclass(frozen=True, eq=False)
class Softmaxed:
    """Softmax over the last axis of `view`."""

    view: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Synchronised:
    """alpha <- decay alpha + left right; beta <- decay beta + 1; sends alpha / sqrt(beta). Ports "left" and "right",
    each fed by unit weights. All arrays (S,)."""

    decay: FloatArray
    alpha: FloatArray
    beta: FloatArray


@dataclass(frozen=True, eq=False)
class Registered:
    """Passes its input on; at the first model step it adds `start` (the population's shape)."""

    start: FloatArray


@dataclass(frozen=True, eq=False)
class Held:
    """Sends the sum of all it has received so far, plus `start`: holds what was sent once, or sums up deltas."""

    start: FloatArray


@dataclass(frozen=True, eq=False)
class DeltaCoded:
    """Sends the change of its input since what it last sent, where that reaches the threshold. `start`: what the
    receivers hold before the first step. The threshold is the quantiser's to choose."""

    start: FloatArray


GRADED = (Graded, Gated, Normed, Softmaxed, Synchronised, Registered, Held, DeltaCoded)
"""Models whose messages are integers of a scale that the quantiser chooses or that follows from their source's."""

Model = (
    Source
    | Join
    | Or
    | Accumulate
    | Compare
    | DiscreteNeuron
    | Neuron
    | Graded
    | Gated
    | Normed
    | Softmaxed
    | Synchronised
    | Registered
    | Held
    | DeltaCoded
)


@dataclass(frozen=True, eq=False)
class RealPopulation:
    """bias: constant real input of every model step, broadcasts to shape; None for none. biases: of other ports than
    "in", by port. updates: as `program.Population.updates`."""

    name: str
    shape: tuple[int, ...]
    model: Model
    bias: FloatArray | None = None
    biases: Mapping[str, FloatArray] = field(default_factory=dict)
    updates: int | None = None


@dataclass(frozen=True, eq=False)
class RealDense:
    """weight: (n_out, n_in)."""

    weight: FloatArray


@dataclass(frozen=True, eq=False)
class RealConv:
    """As `ndeploy.synapses.Conv`, in real numbers."""

    weight: FloatArray
    in_shape: tuple[int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True, eq=False)
class RealSparse:
    """weight, target, source: (synapses,), sorted by target, then source."""

    weight: FloatArray
    target: IntArray
    source: IntArray
    inputs: int
    outputs: int


RealSynapses = RealDense | RealConv | RealSparse


@dataclass(frozen=True, eq=False)
class RealProjection:
    """lag: model steps between sending and use (0 forward). delays: extra model steps per synapse or None.

    unit: every weight is the same constant (pooling, joins): such synapses carry no information to quantise.
    integer: the weights are integer mantissas to be taken over exactly.
    """

    name: str
    source: str
    target: str
    synapses: RealSynapses
    lag: int = 0
    delays: IntArray | None = None
    unit: bool = False
    integer: IntegerWeights | None = None
    port: str = "in"


@dataclass(frozen=True, eq=False)
class RealProduct:
    """As `ndeploy.ir.program.Product`, with the real factor `scale`."""

    name: str
    left: str
    right: str
    target: str
    left_view: tuple[int, ...]
    right_view: tuple[int, ...]
    subscripts: str
    scale: float
    stream: str


@dataclass(frozen=True, eq=False)
class Lowered:
    """outputs: (population, variable) pairs; variable "message" or a state variable.

    added: populations the compiler inserted, with the reason, for the user to read. answer: as `Network.answer`.
    """

    populations: tuple[RealPopulation, ...]
    projections: tuple[RealProjection, ...]
    products: tuple[RealProduct, ...]
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    decode: str
    steps: int
    added: tuple[tuple[str, str], ...] = ()
    answer: tuple[int, ...] = ()

    def population(self, name: str) -> RealPopulation:
        """The population of that name; KeyError if there is none."""
        for population in self.populations:
            if population.name == name:
                return population
        raise KeyError(name)

    def into(self, name: str) -> tuple[RealProjection, ...]:
        """Projections that end on the population."""
        return tuple(p for p in self.projections if p.target == name)
