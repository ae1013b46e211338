"""Program: integers only. What it computes is defined in docs/program.md and, executable, in ndeploy/oracle.py.

numpy only: the Lava worker imports this module in an interpreter that may lack everything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.neurons import Neuron
from ndeploy.synapses import Synapses

Scale = float | npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons that share a model.

    offset: chip step (from 0) of the update for model step 0; the update for model step k is at offset + k * period.
    scale: real value of one unit of the membrane (or of the message where there is no membrane); broadcasts to shape.
    origin: the node of the source network this population realises.
    updates: how many updates it makes, None for one every model step. One that has made its `updates` updates stands
    still: its state is kept, it sends nothing more.
    """

    name: str
    shape: tuple[int, ...]
    neuron: Neuron
    offset: int = 0
    scale: Scale = 1.0
    origin: str = ""
    updates: int | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from `source` to `port` of `target`.

    A message m sent at chip step t adds shift(W m, exponent) to the target's input at chip step t + delay.
    delays: extra chip steps per synapse, in the layout of synapses.weight; the shift applies to each delay's sum.
    weight_bits: width of the stored mantissas, signed for sign "mixed", magnitude for "excitatory" / "inhibitory".
    unit: the weights are one constant that nobody trained (pools, joins, skips); stored all the same.
    """

    name: str
    source: str
    target: str
    synapses: Synapses
    port: str = "in"
    exponent: int = 0
    delay: int = 1
    delays: IntArray | None = None
    weight_bits: int = 8
    sign: str = "mixed"
    scale: Scale = 1.0
    origin: str = ""
    unit: bool = False


@dataclass(frozen=True, eq=False)
class Product:
    """A contraction of two messages, both dynamic: einsum(subscripts, left, right) >> exponent (floor).

    left_view, right_view: shapes the source messages are reshaped to (C order) before the einsum; the result is
    reshaped to the target's shape and added to its input `delay` chip steps after both messages were sent. The message
    of an operand whose population makes fewer updates than there are model steps is latched by the product: it is sent
    once and takes part in every later model step as it was last.
    Each scalar product is one coincidence (binary) or product (graded) neuron; `realisation` says how they are laid
    out in space and time (ndeploy/realise.py derives neurons, synapses, chip steps and event counts from it):
    "parallel", "streamed" over the index `stream`, or "embedded" on the chip's embedded processor.
    """

    name: str
    left: str
    right: str
    target: str
    left_view: tuple[int, ...]
    right_view: tuple[int, ...]
    subscripts: str
    port: str = "in"
    exponent: int = 0
    delay: int = 2
    realisation: str = "parallel"
    stream: str = ""
    origin: str = ""


@dataclass(frozen=True, eq=False)
class InputPort:
    """How samples become messages of an input population: round(x / scale), clipped to the payload's range.

    Rounding is to nearest, ties to even. Static samples are repeated for every model step.
    """

    population: str
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class OutputPort:
    """What is read: `variable` is "message" or the name of a state variable of `population`, at every model step.

    decode, over model steps: "sum" (spike counts), "last", "max" or "none"; the prediction is the argmax of the result.
    Ties go to the lowest index. Of networks that think in ticks: "most-certain": the argmax at the model step whose
    certainty is highest (the first of equals); "ctc": the argmax of every model step, equal neighbours merged, blanks
    (the last class) dropped, padded with -1.
    answer: the output is read in this shape, classes last; () is one axis of classes. scale: real value of one unit of
    the output, for softmax and certainty = 1 - mean normalised entropy.
    """

    population: str
    variable: str = "message"
    decode: str = "sum"
    answer: tuple[int, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Program:
    """An integer program. See docs/program.md.

    steps: model steps a sample; period: chip steps a model step; mode: "pipelined" (a sample every steps * period chip
    steps) or "fall-through" (the next sample starts when the last has left). meta: JSON-like provenance (settings with
    their origin, source hash, calibration), never read by any execution.
    """

    name: str
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    inputs: tuple[InputPort, ...]
    outputs: tuple[OutputPort, ...]
    steps: int
    products: tuple[Product, ...] = ()
    period: int = 1
    mode: str = "fall-through"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def population(self, name: str) -> Population:
        """The population of that name; KeyError if there is none."""
        for population in self.populations:
            if population.name == name:
                return population
        raise KeyError(name)

    @property
    def latency(self) -> int:
        """Chip steps from a sample's first input to the last population's first update."""
        return max(p.offset for p in self.populations)

    @property
    def chip_steps_per_sample(self) -> int:
        """Chip steps between the starts of two samples."""
        window = self.steps * self.period
        return window if self.mode == "pipelined" else window + self.latency


def lag(program: Program, source: str, target: str, delay: int) -> int:
    """Model steps between sending and the update that consumes it; 0 within the same model step.

    The update of `target` for model step k consumes what `source` sent in its update for model step k - lag.
    Negative means the target updates before the message arrives, which no valid program does.
    """
    gap = program.population(source).offset + delay - program.population(target).offset
    return -((-gap) // program.period)
