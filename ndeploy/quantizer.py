"""The contract of a quantisation method, and what one may choose.

A method (one file in quantize/, found by scanning) defines `NAME: str` and
`quantize(request: Request, progress: Callable[[str], None]) -> Quantised`. It chooses; `ndeploy.passes.integerise`
turns choices into a Program, the same way for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ndeploy.budget import Budget, Search
from ndeploy.data import Data
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.lowered import FloatArray, Lowered
from ndeploy.ir.program import Program
from ndeploy.neurons import Parameter
from ndeploy.passes.schedule import Schedule
from ndeploy.target import Target

if TYPE_CHECKING:
    from ndeploy.histograms import Histogram
    from ndeploy.ir.network import Network
    from ndeploy.moments import Moments
    from ndeploy.search.explanation import Explanation
    from ndeploy.settings import Settings


@dataclass(frozen=True, eq=False)
class InputCoding:
    """A message m of the input means m * scale; bits and sign of its payload."""

    scale: float
    bits: int
    signed: bool


@dataclass(frozen=True, eq=False)
class Observed:
    """Least and greatest value of every element of a node's output over samples and model steps (the node's shape)."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class Coding:
    """A graded message m means m * scale (broadcasts to the population's shape); bits and sign of its payload."""

    scale: FloatArray
    bits: int
    signed: bool = True


@dataclass(frozen=True, eq=False)
class Choices:
    """What a method decides.

    inputs: by input population. unit: by population with weighted inputs, the real value of one unit of its synaptic
    input, broadcasting to its shape. bits: weight bits by projection. weights: mantissas by projection, in the layout
    of its weight, where a method rounds otherwise than to nearest. shift: by readout population, the alignment of its
    input to its state where it is not 6. exponent: by population, how many units of synaptic input (as a power of two)
    one unit of its projections' mantissas is worth: room for biases and decays that are finer than the weights.
    own_exponent: by projection, what is added to its population's.
    Graded populations (`lowered.GRADED`): message: coding of what they send; unit holds the real value of one unit of
    synaptic input of port "in" under the population's name, of other ports under "<population>.<port>".
    thresholds: of delta-coded populations, in units of their message. bias: by port (named as in `unit`), what is added
    to the real bias to make up for the mean error of rounded weights.
    """

    inputs: Mapping[str, InputCoding]
    unit: Mapping[str, FloatArray]
    bits: Mapping[str, int]
    weights: Mapping[str, npt.NDArray[np.int16]] = field(default_factory=dict)
    shift: Mapping[str, int] = field(default_factory=dict)
    exponent: Mapping[str, int] = field(default_factory=dict)
    own_exponent: Mapping[str, int] = field(default_factory=dict)
    message: Mapping[str, Coding] = field(default_factory=dict)
    thresholds: Mapping[str, Parameter] = field(default_factory=dict)
    bias: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """What a population gave up so that its states fit: its weights' step times `factor`, the shift of its input to its
    state (None: as it would be), and by how many powers of two the unit of its input is coarser."""

    factor: float = 1.0
    shift: int | None = None
    coarser: int = 0


@dataclass(frozen=True, eq=False)
class Request:
    """bits: weight bits asked for. name: the program's. input_settings: input_bits / input_scale / input_signed from
    --set, where given. observed: what the float network's graded nodes put out on calibration data, by node.
    activation_bits: payload of graded messages, None for the method's own choice. threshold: of delta coding, as a
    share of the largest message; None where nothing is delta-coded. moments: how the values that enter a port vary
    together, by port; ports without them keep weights rounded to nearest. bits_of, payload_of: weight bits by
    projection and payload by graded population where they differ from `bits` and `activation_bits`. budget, search:
    what a searching method keeps to. network: the float original, with its steps. settings: what --set gives, for a
    method to `get` its own keys from; None for none.
    """

    lowered: Lowered
    schedule: Schedule
    target: Target
    bits: int
    name: str
    calibration: Data | None = None
    input_settings: Mapping[str, float] = field(default_factory=dict)
    observed: Mapping[str, Observed] = field(default_factory=dict)
    activation_bits: int | None = None
    threshold: float | None = None
    moments: Mapping[str, Moments] = field(default_factory=dict)
    bits_of: Mapping[str, int] = field(default_factory=dict)
    payload_of: Mapping[str, int] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    search: Search = field(default_factory=Search)
    network: Network | None = None
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    clip: str = "range"
    variants: Mapping[str, Mapping[str, Moments]] = field(default_factory=dict)
    rooms: Mapping[int, Mapping[str, Room]] = field(default_factory=dict)
    settings: Settings | None = None


@dataclass(frozen=True, eq=False)
class Quantised:
    """The program, how its numbers were chosen, warnings, why (None where nothing was searched for), and what
    populations gave up so that their states fit."""

    program: Program
    choices: Choices
    diagnostics: tuple[Diagnostic, ...] = ()
    explanation: Explanation | None = None
    rooms: Mapping[str, Room] = field(default_factory=dict)


Method = Callable[[Request, Callable[[str], None]], Quantised]
"""What a method's `quantize` is."""
