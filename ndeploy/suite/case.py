"""A suite as data: what to deploy, on what to run it, and how far from the baseline it may be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tolerances:
    """How far a case may be from what it is compared with.

    float_points: points of accuracy below the float network. accuracy_points: points below the baseline. synaptic_ops,
    energy, latency: relative change, up or down. cores: more than the baseline. compile_time, speed: factors over the
    baseline's time, both measured in units of a yardstick run beside them (`ndeploy.suite.yardstick`).
    injected_points: points that the injected faults may cost. measured_energy: relative change of what a board's meter
    shows, up or down.
    """

    float_points: float = 1.0
    accuracy_points: float = 0.5
    synaptic_ops: float = 0.01
    energy: float = 0.02
    latency: float = 0.02
    cores: float = 0.0
    compile_time: float = 3.0
    speed: float = 2.0
    injected_points: float = 100.0
    measured_energy: float = 0.1


@dataclass(frozen=True)
class Budgets:
    """What may never be exceeded, whatever the baseline says; None for no bound.

    accuracy: the least, 0 to 1. energy_joules: dynamic, nominal, a sample. latency_seconds: nominal, a sample.
    synaptic_ops: a sample.
    """

    accuracy: float | None = None
    energy_joules: float | None = None
    latency_seconds: float | None = None
    synaptic_ops: float | None = None
    cores: float | None = None


@dataclass(frozen=True)
class Case:
    """One deployment to guard.

    model or artifact: one of the two. calibration to settings: as options of `ndeploy compile`, for a model; limit: the
    first samples only. traced: samples whose every message is hashed. exact: whether program and messages must equal
    the baseline's bit for bit. time_limit: seconds for the runner.
    """

    name: str
    data: Path
    model: Path | None = None
    artifact: Path | None = None
    runner: str = "sim"
    target: str = "loihi2"
    calibration: Path | None = None
    steps: int | None = None
    bits: int = 8
    activation_bits: int | None = None
    method: str = "uniform"
    attention: str = "parallel"
    mode: str = "auto"
    coding: str = "none"
    place: str = "cores"
    settings: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    batch: int = 64
    traced: int = 4
    exact: bool = True
    time_limit: float | None = None
    tolerances: Tolerances = field(default_factory=Tolerances)
    budgets: Budgets = field(default_factory=Budgets)

    def options_digest(self) -> str:
        """SHA-256 of what changes the program or its run, but for the files' contents and the runner."""
        kept: dict[str, Any] = asdict(self)
        files = ("data", "model", "artifact", "calibration")
        for name in ("name", "runner", "tolerances", "budgets", "exact", "time_limit", "batch", *files):
            del kept[name]
        return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """Cases by unique names. path: the file they came from; baseline: the file of what was reviewed."""

    path: Path
    baseline: Path
    cases: tuple[Case, ...]
