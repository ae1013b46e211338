"""What became of a suite, as plain data: reports only show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ndeploy.suite.measured import Curve

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
OUTCOMES = ("passed", "failed", "stale", "error")
"""Of a case. stale: its baseline is of other files or options; error: it could not be measured."""
BLAMES = ("model", "toolchain", "board")
"""model: the files or options of the case; toolchain: ndeploy, its prices and libraries; board: the hardware, or what
stands for it."""


@dataclass(frozen=True)
class Check:
    """One comparison. found, wanted: in words; reason: why it failed or was skipped; cause: what explains it."""

    name: str
    outcome: str
    found: str = ""
    wanted: str = ""
    reason: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Quarantined:
    """A board that got no more cases. fault: why; returned: it was taken back in before the suite ended."""

    board: str
    fault: str
    returned: bool = False


@dataclass(frozen=True)
class CaseResult:
    """blame: one of `BLAMES`, "" where nothing failed; numbers: as measured; code: of the error; same_toolchain: as the
    baseline's. board: where the result comes from, "" for a runner that is no board; moves: from which boards the case
    was moved, and why. retried: faults of the board after which it was tried again, by code."""

    name: str
    outcome: str
    checks: tuple[Check, ...] = ()
    blame: str = ""
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    curve: Curve | None = None
    code: str = ""
    exit_code: int = 0
    same_toolchain: bool = True
    board: str = ""
    moves: tuple[str, ...] = ()
    retried: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome == FAILED)


@dataclass(frozen=True)
class SuiteResult:
    """suite: the file's name; commit: of the suite's repository, "" where there is none; when: ISO 8601, UTC; seconds:
    of the clock. updated: cases that --update-baseline has written. quarantined: boards by the time of their fault."""

    suite: str
    results: tuple[CaseResult, ...]
    toolchain: Mapping[str, str]
    when: str
    commit: str
    seconds: float
    baseline: str = ""
    updated: tuple[str, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()

    @property
    def passed(self) -> bool:
        return all(result.outcome == PASSED for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 all passed; 3 where a board could not be reached and nothing else is wrong; 1 otherwise."""
        wrong = [result for result in self.results if result.outcome != PASSED]
        if wrong and all(result.exit_code == 3 for result in wrong):
            return 3
        return 1 if wrong else 0

    def count(self, outcome: str) -> int:
        """Cases with that outcome."""
        return sum(result.outcome == outcome for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "suite": self.suite,
            "passed": self.passed,
            "outcomes": {outcome: self.count(outcome) for outcome in OUTCOMES},
            "blames": {blame: sum(r.blame == blame for r in self.results) for blame in BLAMES},
            "when": self.when,
            "commit": self.commit,
            "seconds": self.seconds,
            "baseline": self.baseline,
            "updated": list(self.updated),
            "quarantined": [asdict(board) for board in self.quarantined],
            "toolchain": dict(self.toolchain),
            "cases": [_plain(result) for result in self.results],
        }


def _plain(result: CaseResult) -> dict[str, Any]:
    found = asdict(result)
    del found["exit_code"]
    found["checks"] = [asdict(check) for check in result.checks]
    found["remarks"] = list(result.remarks)
    found["moves"] = list(result.moves)
    found["retried"] = dict(result.retried)
    if result.curve is not None:
        found["curve"]["points"] = [
            {"faults": n, "accuracies": list(accuracies)} for n, accuracies in result.curve.points
        ]
    return found
