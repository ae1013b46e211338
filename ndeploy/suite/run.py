"""A suite from its file to its verdict."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ndeploy.search.journal import Journal
from ndeploy.search.workers import pool
from ndeploy.suite import baseline, kept
from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case, Suite
from ndeploy.suite.checks import judge
from ndeploy.suite.measure import Context, measure, toolchain
from ndeploy.suite.measured import Failure, Known, Measured
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
) -> SuiteResult:
    """Measure every case, judge it, and write the baseline anew where asked.

    workers: as `search.workers.pool` takes them, or dask://HOST:PORT; cases on boards run here, one after another.
    whole: the suite holds all cases of its file, so that an update forgets those that are gone. A case that could not
    be measured keeps its old baseline. journal: keeps what is measured until the suite has ended, and gives what one
    that was cut off has kept; note: with what it has to say. Raises what `baseline.load`, `baseline.save`,
    `search.journal.Journal` and the pool raise.
    """
    began = time.monotonic()
    known = baseline.load(suite.baseline)
    measured: dict[str, Measured] = {}
    results: list[CaseResult] = []
    address = f"tcp://{workers.removeprefix('dask://')}" if workers.startswith("dask://") else workers
    context = replace(context, timed=context.timed and not address.startswith(("tcp://", "tls://")))
    with Journal(journal, kept.key(context) if journal is not None else "") as before:
        for line in before.notes:
            note(line)
        for case, found in _found(suite.cases, context, address, before, progress):
            if isinstance(found, Measured):
                measured[case.name] = found
            results.append(judge(case, found, known.get(case.name)))
        before.finish()
    updated: tuple[str, ...] = ()
    if update:
        names = frozenset(case.name for case in suite.cases) if whole else frozenset(known)
        baseline.save(suite.baseline, measured, names)
        updated = tuple(measured)
        results = [_again(case, measured, old) for case, old in zip(suite.cases, results, strict=True)]
    return SuiteResult(
        suite.path.name,
        tuple(results),
        toolchain(),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit_of(suite.path.parent),
        time.monotonic() - began,
        suite.baseline.name,
        updated,
    )


def run_one(case: Case, context: Context, known: Mapping[str, Known]) -> CaseResult:
    """One case here and now, for pytest."""
    return judge(case, measure(context, case), known.get(case.name))


def _again(case: Case, measured: Mapping[str, Measured], old: CaseResult) -> CaseResult:
    """The verdict beside the new baseline: float accuracy and budgets may still fail."""
    found = measured.get(case.name)
    if found is None:
        return old
    told = found.to_json()
    new = Known(told["identity"], told["toolchain"], found.numbers, found.trails, found.parts, found.costs)
    return judge(case, found, new)


def _found(
    cases: Sequence[Case], context: Context, workers: str, before: Journal, progress: Callable[[str], None]
) -> Iterator[tuple[Case, Measured | Failure]]:
    """Measurements in the order of the cases. before: gives those that are there, and keeps the others."""
    tasks = {case.name: kept.task(case) for case in cases} if before.path is not None else {}
    taken = {name: found for name, task in tasks.items() if (found := kept.from_json(before.get(task))) is not None}
    away = [case for case in cases if case.runner not in BOARDS and case.name not in taken]
    with pool(workers, context) as measurers:
        fresh = measurers.map(measure, [_absolute(case) for case in away])
        for done, case in enumerate(cases):
            progress(f"{done} of {len(cases)} cases, now {case.name}")
            if case.name in taken:
                yield case, taken[case.name]
                continue
            new = measure(context, case) if case.runner in BOARDS else next(fresh)
            if isinstance(new, Measured) and case.name in tasks:
                before.put(tasks[case.name], kept.to_json(new))
            yield case, new


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
