"""What continuous integration reads: JUnit XML, and GitHub's annotations."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ndeploy.printable import printable
from ndeploy.suite.verdict import FAILED, SKIPPED, CaseResult, Check, SuiteResult

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LEVELS = {"failed": "error", "stale": "warning", "error": "error"}


def junit(result: SuiteResult) -> bytes:
    """One <testsuite> a case, one <testcase> a check; a case that could not be measured is an <error>."""
    root = ElementTree.Element("testsuites", name=_clean(f"ndeploy test {result.suite}"), time=f"{result.seconds:.3f}")
    for case in result.results:
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_clean(case.name),
            tests=str(len(case.checks)),
            failures=str(0 if case.outcome == "error" else len(case.failed)),
            errors=str(len(case.failed) if case.outcome == "error" else 0),
            skipped=str(sum(check.outcome == SKIPPED for check in case.checks)),
            timestamp=result.when[:19],
        )
        for check in case.checks:
            _testcase(suite, case, check)
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
    if check.cause:
        lines.append(f"{'help' if case.outcome == 'error' else 'cause'}: {check.cause}")
    lines.append(f"blame: {case.blame}")
    return "\n".join(lines)


def github(result: SuiteResult, file: str) -> list[str]:
    """GitHub's workflow commands, one a failed check. file: the suite's path, as seen from the repository."""
    found = []
    for case in result.results:
        for check in case.failed:
            title = _property(f"{case.name}: {check.name}")
            level = LEVELS.get(case.outcome, "error")
            found.append(f"::{level} file={_property(file)},title={title}::{_message(explained(case, check))}")
    return found


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _message(text: str) -> str:
    lines = "\n".join(printable(line) for line in text.splitlines())
    return lines.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
