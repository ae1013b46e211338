"""Energy reports made by hand, for tests of what shows or compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import EnergyReport, LayerCost, Term

PRICE = Range(10e-12, 20e-12, 60e-12)


def term(name: str, count: float, unit: Range | None = PRICE, group: str = "chip") -> Term:
    """A term that is its count times the price of one event."""
    energy = None if unit is None else unit.times(count)
    return Term(name, group, count, energy, unit, "incremental", "made by hand", "unverified")


def report(terms: Sequence[Term], **changes: Any) -> EnergyReport:
    """A report of those terms on loihi2, their sum its energy; `changes` replace any field."""
    energies = [t.energy for t in terms if t.group == "chip"]
    known = [e for e in energies if e is not None]
    given: dict[str, Any] = {
        "target": "loihi2",
        "program": "net",
        "model": "default",
        "model_title": "composed for loihi2",
        "label": "estimate",
        "samples": 10,
        "mode": "fall-through",
        "model_steps": 4,
        "chip_steps": 8,
        "terms": tuple(terms),
        "energy": sum(known, ZERO) if len(known) == len(energies) else None,
        "bound": None,
        "static": Range(1e-6, 1e-6, 2e-6),
        "host": Range(1e-9, 2e-9, 3e-9),
        "latency": Range(1e-6, 2e-6, 4e-6),
        "interval": Range(1e-6, 2e-6, 4e-6),
        "layers": (LayerCost("hidden", "cuba-lif", 12, 1, {"spike": 5.0}, 100.0, 0.1, Range(1e-9, 2e-9, 6e-9)),),
        "cores": (),
        "steps": (),
        "links": (),
        "unpriced": (),
        "not_modelled": ("queues in the mesh",),
    }
    return EnergyReport(**{**given, **changes})
