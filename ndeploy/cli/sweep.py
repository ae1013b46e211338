"""`ndeploy sweep`: one model for every combination of targets, widths and steps, and what each costs."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndeploy.cli import budgets, console, options, searching
from ndeploy.cli.compile import ATTENTION, CODINGS, MODES

if TYPE_CHECKING:
    from ndeploy.report.sweep import Swept
    from ndeploy.sweep_rows import Row
    from ndeploy.target import PriceTable

PLACES = ("cores", "traffic", "latency", "layers")
MOST_VALUES = 64
WIDTHS = (2, 16)
STEPS = (1, 1 << 20)


def sweep_command(
    model: Annotated[Path, typer.Argument(help="A trained network: .nir, lava-dl .net, or a checkpoint.")],
    targets: Annotated[str, typer.Option("--targets", "-t", metavar="T,T,...", help="The chips: loihi1,loihi2.")],
    data: options.Data,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Samples that show the ranges (.npz with x).")
    ] = None,
    bits: Annotated[str, typer.Option("--bits", metavar="B,B,...", help="Bits of every weight.")] = "8",
    steps: Annotated[
        str | None,
        typer.Option("--steps", metavar="T,T,...", help="Model steps a sample. Default: what the file says."),
    ] = None,
    activation_bits: Annotated[
        str | None, typer.Option("--activation-bits", metavar="B,B,...", help="Bits of a graded message.")
    ] = None,
    attention: Annotated[
        str, typer.Option("--attention", metavar="A,A,...", help="parallel, streamed or embedded.")
    ] = "parallel",
    place: Annotated[
        str,
        typer.Option(
            "--place", metavar="P,P,...", help="Objectives of the placement: cores, traffic, latency, layers."
        ),
    ] = "cores",
    method: Annotated[str, typer.Option("--method", help="How weights become integers.")] = budgets.UNIFORM,
    mode: Annotated[str, typer.Option("--mode", help="auto, pipelined or fall-through.")] = "auto",
    coding: Annotated[str, typer.Option("--coding", help="none or sigma-delta.")] = "none",
    prices: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|FILE", help="Prices: each target's own (default), a table, or a file."),
    ] = None,
    allow_unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Show what the priced events sum to where some have no price.")
    ] = False,
    set_: options.Set = None,
    limit: options.Limit = None,
    batch: options.Batch = 64,
    workers: Annotated[
        str,
        typer.Option("--workers", metavar="N|tcp://HOST:PORT", help="Local processes, or a dask scheduler."),
    ] = "1",
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal", "--resume", help="Keeps finished rows until the sweep ends. Default: in this folder."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write everything as one self-contained page.")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw accuracy against cost into this file.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a row for every combination.")] = None,
    json: options.Json = False,
) -> None:
    """Compile a network for every combination and compare accuracy, energy, latency and cores."""
    options.choice("--mode", mode, MODES)
    options.choice("--coding", coding, CODINGS)
    settings = options.settings(set_)
    named = _list("--targets", targets)
    from ndeploy.sweep import Context, cases, sweep

    asked = cases(
        named,
        _numbers("--bits", bits, *WIDTHS),
        (None,) if steps is None else _numbers("--steps", steps, *STEPS),
        (None,) if activation_bits is None else _numbers("--activation-bits", activation_bits, *WIDTHS),
        [options.choice("--attention", word, ATTENTION) for word in _list("--attention", attention)],
        [options.choice("--place", word, PLACES) for word in _list("--place", place)],
    )
    kept = journal if journal is not None else Path(f"{model.name}.sweep.jsonl")
    outputs = {"--html": html, "--svg": svg, "--csv": csv}
    inputs = {"MODEL": model, "--data": data, "--calibration": calibration, "--model": options.file_of(prices)}
    options.apart(outputs | {"--journal": kept}, inputs)
    from ndeploy import atomic
    from ndeploy import data as samples
    from ndeploy.pipeline import CompileOptions
    from ndeploy.report.sweep import Swept

    tables = _tables(named, prices)
    for path in (*outputs.values(), kept):
        if path is not None:
            atomic.check_writable(path)
    base = CompileOptions(method=method, settings=settings, mode=mode, coding=coding, calibration=calibration)
    context = Context(model, samples.load(data, limit), base, tables, batch, allow_unpriced)
    notes: list[str] = []
    with searching.keeping(str(kept)):
        with console.progress(f"sweeping {model.name}") as progress:
            rows = tuple(sweep(context, asked, workers, kept, progress, notes.append))
        again = (("--targets", targets), ("--bits", bits), ("--steps", steps), ("--activation-bits", activation_bits))
        more = (("--attention", attention), ("--place", place), ("--method", method), ("--mode", mode))
        rest = (("--coding", coding), ("--model", _name(prices)), ("--limit", _text(limit)))
        files = (("--data", data.name), ("--calibration", _name(calibration)))
        command = _command(model.name, (*again, *files, *more, *rest), set_)
        swept = Swept(model.name, data.name, rows, command, tuple(notes))
        _write(swept, html, svg, csv)
    with contextlib.suppress(OSError):  # one that stays does no harm: the same sweep takes its rows from it
        kept.unlink(missing_ok=True)
    _refuse(rows)
    if json:
        from ndeploy.report.sweep import fields

        console.emit("sweep", fields(swept) | {name[2:]: path and str(path) for name, path in outputs.items()})
    else:
        from ndeploy.report.sweep import report

        console.show(*report(swept))
        for path in outputs.values():
            if path is not None:
                console.show(f"[dim]wrote[/dim] {path}")
    if not swept.measured:
        raise typer.Exit(1)


def _list(option: str, text: str) -> list[str]:
    """Values between commas. A usage error (exit 2) for none, an empty one, one that stands twice, and too many."""
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise typer.BadParameter(f"'{text}' has an empty value", param_hint=option)
    if len(set(found)) != len(found):
        raise typer.BadParameter(f"'{text}' names a value twice", param_hint=option)
    if len(found) > MOST_VALUES:
        raise typer.BadParameter(f"{len(found)} values, at most {MOST_VALUES}", param_hint=option)
    return found


def _numbers(option: str, text: str, least: int, most: int) -> list[int]:
    """Whole numbers between commas. A usage error (exit 2) for anything else."""
    found = []
    for part in _list(option, text):
        number = int(part) if part.isascii() and part.isdigit() and len(part) < 10 else least - 1
        if not least <= number <= most:
            raise typer.BadParameter(f"'{part}' is no whole number from {least} to {most}", param_hint=option)
        found.append(number)
    if len(set(found)) != len(found):
        raise typer.BadParameter(f"'{text}' names a value twice", param_hint=option)
    return found


def _tables(targets: list[str], prices: str | None) -> dict[str, PriceTable]:
    """Prices by target, none where each target has its own. Raises UsageError ND401 for a target that there is not."""
    from ndeploy import plugins
    from ndeploy.energy.tables import find

    known = {name: plugins.target(name) for name in targets}
    return {} if prices is None else {name: find(prices, target) for name, target in known.items()}


def _name(path: Path | str | None) -> str | None:
    return None if path is None else Path(path).name


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _command(model: str, given: Sequence[tuple[str, str | None]], settings: Sequence[str] | None) -> str:
    """What reproduces the sweep, with the names of files but not where they lay; options at their default left out."""
    defaults = {"--attention": "parallel", "--place": "cores", "--method": budgets.UNIFORM, "--mode": "auto"}
    defaults["--coding"] = "none"
    words = ["ndeploy", "sweep", model]
    for option, value in given:
        if value is not None and defaults.get(option) != value:
            words += [option, value]
    for pair in settings or ():
        words += ["--set", pair]
    return shlex.join(words)


def _write(swept: Swept, html: Path | None, svg: Path | None, csv: Path | None) -> None:
    """The files that were asked for, each whole or not at all. Raises UsageError ND702."""
    from ndeploy import atomic

    if svg is not None:
        from ndeploy.report import sweep_picture

        atomic.write(svg, sweep_picture.svg(swept).encode())
    if csv is not None:
        from ndeploy.report.sweep import csv_text

        atomic.write(csv, csv_text(swept).encode())
    if html is not None:
        from ndeploy.report import sweep_page

        atomic.write(html, sweep_page.page(swept).encode())


def _refuse(rows: Sequence[Row]) -> None:
    """Where every combination met the same fault of the command or its files, that is the error. Raises UsageError."""
    from ndeploy.errors import UsageError

    refusals = [row.refusal for row in rows]
    first = refusals[0]
    if first is None or first.exit_code != UsageError.exit_code:
        return
    if all(r is not None and (r.code, r.message) == (first.code, first.message) for r in refusals):
        raise UsageError(first.code, first.message, help=first.help)
