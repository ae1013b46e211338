"""Rows of a sweep made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compared_reports import PRICE, term

from ndeploy.energy.compare import QUANTITIES, Cost
from ndeploy.energy.ranges import Range
from ndeploy.report.sweep import Swept
from ndeploy.sweep_rows import Case, Measured, Refusal, Row


def row(
    target: str = "loihi2", bits: int = 8, spikes: float = 100.0, accuracy: float | None = 0.9, **other: Any
) -> Row:
    """A row whose dynamic energy is its spikes at one price; `other` replaces fields of `Measured`."""
    priced = term("spike", spikes, other.pop("price", PRICE))
    known = dict.fromkeys(QUANTITIES) | {"energy": priced.energy, "latency": Range(1e-6, 2e-6, 4e-6)}
    measured = Measured(
        samples=48,
        labels="labels",
        accuracy=accuracy,
        float_accuracy=0.95,
        loss=0.25,
        weight_bits_mean=float(bits),
        neurons=15,
        steps=6,
        chip_steps=8,
        mode="fall-through",
        cores=1,
        cores_lower_bound=1,
        chips=1,
        memory_bytes=64 * bits,
        overflow=0,
        cost=Cost(target, "default", known, (priced,)),
    )
    return Row(Case(target, bits), measured=replace(measured, **other))


def refused(target: str = "loihi1", bits: int = 12, message: str = "weights of 12 bits", exit_code: int = 1) -> Row:
    return Row(Case(target, bits), Refusal("ND411", message, "take 8 bits", exit_code))


def swept(*rows: Row, **other: Any) -> Swept:
    return Swept(**{"model": "small.nir", "data": "eval.npz", "rows": rows, **other})
