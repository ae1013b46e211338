"""Whom a failure is blamed on, and the exit code: a table over all that may be wrong at once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ndeploy.suite.case import Budgets, Case
from ndeploy.suite.checks import judge
from ndeploy.suite.measured import NUMBERS, Failure, Known, Measured
from ndeploy.suite.trails import Trail
from ndeploy.suite.verdict import BLAMES, CaseResult, SuiteResult

TRAIL = Trail("a" * 64, ("b",), ("c",))
NUMBERS_OF_CLEAN: dict[str, float | None] = {
    **dict.fromkeys(NUMBERS, 1.0),
    "accuracy": 0.9,
    "float_accuracy": 0.905,
    "energy": 1e-6,
    "cores": 2.0,
}
METER = {"measured_energy": 2e-6, "measured_low": 1e-6, "measured_high": 3e-6}
CLEAN = Measured(
    identity={"model": "m", "data": "d", "options": "", "target": "t", "program": "p", "runner": "sim"},
    toolchain={"ndeploy": "1"},
    numbers=NUMBERS_OF_CLEAN,
    trails={"out": TRAIL},
    parts={"population 'out'": {"vth": "5"}},
    costs={"message": (3.0, 1e-12)},
    timing=(("out", 1),),
    period=1,
)


def case_of(runner: str = "sim", **budgets: float) -> Case:
    return Case("n", Path("d.npz"), model=Path("m.nir"), runner=runner, budgets=Budgets(**budgets))


def known_of(found: Measured) -> Known:
    return Known(found.identity, found.toolchain, found.numbers, found.trails, found.parts, found.costs)


def verdict(case: Case, found: Measured | Failure, known: Known | None) -> tuple[CaseResult, int]:
    result = judge(case, found, known)
    return result, SuiteResult("s", (result,), {}, "", "", 0.0).exit_code


def found_with(*wrong: str, runner: str = "sim") -> Measured:
    """A clean measurement, then what `wrong` says."""
    identity, numbers = dict(CLEAN.identity) | {"runner": runner}, dict(CLEAN.numbers)
    more: dict[str, Any] = {}
    if runner == "board":
        numbers |= METER
        identity["meter"] = "a meter"
    if "files" in wrong:
        identity["model"] = "another"
    if "program" in wrong:
        identity["program"] = "another"
        more["parts"] = {"population 'out'": {"vth": "6"}}
        more["trails"] = {"out": replace(TRAIL, spikes="d" * 64)}
    if "toolchain" in wrong:
        more["toolchain"] = {"ndeploy": "2"}
    if "mismatch" in wrong:
        more["mismatch"] = "sample 0"
    if "meter" in wrong:
        numbers["measured_energy"] = 9e-6
    if "budget" in wrong:  # more than the budget of 1.01e-6, less than what may drift
        numbers["energy"] = 1.015e-6
    if "float" in wrong:  # more than a point below float, less than half a point below the baseline
        numbers["accuracy"] = 0.8949
    return replace(CLEAN, identity=identity, numbers=numbers, **more)


def expected(wrong: tuple[str, ...], runner: str, baseline: bool) -> tuple[str, str, int]:
    """(outcome, blame, exit code), in words of docs/testing.md."""
    seen = {name for name in wrong if name != "toolchain"}  # another version alone is a remark
    if not baseline:
        seen -= {"files", "program"}  # nothing to see them by
    if not seen:
        return "passed", "", 0
    outcome = "stale" if "files" in seen else "failed"
    if "mismatch" in seen:  # a chip, or Lava, that computes something else than the simulator
        return outcome, "toolchain" if runner == "lava" else "board", 1
    if seen == {"meter"}:
        return outcome, "board", 1
    if "files" in seen or not baseline:
        return outcome, "model", 1
    return outcome, "toolchain", 1  # the files are the baseline's, which held


ALL = ("files", "program", "toolchain", "mismatch", "meter", "budget", "float")
ONLY = {"sim": {"mismatch", "meter"}, "lava": {"meter"}, "loihi": {"meter"}, "board": set()}
"""What cannot be wrong with a runner."""


@pytest.mark.parametrize("runner", ONLY)
@pytest.mark.parametrize("baseline", [True, False], ids=["baseline", "no baseline"])
def test_every_combination(runner: str, baseline: bool) -> None:
    names = [name for name in ALL if name not in ONLY[runner]]
    case = case_of(runner, energy_joules=1.01e-6)
    known = known_of(found_with(runner=runner)) if baseline else None
    tried = 0
    for count in range(len(names) + 1):
        for wrong in itertools.combinations(names, count):
            result, code = verdict(case, found_with(*wrong, runner=runner), known)
            assert (result.outcome, result.blame, code) == expected(wrong, runner, baseline), wrong
            assert result.blame in ("", *BLAMES)
            tried += 1
    assert tried == 2 ** len(names)


@pytest.mark.parametrize(
    ("then", "now", "budget", "blame"),
    [
        (1.0e-6, 1.015e-6, 1.01e-6, "toolchain"),  # it held when the baseline was written
        (1.0e-6, 1.0e-6, 0.5e-6, "model"),  # a budget that was tightened since
        (None, 1.0e-6, 0.5e-6, "toolchain"),  # a number that the baseline has not is a drift of its own
        (1.0e-6, None, 2e-6, "toolchain"),  # and so is one that is gone
    ],
)
def test_a_budget_that_is_exceeded(then: float | None, now: float | None, budget: float, blame: str) -> None:
    before, after = (replace(CLEAN, numbers={**CLEAN.numbers, "energy": value}) for value in (then, now))
    result, code = verdict(case_of(energy_joules=budget), after, known_of(before))
    assert (result.outcome, result.blame, code) == ("failed", blame, 1)


@pytest.mark.parametrize(
    ("then", "now", "blame"), [(0.9, 0.8949, "toolchain"), (0.8, 0.8, "model"), (0.8, 0.7, "toolchain")]
)
def test_float_accuracy_is_missed(then: float, now: float, blame: str) -> None:
    before, after = (replace(CLEAN, numbers={**CLEAN.numbers, "accuracy": value}) for value in (then, now))
    result, code = verdict(case_of(), after, known_of(before))
    assert (result.outcome, result.blame, code) == ("failed", blame, 1)


@pytest.mark.parametrize(
    ("runner", "code", "exit_code", "board", "blame"),
    [
        ("board", "ND620", 3, True, "board"),
        ("board", "ND690", 1, True, "board"),
        ("board", "ND101", 2, False, "model"),
        ("loihi", "ND678", 3, False, "board"),
        ("loihi", "ND677", 3, False, "board"),
        ("loihi", "ND690", 1, False, "board"),
        ("loihi", "ND675", 3, False, "toolchain"),
        ("loihi", "ND676", 1, False, "model"),
        ("lava", "ND603", 3, False, "toolchain"),
        ("lava", "ND605", 1, False, "toolchain"),
        ("lava", "ND609", 1, False, "model"),
        ("sim", "ND667", 1, False, "toolchain"),
        ("sim", "ND799", 70, False, "toolchain"),
        ("sim", "ND601", 2, False, "model"),
        ("sim", "ND101", 2, False, "model"),
    ],
)
def test_what_could_not_be_measured(runner: str, code: str, exit_code: int, board: bool, blame: str) -> None:
    """Without a baseline that shows that these files could be measured before."""
    result, ended = verdict(case_of(runner), Failure(code, "it failed", "", exit_code, board), None)
    assert (result.outcome, result.blame) == ("error", blame)
    assert ended == (3 if exit_code == 3 else 1)


@pytest.mark.parametrize("other", ["failed", "stale", "error"])
def test_a_board_out_of_reach_beside_another_failure(other: str) -> None:
    """Exit code 3 only where nothing else is wrong."""
    away = CaseResult("a", "error", blame="board", exit_code=3)
    found = SuiteResult("s", (away, CaseResult("b", other, blame="model", exit_code=0)), {}, "", "", 0.0)
    assert found.exit_code == 1
    assert SuiteResult("s", (away, CaseResult("b", "passed")), {}, "", "", 0.0).exit_code == 3
