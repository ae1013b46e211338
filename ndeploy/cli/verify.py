"""`ndeploy verify`: two executions that must agree on every value."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options

if TYPE_CHECKING:
    from ndeploy.verify import Verification


def verify_command(
    artifact: options.Artifact,
    data: options.Data,
    against: Annotated[str, typer.Option("--against", help="The runner to check: lava, oracle, ...")] = "lava",
    reference: Annotated[str, typer.Option("--reference", help="The runner it is compared with.")] = "sim",
    limit: options.Limit = None,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    threads: options.Threads = None,
    time_limit: options.TimeLimit = None,
    json: options.Json = False,
) -> None:
    """Compare two runners bit for bit: every population, every step, all state. Exit code 1 on a mismatch."""
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    if against == reference:
        raise typer.BadParameter(f"'{against}' would be compared with itself", param_hint="--against")
    from ndeploy import artifact as artifacts
    from ndeploy import data as samples
    from ndeploy import runners
    from ndeploy.decode import clipped, for_data, stretched
    from ndeploy.verify import verify

    pair = {reference: runners.find(reference), against: runners.find(against)}
    loaded = artifacts.load(artifact)
    given = samples.load(data, limit)
    program = for_data(loaded.program, given.x)
    with console.progress(f"comparing {against} with {reference}") as progress:
        told = runners.RunnerOptions(
            lava_python=lava_python, lava_mode=lava_mode, time_limit=time_limit, threads=threads, progress=progress
        )
        verification = verify(program, given, pair, told)
    for diagnostic in (*stretched(loaded.program, program), *clipped(program, given.x, given.x_scale)):
        guard.show_diagnostic(diagnostic)
    runner = pair[against]
    parts = runner.describe(program, told) if isinstance(runner, runners.Describes) else ()
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
