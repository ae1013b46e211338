"""What every neuron model answers.

numpy only: the Lava worker imports these modules in an interpreter that may lack everything else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray

State = dict[str, IntArray]
Parameter = int | IntArray
"""A number for the whole population, or an integer array that broadcasts against the population's shape."""


@dataclass(frozen=True)
class Message:
    """What a neuron sends: `bits` of payload; one unsigned bit is a binary spike."""

    bits: int = 1
    signed: bool = False

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


BINARY = Message()
SILENT = Message(bits=0)


@dataclass(frozen=True, eq=False)
class Neuron(ABC):
    """One neuron model with its integer parameters.

    `step` is the definition of the model. It works on arrays of shape (..., *population shape): any leading axes are
    samples. It must be pure: new arrays out, nothing changed in place. The state after `step` is what traces show.
    """

    kind: ClassVar[str]
    ports: ClassVar[tuple[str, ...]] = ("in",)
    embedded: ClassVar[bool] = False
    """Whether an update mixes the population's neurons, which no neurocore does: it runs on the embedded processor."""

    def operations(self, size: int) -> int:
        """Arithmetic operations of one update on the embedded processor; 0 for what runs on neurocores."""
        return 0

    @property
    @abstractmethod
    def message(self) -> Message:
        """The range of what is sent."""

    @property
    @abstractmethod
    def state(self) -> tuple[str, ...]:
        """Names of the state variables, in the order traces list them."""

    def initial(self, shape: tuple[int, ...]) -> State:
        """State at the start of every sample: zero."""
        return {name: np.zeros(shape, dtype=np.int64) for name in self.state}

    @abstractmethod
    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        """One update: synaptic input per port in, (state, message) out. Raises nothing; see `overflow`."""

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        """How many neurons would leave a declared width in `step` from this state, by name of the event."""
        return {}


@dataclass(frozen=True, eq=False)
class Input(Neuron):
    """Messages that the host injects; it has no state and no synapses end on it."""

    kind: ClassVar[str] = "input"
    ports: ClassVar[tuple[str, ...]] = ()
    bits: int = 1
    signed: bool = False

    @property
    def message(self) -> Message:
        return Message(self.bits, self.signed)

    @property
    def state(self) -> tuple[str, ...]:
        return ()

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        raise TypeError("an input population has no update: the host supplies its messages")
