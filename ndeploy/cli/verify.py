"""`ndeploy verify`: two executions that must agree on every value."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options, verify_ticks
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.runners import RunnerOptions
    from ndeploy.verify import Verification


def verify_command(
    artifact: options.Artifact,
    data: Annotated[
        Path | None, typer.Option("--data", help="Samples: .npz with x. A TRACE.npz may have its own.")
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="RUNNER|float|TRACE.npz",
            help="A runner (lava, oracle, ...), the float network tick by tick, or recorded float traces.",
        ),
    ] = "lava",
    reference: Annotated[str, typer.Option("--reference", help="The runner it is compared with.")] = "sim",
    limit: options.Limit = None,
    signals: Annotated[
        str | None, typer.Option("--signals", metavar="all|A,B", help="Signals to compare tick by tick.")
    ] = None,
    min_sqnr: Annotated[
        float | None, typer.Option("--min-sqnr", metavar="DB", help="Least SQNR of a signal at any tick. Default: 10.")
    ] = None,
    board: options.Board = None,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    threads: options.Threads = None,
    time_limit: options.TimeLimit = None,
    json: options.Json = False,
) -> None:
    """Compare two runners bit for bit, or a runner with the float network tick by tick.

    Two runners: every population, every step, all state; exit code 1 on a mismatch. Float: the SQNR of every signal at
    every tick; exit code 1 where one is below --min-sqnr.
    """
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    if board is not None and "board" not in (against, reference):
        raise typer.BadParameter("is for --against board or --reference board", param_hint="--board")
    if verify_ticks.is_float(against):

        def told(progress: Callable[[str], None]) -> RunnerOptions:
            from ndeploy.runners import RunnerOptions

            return RunnerOptions(lava_python, lava_mode, time_limit, threads, progress=progress, board=board)

        asked = verify_ticks.Asked(artifact, data, against, reference, limit, signals, min_sqnr)
        verify_ticks.verify_ticks(asked, told, json)
        return
    for option, value in (("--signals", signals), ("--min-sqnr", min_sqnr)):
        if value is not None:
            raise typer.BadParameter("is for --against float or TRACE.npz", param_hint=option)
    if data is None:
        raise typer.BadParameter("is needed to compare two runners", param_hint="--data")
    if against == reference:
        raise typer.BadParameter(f"'{against}' would be compared with itself", param_hint="--against")
    from ndeploy import artifact as artifacts
    from ndeploy import data as samples
    from ndeploy import runners
    from ndeploy.board.flaky import faults_of
    from ndeploy.decode import clipped, for_data, stretched
    from ndeploy.verify import verify

    pair = {reference: runners.find(reference), against: runners.find(against)}
    loaded = artifacts.load(artifact)
    given = samples.load(data, limit)
    program = for_data(loaded.program, given.x)
    with console.progress(f"comparing {against} with {reference}") as progress:
        chosen = runners.RunnerOptions(
            lava_python=lava_python,
            lava_mode=lava_mode,
            time_limit=time_limit,
            threads=threads,
            progress=progress,
            board=board,
        )
        with ExitStack() as held:  # a board is leased once for all samples
            opened = {name: held.enter_context(runners.opened(runner, chosen)) for name, runner in pair.items()}
            verification = verify(program, given, opened, chosen)
            failed = [faults_of(runner) for runner in opened.values()]
    for diagnostic in (*stretched(loaded.program, program), *clipped(program, given.x, given.x_scale)):
        guard.show_diagnostic(diagnostic)
    for line in (line for faults in failed for line in faults.lines()):
        guard.say(printable(line))
    runner = pair[against]
    parts = runner.describe(program, chosen) if isinstance(runner, runners.Describes) else ()
    if json:
        console.emit("verify", fields(verification, reference, against) | {"executed": [asdict(p) for p in parts]})
    else:
        from ndeploy.report.verify import report

        console.show(*report(program, verification, reference, against, parts))
    if verification.mismatches:
        raise typer.Exit(1)


def fields(verification: Verification, reference: str, against: str) -> dict[str, Any]:
    """The object of `--json`."""
    first = verification.first_mismatch
    return {
        "reference": reference,
        "against": against,
        "samples": verification.samples,
        "populations": verification.populations,
        "compared": verification.compared,
        "mismatches": verification.mismatches,
        "first_mismatch": None if first is None else asdict(first),
        "mismatches_by_population": dict(verification.by_population),
        "seconds": dict(verification.seconds),
    }
