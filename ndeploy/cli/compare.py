"""`ndeploy compare`: where two executions of a network part, and which single difference explains it."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options

if TYPE_CHECKING:
    from ndeploy.divergence.compare import Comparison
    from ndeploy.runners import Runner, RunnerOptions

FLOAT = "float"


def compare_command(
    artifact: options.Artifact,
    data: options.Data,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="float|compile|RUNNER|ARTIFACT|TRACE.npz",
            help="The float network the artifact keeps, a compile of it today, a runner (lava, oracle, board, ...), "
            "another artifact, or a recorded trace.",
        ),
    ] = FLOAT,
    runner: Annotated[str, typer.Option("--runner", help="What executes the artifact.")] = "sim",
    limit: options.Limit = None,
    ablation: Annotated[
        int | None,
        typer.Option(
            "--ablation", min=0, metavar="N", help="Samples on which causes are told apart; 0: none. Default: by cost."
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            "--min-agreement", metavar="SHARE", help="Exit with 1 where fewer samples (0 to 1) are answered alike."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="C.npz",
            help="What the artifact was calibrated with, to compile it again. Default: found by name and digest.",
        ),
    ] = None,
    board: options.Board = None,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    threads: options.Threads = None,
    time_limit: options.TimeLimit = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one self-contained page.")] = None,
    json: options.Json = False,
) -> None:
    """Say where a program parts from its reference, how far every layer is off, and which cause explains it.

    Exit code 1: against integers (a compile, a runner, an artifact, a recorded run) any difference; against floats an
    agreement below --min-agreement.
    """
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    if min_agreement is not None and not (math.isfinite(min_agreement) and 0 <= min_agreement <= 1):
        raise typer.BadParameter(f"{min_agreement} is no share of 0 to 1", param_hint="--min-agreement")
    if against == runner:
        raise typer.BadParameter(f"'{against}' would be compared with itself", param_hint="--against")
    if board is not None and "board" not in (runner, against):
        raise typer.BadParameter("is for --runner board or --against board", param_hint="--board")
    if calibration is not None and against not in (FLOAT, "compile"):
        raise typer.BadParameter("is for --against float or --against compile", param_hint="--calibration")
    other = Path(against)
    read = {
        "ARTIFACT": artifact,
        "--data": data,
        "--against": other if other.is_file() else None,
        "--calibration": calibration,
    }
    options.apart({"--html": html}, read)
    from ndeploy import artifact as artifacts
    from ndeploy import atomic, runners
    from ndeploy import data as samples
    from ndeploy.decode import clipped, for_data, stretched
    from ndeploy.divergence import references, sides
    from ndeploy.divergence.compare import compare, fields

    if html is not None:
        atomic.check_writable(html)
    loaded = artifacts.load(artifact)
    given = samples.load(data, limit)
    program = for_data(loaded.program, given.x)
    with console.progress(f"comparing with {against}") as progress:
        told = runners.RunnerOptions(lava_python, lava_mode, time_limit, threads, progress=progress, board=board)
        asked = references.Asked(against, artifact, data, calibration, told)
        chosen, beside = runners.find(runner), _beside(against)
        # one lease for all batches
        with runners.opened(chosen, told) as own, _opened(beside, told) as held:
            reference = references.find(asked, loaded, program, given, held)
            found = compare(
                program,
                given,
                sides.Executed(program, own, told),
                reference.side,
                against=reference.name,
                engine=reference.engine,
                no_engine=reference.why,
                today=reference.today,
                told=reference.told,
                other=reference.other,
                one_unit=reference.one_unit,
                ablation_samples=ablation,
                progress=progress,
                provenance=_provenance(artifact, data, other, limit, against, runner),
            )
    for diagnostic in (*stretched(loaded.program, program), *clipped(program, given.x, given.x_scale)):
        guard.show_diagnostic(diagnostic)
    if html is not None:
        from ndeploy.report.compare_page import page

        atomic.write(html, page(found).encode())
    if json:
        console.emit("compare", fields(found))
    else:
        from ndeploy.report.compare import report

        console.show(*report(found))
        if html is not None:
            console.show(f"[dim]wrote[/dim] {html}")
    if _is_no(found, min_agreement):
        raise typer.Exit(1)


def _is_no(found: Comparison, min_agreement: float | None) -> bool:
    if found.exact and not found.equal:
        return True
    return min_agreement is not None and (found.answers is None or found.answers.same < min_agreement)


def _beside(against: str) -> Runner | None:
    """The runner that --against names, None for no runner. Raises UsageError ND601 with all that it may name."""
    from ndeploy.divergence import references
    from ndeploy.errors import UsageError

    try:
        return references.runner_of(against)
    except UsageError as error:
        if error.code != "ND601":
            raise
        raise UsageError(
            "ND601",
            f"--against '{against}' is no runner, and no file of that name exists",
            help=f"give float, compile, an artifact (.ndp), a recorded run (.npz), or a runner: {error.help}",
        ) from error


def _opened(beside: Runner | None, told: RunnerOptions) -> AbstractContextManager[Runner | None]:
    from ndeploy import runners

    return nullcontext() if beside is None else runners.opened(beside, told)


def _provenance(
    artifact: Path, data: Path, other: Path, limit: int | None, against: str, runner: str
) -> dict[str, Any]:
    """What reproduces the report: names without folders, hashes, the version and the command."""
    from ndeploy import __version__
    from ndeploy.artifact import sha256_of

    command = ["ndeploy", "compare", artifact.name, "--data", data.name]
    command += [] if against == FLOAT else ["--against", Path(against).name]
    command += [] if runner == "sim" else ["--runner", runner]
    command += [] if limit is None else ["--limit", str(limit)]
    files = {"artifact": artifact, "data": data} | ({"reference": other} if other.is_file() else {})
    return {
        "command": " ".join(command),
        **{key: {"name": path.name, "sha256": sha256_of(path)} for key, path in files.items()},
        "toolchain": {"ndeploy": __version__},
    }
