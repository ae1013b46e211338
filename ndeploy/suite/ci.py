"""What continuous integration reads: JUnit XML, GitHub's annotations, and its job summary in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from ndeploy.printable import printable
from ndeploy.suite.case import Suite
from ndeploy.suite.onward import onward
from ndeploy.suite.verdict import FAILED, SKIPPED, CaseResult, Check, SuiteResult

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LEVELS = {"failed": "error", "stale": "warning", "error": "error"}
MOST_SHOWN = 10
"""Annotations of one level that GitHub shows of a step."""
MOST_ROWS = 200
"""Cases that the summary lists; GitHub takes 1 MiB."""


def junit(result: SuiteResult, suite: Suite | None = None) -> bytes:
    """One <testsuite> a case, one <testcase> a check; a case that could not be measured is an <error>.

    Valid against the schema of Jenkins' xunit plugin (junit-10.xsd). suite: for the commands that go on from a failure.
    """
    failures = sum(len(case.failed) for case in result.results if case.outcome != "error")
    errors = sum(len(case.failed) for case in result.results if case.outcome == "error")
    root = ElementTree.Element(
        "testsuites",
        name=_clean(f"ndeploy test {result.suite}"),
        time=f"{result.seconds:.3f}",
        tests=str(sum(len(case.checks) for case in result.results)),
        failures=str(failures),
        errors=str(errors),
    )
    for case in result.results:
        found = ElementTree.SubElement(
            root,
            "testsuite",
            name=_clean(case.name),
            tests=str(len(case.checks)),
            failures=str(0 if case.outcome == "error" else len(case.failed)),
            errors=str(len(case.failed) if case.outcome == "error" else 0),
            skipped=str(sum(check.outcome == SKIPPED for check in case.checks)),
            timestamp=result.when[:19],
        )
        properties = ElementTree.SubElement(found, "properties")
        for name, value in (("commit", result.commit), ("blame", case.blame), ("board", case.board)):
            if value:
                ElementTree.SubElement(properties, "property", name=name, value=_clean(value))
        for check in case.checks:
            _testcase(found, case, check)
        told = [*notes(case), *onward(suite, case).lines()]
        if told:
            ElementTree.SubElement(found, "system-out").text = _clean("\n".join(told))
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _testcase(suite: ElementTree.Element, case: CaseResult, check: Check) -> None:
    entry = ElementTree.SubElement(suite, "testcase", classname=_clean(f"ndeploy.{case.name}"), name=_clean(check.name))
    if check.outcome == SKIPPED:
        ElementTree.SubElement(entry, "skipped", message=_clean(check.reason))
    elif check.outcome == FAILED:
        kind = "error" if case.outcome == "error" else "failure"
        found = ElementTree.SubElement(entry, kind, message=_clean(check.reason), type=_clean(case.blame or "model"))
        found.text = _clean(explained(case, check))


def explained(case: CaseResult, check: Check) -> str:
    """A failure in a few lines."""
    lines = [check.reason]
    if check.found or check.wanted:
        lines.append(f"found {check.found or 'nothing'}, wanted {check.wanted or 'a number'}")
    if adds(check):
        lines.append(f"{'help' if case.outcome == 'error' else 'cause'}: {check.cause}")
    if case.board:
        lines.append(f"board: {case.board}")
    lines.append(f"blame: {case.blame}")
    return "\n".join(lines)


def adds(check: Check) -> bool:
    """Whether the cause says more than the reason."""
    return bool(check.cause) and check.cause not in check.reason


def causes(case: CaseResult) -> dict[str, str]:
    """By the name of a failed check, a cause that nothing in the case's failures has said before."""
    found: dict[str, str] = {}
    for check in case.failed:
        told = [other.reason for other in case.failed] + list(found.values())
        if check.cause and not any(check.cause in text for text in told):
            found[check.name] = check.cause
    return found


def notes(case: CaseResult) -> list[str]:
    """Where a case was measured, from where it was moved, and after what it was tried again."""
    done = "tried on" if case.outcome == "error" else "measured on"
    found = [f"{done} {case.board}"] if case.board else []
    said = {f"{case.board}: {check.reason}" for check in case.failed}  # the failure itself, which is told already
    found += [line for line in case.moves if line not in said]
    if case.retried:
        counts = ", ".join(f"{code} {n} times" if n > 1 else code for code, n in case.retried.items())
        found.append(f"tried again after {counts}")
    return found


def quarantines(result: SuiteResult) -> list[str]:
    """A sentence a board that was put into quarantine."""
    return [
        f"board {entry.board} was put into quarantine ({entry.fault}){' and taken back in' if entry.returned else ''}"
        for entry in result.quarantined
    ]


def github(result: SuiteResult, file: str, suite: Suite | None = None) -> list[str]:
    """GitHub's workflow commands, one a failed check, `MOST_SHOWN` of a level: of the others their number.

    file: the suite's path, as seen from the repository. suite: for the commands that go on from a failure.
    """
    by_level: dict[str, list[str]] = {}
    for case in result.results:
        commands = onward(suite, case).lines()
        for number, check in enumerate(case.failed):
            title = _property(f"{case.name}: {check.name}")
            level = LEVELS.get(case.outcome, "error")
            text = "\n".join([explained(case, check), *(commands if number == 0 else ())])
            line = f"::{level} file={_property(file)},title={title}::{_message(text)}"
            by_level.setdefault(level, []).append(line)
    for entry in quarantines(result):
        line = f"::warning file={_property(file)},title=quarantine::{_message(entry)}"
        by_level.setdefault("warning", []).append(line)
    return [line for level, lines in by_level.items() for line in _few(level, lines)]


def _few(level: str, lines: Sequence[str]) -> Iterator[str]:
    if len(lines) <= MOST_SHOWN:
        yield from lines
        return
    yield from lines[: MOST_SHOWN - 1]
    yield f"::{level} title=more::{len(lines) - MOST_SHOWN + 1} more, in the log and in the report"


def summary(result: SuiteResult, suite: Suite | None = None) -> str:
    """The verdict in Markdown, for GITHUB_STEP_SUMMARY: a row a case, then the failures with what to do next."""
    from ndeploy.report.suite import HEADINGS, cells, verdict

    lines = [f"### {_markdown(f'ndeploy test {result.suite}')}", "", _markdown(verdict(result)), ""]
    lines += [f"| case | outcome | {' | '.join(HEADINGS)} |", f"| --- | --- |{' ---: |' * len(HEADINGS)}"]
    for case in result.results[:MOST_ROWS]:
        lines.append(f"| {' | '.join(_markdown(text) for text in (case.name, case.outcome, *cells(case)))} |")
    if len(result.results) > MOST_ROWS:
        lines.append(f"\n{len(result.results) - MOST_ROWS} more cases are in the report.")
    for case in [case for case in result.results if case.failed][:MOST_ROWS]:
        lines += ["", f"**{_markdown(case.name)}** ({_markdown(case.blame)})", ""]
        new = causes(case)
        for check in case.failed:
            why = f"- {_markdown(check.name)}: {_markdown(check.reason)}"
            lines.append(f"{why}<br>{_markdown(new[check.name])}" if check.name in new else why)
        lines += [f"- {_markdown(text)}" for text in notes(case)]
        commands = onward(suite, case).lines()
        if commands:
            lines += ["", "```sh", *(printable(line) for line in commands), "```"]
    lines += ["", *(f"- {_markdown(text)}" for text in quarantines(result))]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(text: str) -> str:
    """Text that stays text: no markup, no HTML, no row of its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|~@$])", r"\\\1", printable(text)).replace("\n", " ")


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _message(text: str) -> str:
    lines = "\n".join(printable(line) for line in text.splitlines())
    return lines.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
