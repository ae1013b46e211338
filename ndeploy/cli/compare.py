"""`ndeploy compare`: where two executions of a network part, and which single difference explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options

if TYPE_CHECKING:
    from ndeploy.artifact import Artifact
    from ndeploy.data import Data
    from ndeploy.divergence.compare import Comparison
    from ndeploy.divergence.engines import Engine
    from ndeploy.divergence.sides import Side
    from ndeploy.ir.program import Program
    from ndeploy.runners import RunnerOptions

FLOAT = "float"


def compare_command(
    artifact: options.Artifact,
    data: options.Data,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="float|RUNNER|ARTIFACT|TRACE.npz",
            help="The float network the artifact keeps, a runner (lava, oracle, ...), another artifact, or a trace.",
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
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    threads: options.Threads = None,
    time_limit: options.TimeLimit = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one self-contained page.")] = None,
    json: options.Json = False,
) -> None:
    """Say where a program parts from its reference, how far every layer is off, and which cause explains it.

    Exit code 1: against integers (a runner, an artifact, a recorded run) any difference; against floats an agreement
    below --min-agreement.
    """
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    if min_agreement is not None and not (math.isfinite(min_agreement) and 0 <= min_agreement <= 1):
        raise typer.BadParameter(f"{min_agreement} is no share of 0 to 1", param_hint="--min-agreement")
    if against == runner:
        raise typer.BadParameter(f"'{against}' would be compared with itself", param_hint="--against")
    other = Path(against)
    read = {"ARTIFACT": artifact, "--data": data, "--against": other if other.is_file() else None}
    options.apart({"--html": html}, read)
    from ndeploy import artifact as artifacts
    from ndeploy import atomic, runners
    from ndeploy import data as samples
    from ndeploy.decode import clipped, for_data, stretched
    from ndeploy.divergence import sides
    from ndeploy.divergence.compare import compare, fields

    if html is not None:
        atomic.check_writable(html)
    loaded = artifacts.load(artifact)
    given = samples.load(data, limit)
    program = for_data(loaded.program, given.x)
    with console.progress(f"comparing with {against}") as progress:
        told = runners.RunnerOptions(lava_python, lava_mode, time_limit, threads, progress=progress)
        asked = _Asked(against, other, threads, told)
        reference = _reference(asked, loaded, program, given)
        found = compare(
            program,
            given,
            sides.Executed(program, runners.find(runner), told),
            reference.side,
            against=reference.name,
            engine=reference.engine,
            no_engine=reference.why,
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


@dataclass(frozen=True)
class _Asked:
    """--against as given, and as a path; options of runners."""

    against: str
    path: Path
    threads: int | None
    told: RunnerOptions


@dataclass(frozen=True, eq=False)
class _Reference:
    """The other side; engine: None where causes cannot be told apart, `why` says so."""

    name: str
    side: Side
    engine: Engine | None = None
    why: str = ""


def _reference(asked: _Asked, loaded: Artifact, program: Program, data: Data) -> _Reference:
    from ndeploy import artifact as artifacts
    from ndeploy import runners
    from ndeploy.divergence import sides

    if asked.against == FLOAT:
        return _float_network(loaded, program)
    if artifacts.is_artifact(asked.path):
        return _artifact(asked, program, data)
    if asked.path.is_file() or asked.against.endswith(".npz"):
        why = (
            "a trace holds what was computed, not with which numbers: compare the artifact with float, or with another"
        )
        return _Reference(f"the trace {asked.path.name}", sides.recorded(asked.path, program, data), None, why)
    runner = runners.find(asked.against)
    why = (
        f"{asked.against} runs the same numbers: what differs is how it computes; `ndeploy verify` compares every state"
    )
    return _Reference(asked.against, sides.Executed(program, runner, asked.told), None, why)


def _float_network(loaded: Artifact, program: Program) -> _Reference:
    from ndeploy.divergence import exact, sides
    from ndeploy.divergence.engines import FloatEngine

    network = exact.read(loaded.network)
    numbers, why = exact.beside(network, program, loaded.meta)
    if numbers is None:
        return _Reference("the float network", sides.Floats(network, program), None, why)
    engine = FloatEngine(program, numbers)
    return _Reference("the float network", sides.Mended(engine), engine)


def _artifact(asked: _Asked, program: Program, data: Data) -> _Reference:
    from ndeploy import artifact as artifacts
    from ndeploy.decode import for_data
    from ndeploy.divergence import engines, sides
    from ndeploy.errors import UsageError

    other = for_data(artifacts.load(asked.path).program, data.x)
    why = engines.why_not(program, other)
    engine = None if why else engines.ProgramEngine(program, other, asked.threads)
    if why:
        why += ": compare each of them with float"
    if why and program.steps != other.steps:
        raise UsageError(
            "ND650",
            f"the artifacts have {program.steps} and {other.steps} model steps: no step of one is a step of the other",
            help="compile both with the same --steps",
        )
    return _Reference(asked.path.name, sides.plain_simulator(other, asked.threads), engine, why)


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
