"""A suite from its file to its verdict."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ndeploy.errors import NdeployError
from ndeploy.search.journal import Journal
from ndeploy.suite import baseline, kept, metered
from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case, Suite
from ndeploy.suite.checks import changed_files, judge
from ndeploy.suite.lanes import close_all
from ndeploy.suite.lanes_asked import asked
from ndeploy.suite.measure import Context, measure, toolchain
from ndeploy.suite.measured import Known, Measured
from ndeploy.suite.schedule import Schedule, Settled
from ndeploy.suite.verdict import CaseResult, SuiteResult


def run(
    suite: Suite,
    context: Context,
    workers: str = "1",
    update: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    whole: bool = True,
    journal: Path | None = None,
    note: Callable[[str], None] = lambda line: None,
    boards: Sequence[str] = (),
    pauses: Sequence[float] | None = None,
) -> SuiteResult:
    """Measure every case, judge it, and write the baseline anew where asked.

    workers, boards: as `lanes_asked.asked` takes them. whole: the suite holds all cases of its file, so that an update
    forgets those that are gone. A case that could not be measured keeps its old baseline. journal: keeps what is
    measured until the suite has ended, and gives what one that was cut off has kept; note: with what it has to say.
    pauses: of `schedule.Schedule`. Raises what `baseline.load`, `baseline.save`, `search.journal.Journal` and
    `lanes_asked.asked` raise. Whatever ends it, no lane is left, and what was measured is in the journal.
    """
    began = time.monotonic()
    known = baseline.load(suite.baseline)
    given = tuple(boards) or ((context.bench.options.board,) if context.bench.options.board else ())
    found: list[Settled] = []
    with Journal(journal, kept.key(context) if journal is not None else "") as before:
        for line in before.notes:
            note(line)
        tasks = {case.name: kept.task(case) for case in suite.cases} if journal is not None else {}
        taken = {
            case.name: settled
            for case in suite.cases
            if (settled := kept.from_json(case, before.get(tasks.get(case.name, "")))) is not None
        }

        unkept: list[str] = []

        def keep(settled: Settled) -> None:
            """A disk that is full costs the journal, and not the suite."""
            value = kept.to_json(settled)
            if value is None or not tasks:
                return
            try:
                before.put(tasks[settled.case.name], value)
            except NdeployError as error:
                unkept.append(error.message)
                progress(f"{error.message}; the suite goes on")

        def doubt(case: Case, measured: Measured) -> str:
            then = None if update else known.get(case.name)
            return metered.doubt(case, measured, then, changed_files(measured, then))

        cases = [_absolute(case) for case in suite.cases]
        with contextlib.ExitStack() as stack:
            lanes = asked(workers, given, context, [case for case in cases if case.name not in taken], progress)
            stack.callback(close_all, lanes)
            schedule = Schedule(cases, lanes, taken=taken, keep=keep, progress=progress, pauses=pauses, doubt=doubt)
            found += stack.enter_context(contextlib.closing(schedule.run()))
        if unkept:
            note(f"{unkept[0]}; not kept: {len(unkept)} of {len(found)} cases")
        pairs = list(zip(suite.cases, found, strict=True))
        results = [_judged(case, settled, known.get(case.name)) for case, settled in pairs]
        updated: tuple[str, ...] = ()
        if update:
            names = frozenset(case.name for case in suite.cases) if whole else frozenset(known)
            measured = {case.name: settled.found for case, settled in pairs if isinstance(settled.found, Measured)}
            baseline.save(suite.baseline, measured, names)
            updated = tuple(measured)
            results = [_again(case, settled, old) for (case, settled), old in zip(pairs, results, strict=True)]
        before.finish()  # not sooner: a baseline that cannot be written costs no measurement
    return SuiteResult(
        suite.path.name,
        tuple(results),
        toolchain(),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit_of(suite.path.parent),
        time.monotonic() - began,
        suite.baseline.name,
        updated,
        schedule.quarantined,
    )


def run_one(case: Case, context: Context, known: Mapping[str, Known]) -> CaseResult:
    """One case here and now, for pytest."""
    return judge(case, measure(context, case), known.get(case.name))


def _judged(case: Case, settled: Settled, known: Known | None) -> CaseResult:
    """With what the rack knows: where it ran, and that a fault which boards share is none of a board."""
    result = judge(case, settled.found, known)
    result = replace(result, board=settled.board if case.runner in BOARDS else "", moves=settled.moves)
    if settled.alike and result.blame == "board":
        whence = (
            "the simulator" if isinstance(settled.found, Measured) and settled.found.mismatch else "what is expected"
        )
        remark = f"two boards part from {whence} in the same way: the toolchain is to blame, or all such boards"
        return replace(result, blame="toolchain", remarks=(*result.remarks, remark))
    return result


def _again(case: Case, settled: Settled, old: CaseResult) -> CaseResult:
    """The verdict beside the new baseline: float accuracy and budgets may still fail."""
    found = settled.found
    if not isinstance(found, Measured):
        return old
    told = found.to_json()
    new = Known(told["identity"], told["toolchain"], found.numbers, found.trails, found.parts, found.costs)
    return _judged(case, settled, new)


def _absolute(case: Case) -> Case:
    """With whole paths: a worker may stand in another folder."""
    whole = {
        name: path.resolve() for name in ("data", "model", "artifact", "calibration") if (path := getattr(case, name))
    }
    return replace(case, **whole)


def commit_of(folder: Path) -> str:
    """The commit checked out in the folder's repository, "" where git knows none."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    text = done.stdout.strip()
    return text if done.returncode == 0 and len(text) in (40, 64) else ""
