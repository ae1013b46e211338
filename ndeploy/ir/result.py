"""RunResult: what every runner answers, so that any two can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray


@dataclass(frozen=True, eq=False)
class Counts:
    """Exact event counts, int64 arrays of shape (samples,).

    synaptic_ops: by projection or product name: synapses visited by non-zero messages.
    spikes: by population: non-zero messages sent. neuron_updates: by population and product: updates made.
    embedded_ops: by product that runs on the embedded processor: multiply-accumulates.
    """

    synaptic_ops: Mapping[str, IntArray]
    spikes: Mapping[str, IntArray]
    neuron_updates: Mapping[str, IntArray]
    embedded_ops: Mapping[str, IntArray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RunResult:
    """outputs: by population, int64 (samples, model steps, *shape); predictions: int64 (samples,) or None.

    traces (if asked for): "spikes/<population>" and "state/<population>/<variable>", (samples, model steps, *shape).
    overflow: by population, how often a value left its declared width, by event. chip_steps: a sample's.
    """

    outputs: Mapping[str, IntArray]
    predictions: IntArray | None
    counts: Counts
    chip_steps: int
    seconds: float
    traces: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    overflow: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
