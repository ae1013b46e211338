"""`ndeploy test`: does every deployment still do what it did?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndeploy.cli import console, guard, options, searching
from ndeploy.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from ndeploy.errors import UsageError
    from ndeploy.suite.case import Case, Suite
    from ndeploy.suite.history import Point
    from ndeploy.suite.verdict import SuiteResult

    Trends: TypeAlias = dict[str, tuple[Point, ...]]


def suite_command(
    suite: Annotated[
        Path | None,
        typer.Option("--suite", metavar="FILE.toml", help="Cases; default: the trained networks of the repository."),
    ] = None,
    case: Annotated[list[str] | None, typer.Option("--case", help="Only the case of this name (repeatable).")] = None,
    runner: Annotated[
        str | None, typer.Option("--runner", help="Run every case on this one: sim, lava, board, ...")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Only cases for this target, and all artifacts.")
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write what is measured as the new baseline: review, then commit.")
    ] = False,
    workers: Annotated[
        str, typer.Option("--workers", metavar="N|dask://HOST:PORT", help="Local processes, or a dask scheduler.")
    ] = "1",
    inject: Annotated[
        str | None,
        typer.Option("--inject", metavar="bits=N|stuck=N[,seed=S]", help="Also plant faults in weights or neurons."),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", "--resume", help="Keep finished cases here until the end: the same command goes on."),
    ] = None,
    history: Annotated[
        Path | None, typer.Option("--history", metavar="FILE.sqlite", help="Keep the results, and show trends.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write everything as one self-contained page.")] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", help='Append the verdict in Markdown: --summary "$GITHUB_STEP_SUMMARY".'),
    ] = None,
    annotations: Annotated[
        bool, typer.Option("--annotations", help="Also print failures as GitHub's annotations, on stderr.")
    ] = False,
    board: Annotated[
        list[str] | None,
        typer.Option(
            "--board", metavar="URL", help="tcp://HOST:PORT or exec:COMMAND, for --runner board (repeatable: a rack)."
        ),
    ] = None,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    json: options.Json = False,
) -> None:
    """Run the regression suite: accuracy, spikes, energy, latency, cores and times beside a reviewed baseline."""
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    from ndeploy import atomic, runners
    from ndeploy.board.runner import BOARD
    from ndeploy.errors import UsageError
    from ndeploy.suite import history as histories
    from ndeploy.suite import inject as faults
    from ndeploy.suite import toml_file
    from ndeploy.suite.bench import BOARDS, Bench
    from ndeploy.suite.lanes_asked import CLUSTER
    from ndeploy.suite.measure import Context
    from ndeploy.suite.run import run

    injection = None if inject is None else faults.parse(inject)
    whole = toml_file.load(toml_file.default_suite() if suite is None else suite)
    chosen = _chosen(whole, case, runner, target)
    used = {c.runner for c in chosen.cases}
    for one in chosen.cases:
        _known(one, chosen.path, runner)
    if used & set(BOARDS) and not board and not os.environ.get(BOARD) and not workers.startswith(CLUSTER):
        raise UsageError("ND621", "no board is named", help=f"give --board tcp://HOST:PORT, or set {BOARD}")
    if board and not used & set(BOARDS):
        raise typer.BadParameter("no case runs on a board: add --runner board", param_hint="--board")
    inputs: dict[str, Path | None] = {"--suite": whole.path, "the baseline": whole.baseline}
    outputs = {"--junit": junit, "--html": html, "--history": history, "--journal": journal, "--summary": summary}
    options.apart(outputs, inputs)
    for path in (junit, html, journal, summary, *((whole.baseline,) if update_baseline else ())):
        if path is not None:
            atomic.check_writable(path)
    if history is not None:
        histories.check(history)
    told = runners.RunnerOptions(lava_python=lava_python, lava_mode=lava_mode)
    everything = len(chosen.cases) == len(whole.cases)
    notes: list[str] = []
    with searching.keeping(None if journal is None else str(journal)), console.progress("testing") as progress:
        context = Context(Bench(told), injection)
        boards = [url for text in board or () for url in runners.boards(text)]
        result = run(chosen, context, workers, update_baseline, progress, everything, journal, notes.append, boards)
    for line in notes:
        guard.say(printable(line))
    asked = {"junit": junit, "html": html, "history": history, "summary": summary}
    problems = _write(result, chosen, asked)
    if annotations:
        _annotate(result, chosen)
    written = {name: asked[name] if name not in problems else None for name in ("junit", "html", "history")}
    if json:
        console.emit("test", result.to_json() | {name: path and str(path) for name, path in written.items()})
    else:
        from ndeploy.report.suite import report

        console.show(*report(result, chosen))
        if update_baseline:
            console.show(*_updated(result, whole))
        for path in written.values():
            if path is not None:
                console.show(f"[dim]wrote[/dim] {path}")
    for problem in problems.values():
        raise problem
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _chosen(suite: Suite, names: list[str] | None, runner: str | None, target: str | None) -> Suite:
    """The cases that were asked for, on the runner that was. A usage error (exit 2) where none is left."""
    known = [case.name for case in suite.cases]
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(f"there is no case '{name}', but {', '.join(known[:20])}", param_hint="--case")
    cases = [case for case in suite.cases if not names or case.name in names]
    if target is not None:
        cases = [case for case in cases if case.artifact is not None or case.target == target]
    if not cases:
        raise typer.BadParameter(f"no case is for target '{target}'", param_hint="--target")
    if runner is not None:
        cases = [replace(case, runner=runner) for case in cases]
    return replace(suite, cases=tuple(cases))


def _known(case: Case, path: Path, runner: str | None) -> None:
    """Raises UsageError ND601, ND401 for a runner or target that there is not; of the suite's, with the case."""
    from ndeploy import plugins, runners
    from ndeploy.errors import UsageError

    try:
        runners.find(case.runner)
        if case.artifact is None:
            plugins.target(case.target)
    except UsageError as error:
        if error.code == "ND601" and runner is not None:
            raise
        message = f"suite '{path}': case '{case.name}': {error.message}"
        raise UsageError(error.code, message, help=error.help) from error


def _updated(result: SuiteResult, suite: Suite) -> list[str]:
    """What --update-baseline wrote, and what it could not."""
    from ndeploy.report import style

    there = suite.baseline.is_file()
    missing = [case.name for case in result.results if case.name not in result.updated]
    path = style.plain(str(suite.baseline))
    found = [f"[dim]wrote[/dim] {path}: {style.many(len(result.updated), 'case')}, to be reviewed"]
    if not result.updated:
        found = [f"{path} is as it was: no case could be measured" if there else f"no {path} was written"]
    if missing:
        keeps = "keeps its old baseline, if it has one" if there else "has no baseline"
        found.append(f"not measured, {keeps}: {style.plain(', '.join(missing))}")
    return found


def _write(result: SuiteResult, suite: Suite, paths: Mapping[str, Path | None]) -> dict[str, UsageError]:
    """The files that were asked for, each whole or not at all. By name, why one could not be written (ND663, ND702):
    the others are written all the same."""
    from ndeploy.errors import UsageError

    problems: dict[str, UsageError] = {}
    trends: Trends = {}
    for name, writes in (("history", _history), ("junit", _junit), ("html", _html), ("summary", _summarise)):
        path = paths[name]
        try:
            if path is not None:
                writes(result, suite, path, trends)
        except UsageError as error:
            problems[name] = error
    return problems


def _history(result: SuiteResult, suite: Suite, path: Path, trends: Trends) -> None:
    """Raises UsageError ND663."""
    from ndeploy.suite.history import add

    trends.update(add(path, result))


def _junit(result: SuiteResult, suite: Suite, path: Path, trends: Trends) -> None:
    """Raises UsageError ND702."""
    from ndeploy import atomic
    from ndeploy.suite.ci import junit

    atomic.write(path, junit(result, suite))


def _html(result: SuiteResult, suite: Suite, path: Path, trends: Trends) -> None:
    """Raises UsageError ND702."""
    from ndeploy import atomic
    from ndeploy.report.suite_page import page

    atomic.write(path, page(result, trends, suite).encode())


def _summarise(result: SuiteResult, suite: Suite, path: Path, trends: Trends) -> None:
    """Appended, for the steps of a job share the file. Raises UsageError ND702."""
    from ndeploy import atomic
    from ndeploy.suite.ci import summary

    before = path.read_bytes() if path.is_file() else b""
    atomic.write(path, before + summary(result, suite).encode())


def _annotate(result: SuiteResult, suite: Suite) -> None:
    from ndeploy.suite.ci import github

    root = os.environ.get("GITHUB_WORKSPACE", "")
    shown = os.path.relpath(suite.path, root) if root else str(suite.path)
    for line in github(result, shown, suite):
        guard.say(line)
