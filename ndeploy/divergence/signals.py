"""What an execution shows of some samples, in real values, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.decode import predict
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.neurons import Input
from ndeploy.search.score import unit
from ndeploy.ticks import message_scale

FloatArray = npt.NDArray[np.float64]

MEMORY = 0.8
"""What stays of a message a model step later where distances are taken (the distance of van Rossum 2001, Neural
Computation 13:751, in discrete time): two trains of one spike are 0.2 apart where one comes a step late, 1 where it is
missing."""


@dataclass(frozen=True, eq=False)
class Signals:
    """messages, membranes: by population, (samples, model steps, neurons), real values. output: of the first port,
    (samples, model steps, *shape), real values. Inputs are left out."""

    messages: Mapping[str, FloatArray]
    membranes: Mapping[str, FloatArray]
    output: FloatArray


def carriers(program: Program) -> tuple[str, ...]:
    """Populations that are compared, in the program's order: all but the inputs."""
    return tuple(p.name for p in program.populations if not isinstance(p.neuron, Input))


def from_traces(program: Program, traces: Mapping[str, IntArray]) -> Signals:
    """The signals of a run with traces."""
    messages, membranes = {}, {}
    for p in program.populations:
        if isinstance(p.neuron, Input):
            continue
        if p.neuron.message.bits:
            sent = traces[f"spikes/{p.name}"] * message_scale(p)
            if p.updates is not None and p.updates < program.steps:  # one that stands still keeps its last
                sent = sent[:, np.minimum(np.arange(program.steps), p.updates - 1)]
            messages[p.name] = _flat(sent)
        if f"state/{p.name}/v" in traces:
            membranes[p.name] = _flat(traces[f"state/{p.name}/v"] * np.asarray(p.scale, dtype=np.float64))
    port = program.outputs[0]
    key = f"spikes/{port.population}"
    raw = traces[key if port.variable == "message" else f"state/{port.population}/{port.variable}"]
    return Signals(messages, membranes, np.asarray(raw * unit(program, port), dtype=np.float64))


def _flat(value: npt.NDArray[Any]) -> FloatArray:
    return np.asarray(value, dtype=np.float64).reshape(*value.shape[:2], -1)


def predictions(program: Program, signals: Signals) -> IntArray | None:
    """The answers, as the first output port reads them; None where it reads none."""
    port = program.outputs[0]
    return predict(signals.output, port.decode, port.answer)


def shown(signals: Signals, name: str) -> FloatArray | None:
    """What is compared of a population: its messages, or the membrane of one that sends none; None for neither."""
    found = signals.messages.get(name)
    return signals.membranes.get(name) if found is None else found


def remembered(value: FloatArray) -> FloatArray:
    """The messages with an exponentially fading memory of `MEMORY`, over model steps."""
    found = np.empty_like(value)
    kept = np.zeros_like(value[:, 0])
    for k in range(value.shape[1]):
        kept = MEMORY * kept + value[:, k]
        found[:, k] = kept
    return found


@dataclass
class Distance:
    """Sums of the distance between two executions: by population, the power of the difference of their remembered
    messages, and of both. Values of 0 (equal) to 1 (nothing in common, or more), the mean over populations."""

    noise: dict[str, float]
    power: dict[str, float]
    samples: int = 0
    same: int = 0
    right: int = 0
    answers: bool = False
    labels: bool = False

    @classmethod
    def empty(cls) -> Distance:
        """Of no samples."""
        return cls({}, {})

    def add(
        self, program: Program, one: Signals, other: Signals, kept: Mapping[str, FloatArray], y: IntArray | None
    ) -> None:
        """Samples of `one` beside the reference `other`, of which `kept` are the remembered values."""
        for name, wanted in kept.items():
            value = shown(one, name)
            if value is None:
                continue
            value = remembered(value)
            self.noise[name] = self.noise.get(name, 0.0) + float(np.sum((value - wanted) ** 2))
            self.power[name] = self.power.get(name, 0.0) + float(np.sum(value**2) + np.sum(wanted**2))
        ours, theirs = predictions(program, one), predictions(program, other)
        self.samples += len(one.output)
        if ours is not None and theirs is not None:
            self.answers = True
            self.same += int((ours == theirs).reshape(len(ours), -1).all(axis=1).sum())
            if y is not None and y.shape == ours.shape:
                self.labels = True
                self.right += int((ours == y).reshape(len(ours), -1).all(axis=1).sum())

    def of(self, name: str) -> float:
        """The distance of one population; 0 where both are silent."""
        power = self.power.get(name, 0.0)
        return min(1.0, self.noise[name] / power) if power > 0 else 0.0

    @property
    def mean(self) -> float:
        """Over the populations that are not silent in both."""
        values = [self.of(name) for name, power in self.power.items() if power > 0]
        return float(np.mean(values)) if values else 0.0


def kept(program: Program, reference: Signals) -> dict[str, FloatArray]:
    """The remembered values of a reference, by population, for `Distance.add`."""
    found = {}
    for name in carriers(program):
        value = shown(reference, name)
        if value is not None:
            found[name] = remembered(value)
    return found
