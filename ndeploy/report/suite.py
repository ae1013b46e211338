"""A suite's verdict on the terminal: a row a case, and every failure with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.printable import printable
from ndeploy.report import style
from ndeploy.suite.case import Suite
from ndeploy.suite.ci import causes, notes, quarantines
from ndeploy.suite.measured import Curve
from ndeploy.suite.onward import onward
from ndeploy.suite.verdict import CaseResult, SuiteResult

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SIGNS = {"passed": "[green]passed[/green]", "failed": "[red]failed[/red]", "stale": "[yellow]stale[/yellow]"}
DASH = "-"
WIDTH = 100
"""Characters of a line of a command."""


def report(result: SuiteResult, suite: Suite | None = None) -> list[RenderableType]:
    """Verdict, table, failures with what to do next, boards, curves, remarks. suite: for commands with its paths."""
    found: list[RenderableType] = [f"[bold]{style.plain(verdict(result))}[/bold]", _table(result)]
    found += [line for case in result.results for line in (*_failures(case), *_onward(suite, case))]
    found += [f"[yellow]{style.plain(line)}[/yellow]" for line in quarantines(result)]
    found += [
        f"{style.plain(case.name)}: {style.plain(line)}"
        for case in result.results
        if case.moves or case.retried
        for line in notes(case)
    ]
    if any(case.curve is not None for case in result.results):
        found.append(_curves(result))
    found += [f"[dim]{style.plain(line)}[/dim]" for line in remarks(result)]
    return found


def verdict(result: SuiteResult) -> str:
    """One sentence."""
    n = len(result.results)
    if result.passed:
        return f"{style.many(n, 'case')}: all passed in {result.seconds:.1f} s"
    told = [f"{result.count(outcome)} {outcome}" for outcome in ("failed", "stale", "error") if result.count(outcome)]
    blamed = {case.blame for case in result.results if case.blame}
    return f"{style.many(n, 'case')}: {', '.join(told)}; to blame: {', '.join(sorted(blamed))}"


def remarks(result: SuiteResult) -> list[str]:
    """Of all cases; what holds for several is said once."""
    by_text: dict[str, list[str]] = {}
    for case in result.results:
        for text in case.remarks:
            by_text.setdefault(text, []).append(case.name)
    every = len(result.results)
    return [
        f"{'every case' if len(names) == every and every > 1 else ', '.join(names)}: {text}"
        for text, names in by_text.items()
    ]


def cells(case: CaseResult) -> tuple[str, ...]:
    """What a row shows after name and outcome: accuracy, float, synaptic operations, energy, latency, cores."""
    numbers = case.numbers

    def shown(name: str, unit: str = "") -> str:
        value = numbers.get(name)
        return DASH if value is None else style.si(value, unit)

    share = [numbers.get(name) for name in ("accuracy", "float_accuracy")]
    cores = numbers.get("cores")
    return (
        *(DASH if value is None else style.percent(value) for value in share),
        shown("synaptic_ops"),
        shown("energy", "J"),
        shown("latency", "s"),
        DASH if cores is None else f"{cores:.0f}",
    )


HEADINGS = ("accuracy", "float", "synaptic ops", "energy", "latency", "cores")


def _table(result: SuiteResult) -> Table:
    rows = style.grid("", "case", "outcome", *(f">{name}" for name in HEADINGS))
    for case in result.results:
        sign = SIGNS.get(case.outcome, f"[red]{style.plain(case.outcome)}[/red]")
        rows.add_row(style.plain(case.name), sign, *cells(case))
    return rows


def _failures(case: CaseResult) -> list[str]:
    found = []
    new = causes(case)
    for check in case.failed:
        head = f"[red]{style.plain(case.name)}[/red] {style.plain(check.name)}: {style.plain(check.reason)}"
        found.append(f"{head} [dim]({style.plain(case.blame)})[/dim]")
        if check.name in new:
            word = "help" if case.outcome == "error" else "cause"
            found.append(f"  {word}: {style.plain(new[check.name])}")
    return found


def _onward(suite: Suite | None, case: CaseResult) -> list[RenderableType]:
    """Comments and commands to be copied."""
    from rich.text import Text

    found: list[RenderableType] = []
    for line in onward(suite, case).lines():
        comment = line.startswith("#")
        parts = [line] if comment else _folded(line)
        found += [Text(f"  {printable(part)}", "dim" if comment else "") for part in parts]
    return found


def _folded(command: str) -> list[str]:
    """A shell command on lines of about `WIDTH` characters, broken with backslashes between its words."""
    lines, word, quote = [""], "", ""
    for sign in [*command, " "]:
        if sign in "'\"" and quote in ("", sign):
            quote = "" if quote else sign
        if sign != " " or quote:
            word += sign
        elif word:
            if len(lines[-1]) + len(word) >= WIDTH and lines[-1]:
                lines[-1] += " \\"
                lines.append("   ")
            lines[-1] += f" {word}" if lines[-1] else word
            word = ""
    return lines


def spread(accuracies: tuple[float, ...]) -> tuple[float, float, float]:
    """(least, mean, most) over the draws."""
    return min(accuracies), sum(accuracies) / len(accuracies), max(accuracies)


def faults_of(curve: Curve) -> str:
    """What was injected."""
    if curve.kind == "bits":
        return "flipped bits of weights"
    return "stuck neurons, silent or at a value"


def _curves(result: SuiteResult) -> Table:
    rows = style.grid("injected faults", "case", "kind", ">faults", ">least", ">mean accuracy", ">most", "")
    for case in result.results:
        if case.curve is None:
            continue
        for i, (faults, accuracies) in enumerate(case.curve.points):
            head = (style.plain(case.name), faults_of(case.curve)) if i == 0 else ("", "")
            least, mean, most = spread(accuracies)
            shares = (style.percent(least), style.percent(mean), style.percent(most))
            rows.add_row(*head, str(faults), *shares, style.bar(mean, 12))
    return rows
