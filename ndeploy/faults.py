"""What breaks a constraint of a target, and how constraints read a population (ndeploy/check*.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Parameter
from ndeploy.target import Limit, Target

FEATURE = "ND403"
WIDTH = "ND411"


@dataclass(frozen=True)
class Fault:
    """What breaks a constraint: the object ("population 'a'"), the value found, the limit in words, the remedy."""

    subject: str
    value: str
    limit: str
    help: str


Constraint = Callable[[Program, Target], Iterator[Fault]]


def beyond(value: int, limit: Limit) -> bool:
    """Whether a known limit is exceeded."""
    return limit.value is not None and value > limit.value


def of(population: Population) -> str:
    """How messages name it."""
    return f"population '{population.name}' ({population.neuron.kind})"


def parameter(population: Population, name: str) -> Parameter | None:
    """A parameter of its neuron, None where the model has none of that name."""
    value: Parameter | None = getattr(population.neuron, name, None)
    return value


def worst(value: Parameter) -> int:
    """Largest magnitude."""
    return int(np.abs(np.asarray(value)).max(initial=0))


def first_bad(name: str, value: IntArray, bad: npt.NDArray[np.bool_]) -> str:
    """The first value that breaks a limit, and how many do."""
    first = int(value.reshape(-1)[np.flatnonzero(bad.reshape(-1))[0]])
    return f"{name} {first} ({int(bad.sum())} of {value.size} values)"
