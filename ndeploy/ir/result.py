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
class Activity:
    """Which neuron did what at which model step, summed over samples: what a placement turns into events by core.

    samples: how many were summed. All arrays are int64, (model steps, n), the n flat in C order.
    messages: by population (inputs too): non-zero messages sent. A population that stands still sends none.
    arrivals: by population but inputs: updates into which at least one message came, whatever their sum, through any
    projection or product, at the model step of the update. What comes after a population's last update is no arrival.
    live: by product on neurocores: scalar products of two non-zero operands, n the index space of the einsum in the
    order of `ndeploy.realise.index_sizes`.
    """

    samples: int
    messages: Mapping[str, IntArray]
    arrivals: Mapping[str, IntArray]
    live: Mapping[str, IntArray] = field(default_factory=dict)

    def __add__(self, other: Activity) -> Activity:
        """Both together; of the same program."""

        def summed(a: Mapping[str, IntArray], b: Mapping[str, IntArray]) -> dict[str, IntArray]:
            return {name: a[name] + b[name] for name in a}

        return Activity(
            self.samples + other.samples,
            summed(self.messages, other.messages),
            summed(self.arrivals, other.arrivals),
            summed(self.live, other.live),
        )


@dataclass(frozen=True)
class PowerReading:
    """What a meter showed while samples ran: a measurement, or a model that says so in `meter`.

    joules, seconds: of the runs whose answers count, as the meter measured both; samples: how many those were. meter:
    who says so, by its own account. scope: "dynamic" (of the chip, as an estimate's `energy`), or "total" (static
    energy too). chip: the target whose chip it measures, "" where it does not say. discarded: J of runs whose answers
    were thrown away, as far as the meter was read after them; they are in no other number here.
    """

    joules: float
    seconds: float
    samples: int
    meter: str
    scope: str = "total"
    discarded: float = 0.0
    chip: str = ""

    @property
    def joules_per_sample(self) -> float:
        """J of one sample, on average."""
        return self.joules / self.samples

    def __add__(self, other: PowerReading) -> PowerReading:
        """Both together; where two meters were read, both are named."""
        return PowerReading(
            self.joules + other.joules,
            self.seconds + other.seconds,
            self.samples + other.samples,
            "; ".join(dict.fromkeys((*self.meter.split("; "), *other.meter.split("; ")))),
            self.scope if self.scope == other.scope else "total",
            self.discarded + other.discarded,
            self.chip if self.chip == other.chip else "",
        )


@dataclass(frozen=True, eq=False)
class RunResult:
    """outputs: by population, int64 (samples, model steps, *shape); predictions: int64 (samples,) or None.

    traces (if asked for): "spikes/<population>" and "state/<population>/<variable>", (samples, model steps, *shape).
    overflow: by population, how often a value left its declared width, by event. chip_steps: a sample's.
    activity: None where it was not asked for. power: None where there is no meter.
    """

    outputs: Mapping[str, IntArray]
    predictions: IntArray | None
    counts: Counts
    chip_steps: int
    seconds: float
    traces: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    overflow: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    activity: Activity | None = None
    power: PowerReading | None = None
