"""A suite's verdict on the terminal: a row a case, and every failure with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.report import style
from ndeploy.suite.verdict import CaseResult, SuiteResult

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SIGNS = {"passed": "[green]passed[/green]", "failed": "[red]failed[/red]", "stale": "[yellow]stale[/yellow]"}
DASH = "-"


def report(result: SuiteResult) -> list[RenderableType]:
    """Verdict, table, failures, curves, remarks."""
    found: list[RenderableType] = [f"[bold]{style.plain(verdict(result))}[/bold]", _table(result)]
    found += [line for case in result.results for line in _failures(case)]
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
    for check in case.failed:
        head = f"[red]{style.plain(case.name)}[/red] {style.plain(check.name)}: {style.plain(check.reason)}"
        found.append(f"{head} [dim]({style.plain(case.blame)})[/dim]")
        if check.cause:
            word = "help" if case.outcome == "error" else "cause"
            found.append(f"  {word}: {style.plain(check.cause)}")
    return found


def _curves(result: SuiteResult) -> Table:
    rows = style.grid("injected faults", "case", "kind", ">faults", ">mean accuracy", ">worst draw")
    for case in result.results:
        if case.curve is None:
            continue
        what = "flipped bits of weights" if case.curve.kind == "bits" else "stuck neurons"
        for i, (faults, accuracies) in enumerate(case.curve.points):
            head = (style.plain(case.name), what) if i == 0 else ("", "")
            mean = sum(accuracies) / len(accuracies)
            rows.add_row(*head, str(faults), style.percent(mean), style.percent(min(accuracies)))
    return rows
