"""`ndeploy quantize`: what bits buy: the widths of one program and why, or the frontier of accuracy against memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import budgets, console, guard, options, searching
from ndeploy.cli.compile import complete_target, default_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndeploy.data import Data
    from ndeploy.ir.diagnostic import Diagnostic
    from ndeploy.pipeline import CompileOptions
    from ndeploy.report.frontier import Frontier
    from ndeploy.search.explanation import Explanation

BUDGETS = "2,2.5,3,4,6,8"
MOST_BUDGETS = 64


@dataclass(frozen=True, eq=False)
class Result:
    """What the command has found. accuracy, float_accuracy: on --data, of whole sequences where the answer is one;
    labelled: against labels, else agreement with the float network; frontier: None where none was asked for."""

    explanation: Explanation
    diagnostics: tuple[Diagnostic, ...]
    samples: int
    accuracy: float | None
    float_accuracy: float | None
    labelled: bool
    frontier: Frontier | None = None


def quantize_command(
    model: Annotated[Path, typer.Argument(help="A trained network: .nir, lava-dl .net, or a checkpoint.")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="The chip; see `ndeploy targets`.", autocompletion=complete_target)
    ],
    data: options.Data,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Samples to search on (.npz with x and y). Default: --data.")
    ] = None,
    frontier: Annotated[
        bool, typer.Option("--frontier", help="A program for each of --budgets, and uniform ones beside them.")
    ] = False,
    mean_bits: Annotated[
        str | None,
        typer.Option("--budgets", metavar="B,B,...", help=f"Mean weight bits of --frontier. Default: {BUDGETS}."),
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw the frontier into this file.")] = None,
    steps: budgets.Steps = None,
    set_: options.Set = None,
    method: budgets.Method = None,
    bit_budget: budgets.BitBudget = None,
    memory_budget: budgets.MemoryBudget = None,
    spike_bits: budgets.SpikeBits = None,
    ops_budget: budgets.OpsBudget = None,
    energy_budget: budgets.EnergyBudget = None,
    accuracy_budget: Annotated[
        str | None,
        typer.Option("--accuracy-budget", metavar="POINTS", help="Points that may be lost to make the cost small."),
    ] = None,
    activation_bits: budgets.ActivationBits = None,
    seed: budgets.Seed = 0,
    workers: budgets.Workers = "1",
    journal: budgets.Journal = None,
    json: options.Json = False,
) -> None:
    """Say what bits buy: the best widths within a budget and why, or the frontier of accuracy against memory."""
    given = budgets.Given(bit_budget, memory_budget, spike_bits, ops_budget, energy_budget, accuracy_budget)
    budgets.consistent(given, method, None, activation_bits)
    drawn = _check_frontier(frontier, mean_bits, svg, steps, method, given)
    settings = options.settings(set_)
    kept = journal if journal is not None else budgets.journal_beside(default_output(model, target))
    inputs = {"MODEL": model, "--data": data, "--calibration": calibration}
    options.apart({"--svg": svg, "--journal": kept}, inputs)
    budget = given.budget()
    asked_steps, auto_steps = budgets.steps(steps, given)
    from ndeploy import atomic, plugins
    from ndeploy import data as samples
    from ndeploy.pipeline import CompileOptions

    plugins.target(target)
    chosen = budgets.SEARCHING if frontier else budgets.chosen_method(method, given)
    if svg is not None:
        atomic.check_writable(svg)
    asked = CompileOptions(
        target=target,
        steps=asked_steps,
        auto_steps=auto_steps,
        method=chosen,
        settings=settings,
        calibration=data if calibration is None else calibration,
        activation_bits=activation_bits,
        budget=budget,
        search=searching.search(chosen, False, seed, workers, journal, kept),
    )
    evaluated = samples.load(data)
    with searching.keeping(asked.search.journal), console.progress(f"quantising {model.name}") as progress:
        if drawn:
            found = _frontier(model, asked, drawn, evaluated, progress)
        else:
            found = _one(model, asked, evaluated, progress)
        if svg is not None and found.frontier is not None:
            from ndeploy.report import picture

            progress("drawing")
            atomic.write(svg, picture.svg(found.frontier))
    told = (*_same_data(data, calibration), *found.diagnostics)
    for diagnostic in told:
        guard.show_diagnostic(diagnostic)
    if json:
        source = {"model": str(model), "target": target, "data": str(data)}
        source["calibration"] = str(data if calibration is None else calibration)
        made = {"svg": None if svg is None else str(svg), "diagnostics": [asdict(diagnostic) for diagnostic in told]}
        console.emit("quantize", {**source, **fields(found), **made})
    else:
        console.show(*_report(found))


def _check_frontier(
    frontier: bool, mean_bits: str | None, svg: Path | None, steps: str | None, method: str | None, given: budgets.Given
) -> tuple[float, ...]:
    """Budgets to draw, none without --frontier. A usage error (exit 2) for options that belong to the other kind."""
    if not frontier:
        for option, value in (("--budgets", mean_bits), ("--svg", svg)):
            if value is not None:
                raise typer.BadParameter("needs --frontier", param_hint=option)
        if not given.options and method is None:
            raise typer.BadParameter("give a budget such as 3.5, or --frontier", param_hint="--bit-budget")
        return ()
    for option in given.options:
        raise typer.BadParameter("is for one program; a frontier has --budgets", param_hint=option)
    if method not in (None, budgets.SEARCHING):
        raise typer.BadParameter(f"--frontier compares {budgets.SEARCHING} with uniform", param_hint="--method")
    if steps is not None and steps.strip().startswith("auto"):
        raise typer.BadParameter("auto is for one program, not for --frontier", param_hint="--steps")
    return _mean_bits(BUDGETS if mean_bits is None else mean_bits)


def _mean_bits(text: str) -> tuple[float, ...]:
    """--budgets, in rising order. A usage error (exit 2) for what is no list of bits, each once."""
    from ndeploy.budget import mean_bits

    parts = text.split(",")
    if len(parts) > MOST_BUDGETS:
        raise typer.BadParameter(f"{len(parts)} budgets, at most {MOST_BUDGETS}", param_hint="--budgets")
    found = [mean_bits(part, "--budgets") for part in parts]
    if len(set(found)) != len(found):
        raise typer.BadParameter(f"'{text}' names a budget twice", param_hint="--budgets")
    return tuple(sorted(found))


def _one(model: Path, asked: CompileOptions, data: Data, progress: Callable[[str], None]) -> Result:
    """The program within the budgets, and how it does on the data."""
    from ndeploy.errors import UsageError
    from ndeploy.pipeline import compile_model
    from ndeploy.search.score import reference, score

    compiled = compile_model(model, asked, progress)
    if compiled.explanation is None:
        raise UsageError(
            "ND205",
            f"method '{asked.method}' chooses no widths, so there is nothing to explain",
            help="give --method bit-budget, or compile the model with `ndeploy compile`",
        )
    progress("running --data")
    wanted = reference(compiled.network, data)
    accuracy = score(compiled.program, data, wanted).accuracy
    return Result(compiled.explanation, compiled.diagnostics, len(data), accuracy, wanted.accuracy, wanted.labelled)


def _frontier(
    model: Path, asked: CompileOptions, drawn: tuple[float, ...], data: Data, progress: Callable[[str], None]
) -> Result:
    """A point for every budget and the uniform ones, all run on the data."""
    from ndeploy.pipeline import quantisation_request
    from ndeploy.report.frontier import Frontier
    from ndeploy.search.score import reference
    from ndeploy.search.search import frontier

    request, told = quantisation_request(model, asked, progress)
    quantised = frontier(request, drawn, progress, data)
    if quantised.explanation is None or request.network is None:
        raise TypeError("a frontier comes with its explanation")
    wanted = reference(request.network, data)
    explanation = quantised.explanation
    whole = wanted.labels is not None and wanted.labels.ndim > 1
    drawing = Frontier(
        request.name,
        asked.target,
        explanation.frontier,
        explanation.float_accuracy,
        wanted.accuracy,
        whole,
        explanation.labels == "labels",
        wanted.labelled,
    )
    diagnostics = (*told, *quantised.diagnostics)
    return Result(explanation, diagnostics, len(data), None, wanted.accuracy, wanted.labelled, drawing)


def _same_data(data: Path, calibration: Path | None) -> tuple[Diagnostic, ...]:
    """A warning where the data that judge are those that were searched on."""
    from ndeploy.ir.diagnostic import Diagnostic

    if calibration is not None and calibration.resolve() != data.resolve():
        return ()
    message = f"'{data}' serves for calibration and for evaluation: accuracies on it are better than on other data"
    return (Diagnostic("ND508", message, "give samples to search on with --calibration"),)


def fields(found: Result) -> dict[str, Any]:
    """The object of `--json` but for the files' names."""
    from ndeploy.report import frontier
    from ndeploy.report.layers import kept

    drawn = found.frontier
    return {
        "notes": list(found.explanation.notes),
        "method": found.explanation.method,
        "samples": found.samples,
        "accuracy": found.accuracy,
        "float_accuracy": found.float_accuracy,
        "labels": "labels" if found.labelled else "float model",
        "weight_bits_mean": found.explanation.mean_bits,
        "weight_memory_bytes": found.explanation.memory_bytes,
        "quantisation": kept(found.explanation),
        "frontier": None if drawn is None else frontier.fields(drawn),
    }


def _report(found: Result) -> list[Any]:
    from ndeploy.report import frontier, layers, style

    if found.frontier is not None:
        return [frontier.table(found.frontier), *(style.plain(note) for note in found.explanation.notes)]
    what = "accuracy" if found.labelled else "agreement with the float network"
    original = f" (float {style.percent(found.float_accuracy)})" if found.labelled else ""
    line = {f"{what} on --data": f"{style.percent(found.accuracy)}{original}, {style.many(found.samples, 'sample')}"}
    return [*layers.report(layers.kept(found.explanation), found.explanation.notes), "", style.facts(line)]
