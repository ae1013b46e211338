"""A suite's verdict as one self-contained page: failures first, then every case, curves, trends and what it ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ndeploy.printable import printable
from ndeploy.report import side_page as pages
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.report.suite import HEADINGS, cells, remarks, verdict
from ndeploy.report.suite_curves import curves
from ndeploy.report.suite_trends import trend
from ndeploy.suite.case import Suite
from ndeploy.suite.ci import adds, notes, quarantines
from ndeploy.suite.history import TRENDS, Point
from ndeploy.suite.onward import onward
from ndeploy.suite.verdict import CaseResult, Check, SuiteResult

GRID = "display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:12px 20px"


def page(result: SuiteResult, trends: Mapping[str, Sequence[Point]], suite: Suite | None = None) -> str:
    """The page. trends: by case, oldest first; none without a history. suite: for commands that go on from a failure.

    The same input gives the same text.
    """
    sections = []
    failing = [case for case in result.results if case.failed]
    if failing:
        sections.append(pages.Section("What failed", pages.table(_failures(failing)) + _onward(suite, failing)))
    sections.append(pages.Section("Every case", pages.table(_cases(result))))
    boards = _boards(result)
    if boards:
        sections.append(pages.Section("Boards", boards))
    if any(case.curve is not None for case in result.results):
        sections.append(pages.Section("Under injected faults", curves(result)))
    lines = _trends(result, trends)
    if lines:
        sections.append(pages.Section("Over time", lines))
    sections.append(pages.Section("Every check", pages.table(_checks(result))))
    told = remarks(result)
    if told:
        sections.append(pages.Section("Beware", pages.items(told)))
    tools = [f"{name} {version}" for name, version in result.toolchain.items()]
    ran = [", ".join(tools), f"commit {result.commit or 'unknown'}"]
    if trends and not lines:
        ran.append("the first run of this history: trends over time begin with the second")
    sections.append(pages.Section("Run on", pages.items(ran)))
    return pages.document(
        f"Regression suite {result.suite}",
        f"{result.when}; beside the baseline {result.baseline}.",
        verdict(result),
        sections,
        "Energy and latency are estimates of the same tables as the baseline's; times are in units of a yardstick that "
        "runs beside them.",
    )


def _failures(cases: Sequence[CaseResult]) -> Table:
    rows = [
        Row((f"{case.name}: {check.name}", case.blame, check.reason, check.cause if adds(check) else ""))
        for case in cases
        for check in case.failed
    ]
    columns = (Column("check", "name"), Column("to blame", "text"), Column("why", "text"), Column("cause", "text"))
    return Table("Failed checks", columns, tuple(rows))


def _cases(result: SuiteResult) -> Table:
    rows = [Row((case.name, case.outcome, *cells(case))) for case in result.results]
    columns = (Column("case", "name"), Column("outcome", "text"), *(Column(name) for name in HEADINGS))
    return Table("Cases, a sample", columns, tuple(rows))


def _checks(result: SuiteResult) -> Table:
    rows: list[Row] = []
    for case in result.results:
        rows.append(Row((case.name,), "head"))
        rows += [Row((check.name, check.outcome, check.found, _wanted(check))) for check in case.checks]
    columns = (Column("check", "name"), Column("outcome", "text"), Column("found"), Column("wanted", "text"))
    return Table("Checks by case", columns, tuple(rows))


def _wanted(check: Check) -> str:
    return check.wanted if check.outcome != "skipped" else check.reason


def _onward(suite: Suite | None, cases: Sequence[CaseResult]) -> Markup:
    """Commands to copy, by case."""
    body = Markup("")
    for case in cases:
        lines = onward(suite, case).lines()
        if lines:
            text = "\n".join(printable(line) for line in lines)
            body += Markup("<h3>{}: what to do next</h3>\n<pre>{}</pre>\n").format(printable(case.name), text)
    return body


def _boards(result: SuiteResult) -> Markup:
    """Which case ran where, moves between boards, and quarantine; nothing where no board took part."""
    rows = []
    for case in result.results:
        told = notes(case)
        if told:
            moved = "; ".join(told[1:] if case.board else told)
            rows.append(Row((case.name, case.board or "-", moved or "-")))
    body = Markup("")
    if rows:
        columns = (Column("case", "name"), Column("measured on", "text"), Column("moves and retries", "text"))
        body += pages.table(Table("Boards by case", columns, tuple(rows)))
    return body + pages.items(quarantines(result))


def _trends(result: SuiteResult, trends: Mapping[str, Sequence[Point]]) -> Markup:
    body = Markup("")
    for case in result.results:
        found = Markup("").join(trend(case.name, name, trends.get(case.name, ())) for name in TRENDS)
        if found:
            body += Markup('<h3>{}</h3>\n<div style="{}">{}</div>\n').format(printable(case.name), GRID, found)
    if not body:
        return body
    runs = max(len(points) for points in trends.values())
    note = (
        f"The last {runs} runs of the history, the newest on the right. A large dot of the other colour: it did not "
        "pass. Below: commits of the first and the last run, and of the run whose number moved most."
    )
    return Markup('<p class="note">{}</p>\n').format(note) + body
