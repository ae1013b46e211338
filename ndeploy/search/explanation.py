"""Why a program has the widths it has: what a search found, as data for reports and artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerReason:
    """A layer's width and what speaks for it.

    scale: "per channel", "per neuron" or "per population"; bytes: synaptic memory as packed. loss_share: its part of
    the loss that quantisation adds (0..1); loss_alone: loss added if only this layer had its width; accuracy_alone:
    calibration accuracy then, None without predictions. why: one sentence.
    """

    name: str
    bits: int
    parameters: int
    scale: str
    bytes: int
    loss_share: float | None = None
    loss_alone: float | None = None
    accuracy_alone: float | None = None
    why: str = ""


@dataclass(frozen=True)
class SignalReason:
    """A population's message and state widths. payload_bits: of its messages; state_bits: what the state needs; proof:
    "proved" (interval arithmetic over all inputs), "calibrated" (observed with a margin), "clipped" or "24-bit"."""

    name: str
    payload_bits: int
    state_bits: int
    proof: str
    why: str = ""


@dataclass(frozen=True)
class Point:
    """A program on the frontier. method: "uniform" or "bit-budget"; loss, accuracy: on calibration data (sequence
    accuracy where the answer is one); evaluated: accuracy on other data, None where there are none."""

    method: str
    mean_bits: float
    memory_bytes: int
    loss: float
    accuracy: float | None
    weights: Mapping[str, int]
    messages: Mapping[str, int] = field(default_factory=dict)
    evaluated: float | None = None


@dataclass(frozen=True)
class Explanation:
    """What the artifact keeps under "quantisation".

    float_accuracy, accuracy: on calibration data; labels: "labels" or "float model" (agreement with it); costs: as
    `search.cost.bit_costs` gives them (bb, s_ace, ns_ace); budget: what was asked; limits: what bound the search;
    notes: of journal, workers and labels, one sentence each.
    """

    method: str
    layers: tuple[LayerReason, ...]
    signals: tuple[SignalReason, ...] = ()
    frontier: tuple[Point, ...] = ()
    float_accuracy: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    labels: str = "labels"
    mean_bits: float = 0.0
    memory_bytes: int = 0
    evaluations: int = 0
    costs: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    limits: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
