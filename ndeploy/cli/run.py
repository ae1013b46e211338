"""`ndeploy run`: samples through a compiled program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options

if TYPE_CHECKING:
    from ndeploy.evaluate import Evaluation
    from ndeploy.ir.program import Program


def run_command(
    artifact: options.Artifact,
    data: options.Data,
    runner: Annotated[str, typer.Option("--runner", help="sim, oracle, lava, or what a plugin brings.")] = "sim",
    limit: options.Limit = None,
    batch: options.Batch = 64,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write outputs and predictions (.npz).")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Also write every message and state variable.")] = False,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    threads: options.Threads = None,
    time_limit: options.TimeLimit = None,
    json: options.Json = False,
) -> None:
    """Run samples and count: accuracy, synaptic operations, neuron updates, spikes."""
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    if trace and output is None:
        raise typer.BadParameter("needs --output to write to", param_hint="--trace")
    options.apart({"--output": output}, {"ARTIFACT": artifact, "--data": data})
    from ndeploy import artifact as artifacts
    from ndeploy import atomic, runners
    from ndeploy import data as samples
    from ndeploy.decode import clipped, for_data, stretched
    from ndeploy.evaluate import evaluate

    if output is not None:
        atomic.check_writable(output)
    chosen = runners.find(runner)
    loaded = artifacts.load(artifact)
    with console.progress(f"running on {runner}") as progress:
        told = runners.RunnerOptions(
            lava_python=lava_python, lava_mode=lava_mode, time_limit=time_limit, threads=threads, progress=progress
        )
        given = samples.load(data, limit)
        program = for_data(loaded.program, given.x)
        evaluation = evaluate(program, given, chosen, told, batch=batch, trace=trace)
    for diagnostic in (*stretched(loaded.program, program), *clipped(program, given.x, given.x_scale)):
        guard.show_diagnostic(diagnostic)
    if output is not None:
        _write(output, program, evaluation, trace)
    if json:
        console.emit("run", fields(program, evaluation, runner, output))
    else:
        from ndeploy.report.run import report

        console.show(*report(program, evaluation, runner, given.y))
        if output is not None:
            console.show(f"[dim]wrote[/dim] {output}")


def _write(path: Path, program: Program, evaluation: Evaluation, trace: bool) -> None:
    """The .npz of `--output`: output (the first port's), output/<population> of the others, predictions, traces."""
    import numpy as np

    from ndeploy import atomic

    result = evaluation.result
    first = program.outputs[0].population
    arrays: dict[str, Any] = {"output": result.outputs[first]}
    arrays.update({f"output/{name}": value for name, value in result.outputs.items() if name != first})
    if result.predictions is not None:
        arrays["predictions"] = result.predictions
    if trace:
        arrays.update(result.traces)
    with atomic.writing(path) as file:
        np.savez_compressed(file, **arrays)


def fields(program: Program, evaluation: Evaluation, runner: str, output: Path | None) -> dict[str, Any]:
    """The object of `--json`; event counts are means a sample."""
    from ndeploy.evaluate import mean_per_sample

    result, counts = evaluation.result, evaluation.result.counts
    return {
        "runner": runner,
        "samples": evaluation.samples,
        "accuracy": evaluation.accuracy,
        "sequence_accuracy": evaluation.sequence_accuracy,
        "predictions": None if result.predictions is None else result.predictions.tolist(),
        "synaptic_ops": mean_per_sample(counts.synaptic_ops),
        "neuron_updates": mean_per_sample(counts.neuron_updates),
        "spikes": mean_per_sample(counts.spikes),
        "embedded_ops": mean_per_sample(counts.embedded_ops),
        "chip_steps": result.chip_steps,
        "model_steps": program.steps,
        "seconds": result.seconds,
        "samples_per_second": evaluation.samples / result.seconds if result.seconds > 0 else None,
        "overflow": {name: dict(events) for name, events in result.overflow.items()},
        "by_population": {
            name: {
                "spikes": float(value.mean()),
                "neuron_updates": float(counts.neuron_updates[name].mean()) if name in counts.neuron_updates else 0.0,
            }
            for name, value in counts.spikes.items()
        },
        "synaptic_ops_by_projection": {name: float(value.mean()) for name, value in counts.synaptic_ops.items()},
        "output": None if output is None else str(output),
    }
