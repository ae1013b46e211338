"""`ndeploy energy`: exact counts, priced with one cited table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndeploy.cli import console, options

if TYPE_CHECKING:
    from ndeploy.energy import EnergyReport
    from ndeploy.evaluate import Evaluation


def energy_command(
    artifact: options.Artifact,
    data: options.Data,
    limit: options.Limit = None,
    batch: options.Batch = 64,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Estimate a sample's energy and latency, roughly: exact event counts times published prices."""
    from ndeploy import artifact as artifacts
    from ndeploy import data as samples
    from ndeploy import plugins, runners
    from ndeploy.decode import for_data
    from ndeploy.energy import estimate
    from ndeploy.evaluate import evaluate
    from ndeploy.place import place

    loaded = artifacts.load(artifact)
    target = plugins.target(str(loaded.meta.get("target", "")))
    with console.progress("counting on sim") as progress:
        told = runners.RunnerOptions(threads=threads, progress=progress)
        given = samples.load(data, limit)
        program = for_data(loaded.program, given.x)
        evaluation = evaluate(program, given, runners.find("sim"), told, batch=batch)
    # placing is deterministic: this is the placement that the artifact's summary describes
    report = estimate(program, place(program, target), target, evaluation.result.counts)
    if json:
        console.emit("energy", fields(report, evaluation))
    else:
        from ndeploy.report.energy import report as text

        console.show(*text(report, evaluation.samples))


def fields(report: EnergyReport, evaluation: Evaluation) -> dict[str, Any]:
    """The object of `--json`: per sample, averaged over the samples run."""
    return {"samples": evaluation.samples, **report.to_json()}
