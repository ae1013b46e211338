"""`ndeploy run`: samples through a compiled program."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options
from ndeploy.printable import printable

if TYPE_CHECKING:
    from ndeploy.adaptive import Adaptive, Saving
    from ndeploy.artifact import Artifact
    from ndeploy.evaluate import Evaluation
    from ndeploy.ir.program import Program
    from ndeploy.ir.result import PowerReading


def run_command(
    artifact: options.Artifact,
    data: options.Data,
    runner: Annotated[str, typer.Option("--runner", help="sim, oracle, board, lava, or what a plugin brings.")] = "sim",
    limit: options.Limit = None,
    batch: options.Batch = 64,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write outputs and predictions (.npz).")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Also write every message and state variable.")] = False,
    stop_certainty: Annotated[
        float | None,
        typer.Option("--stop-certainty", help="End a sample at the first tick that is this certain, 0 to 1."),
    ] = None,
    board: options.Board = None,
    lava_python: options.LavaPython = None,
    lava_mode: options.LavaMode = "native",
    threads: options.Threads = None,
    time_limit: options.TimeLimit = None,
    json: options.Json = False,
) -> None:
    """Run samples and count: accuracy, synaptic operations, neuron updates, spikes."""
    options.choice("--lava-mode", lava_mode, ("native", "fused"))
    if board is not None and runner != "board":
        raise typer.BadParameter("is for --runner board", param_hint="--board")
    if trace and output is None:
        raise typer.BadParameter("needs --output to write to", param_hint="--trace")
    if stop_certainty is not None and not 0 <= stop_certainty <= 1:  # false for NaN too
        raise typer.BadParameter(f"{stop_certainty} is no certainty from 0 to 1", param_hint="--stop-certainty")
    if stop_certainty is not None and trace:
        raise typer.BadParameter("records whole runs; leave out --stop-certainty", param_hint="--trace")
    options.apart({"--output": output}, {"ARTIFACT": artifact, "--data": data})
    from ndeploy import adaptive, atomic, runners
    from ndeploy import artifact as artifacts
    from ndeploy import data as samples
    from ndeploy.board.flaky import faults_of
    from ndeploy.decode import clipped, for_data, stretched
    from ndeploy.evaluate import beyond_classes, evaluate

    if output is not None:
        atomic.check_writable(output)
    chosen = runners.find(runner)
    loaded = artifacts.load(artifact)
    with console.progress(f"running on {runner}") as progress:
        told = runners.RunnerOptions(
            lava_python=lava_python,
            lava_mode=lava_mode,
            time_limit=time_limit,
            threads=threads,
            progress=progress,
            board=board,
        )
        given = samples.load(data, limit)
        program = for_data(loaded.program, given.x)
        early, saving = None, None
        with runners.opened(chosen, told) as held:
            if stop_certainty is None:
                evaluation = evaluate(program, given, held, told, batch=batch, trace=trace)
            else:
                early = adaptive.run(program, given, held, told, stop_certainty, batch=batch)
                evaluation = early.spent
                saving = _saving(loaded, program, early)
            faults = faults_of(held)
    told_of = *stretched(loaded.program, program), *clipped(program, given.x, given.x_scale)
    for diagnostic in (*told_of, *beyond_classes(program, given.y)):
        guard.show_diagnostic(diagnostic)
    for line in faults.lines():
        guard.say(printable(line))
    if output is not None:
        _write(output, program, evaluation, trace, early, runner)
    if json:
        found = fields(program, evaluation, runner, output) | {"retried": dict(faults.by_code)}
        if early is not None and saving is not None:
            found |= adaptive_fields(program, early, saving)
        console.emit("run", found)
    else:
        from ndeploy.report.run import report

        console.show(*report(program, evaluation, runner, given.y, early, saving))
        if output is not None:
            console.show(f"[dim]wrote[/dim] {output}")


def _saving(loaded: Artifact, program: Program, early: Adaptive) -> Saving:
    """What stopping early saved, priced where the artifact's target is known here and has prices."""
    from ndeploy import adaptive, plugins

    name = str(loaded.meta.get("target", ""))
    target = plugins.targets().get(name)
    return adaptive.saving(program, target, early)


def _write(
    path: Path, program: Program, evaluation: Evaluation, trace: bool, early: Adaptive | None, runner: str
) -> None:
    """The .npz of `--output`: output (the first port's), output/<population> of the others, predictions, traces.

    Of samples that ended early: outputs of all ticks, and ticks, how many each took.
    """
    import numpy as np

    from ndeploy import atomic

    result = evaluation.result
    first = program.outputs[0].population
    arrays: dict[str, Any] = {"output": result.outputs[first]}
    arrays.update({f"output/{name}": value for name, value in result.outputs.items() if name != first})
    if result.predictions is not None:
        arrays["predictions"] = result.predictions
    if early is not None:
        arrays["ticks"] = early.ticks
    if trace:
        arrays.update(result.traces)
        # `ndeploy compare --against TRACE.npz` says whose trace it is
        arrays["runner"] = np.frombuffer(runner.encode(), dtype=np.uint8)
    with atomic.writing(path) as file:
        np.savez_compressed(file, **arrays)


def fields(program: Program, evaluation: Evaluation, runner: str, output: Path | None) -> dict[str, Any]:
    """The object of `--json`; event counts are means a sample."""
    from ndeploy.evaluate import certain_ticks, mean_per_sample

    certain = certain_ticks(program, evaluation)
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
        "power": None if result.power is None else power_fields(result.power),
        "certain_ticks_mean": None if certain is None else float(certain.mean()),
        "output": None if output is None else str(output),
    }


def power_fields(power: PowerReading) -> dict[str, Any]:
    """A meter's reading as plain data, J and s."""
    return {**asdict(power), "joules_per_sample": power.joules_per_sample}


def adaptive_fields(program: Program, early: Adaptive, saving: Saving) -> dict[str, Any]:
    """What `--stop-certainty` adds to the object of `--json`. Every other count is of what was spent.

    ticks: samples that took 1, 2, ... steps. saved: shares of the whole run. all_ticks: the whole run, answered at the
    most certain tick.
    """
    import numpy as np

    from ndeploy import adaptive
    from ndeploy.evaluate import mean_per_sample

    full = early.full
    return {
        "stop_certainty": early.least,
        "ticks_mean": float(early.ticks.mean()),
        "ticks": np.bincount(early.ticks, minlength=program.steps + 1)[1:].tolist(),
        "chip_steps": saving.chip_steps,
        "saved": {
            **{kind: early.saved(kind) for kind in adaptive.KINDS},
            "chip_steps": saving.chip_steps_saved,
            "energy": saving.energy_saved,
        },
        "energy_target": saving.target,
        "all_ticks": {
            "accuracy": full.accuracy,
            "sequence_accuracy": full.sequence_accuracy,
            "chip_steps": full.result.chip_steps,
            **{kind: mean_per_sample(getattr(full.result.counts, kind)) for kind in adaptive.KINDS},
        },
    }
