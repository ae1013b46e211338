"""What is found out about a case, as plain data: it crosses from a worker and lies in the baseline file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ndeploy.suite.parts import Parts
from ndeploy.suite.trails import Trail

NUMBERS = (
    "samples",
    "accuracy",
    "float_accuracy",
    "synaptic_ops",
    "neuron_updates",
    "spikes",
    "energy",
    "latency",
    "cores",
    "chips",
    "chip_steps",
    "compile_time",
    "speed",
    "measured_energy",
    "measured_low",
    "measured_high",
)
"""accuracy: of whole sequences where the answer is one; counts and J and s a sample, nominal; compile_time, speed: of
compiling, and of simulating a sample, in units of the yardstick. measured_energy: J a sample by a board's meter;
measured_low, measured_high: the estimate's bounds of what that meter measures. These three are left out where there is
no meter."""
TIME_OF = "time of "
"""Begins the names of costs that are seconds."""
FILES = ("model", "artifact", "data", "calibration")


@dataclass(frozen=True)
class Curve:
    """Accuracy under faults. kind: "bits" or "stuck"; points: (faults, accuracies one a draw)."""

    kind: str
    seed: int
    samples: int
    points: tuple[tuple[int, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Measured:
    """identity: digests of the files, the options, the target and the program. toolchain: versions. numbers: by name of
    `NUMBERS`, None where there is none. trails: messages by population. parts: the program in small. costs: by event,
    (how many a sample, nominal J of one); (1, s) for names that begin with `TIME_OF`. timing: populations in program
    order with their offsets; period: chip steps a model step. mismatch: where the runner and the simulator part, ""
    where they agree or are the same. remarks: what the user should know. retried: faults of the board after which it
    was tried again, by code."""

    identity: Mapping[str, str]
    toolchain: Mapping[str, str]
    numbers: Mapping[str, float | None]
    trails: Mapping[str, Trail]
    parts: Parts
    costs: Mapping[str, tuple[float, float]]
    timing: tuple[tuple[str, int], ...]
    period: int
    mismatch: str = ""
    curve: Curve | None = None
    remarks: tuple[str, ...] = ()
    retried: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What a baseline keeps of it."""
        return {
            "identity": dict(self.identity),
            "toolchain": dict(self.toolchain),
            "numbers": dict(self.numbers),
            "trails": {name: asdict(found) for name, found in self.trails.items()},
            "parts": {name: dict(values) for name, values in self.parts.items()},
            "costs": {name: list(pair) for name, pair in self.costs.items()},
        }


@dataclass(frozen=True)
class Failure:
    """Why a case has no measurement. exit_code: of the error; board: it is the board's."""

    code: str
    message: str
    help: str
    exit_code: int
    board: bool = False


@dataclass(frozen=True)
class Known:
    """What a baseline holds of a case, checked."""

    identity: Mapping[str, str] = field(default_factory=dict)
    toolchain: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    trails: Mapping[str, Trail] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    costs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
