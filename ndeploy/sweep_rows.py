"""Rows of a sweep as data: what was asked, what came of it, and which combinations no other one beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ndeploy.energy.compare import QUANTITIES, Contrast, Cost, contrast
from ndeploy.energy.ranges import Range
from ndeploy.energy.result import Term

BEST, OPEN, BEATEN = "best", "open", "beaten"
"""What is said of a row beside the others: no other is at least as accurate and takes less nominal energy; one is, but
the bounds of the constants allow the opposite; one is, whatever the constants are."""


@dataclass(frozen=True)
class Case:
    """A combination. steps, activation_bits: None for what the file, the data or the method say; place: the objective
    of the placement."""

    target: str
    bits: int
    steps: int | None = None
    activation_bits: int | None = None
    attention: str = "parallel"
    place: str = "cores"

    @property
    def named(self) -> str:
        """As text: what is not at its default."""
        parts = [self.target, f"{self.bits} bits"]
        parts += [] if self.steps is None else [f"{self.steps} steps"]
        parts += [] if self.activation_bits is None else [f"{self.activation_bits}-bit messages"]
        parts += [] if self.attention == "parallel" else [f"{self.attention} attention"]
        parts += [] if self.place == "cores" else [f"placed for {self.place}"]
        return ", ".join(parts)


@dataclass(frozen=True)
class Refusal:
    """Why a combination has no result, as `ndeploy compile` would say it. exit_code: of that command."""

    code: str
    message: str
    help: str
    exit_code: int


@dataclass(frozen=True)
class Measured:
    """What a combination gives on the data.

    labels: what accuracies are against: "labels", "float model" or "" (no answers). accuracy: of whole sequences where
    the answer is one; float_accuracy: of the float network; loss: against the float network and the labels, nats, or
    the relative squared error where there are no answers, None where the float network's output is zero throughout.
    memory_bytes: synaptic memory as packed. overflow: times that a state left its width. bound: what the priced
    terms sum to, where asked for; warnings: (code, message).
    """

    samples: int
    labels: str
    accuracy: float | None
    float_accuracy: float | None
    loss: float | None
    weight_bits_mean: float
    neurons: int
    steps: int
    chip_steps: int
    mode: str
    cores: int
    cores_lower_bound: int
    chips: int
    memory_bytes: int
    overflow: int
    cost: Cost
    bound: Range | None = None
    unpriced: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """A combination with its result, or with why it has none."""

    case: Case
    refusal: Refusal | None = None
    measured: Measured | None = None


def varying(rows: Sequence[Row]) -> tuple[str, ...]:
    """Fields of `Case` that differ between rows; target and bits always."""
    names = [item.name for item in fields(Case)]
    return tuple(n for n in names if n in ("target", "bits") or len({getattr(row.case, n) for row in rows}) > 1)


def against(one: Row, other: Row) -> Contrast | None:
    """Dynamic energy of the other row over that of the one; None where one of them was refused."""
    if one.measured is None or other.measured is None:
        return None
    return contrast(one.measured.cost, other.measured.cost, "energy")


def quality(row: Row) -> float | None:
    """What is to be large: accuracy, or minus the loss where there are no answers; 0 where nobody can tell."""
    if row.measured is None:
        return None
    if row.measured.accuracy is not None:
        return row.measured.accuracy
    return -row.measured.loss if row.measured.loss is not None else 0.0


def standing(rows: Sequence[Row]) -> tuple[str, ...]:
    """`BEST`, `OPEN` or `BEATEN` for every row; "" for rows without a result or without an energy."""
    return tuple(_standing(row, rows) for row in rows)


def _standing(row: Row, rows: Sequence[Row]) -> str:
    own, mine = _nominal(row), quality(row)
    if own is None or mine is None or row.measured is None:
        return ""
    found = BEST
    for other in rows:
        least, better = _nominal(other), quality(other)
        if other is row or least is None or better is None or other.measured is None or least > own or better < mine:
            continue
        if other.measured.labels != row.measured.labels:
            continue
        between = against(row, other)
        if between is None:
            continue
        if between.verdict == "less" or (between.verdict == "equal" and better > mine):
            return BEATEN
        if least < own:
            found = OPEN
    return found


def _nominal(row: Row) -> float | None:
    energy = None if row.measured is None else row.measured.cost.quantities["energy"]
    return None if energy is None else energy.nominal


# -- plain data --------------------------------------------------------------------------------------------------------


def to_json(row: Row) -> dict[str, Any]:
    """A row as plain data, for the journal and for `--json`."""
    return {
        "case": asdict(row.case),
        "refusal": None if row.refusal is None else asdict(row.refusal),
        "measured": None if row.measured is None else asdict(row.measured),
    }


def from_json(value: Mapping[str, Any]) -> Row:
    """A row that `to_json` gave. Raises ValueError, TypeError or LookupError for anything else: a journal is a file."""
    case = _built(Case, value["case"])
    refusal = None if value["refusal"] is None else _built(Refusal, value["refusal"])
    measured = None if value["measured"] is None else _measured(value["measured"])
    if (refusal is None) == (measured is None):
        raise ValueError("a row is either measured or refused")
    return Row(case, refusal, measured)


_TEXT, _WHOLE, _NUMBER = (str,), (int,), (int, float)
_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": _TEXT,
    "int": _WHOLE,
    "float": _NUMBER,
    "int | None": (*_WHOLE, type(None)),
    "float | None": (*_NUMBER, type(None)),
}


def _built(kind: Any, given: Any, **made: Any) -> Any:
    """A dataclass of plain values, each of the type it is declared with; `made`: fields that are ready."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{kind.__name__} is not an object")
    values = dict(made)
    for item in fields(kind):
        if item.name in made:
            continue
        value = given[item.name]
        if isinstance(value, bool) or not isinstance(value, _KINDS[str(item.type)]):
            raise TypeError(f"{kind.__name__}.{item.name} is {value!r:.40}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{kind.__name__}.{item.name} is {value}")
        values[item.name] = value
    return kind(**values)


def _range(given: Any) -> Range | None:
    if given is None:
        return None
    found: Range = _built(Range, given)
    return found


def _texts(given: Any, size: int | None = None) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise TypeError("not a list of texts")
    if size is not None and len(given) != size:
        raise ValueError(f"{len(given)} texts instead of {size}")
    return tuple(given)


def _measured(given: Any) -> Measured:
    cost = given["cost"]
    quantities = {name: _range(cost["quantities"][name]) for name in QUANTITIES}
    terms = tuple(
        _built(Term, term, energy=_range(term["energy"]), unit_energy=_range(term["unit_energy"]))
        for term in cost["terms"]
    )
    found: Measured = _built(
        Measured,
        given,
        cost=_built(Cost, cost, quantities=quantities, terms=terms),
        bound=_range(given["bound"]),
        unpriced=_texts(given["unpriced"]),
        warnings=tuple(_texts(pair, 2) for pair in given["warnings"]),
    )
    return found
