"""What a planting is, and whether the verdict over it names it: decided here, by program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from ndeploy.suite.case import Case
from ndeploy.suite.measure import Deployed
from ndeploy.suite.measured import Known, Measured
from ndeploy.suite.verdict import CaseResult


@dataclass(frozen=True)
class Planting:
    """A regression that stands while `patch()` is entered.

    checks: of which one must fail. words: all stand in its reason or its cause, and one of any_of, if there are some.
    leading: what the cause begins with where the planted thing is named before all others; any_of or words if empty.
    timed: it shows in times only. refusal: what the compiler's refusal may say in their place, all of it.
    """

    kind: str
    what: str
    checks: tuple[str, ...]
    patch: Callable[[], AbstractContextManager[object]]
    words: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    leading: tuple[str, ...] = ()
    timed: bool = False
    refusal: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Site:
    """Where to plant: a case, its clean program and its clean measurement. lost: the float network's accuracy."""

    case: Case
    deployed: Deployed
    clean: Measured
    lost: float | None


Plant = Callable[[Site, np.random.Generator], Planting | None]
"""None where the network has nothing of the kind."""


@dataclass(frozen=True)
class Outcome:
    """of: the planting's kind; factor: the measured slowness of what is timed."""

    case: str
    kind: str
    what: str
    caught: bool
    named: bool
    first: bool
    told: str
    factor: float | None = None


def known(found: Measured) -> Known:
    """A baseline of what was measured."""
    return Known(found.identity, found.toolchain, found.numbers, found.trails, found.parts, found.costs)


def named(result: CaseResult, planting: Planting) -> tuple[bool, bool]:
    """Whether the toolchain is blamed and a check that had to fail names the part and the parameter; and whether it
    names them before anything else."""
    if result.blame != "toolchain":
        return False, False
    found = first = False
    for check in result.failed:
        told = f"{check.reason}\n{check.cause}"
        refused = check.name == "run" and bool(planting.refusal) and all(word in told for word in planting.refusal)
        expected = (
            check.name in planting.checks
            and all(word in told for word in planting.words)
            and (not planting.any_of or any(word in told for word in planting.any_of))
        )
        found = found or refused or expected
        leading = planting.leading or planting.any_of or planting.words
        first = first or refused or (expected and check.cause.startswith(leading))
    return found, first


def told(result: CaseResult) -> str:
    """What failed, in one line."""
    return " | ".join(f"{c.name}: {c.reason} -- {c.cause}" for c in result.failed) or "nothing failed"
