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
MODES = ("auto", "pipelined", "fall-through")


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
    bits: Annotated[int, typer.Option("--bits", min=2, max=8, help="Bits of a weight.")] = 8,
    set_: options.Set = None,
    mode: Annotated[str, typer.Option("--mode", help="auto, pipelined or fall-through.")] = "auto",
    attention: Annotated[str, typer.Option("--attention", help="parallel, streamed or embedded.")] = "parallel",
    emit_nir: Annotated[Path | None, typer.Option("--emit-nir", help="Also write the network as a NIR graph.")] = None,
    json: options.Json = False,
) -> None:
    """Compile a trained network to an integer program for TARGET."""
    options.choice("--mode", mode, MODES)
    options.choice("--attention", attention, ATTENTION)
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
        },
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
        "settings": made.meta["settings"],
        "diagnostics": made.meta["diagnostics"],
        "emitted_nir": None if emit_nir is None else str(emit_nir),
        "sha256": digest,
    }
