"""Whether a population's numbers are ones that every execution computes with: part of `ndeploy.wellformed`.

The bounds keep every intermediate of docs/program.md ("Widths") inside 64 bits and every table small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ndeploy.fixed import DECAY_ONE, MULTIPLIER_BITS, STATE_MAX
from ndeploy.ir.program import Population
from ndeploy.neurons import CubaLi, CubaLif, LayerNorm, Neuron, Softmax, Synchrony, TernaryLif
from ndeploy.neurons.cuba_lif import RESETS

MAX_ROWS = 1 << 20
"""Rows of a synchrony's table: as many as a program can have model steps."""
MAX_GROUP = 1 << 20
"""Neurons that a layer norm or a softmax mixes: their sums of squares stay below 2^61."""
MAX_AXES = 16
"""Axes of a population's shape and of a view: numpy 1 has 32, and executions put axes of samples and steps before."""

_FACTOR = (1 << MULTIPLIER_BITS) - 1
_GRADED = ("affine", "gate", "silu", "synchrony", "register", "layer-norm", "softmax")
_SENDS_SIGNED = ("sigma", "delta", "sigma-delta", "relay", "product")

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "bits": (1, 24),
    "multiplier": (0, _FACTOR),
    "gate_multiplier": (0, _FACTOR),
    "shift": (0, 40),
    "gate_shift": (0, 40),
    "gain_shift": (0, 40),
    "exponent": (0, 40),
    "factor": (0, DECAY_ONE),
    "start": (-STATE_MAX, STATE_MAX),
    "gain": (-_FACTOR - 1, _FACTOR + 1),
    "epsilon": (1, 1 << 40),
    "table": (-_FACTOR, _FACTOR),
}
"""Least and largest value of the graded kinds' parameters, by name."""

_OTHERS: Mapping[str, tuple[int, int]] = {
    "start": (-STATE_MAX, STATE_MAX),
    "exponent": (0, 40),
    "spike_exp": (0, 24),
    "state_exp": (0, 24),
}
"""As `_BOUNDS`, for the kinds before them."""


def check_population(population: Population, steps: int) -> None:
    """Raises ValueError for parameters out of bounds or of shapes that do not fit."""
    name, neuron = population.name, population.neuron
    if len(population.shape) > MAX_AXES:
        raise ValueError(f"population '{name}' has {len(population.shape)} axes, the limit is {MAX_AXES}")
    if population.updates is not None and not 1 <= population.updates <= steps:
        raise ValueError(f"population '{name}' makes {population.updates} updates in {steps} model steps")
    parameters = {"scale": population.scale, **vars(neuron)}
    _check_shapes(population, parameters)
    for key, low, high in _bounds(neuron):
        value = parameters[key]
        if np.size(value) and not low <= int(np.min(value)) <= int(np.max(value)) <= high:
            raise ValueError(f"population '{name}': {key} is outside {low}..{high}")
    if isinstance(neuron, CubaLif) and neuron.reset not in RESETS:
        raise ValueError(f"population '{name}': there is no reset '{neuron.reset[:80]}'")
    if isinstance(neuron, LayerNorm | Softmax):
        _check_view(population, neuron)


def _bounds(neuron: Neuron) -> Iterator[tuple[str, int, int]]:
    """(parameter, least, largest) for the parameters of this neuron that have bounds of their own."""
    names = vars(neuron)
    if neuron.kind in _GRADED:
        yield from ((key, *bounds) for key, bounds in _BOUNDS.items() if key in names)
        return
    yield from ((key, *bounds) for key, bounds in _OTHERS.items() if key in names)
    if isinstance(neuron, CubaLi | CubaLif | TernaryLif):
        yield "shift", 0, 24
    if neuron.kind in _SENDS_SIGNED or (neuron.kind == "input" and names["signed"]):
        yield "bits", 1, 32


def _check_shapes(population: Population, parameters: Mapping[str, Any]) -> None:
    """Every array must broadcast to the population's shape; a synchrony's table has a column for every neuron."""
    name = population.name
    for key, value in parameters.items():
        if not isinstance(value, np.ndarray):
            continue
        if isinstance(population.neuron, Synchrony) and key == "table":
            if value.ndim != 2 or value.shape[1] != population.size or not 1 <= len(value) <= MAX_ROWS:
                raise ValueError(
                    f"population '{name}': its table has shape {value.shape}, "
                    f"not (1..{MAX_ROWS}, {population.size}): a row a tick, a column a neuron"
                )
            continue
        try:
            fits = np.broadcast_shapes(value.shape, population.shape) == population.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"population '{name}': {key} has shape {value.shape}, neurons {population.shape}")


def _check_view(population: Population, neuron: LayerNorm | Softmax) -> None:
    name, view = population.name, neuron.view
    if not 1 <= len(view) <= MAX_AXES or math.prod(view) != population.size:
        raise ValueError(f"population '{name}': view {view[:MAX_AXES]} does not hold its {population.size} neurons")
    axis = neuron.axis if isinstance(neuron, LayerNorm) else len(view) - 1
    # a negative axis would be taken for one of the samples
    if not 0 <= axis < len(view):
        raise ValueError(f"population '{name}': view {view} has no axis {axis}")
    if view[axis] > MAX_GROUP:
        raise ValueError(f"population '{name}' mixes {view[axis]} neurons, the limit is {MAX_GROUP}")
