"""`ndeploy compile`: a trained network becomes an integer program for a target."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import budgets, console, guard, options, searching

if TYPE_CHECKING:
    from ndeploy.artifact import Artifact
    from ndeploy.pipeline import Compiled, CompileOptions

ATTENTION = ("parallel", "streamed", "embedded")
CODINGS = ("none", "sigma-delta")
MODES = ("auto", "pipelined", "fall-through")
PLACES = ("cores", "traffic", "latency", "layers")
BUDGET = 0.5
"""Points of accuracy that the automatic threshold may lose."""


def complete_target(incomplete: str) -> list[str]:
    """Names of targets that begin so, for the shell."""
    from ndeploy import plugins

    return [name for name in plugins.targets() if name.startswith(incomplete)]


def compile_command(
    model: Annotated[Path, typer.Argument(help="A trained network: .nir, lava-dl .net, or a checkpoint.")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="The chip; see `ndeploy targets`.", autocompletion=complete_target)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL.TARGET.ndp in this folder.")
    ] = None,
    steps: budgets.Steps = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Samples that show the ranges (.npz with x).")
    ] = None,
    bits: budgets.Bits = None,
    activation_bits: budgets.ActivationBits = None,
    method: budgets.Method = None,
    bit_budget: budgets.BitBudget = None,
    memory_budget: budgets.MemoryBudget = None,
    spike_bits: budgets.SpikeBits = None,
    ops_budget: budgets.OpsBudget = None,
    energy_budget: budgets.EnergyBudget = None,
    accuracy_budget: Annotated[
        str | None,
        typer.Option(
            "--accuracy-budget",
            metavar="POINTS",
            help="Points that may be lost to make the cost small; with --coding sigma-delta, what --threshold auto may "
            "lose (default: 0.5).",
        ),
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option("--finetune", help="Samples with labels to train the integers on (.npz with x and y)."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the samples of --finetune.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Learning rate of --finetune.")] = None,
    seed: budgets.Seed = 0,
    workers: budgets.Workers = "1",
    journal: budgets.Journal = None,
    set_: options.Set = None,
    mode: Annotated[str, typer.Option("--mode", help="auto, pipelined or fall-through.")] = "auto",
    attention: Annotated[str, typer.Option("--attention", help="parallel, streamed or embedded.")] = "parallel",
    place: Annotated[
        str,
        typer.Option(
            "--place",
            help="cores: the fewest. traffic: the least way of spikes, latency: balanced time, by the rates of "
            "--calibration. layers: none shares a core with another.",
        ),
    ] = "cores",
    coding: Annotated[
        str, typer.Option("--coding", help="none or sigma-delta: send a neuron's changes, not its values.")
    ] = "none",
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", metavar="X|auto", help="Least change sent, a share of the largest: 0.03125."),
    ] = None,
    emit_nir: Annotated[Path | None, typer.Option("--emit-nir", help="Also write the network as a NIR graph.")] = None,
    json: options.Json = False,
) -> None:
    """Compile a trained network to an integer program for TARGET."""
    options.choice("--mode", mode, MODES)
    options.choice("--attention", attention, ATTENTION)
    options.choice("--coding", coding, CODINGS)
    options.choice("--place", place, PLACES)
    coded = coding != "none"
    given = budgets.Given(
        bit_budget, memory_budget, spike_bits, ops_budget, energy_budget, None if coded else accuracy_budget
    )
    budgets.consistent(given, method, bits, activation_bits)
    points = _check_coding(coding, threshold, accuracy_budget if coded else None, calibration)
    searching.check_finetune(finetune, epochs, rate)
    settings = options.settings(set_)
    path = output if output is not None else default_output(model, target)
    kept = journal if journal is not None else budgets.journal_beside(path)
    inputs = {"MODEL": model, "--calibration": calibration, "--finetune": finetune}
    options.apart({"--output": path, "--emit-nir": emit_nir, "--journal": kept}, inputs)
    budget = given.budget()
    asked_steps, auto_steps = budgets.steps(steps, given)
    from ndeploy import artifact, atomic, plugins
    from ndeploy.graph.write import nir_bytes
    from ndeploy.pipeline import CompileOptions, compile_model

    plugins.target(target)
    chosen = budgets.chosen_method(method, given)
    search = searching.search(chosen, finetune is not None, seed, workers, journal, kept)
    for file in (path, emit_nir):
        if file is not None:
            atomic.check_writable(file)
    told = () if finetune is None else searching.without_labels(finetune)
    asked = CompileOptions(
        target=target,
        steps=asked_steps,
        auto_steps=auto_steps,
        bits=budgets.BITS if bits is None else bits,
        method=chosen,
        settings=settings,
        attention=attention,
        mode=mode,
        calibration=calibration,
        coding=coding,
        threshold="auto" if threshold is None else threshold,
        accuracy_budget=points,
        activation_bits=activation_bits,
        budget=budget,
        search=search,
        finetune=finetune,
        epochs=searching.EPOCHS if epochs is None and finetune is not None else epochs or 0,
        rate=rate,
        place=place,
    )
    with searching.keeping(search.journal), console.progress(f"compiling {model.name}") as progress:
        compiled = compile_model(model, asked, progress)
        compiled = replace(compiled, diagnostics=told + compiled.diagnostics)
        progress("writing")
        network = nir_bytes(compiled.network)
        made = make_artifact(model, asked, compiled, network)
        digest = artifact.save(made, path)
        if emit_nir is not None:
            atomic.write(emit_nir, network)
    notes = () if compiled.explanation is None else compiled.explanation.notes
    for diagnostic in compiled.diagnostics:
        guard.show_diagnostic(diagnostic)
    if json:
        console.emit("compile", fields(path, digest, made, emit_nir) | {"notes": list(notes)})
    else:
        from ndeploy.report.compiled import report

        console.show(*report(path, digest, made, notes))


def _check_coding(coding: str, threshold: str | None, budget: str | None, calibration: Path | None) -> float:
    """Points of accuracy that --threshold auto may lose. A usage error (exit 2) for a threshold or budget that is none,
    or that nothing would read."""
    auto = threshold in (None, "auto")
    if coding == "none":
        if threshold is not None:
            raise typer.BadParameter("needs --coding sigma-delta", param_hint="--threshold")
        return BUDGET
    if not auto and not _is_share(str(threshold)):
        raise typer.BadParameter(f"'{threshold}' is neither auto nor a number from 0 to 1", param_hint="--threshold")
    if budget is not None and not auto:
        raise typer.BadParameter("is for --threshold auto; this threshold is given", param_hint="--accuracy-budget")
    from ndeploy.budget import points

    lost = BUDGET if budget is None else points(budget)
    if auto and calibration is None:
        from ndeploy.errors import UsageError

        raise UsageError(
            "ND305",
            "--threshold auto compares accuracies on calibration data, and there are none",
            help="give --calibration with x and y, or a threshold such as --threshold 0.03125",
        )
    return lost


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
    from importlib.metadata import version

    from ndeploy import __version__
    from ndeploy.artifact import Artifact, sha256_of
    from ndeploy.place.record import record
    from ndeploy.report.layers import kept

    coded = asked.coding != "none"
    files = {
        name: None if path is None else {"name": path.name, "sha256": sha256_of(path)}
        for name, path in (("calibration", asked.calibration), ("finetune", asked.finetune))
    }
    meta: dict[str, Any] = {
        "target": compiled.target.name,
        "source": {"name": model.name, "sha256": sha256_of(model)},
        **files,
        "family": compiled.network.family,
        "settings": compiled.program.meta["settings"],
        "options": {
            "steps": asked.steps,
            "auto_steps": asked.auto_steps,
            "bits": asked.bits,
            "method": asked.method,
            "attention": asked.attention,
            "mode": asked.mode,
            "place": asked.place,
            "coding": asked.coding,
            "activation_bits": asked.activation_bits,
            "threshold": asked.threshold if coded else None,
            "accuracy_budget": asked.accuracy_budget if coded else None,
            "budget": asked.budget.given,
            "seed": asked.search.seed,
            "epochs": asked.epochs,
            "rate": asked.rate,
        },
        "coding": compiled.program.meta.get("coding"),
        "step_choice": compiled.program.meta.get("step_choice"),
        "quantisation": kept(compiled.explanation),
        "diagnostics": [asdict(diagnostic) for diagnostic in compiled.diagnostics],
        "toolchain": {"ndeploy": __version__, **{name: version(name) for name in ("numpy", "nir", "torch")}},
    }
    return Artifact(compiled.program, record(compiled.placed), network, meta)


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
        "step_choice": made.meta.get("step_choice"),
        "quantisation": made.meta.get("quantisation"),
        "settings": made.meta["settings"],
        "diagnostics": made.meta["diagnostics"],
        "emitted_nir": None if emit_nir is None else str(emit_nir),
        "sha256": digest,
    }
