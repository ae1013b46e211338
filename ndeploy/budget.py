"""What a deployment may cost: budgets a user gives, alone or together.

Bits of weights, bits of messages and model steps draw on one purse (Shen et al., "Is Conventional SNN Really
Efficient?", arXiv 2311.10802): BB = T x weight bits x spike bits, S-ACE = the sum of BB over all synapses, NS-ACE the
same weighted with firing rates (`ndeploy.search.cost`).

A budget is given as a text and shown as one: `memory("64KiB")` is 65536, `shown(65536, "bytes", 65536)` is "64KiB".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Context, Decimal

from ndeploy.errors import RefusedError, UsageError

DIGITS = 4
"""Significant digits in which a feasible budget is named, rounded up so that it can be typed as it stands."""

UNITS: Mapping[str, Mapping[str, Decimal]] = {
    "bytes": {
        **{name: Decimal(1) for name in ("", "B")},
        **{f"{prefix}B": Decimal(1000) ** n for prefix, n in (("k", 1), ("K", 1), ("M", 2), ("G", 3))},
        **{f"{prefix}iB": Decimal(1024) ** n for prefix, n in (("K", 1), ("M", 2), ("G", 3))},
    },
    "joules": {
        **{name: Decimal(1) for name in ("", "J")},
        **{f"{prefix}J": Decimal(10) ** -n for prefix, n in (("m", 3), ("u", 6), ("n", 9), ("p", 12))},
        **{f"{micro}J": Decimal(10) ** -6 for micro in ("\u00b5", "\u03bc")},
    },
    "operations": {"": Decimal(1), **{p: Decimal(1000) ** n for p, n in (("k", 1), ("M", 2), ("G", 3), ("T", 4))}},
    "bits": {"": Decimal(1)},
    "points": {"": Decimal(1)},
}
"""By quantity, what the units of a text are worth in the unit of `Budget`'s field."""
EXAMPLES = {
    "bytes": "64KiB, 64kB or 65536",
    "joules": "20uJ, 1.5mJ or 2e-5",
    "operations": "40M or 4e7",
    "bits": "3.5",
    "points": "1.0",
}
NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*([^\W\d_]*)\s*")
LARGEST = Decimal("1e30")


@dataclass(frozen=True)
class Budget:
    """None where nothing is asked. mean_bits: mean over trained weights (shared ones once). memory_bytes: synaptic
    memory as the target packs it, headers, alignment and constant synapses included. spike_bits: mean payload of graded
    messages. operations: S-ACE, bit operations a sample. energy_joules: a sample's nominal dynamic energy.
    accuracy_points: points that may be lost on calibration data against the float network; what it costs is then made
    as small as possible.
    """

    mean_bits: float | None = None
    memory_bytes: int | None = None
    spike_bits: float | None = None
    operations: float | None = None
    energy_joules: float | None = None
    accuracy_points: float | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not self.given

    @property
    def given(self) -> dict[str, float]:
        """What is asked for, by field."""
        asked = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: float(value) for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Search:
    """How a search is done, never what it finds: seed of all that is random; workers: "1" (this process), a number of
    local processes, or the address of a dask scheduler (tcp://host:port); journal: the file that keeps what has been
    measured, so that an interrupted search goes on where it stopped, None to keep nothing."""

    seed: int = 0
    workers: str = "1"
    journal: str | None = None


def mean_bits(text: str, option: str = "--bit-budget") -> float:
    """Bits: mean over weights, or over the payloads of messages. Raises UsageError ND307."""
    return float(_parsed(text, "bits", option))


def memory(text: str, option: str = "--memory-budget") -> int:
    """Bytes, a part of one dropped: kB is 1000, KiB 1024. Raises UsageError ND307."""
    value = int(_parsed(text, "bytes", option))
    if value < 1:
        raise _refuse(text, "bytes", option, "less than a byte")
    return value


def energy(text: str, option: str = "--energy-budget") -> float:
    """Joules. Raises UsageError ND307."""
    return float(_parsed(text, "joules", option))


def operations(text: str, option: str = "--ops-budget") -> float:
    """Bit operations (S-ACE); k, M, G, T are powers of 1000. Raises UsageError ND307."""
    return float(_parsed(text, "operations", option))


def points(text: str, option: str = "--accuracy-budget") -> float:
    """Percentage points, 0 to 100; 0 allows no loss at all. Raises UsageError ND307."""
    value = float(_parsed(text, "points", option, least=Decimal(0)))
    if value > 100:
        raise _refuse(text, "points", option, "more than 100 points")
    return value


def shown(value: float, quantity: str, like: float | None = None) -> str:
    """The value as a text that parses to no less than it, in the unit in which `like` (itself by default) reads best:
    the largest that leaves a number of 1 or more, binary for whole KiB. quantity: a key of `UNITS`."""
    unit = _unit(quantity, Decimal(repr(float(value if like is None else like))))
    exact = Decimal(math.ceil(value)) if quantity == "bytes" else Decimal(repr(float(value)))
    scaled = exact / UNITS[quantity][unit]
    rounded = Context(prec=DIGITS, rounding=ROUND_CEILING).plus(scaled)
    return f"{rounded.normalize():f}{unit}"


def infeasible(what: str, asked: float, nearest: float, unit: str, help: str) -> RefusedError:
    """The refusal ND306 of a budget that nothing can meet.

    what: the budget, as "memory budget"; asked, nearest: in the unit of `Budget`'s field, nearest the least that can be
    met; unit: the quantity, a key of `UNITS`; help: the remedy.
    """
    wanted, least = shown(asked, unit), shown(nearest, unit, asked)
    name = {"bytes": "", "joules": "", "operations": " bit operations"}.get(unit, f" {unit}")
    return RefusedError(
        "ND306", f"{what} of {wanted}{name} cannot be met; the nearest that can is {least}{name}", help=help
    )


def _unit(quantity: str, value: Decimal) -> str:
    """The unit that a value was most probably written in."""
    units = UNITS[quantity]
    if quantity == "bytes":
        binary = [unit for unit in ("KiB", "MiB", "GiB") if value >= units[unit] and value % 1024 == 0]
        decimal = [unit for unit in ("B", "kB", "MB", "GB") if value >= units[unit]]
        return (binary or decimal or ["B"])[-1]
    if quantity == "joules":
        return next((unit for unit in ("J", "mJ", "uJ", "nJ") if value >= units[unit]), "pJ")
    if quantity == "operations":
        return next((unit for unit in ("T", "G", "M", "k") if value >= units[unit]), "")
    return ""


def _parsed(text: str, quantity: str, option: str, least: Decimal | None = None) -> Decimal:
    found = NUMBER.fullmatch(text)
    if found is None:
        raise _refuse(text, quantity, option, "not a number")
    number, unit = Decimal(found[1]), found[2]
    if unit not in UNITS[quantity]:
        known = ", ".join(name for name in UNITS[quantity] if name) or "none"
        raise _refuse(text, quantity, option, f"unknown unit '{unit}' (known: {known})")
    if number < 0 or (number == 0 and least is None):
        raise _refuse(text, quantity, option, "not more than zero" if least is None else "less than zero")
    value = number * UNITS[quantity][unit]
    if value > LARGEST or (number and value < 1 / LARGEST):
        raise _refuse(text, quantity, option, "beyond all measure")
    return value


def _refuse(text: str, quantity: str, option: str, why: str) -> UsageError:
    return UsageError("ND307", f"{option} '{text}': {why}", help=f"give {quantity} such as {EXAMPLES[quantity]}")
