"""`ndeploy verify --against float` or a recorded trace: a runner beside the float network, tick by tick."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ndeploy.cli import console, guard

if TYPE_CHECKING:
    from ndeploy.runners import RunnerOptions
    from ndeploy.ticks import TickReport

FLOAT = "float"
LEAST = 10.0
"""dB: below it a signal carries more of the quantisation's error than the tasks at hand bear."""


@dataclass(frozen=True)
class Asked:
    """The options of the command that concern floats, as given."""

    artifact: Path
    data: Path | None
    against: str
    reference: str
    limit: int | None
    signals: str | None
    min_sqnr: float | None


def is_float(against: str) -> bool:
    """Whether --against names the float network or a file rather than a runner."""
    return against == FLOAT or against.endswith(".npz") or Path(against).is_file()


def verify_ticks(asked: Asked, told: Callable[[Callable[[str], None]], RunnerOptions], json: bool) -> None:
    """Compare, report, and exit with 1 where a signal is below its bound. told: runner options for a progress line."""
    signals = _signals(asked.signals)
    least = LEAST if asked.min_sqnr is None else asked.min_sqnr
    if not math.isfinite(least):
        raise typer.BadParameter(f"{least} is no number of dB", param_hint="--min-sqnr")
    if asked.against == FLOAT and asked.data is None:
        raise typer.BadParameter("is needed to run the float network", param_hint="--data")
    from ndeploy import artifact as artifacts
    from ndeploy import data as samples
    from ndeploy import runners, tick_sources, ticks
    from ndeploy.decode import clipped, for_data, stretched

    runner = runners.find(asked.reference)
    loaded = artifacts.load(asked.artifact)
    source: ticks.Source
    if asked.against == FLOAT:
        given = samples.load(_path(asked.data), asked.limit)
        program = for_data(loaded.program, given.x)
        source = tick_sources.float_network(loaded.network, program)
    else:
        path = Path(asked.against)
        trace = source = tick_sources.load_trace(path)
        own = None if asked.data is None else samples.load(asked.data, asked.limit)
        given = tick_sources.trace_data(trace, path, own, asked.limit)
        program = for_data(loaded.program, given.x)
    with console.progress(f"comparing {asked.reference} with {asked.against}") as progress:
        found = ticks.compare(program, given, source, runner, told(progress), signals=signals, min_sqnr=least)
    for diagnostic in (*stretched(loaded.program, program), *clipped(program, given.x, given.x_scale)):
        guard.show_diagnostic(diagnostic)
    if json:
        console.emit("verify-ticks", fields(found, asked.reference, asked.against))
    else:
        from ndeploy.report.ticks import report

        console.show(*report(found, asked.reference, asked.against))
    if found.first_below is not None:
        raise typer.Exit(1)


def _path(data: Path | None) -> Path:
    if data is None:
        raise typer.BadParameter("is needed", param_hint="--data")
    return data


def _signals(text: str | None) -> tuple[str, ...] | None:
    """--signals: None as it is, "all" as (), else names. A usage error (exit 2) for an empty or repeated name."""
    if text is None:
        return None
    if text == "all":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise typer.BadParameter(f"'{text}' is neither all nor a list of names, each once", param_hint="--signals")
    return names


def fields(found: TickReport, reference: str, against: str) -> dict[str, Any]:
    """The object of `--json`: SQNR in dB by signal, a number a tick; ticks are counted from 0, as model steps are."""
    below = found.first_below
    return {
        "reference": reference,
        "against": against,
        "samples": found.samples,
        "ticks": found.ticks,
        "signals": {signal.name: list(signal.sqnr) for signal in found.signals},
        "min_sqnr": found.min_sqnr,
        "first_below": None
        if below is None
        else {"tick": below[0], "signal": below[1].name, "sqnr": below[1].sqnr[below[0]]},
        "agreement": None if found.agreement is None else asdict(found.agreement),
        "missing": list(found.missing),
    }
