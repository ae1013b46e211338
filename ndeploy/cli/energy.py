"""`ndeploy energy`: exact counts of a program that is placed, priced with cited tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndeploy.cli import console, energy_board, guard, options

if TYPE_CHECKING:
    from ndeploy.artifact import Artifact
    from ndeploy.energy.measure import Options
    from ndeploy.energy.result import EnergyReport
    from ndeploy.ir.diagnostic import Diagnostic
    from ndeploy.place import Placed
    from ndeploy.target import Target

PLACES = ("compiled", "cores", "traffic", "latency", "layers")
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help="Prices: the target's own (default), a published table (davies2018, sanafe, ...), or a .toml file.",
    ),
]
Artifacts = Annotated[list[Path], typer.Argument(help="Compiled models; several are compared side by side.")]


def energy_command(
    artifacts: Artifacts,
    data: options.Data,
    limit: options.Limit = None,
    batch: options.Batch = 64,
    threads: options.Threads = None,
    model: Model = None,
    place: Annotated[
        str,
        typer.Option(
            "--place",
            help="compiled: as in the artifact. Anew, by the rates of these data: cores, traffic, latency, layers.",
        ),
    ] = "compiled",
    allow_unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Sum what has a price where some of it has none: a lower bound.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one self-contained page.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a row for every layer.")] = None,
    frontier: Annotated[
        Path | None,
        typer.Option("--frontier", help="JSON of `ndeploy quantize --frontier --json`, to show beside the energy."),
    ] = None,
    runner: Annotated[
        str, typer.Option("--runner", help="board: also run on a board with a meter, and hold its reading beside.")
    ] = "sim",
    board: options.Board = None,
    time_limit: options.TimeLimit = None,
    json: options.Json = False,
) -> None:
    """Estimate a sample's energy and latency, with bounds and sources; on a board, beside what its meter shows."""
    options.choice("--place", place, PLACES)
    options.choice("--runner", runner, ("sim", "board"))
    for option, value in (("--board", board), ("--time-limit", time_limit)):
        if value is not None and runner != "board":
            raise typer.BadParameter("is for --runner board", param_hint=option)
    if len(artifacts) > 1 and runner == "board":
        raise typer.BadParameter("takes one artifact to a board", param_hint="--runner")
    outputs = {"--html": html, "--csv": csv}
    inputs: dict[str, Path | None] = {f"ARTIFACT {path}": path for path in artifacts}
    options.apart(outputs, inputs | {"--data": data, "--frontier": frontier, "--model": options.file_of(model)})
    if len(artifacts) > 1 and frontier is not None:
        raise typer.BadParameter("is for one artifact", param_hint="--frontier")
    from ndeploy import atomic
    from ndeploy import data as samples
    from ndeploy.energy.measure import Options
    from ndeploy.energy.tables import find
    from ndeploy.report.frontier_file import load as load_frontier

    for path in outputs.values():
        if path is not None:
            atomic.check_writable(path)
    points = None if frontier is None else load_frontier(frontier)
    loaded = [_load(path) for path in artifacts]
    tables = [find(model, target) if model else None for _, target in loaded]
    given = samples.load(data, limit)
    found = []
    with console.progress("counting on sim") as progress:
        for path, (artifact, target), table in zip(artifacts, loaded, tables, strict=True):
            asked = Options(
                objective=None if place == "compiled" else place,
                table=table,
                allow_unpriced=allow_unpriced,
                batch=batch,
                threads=threads,
                provenance=_provenance(path, data, limit, place, model, allow_unpriced, runner),
                progress=progress,
            )
            found.append(_report(artifact, target, given, asked))
    measured = None
    if runner == "board":
        measured = energy_board.measured(loaded[0][0].program, found[0][0], given, board, batch, time_limit)
    for _, remarks in found:
        for remark in remarks:
            guard.show_diagnostic(remark)
    reports = [report for report, _ in found]
    if len(reports) > 1:
        _compare(artifacts, reports, html, csv, json)
        return
    if measured is not None:
        energy_board.show_remarks(measured)
        reports[0] = energy_board.noted(reports[0], measured)
    if csv is not None:
        from ndeploy.report.energy_csv import text as csv_text

        atomic.write(csv, csv_text(reports[0]).encode())
    if html is not None:
        from ndeploy.report.energy_page import page
        from ndeploy.report.placement import picture

        atomic.write(html, page(reports[0], points, picture(reports[0])).encode())
    if json:
        held = {} if measured is None else {"measured": energy_board.fields(measured)}
        console.emit("energy", reports[0].to_json() | held)
        return
    from ndeploy.report.energy import report as text

    console.show(*text(reports[0]))
    if measured is not None:
        console.show(*energy_board.report(measured))
    for path in outputs.values():
        if path is not None:
            console.show(f"[dim]wrote[/dim] {path}")


def _load(path: Path) -> tuple[Artifact, Target]:
    from ndeploy import artifact as artifacts
    from ndeploy import plugins

    loaded = artifacts.load(path)
    return loaded, plugins.target(str(loaded.meta.get("target", "")))


def _report(
    artifact: Artifact, target: Target, given: Any, asked: Options
) -> tuple[EnergyReport, tuple[Diagnostic, ...]]:
    from ndeploy.energy.measure import measure

    return measure(artifact.program, target, given, asked, _compiled(artifact, target))


def _compiled(artifact: Artifact, target: Target) -> Placed:
    """The placement that was compiled; placed again where the artifact is older than placements in artifacts."""
    from ndeploy.place import place
    from ndeploy.place.record import restore

    if "slices" in artifact.placement:
        return restore(artifact.program, target, artifact.placement)
    return place(artifact.program, target)


def _provenance(
    path: Path, data: Path, limit: int | None, place: str, model: str | None, allow_unpriced: bool, runner: str
) -> dict[str, Any]:
    """What reproduces the report: names without folders, hashes, versions and the command."""
    import shlex

    from ndeploy import __version__
    from ndeploy.artifact import sha256_of

    command = ["ndeploy", "energy", path.name, "--data", data.name]
    command += [] if limit is None else ["--limit", str(limit)]
    command += [] if place == "compiled" else ["--place", place]
    command += [] if model is None else ["--model", Path(model).name]
    command += ["--allow-unpriced"] if allow_unpriced else []
    command += ["--runner", runner] if runner != "sim" else []
    prices = None if model is None else Path(model)
    own = {} if prices is None or not prices.is_file() else {"name": prices.name, "sha256": sha256_of(prices)}
    return {
        "command": shlex.join(command),
        "artifact": {"name": path.name, "sha256": sha256_of(path)},
        "data": {"name": data.name, "sha256": sha256_of(data)},
        **({"prices": own} if own else {}),
        "toolchain": {"ndeploy": __version__},
    }


def _compare(paths: list[Path], reports: list[EnergyReport], html: Path | None, csv: Path | None, json: bool) -> None:
    """Side by side."""
    from ndeploy import atomic
    from ndeploy.report import energy_compare as side

    compared = side.compare(reports, [path.name for path in paths])
    if html is not None:
        atomic.write(html, side.page(compared).encode())
    if csv is not None:
        atomic.write(csv, side.csv_text(compared).encode())
    if json:
        console.emit("energy-comparison", compared.to_json())
        return
    console.show(*side.report(compared))
    for path in (html, csv):
        if path is not None:
            console.show(f"[dim]wrote[/dim] {path}")
