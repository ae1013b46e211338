"""What to type next where a case did not pass: commands with the case's own paths."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case, Suite
from ndeploy.suite.verdict import CaseResult

COSTS = ("synaptic_ops", "energy", "latency", "cores")
TIMES = ("compile_time", "speed")
ANSWERS = ("accuracy", "float", "program", "spikes", "budget of accuracy")
"""Checks whose reason is in what the program computes."""
DEFAULTS = {"bits": 8, "method": "uniform", "attention": "parallel", "mode": "auto", "coding": "none", "place": "cores"}


@dataclass(frozen=True)
class Onward:
    """steps: (what it is for, command) in the order to take them; "" where there is nothing to type."""

    steps: tuple[tuple[str, str], ...] = field(default=())

    def lines(self) -> list[str]:
        """A comment and a command each."""
        return [line for why, command in self.steps for line in (f"# {why}", command) if line]


def onward(suite: Suite | None, result: CaseResult) -> Onward:
    """For a case that did not pass; nothing for one that did, or where the suite is not at hand."""
    case = None if suite is None else next((case for case in suite.cases if case.name == result.name), None)
    if suite is None or case is None or not result.failed:
        return Onward()
    return Onward(tuple(_steps(suite, case, result)))


def _steps(suite: Suite, case: Case, result: CaseResult) -> Iterator[tuple[str, str]]:
    failed = {check.name for check in result.failed}
    again = ["ndeploy", "test", "--suite", str(suite.path), "--case", case.name]
    if case.runner in BOARDS and (result.blame == "board" or result.outcome == "error"):
        address = result.board or _address(result)
        if not address.startswith("exec:"):
            yield "does the board answer", f"ndeploy board status {_word(address)}"
        yield "the same case without the board", _line([*again, "--runner", "sim"])
        if result.outcome == "error":
            return
    if result.outcome == "error":
        keys = _keys(result)
        if keys:
            yield f"in {suite.path} such an option is a key of the case: {', '.join(keys)}", ""
        yield "the whole error", _line(["ndeploy", "--debug", "test", *again[2:]])
        return
    artifact = case.artifact or Path(f"{''.join(c if c.isalnum() or c in '-_' else '-' for c in case.name)}.ndp")
    if case.artifact is None and failed & {*ANSWERS, *COSTS, "agreement"}:
        yield "the program of today", _line(_compile(case, artifact))
    data = ["--data", str(case.data), *(["--limit", str(case.limit)] if case.limit is not None else [])]
    compare = ["ndeploy", "compare", str(artifact), *data]
    if "agreement" in failed:
        there = ["--board", result.board] if result.board else []
        yield f"where {case.runner} parts from the simulator", _line([*compare, "--against", case.runner, *there])
    if failed & set(ANSWERS):
        if case.artifact is not None and result.outcome == "stale":
            old = f"{artifact.stem}.before.ndp"
            git, name = _git(artifact)
            since = suite.baseline.resolve() if artifact.is_absolute() else suite.baseline
            reviewed = f'"$({git} log -1 --format=%h -- {_word(str(since))})"'
            text = f"{git} show {reviewed}:./{_word(name)} > {_word(old)} && "
            yield "where it parts from the reviewed program, and why", text + _line([*compare, "--against", old])
        yield "where it parts from the float network, and why", _line(compare)
    if failed & set(COSTS):
        yield "where energy and time go", _line(["ndeploy", "energy", str(artifact), *data])
    if failed & set(TIMES):
        yield "again, with nothing else running", _line(again)
    if result.outcome == "stale":
        git, name = _git(suite.baseline)
        line = f"{_line([*again, '--update-baseline'])}; {git} diff {_word(name)}"
        yield "if the change is wanted: review the difference, commit it", line


def _address(result: CaseResult) -> str:
    """Of a case that no board was left for: the one that the failure names."""
    named = re.search(r"\btcp://[^\s,]*[^\s,:]|\bexec:", " ".join(check.reason for check in result.failed))
    return named[0] if named else "$NDEPLOY_BOARD"


def _git(path: Path) -> tuple[str, str]:
    """(git, the path as it knows it): of a whole path in the repository that holds it, wherever the user stands."""
    return (f"git -C {_word(str(path.parent))}", path.name) if path.is_absolute() else ("git", str(path))


def _keys(result: CaseResult) -> list[str]:
    """Keys of a case, as TOML, that an error's help names as options of the command line."""
    known = {entry.name for entry in fields(Case)}
    found = []
    for option, key in re.findall(r"--([a-z][a-z-]*)(?:\s+([a-z_]+)=)?", " ".join(c.cause for c in result.failed)):
        name = option.replace("-", "_")
        if name == "set":
            found.append(f"settings = {{ {key or 'KEY'} = ... }}")
        elif name in known:
            found.append(f"{name} = ...")
    return list(dict.fromkeys(found))


def _compile(case: Case, output: Path) -> Sequence[str]:
    """`ndeploy compile` with the case's options."""
    command = ["ndeploy", "compile", str(case.model), "--target", case.target, "-o", str(output)]
    if case.calibration is not None:
        command += ["--calibration", str(case.calibration)]
    for name in ("steps", "bits", "activation_bits", "method", "attention", "mode", "coding", "place"):
        value = getattr(case, name)
        if value is not None and value != DEFAULTS.get(name):
            command += [f"--{name.replace('_', '-')}", str(value)]
    for key, text in case.settings.items():
        command += ["--set", f"{key}={text}"]
    return command


def _line(words: Sequence[str]) -> str:
    return " ".join(_word(word) for word in words)


def _word(text: str) -> str:
    return text if text == "$NDEPLOY_BOARD" else shlex.quote(text)
