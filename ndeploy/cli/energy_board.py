"""`ndeploy energy --runner board`: what a board's meter shows, beside the estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ndeploy.cli import console, guard
from ndeploy.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ndeploy.board.beside import Beside
    from ndeploy.board.flaky import Faults
    from ndeploy.data import Data
    from ndeploy.energy.result import EnergyReport
    from ndeploy.ir.program import Program

CLOSE = 1e-9
"""Two means of the same counts differ by rounding."""


@dataclass(frozen=True)
class Metered:
    """beside: reading and estimate; strayed: populations that sent other numbers of messages than on the simulator,
    each with both, a sample; faults: what was tried again."""

    beside: Beside
    strayed: tuple[str, ...]
    faults: Faults


def measured(
    program: Program, report: EnergyReport, data: Data, board: str | None, batch: int, time_limit: float | None
) -> Metered:
    """The samples on the board. Raises RefusedError ND635 where it has no meter, and what the board's runner raises."""
    from ndeploy import runners
    from ndeploy.board.beside import Beside, estimate_of
    from ndeploy.board.flaky import faults_of
    from ndeploy.decode import for_data
    from ndeploy.errors import RefusedError
    from ndeploy.evaluate import evaluate

    fitted = for_data(program, data.x)
    with console.progress("measuring on the board") as progress:
        told = runners.RunnerOptions(board=board, time_limit=time_limit, progress=progress)
        with runners.opened(runners.find("board"), told) as held:
            result = evaluate(fitted, data, held, told, batch=batch).result
            faults = faults_of(held)
    if result.power is None:
        raise RefusedError(
            "ND635",
            "the board has no energy meter: nothing was measured",
            help="leave out --runner board for the estimate alone, or use a board that measures its power",
        )
    strayed = []
    for layer in report.layers:
        wanted = layer.counts.get("spike", 0.0)  # of neurons on cores: what embedded processors send is no spike
        if wanted and layer.name in result.counts.spikes:
            found = float(result.counts.spikes[layer.name].mean())
            if not math.isclose(found, wanted, rel_tol=CLOSE, abs_tol=CLOSE):
                strayed.append(f"'{layer.name}' sent {found:g} messages a sample, not {wanted:g}")
    return Metered(Beside(result.power, estimate_of(report, result.power)), tuple(strayed), faults)


def show_remarks(found: Metered) -> None:
    """On stderr: faults that were retried, other messages than the simulator's, a reading outside the estimate."""
    from ndeploy.board.beside import verdict
    from ndeploy.ir.diagnostic import Diagnostic

    for line in found.faults.lines():
        guard.say(printable(line))
    if found.strayed:
        more = f" and {len(found.strayed) - 1} more" if len(found.strayed) > 1 else ""
        what = f"the board does not compute what the estimate counts: {found.strayed[0]}{more}"
        help_ = "run `ndeploy verify --against board`: the energy is that of other messages"
        guard.show_diagnostic(Diagnostic("ND637", what, help_))
    if found.beside.inside is False:
        help_ = (
            "the meter measures something else, or lies, or the prices are wrong: docs/energy.md tells how to find out"
        )
        guard.show_diagnostic(Diagnostic("ND636", f"by its meter {verdict(found.beside)}", help_))


def noted(report: EnergyReport, found: Metered) -> EnergyReport:
    """The report that says what was measured, in its provenance: pages show it."""
    from ndeploy.board.beside import verdict

    told = {"found": verdict(found.beside), "meter": found.beside.reading.meter}
    return replace(report, provenance={**report.provenance, "measured": told})


def fields(found: Metered) -> dict[str, Any]:
    """Of the object of `--json`."""
    strayed = list(found.strayed)
    return {**found.beside.to_json(), "other_messages": strayed, "retried": dict(found.faults.by_code)}


def report(found: Metered) -> list[RenderableType]:
    """For the terminal."""
    from ndeploy.board.beside import verdict
    from ndeploy.report import style
    from ndeploy.report.run import measured as shown

    colour = {True: "green", False: "red", None: "yellow"}[found.beside.inside]
    rows: dict[str, object] = {"by a meter": shown(found.beside.reading)}
    return [f"\n[bold {colour}]{style.plain(verdict(found.beside))}[/bold {colour}]", style.facts(rows)]
