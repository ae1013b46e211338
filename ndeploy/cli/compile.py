"""`ndeploy compile`: a trained network becomes an integer program for a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, guard, options

if TYPE_CHECKING:
    from ndeploy.artifact import Artifact
    from ndeploy.pipeline import Compiled, CompileOptions

ATTENTION = ("parallel", "streamed", "embedded")
CODINGS = ("none", "sigma-delta")
MODES = ("auto", "pipelined", "fall-through")
BUDGET = 0.5
"""Points of accuracy that the automatic threshold may lose."""


def _complete_target(incomplete: str) -> list[str]:
    from ndeploy import plugins

    return [name for name in plugins.targets() if name.startswith(incomplete)]


def compile_command(
    model: Annotated[Path, typer.Argument(help="A trained network: .nir, lava-dl .net, or a checkpoint.")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="The chip; see `ndeploy targets`.", autocompletion=_complete_target)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL.TARGET.ndp in this folder.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Model steps a sample.")] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Samples that show the ranges (.npz with x).")
    ] = None,
    bits: Annotated[int, typer.Option("--bits", min=2, max=16, help="Bits of a weight.")] = 8,
    activation_bits: Annotated[
        int | None, typer.Option("--activation-bits", min=2, max=16, help="Bits of a graded message.")
    ] = None,
    set_: options.Set = None,
    mode: Annotated[str, typer.Option("--mode", help="auto, pipelined or fall-through.")] = "auto",
    attention: Annotated[str, typer.Option("--attention", help="parallel, streamed or embedded.")] = "parallel",
    coding: Annotated[
        str, typer.Option("--coding", help="none or sigma-delta: send a neuron's changes, not its values.")
    ] = "none",
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", metavar="X|auto", help="Least change sent, a share of the largest: 0.03125."),
    ] = None,
    accuracy_budget: Annotated[
        float | None,
        typer.Option("--accuracy-budget", metavar="POINTS", help="What --threshold auto may lose. Default: 0.5."),
    ] = None,
    emit_nir: Annotated[Path | None, typer.Option("--emit-nir", help="Also write the network as a NIR graph.")] = None,
    json: options.Json = False,
) -> None:
    """Compile a trained network to an integer program for TARGET."""
    options.choice("--mode", mode, MODES)
    options.choice("--attention", attention, ATTENTION)
    options.choice("--coding", coding, CODINGS)
    _check_coding(coding, threshold, accuracy_budget, calibration)
    settings = options.settings(set_)
    path = output if output is not None else default_output(model, target)
    options.apart({"--output": path, "--emit-nir": emit_nir}, {"MODEL": model, "--calibration": calibration})
    from ndeploy import artifact, atomic, plugins
    from ndeploy.graph.write import nir_bytes
    from ndeploy.pipeline import CompileOptions, compile_model

    plugins.target(target)
    for file in (path, emit_nir):
        if file is not None:
            atomic.check_writable(file)
    asked = CompileOptions(
        target=target,
        steps=steps,
        bits=bits,
        settings=settings,
        attention=attention,
        mode=mode,
        calibration=calibration,
        coding=coding,
        threshold="auto" if threshold is None else threshold,
        accuracy_budget=BUDGET if accuracy_budget is None else accuracy_budget,
        activation_bits=activation_bits,
    )
    with console.progress(f"compiling {model.name}") as progress:
        compiled = compile_model(model, asked, progress)
        progress("writing")
        network = nir_bytes(compiled.network)
        made = make_artifact(model, asked, compiled, network)
        digest = artifact.save(made, path)
        if emit_nir is not None:
            atomic.write(emit_nir, network)
    for diagnostic in compiled.diagnostics:
        guard.show_diagnostic(diagnostic)
    if json:
        console.emit("compile", fields(path, digest, made, emit_nir))
    else:
        from ndeploy.report.compiled import report

        console.show(*report(path, digest, made))


def _check_coding(coding: str, threshold: str | None, budget: float | None, calibration: Path | None) -> None:
    """A usage error (exit 2) for a threshold or budget that is none, or that nothing would read."""
    auto = threshold in (None, "auto")
    if coding == "none":
        for option, value in (("--threshold", threshold), ("--accuracy-budget", budget)):
            if value is not None:
                raise typer.BadParameter("needs --coding sigma-delta", param_hint=option)
        return
    if not auto and not _is_share(str(threshold)):
        raise typer.BadParameter(f"'{threshold}' is neither auto nor a number from 0 to 1", param_hint="--threshold")
    if budget is not None and not auto:
        raise typer.BadParameter("is for --threshold auto; this threshold is given", param_hint="--accuracy-budget")
    if budget is not None and not 0 <= budget <= 100:  # false for NaN too
        raise typer.BadParameter(f"{budget} points of accuracy is not from 0 to 100", param_hint="--accuracy-budget")
    if auto and calibration is None:
        from ndeploy.errors import UsageError

        raise UsageError(
            "ND305",
            "--threshold auto compares accuracies on calibration data, and there are none",
            help="give --calibration with x and y, or a threshold such as --threshold 0.03125",
        )


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) < 1
    except ValueError:
        return False


def default_output(model: Path, target: str) -> Path:
    """MODEL.TARGET.ndp in the current folder; of the model's name all known suffixes go ("checkpoint.pth.tar")."""
    stem = model.name
    for suffix in (".tar", ".pth", ".pt", ".nir", ".net", ".onnx", ".h5", ".hdf5"):
        stem = stem.removesuffix(suffix)
    return Path(f"{stem or 'model'}.{target}.ndp")


def make_artifact(model: Path, asked: CompileOptions, compiled: Compiled, network: bytes) -> Artifact:
    """The artifact with its provenance: no path, no date, nothing of this machine but its tools' versions."""
    from dataclasses import asdict
    from importlib.metadata import version

    from ndeploy import __version__
    from ndeploy.artifact import Artifact, sha256_of

    coded = asked.coding != "none"
    calibration = None
    if asked.calibration is not None:
        calibration = {"name": asked.calibration.name, "sha256": sha256_of(asked.calibration)}
    meta: dict[str, Any] = {
        "target": compiled.target.name,
        "source": {"name": model.name, "sha256": sha256_of(model)},
        "calibration": calibration,
        "family": compiled.network.family,
        "settings": compiled.program.meta["settings"],
        "options": {
            "steps": asked.steps,
            "bits": asked.bits,
            "method": asked.method,
            "attention": asked.attention,
            "mode": asked.mode,
            "coding": asked.coding,
            "activation_bits": asked.activation_bits,
            "threshold": asked.threshold if coded else None,
            "accuracy_budget": asked.accuracy_budget if coded else None,
        },
        "coding": compiled.program.meta.get("coding"),
        "diagnostics": [asdict(diagnostic) for diagnostic in compiled.diagnostics],
        "toolchain": {"ndeploy": __version__, **{name: version(name) for name in ("numpy", "nir", "torch")}},
    }
    return Artifact(compiled.program, compiled.placed.summary(), network, meta)


def fields(path: Path, digest: str, made: Artifact, emit_nir: Path | None) -> dict[str, Any]:
    """The object of `--json`."""
    from ndeploy.summary import summarise

    summary = summarise(made.program)
    return {
        "artifact": str(path),
        "target": made.meta["target"],
        "family": made.meta["family"],
        "parameters": summary.parameters,
        "weight_bits_mean": summary.weight_bits_mean,
        "weight_memory_bytes": made.placement["weight_memory_bytes"],
        "neurons": summary.neurons,
        "synapses": summary.synapses,
        "populations": summary.populations,
        "cores": made.placement["cores"],
        "cores_lower_bound": made.placement["cores_lower_bound"],
        "chips": made.placement["chips"],
        "steps": made.program.steps,
        "period": made.program.period,
        "mode": made.program.mode,
        "chip_steps_per_sample": summary.chip_steps_per_sample,
        "embedded_ops": made.placement["embedded_ops"],
        "coding": made.meta.get("coding"),
        "settings": made.meta["settings"],
        "diagnostics": made.meta["diagnostics"],
        "emitted_nir": None if emit_nir is None else str(emit_nir),
        "sha256": digest,
    }
