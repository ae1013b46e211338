"""What reports of a suite say to whoever has to act: commands, boards, curves; and that texts stay texts."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli_runner import call
from small_artifact import PROGRAM
from suite_cases import neuron, save
from suite_cases import suite as written

from ndeploy.cli import console
from ndeploy.report.suite import report
from ndeploy.report.suite_page import page
from ndeploy.report.suite_trends import trend
from ndeploy.suite import ci, toml_file
from ndeploy.suite.case import Case, Suite
from ndeploy.suite.history import Point
from ndeploy.suite.measured import Curve
from ndeploy.suite.onward import onward
from ndeploy.suite.verdict import FAILED, PASSED, SKIPPED, CaseResult, Check, Quarantined, SuiteResult

HOSTILE = "<b>x</b>|`y`]]>\u202e$(touch gone)"
TIMES = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")
"""junit-10.xsd of Jenkins' xunit plugin: SUREFIRE_TIME."""
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name"}, {"time", "classname", "group"}, {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}  # fmt: skip
"""Of the same schema: required attributes, other attributes, children."""


def failed(name: str, reason: str = "other than before", cause: str = "") -> Check:
    return Check(name, FAILED, "1", "2", reason, cause)


def result(*cases: CaseResult, **more: object) -> SuiteResult:
    made = SuiteResult("suite.toml", cases, {"python": "3.11"}, "2026-11-22T13:00:00+00:00", "a" * 40, 1.5)
    return replace(made, **more)  # type: ignore[arg-type]


def suite_of(*cases: Case) -> Suite:
    return Suite(Path("deploy/suite.toml"), Path("deploy/suite.baseline.json"), cases)


MODEL = Case(
    "my net", Path("deploy/eval.npz"), model=Path("deploy/my net.nir"), calibration=Path("deploy/c.npz"), steps=6,
    bits=6, settings={"source": "snntorch"}, limit=50,
)  # fmt: skip
ARTIFACT = Case("kept", Path("deploy/eval.npz"), artifact=Path("deploy/kept.ndp"))
BOARD = replace(ARTIFACT, name="board", runner="board")


def steps(case: Case, found: CaseResult) -> list[str]:
    return [command for _, command in onward(suite_of(case), found).steps]


def test_a_model_is_compiled_with_its_options_and_compared() -> None:
    found = CaseResult("my net", "failed", (failed("accuracy"), failed("energy")), "toolchain")
    assert steps(MODEL, found) == [
        "ndeploy compile 'deploy/my net.nir' --target loihi2 -o my-net.ndp --calibration deploy/c.npz --steps 6 "
        "--bits 6 --set source=snntorch",
        "ndeploy compare my-net.ndp --data deploy/eval.npz --limit 50",
        "ndeploy energy my-net.ndp --data deploy/eval.npz --limit 50",
    ]


def test_an_artifact_is_compared_with_the_reviewed_one() -> None:
    found = CaseResult("kept", "stale", (failed("baseline"), failed("program")), "model")
    assert steps(ARTIFACT, found) == [
        'git show "$(git log -1 --format=%h -- deploy/suite.baseline.json)":./deploy/kept.ndp > kept.before.ndp && '
        "ndeploy compare deploy/kept.ndp --data deploy/eval.npz --against kept.before.ndp",
        "ndeploy compare deploy/kept.ndp --data deploy/eval.npz",
        "ndeploy test --suite deploy/suite.toml --case kept --update-baseline; git diff deploy/suite.baseline.json",
    ]


def test_a_board_is_asked_and_left_out() -> None:
    gone = CaseResult("board", "error", (failed("run"),), "board", exit_code=3, board="tcp://lab:5580")
    alone = "ndeploy test --suite deploy/suite.toml --case board --runner sim"
    assert steps(BOARD, gone) == ["ndeploy board status tcp://lab:5580", alone]
    assert steps(BOARD, replace(gone, board="exec:driver --port 3")) == [alone]
    assert steps(BOARD, replace(gone, board=""))[0] == "ndeploy board status $NDEPLOY_BOARD"
    for address, first in (("tcp://[::1]:5580", "ndeploy board status 'tcp://[::1]:5580'"), ("exec:driver --x", alone)):
        left = failed("run", f"error[ND666]: no board is left for it: {address}: error[ND626]: x")
        assert steps(BOARD, replace(gone, board="", checks=(left,)))[0] == first
    other = CaseResult("board", "failed", (failed("agreement"),), "board", board="tcp://lab:5580")
    compared = "ndeploy compare deploy/kept.ndp --data deploy/eval.npz --against board --board tcp://lab:5580"
    assert steps(BOARD, other)[-1] == compared
    fault = failed("run", "error[ND620]: nobody")
    gone = replace(gone, checks=(fault,), moves=("tcp://a:1: it hangs", "tcp://lab:5580: error[ND620]: nobody"))
    assert ci.notes(gone) == ["tried on tcp://lab:5580", "tcp://a:1: it hangs"]


def test_whole_paths_go_with_their_repository(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    folder = tmp_path / "a repo" / "deploy"
    folder.mkdir(parents=True)
    for name in ("suite.baseline.json", "kept.ndp"):
        (folder / name).write_text("old")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "x")
    (folder / "kept.ndp").write_text("new")
    case = replace(ARTIFACT, artifact=folder / "kept.ndp")
    suite = Suite(folder / "suite.toml", folder / "suite.baseline.json", (case,))
    found = onward(suite, CaseResult("kept", "stale", (failed("program"),), "model"))
    shown = found.steps[0][1].split(" && ")[0]
    subprocess.run(["bash", "-c", shown], cwd=tmp_path, check=True)
    assert (tmp_path / "kept.before.ndp").read_text() == "old"
    (folder / "suite.baseline.json").write_text("new")
    shown = found.steps[-1][1].split("; ")[1]
    done = subprocess.run(["bash", "-c", shown], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "+new" in done.stdout


def test_nothing_is_advised_for_what_passed_or_is_not_known() -> None:
    good = CaseResult("kept", "passed", (Check("accuracy", PASSED),))
    assert not onward(suite_of(ARTIFACT), good).lines()
    bad = CaseResult("kept", "failed", (failed("speed"),), "toolchain")
    assert not onward(None, bad).lines()
    assert not onward(suite_of(), bad).lines()
    assert steps(ARTIFACT, bad) == ["ndeploy test --suite deploy/suite.toml --case kept"]


def test_options_in_an_errors_help_are_keys_of_the_case() -> None:
    check = Check(
        "run", FAILED, reason="error[ND204]: x", cause="give --steps T, --set dt=1, or --calibration with --x"
    )
    found = CaseResult("kept", "error", (check,), "model", code="ND204", exit_code=2)
    assert onward(suite_of(ARTIFACT), found).lines() == [
        "# in deploy/suite.toml such an option is a key of the case: steps = ..., settings = { dt = ... }, "
        "calibration = ...",
        "# the whole error",
        "ndeploy --debug test --suite deploy/suite.toml --case kept",
    ]


def test_a_cause_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(
        CaseResult("kept", "failed", (failed("program", "not the baseline's: steps 6", "steps 6"),), "model")
    )
    console.show(*report(found))
    told = (
        capsys.readouterr().out,
        page(found, {}),
        ci.summary(found),
        *ci.github(found, "s"),
        ci.junit(found).decode(),
    )
    assert [text.count("steps 6") for text in told] == [1, 1, 1, 1, 2]  # message and text of JUnit


def test_a_cause_is_said_once_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    checks = (
        failed("baseline", "stale", "weights changed"),
        failed("program", "not the baseline's: weights changed"),
        failed("spikes", "differ", "weights changed"),
        failed("energy", "above", "a price"),
        failed("latency", "above", "a price"),
    )
    found = result(CaseResult("kept", "failed", checks, "model"))
    console.show(*report(found))
    for text in (capsys.readouterr().out, ci.summary(found)):
        assert text.count("weights changed") == 1
        assert text.count("a price") == 1


def test_names_are_quoted_for_the_shell() -> None:
    case = replace(MODEL, name=HOSTILE, data=Path("a b/$(touch gone).npz"))
    for command in steps(case, CaseResult(HOSTILE, "failed", (failed("speed"), failed("spikes")), "model")):
        words = shlex.split(command)
        assert str(case.data) in words or HOSTILE in words or "compile" in words


def test_the_commands_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for an artifact that has changed since its baseline was committed, typed as they are shown."""
    monkeypatch.chdir(tmp_path)
    path = written(Path())
    call(capsys, "test", "--suite", path, "--update-baseline")
    for command in ("git init -q", "git add .", "git -c user.name=u -c user.email=u@e commit -q -m reviewed"):
        subprocess.run(shlex.split(command), check=True)
    save(Path(), neuron(PROGRAM, "hidden", vth=9 << 6))
    found = CaseResult("small", "stale", (failed("baseline"), failed("program"), failed("energy")), "model")
    for command in [command for _, command in onward(toml_file.load(path), found).steps]:
        git, _, own = command.rpartition("> small.before.ndp && ")
        if git:
            subprocess.run(["bash", "-c", f"{git}> small.before.ndp"], check=True)
        words = shlex.split(own.partition("; ")[0])
        assert words[0] == "ndeploy"
        if "--against" in words:
            done = call(capsys, *words[1:])
            assert done.code == 1
            assert "threshold" in done.out
        elif words[1] == "compare":
            continue  # the artifact of this test keeps no float network
        else:
            assert call(capsys, *words[1:]).code == 0


# -- reports -----------------------------------------------------------------------------------------------------------

CURVE = Curve("stuck", 0, 64, ((0, (0.9,)), (1, (0.9, 0.88, 0.91)), (4, (0.5, 0.7, 0.9))))
MANY = result(
    CaseResult(
        HOSTILE, "failed", (failed("speed", HOSTILE, HOSTILE), Check(HOSTILE, SKIPPED, reason=HOSTILE)), "model"
    ),
    CaseResult("kept", "passed", (Check("accuracy", PASSED),), curve=CURVE, board="tcp://b:1", moves=("moved: x",)),
    CaseResult("board", "error", (failed("run"),), "board", exit_code=3, retried={"ND624": 3}),
    quarantined=(Quarantined("tcp://a:1", "it hangs", True), Quarantined("tcp://c:1", HOSTILE)),
)
SUITE = suite_of(replace(ARTIFACT, name=HOSTILE), ARTIFACT, BOARD)


def valid(element: ElementTree.Element) -> None:
    required, other, children = SCHEMA[element.tag]
    assert required <= set(element.attrib) <= required | other
    assert TIMES.fullmatch(element.get("time", ""))
    for child in element:
        assert child.tag in children
        valid(child)


def test_junit_follows_the_schema_and_counts() -> None:
    root = ElementTree.fromstring(ci.junit(MANY, SUITE))
    valid(root)
    assert {key: root.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
    }
    told = [(suite.findtext("system-out") or "") for suite in root]
    assert told[0].startswith("# again, with nothing else running\nndeploy test --suite deploy/suite.toml --case ")
    assert told[1] == "measured on tcp://b:1\nmoved: x"
    assert "tried again after ND624 3 times" in told[2]
    assert "ndeploy board status" in told[2]


def test_github_shows_ten_of_a_level() -> None:
    cases = [CaseResult(f"c{i}", "failed", (failed("energy"),), "toolchain") for i in range(23)]
    lines = ci.github(result(*cases), "suite.toml")
    assert len(lines) == ci.MOST_SHOWN
    assert lines[-1] == "::error title=more::14 more, in the log and in the report"
    assert len(ci.github(result(*cases[:10]), "suite.toml")) == 10
    lines = ci.github(MANY, "suite.toml", SUITE)
    assert all(line.count("\n") == 0 for line in lines)
    assert any("title=quarantine::board tcp://a:1" in line for line in lines)


def test_the_summary_is_markdown_and_nothing_else() -> None:
    text = ci.summary(MANY, SUITE)
    assert "\\<b\\>" in text
    assert "<b>" not in re.sub(r"```sh.*?```", "", text, flags=re.DOTALL).replace("\\<b\\>", "")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 3
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 9 for row in rows)
    assert "- board tcp://a:1 was put into quarantine (it hangs) and taken back in" in text
    many = result(*(CaseResult(f"c{i}", "passed") for i in range(ci.MOST_ROWS + 5)))
    assert "5 more cases are in the report." in ci.summary(many)


def test_the_terminal_and_the_page_show_boards_and_spread(capsys: pytest.CaptureFixture[str]) -> None:
    console.show(*report(MANY, SUITE))
    told = " ".join(capsys.readouterr().out.split())
    for text in ("board tcp://a:1 was put into quarantine (it hangs) and taken back in", "kept: moved: x", "70.00 %"):
        assert text in told
    shown = page(MANY, {}, SUITE)
    for text in ("tcp://b:1", "moved: x", "tried again after ND624 3 times", "50.00 %", "ndeploy board status"):
        assert text in shown
    assert "<b>x" not in shown
    assert "\u202e" not in shown
    assert page(MANY, {}, SUITE) == shown
    ElementTree.fromstring(re.search(r"<svg role=.*?</svg>", shown, re.DOTALL)[0])  # type: ignore[index]


def test_a_folded_command_is_the_command() -> None:
    from ndeploy.report.suite import _folded

    (command, *_) = steps(MODEL, CaseResult("my net", "failed", (failed("accuracy"),), "toolchain"))
    command += " 'a  b" + " c" * 80 + "'"
    lines = _folded(command)
    assert len(lines) > 1
    shown = ["bash", "-c", "printf '%s\\n' " + "\n".join(lines)]
    words = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == shlex.split(command)


@pytest.mark.parametrize(("runs", "says"), [(0, ""), (1, "the first run of this history"), (2, "The last 2 runs")])
def test_trends_of_few_runs(runs: int, says: str) -> None:
    points = tuple(Point("2026-11-22T13:00:00", "a" * 40, "passed", {"energy": 1e-6 * i}) for i in range(1, runs + 1))
    found = page(MANY, {"kept": points} if runs else {}, SUITE)
    assert says in found
    assert ("<h2>Over time</h2>" in found) == (runs > 1)


def drawn(*values: float, name: str = "accuracy") -> str:
    points = tuple(Point("2026-11-22T13:00:00", f"{i}" * 40, "passed", {name: v}) for i, v in enumerate(values))
    return str(trend("c", name, points))


def heights(text: str) -> list[float]:
    return [float(found) for found in re.findall(r'cy="([0-9.]+)"', text)]


def test_a_small_difference_is_no_cliff() -> None:
    small = heights(drawn(0.9, 0.9001, 0.9, 0.9001))
    assert max(small) - min(small) < 1
    small = heights(drawn(1e-6, 1.001e-6, name="energy"))
    assert max(small) - min(small) < 2
    times = heights(drawn(100.0, 140.0, name="compile_time"))
    assert 10 < max(times) - min(times) < 40
    large = heights(drawn(0.9, 0.5, 0.9))
    assert max(large) - min(large) > 50


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_level_line_has_an_axis(value: float) -> None:
    text = drawn(value, value)
    labels = [float(found) for found in re.findall(r">(-?[0-9.]+) %</text>", text)]
    assert len(labels) == 2
    assert 0 <= labels[1] < labels[0] <= 100
    assert labels[1] <= 100 * value <= labels[0]
    assert f"{100 * value:.2f} % throughout" in text


def test_commits_stand_below_a_trend() -> None:
    def named(text: str) -> list[str]:
        return re.findall(r">([0-9]{7})</text>", text)

    assert named(drawn(0.9, 0.9, 0.9, 0.9, 0.9)) == ["4444444", "0000000"]
    assert named(drawn(0.9, 0.9, 0.5, 0.5, 0.5)) == ["2222222", "4444444", "0000000"]
    assert named(drawn(0.9, 0.9, 0.9, 0.9, 0.5)) == ["4444444", "0000000"]
    assert named(drawn(0.5, *[0.9] * 8)) == ["1111111", "8888888"]  # no room for the first
    points = (Point("2026-11-22T13:00:00", "", "passed", {"energy": 1.0}),) * 2
    assert "2026-11-22</text>" in trend("c", "energy", points)
