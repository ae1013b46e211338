"""`ndeploy test` from the outside: exit codes, files, JSON; and the files that strangers write."""

from __future__ import annotations

import json
import sqlite3
import sys
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pytest
import typer
from cli_runner import Done
from small_artifact import PROGRAM
from suite_cases import TEXT, neuron, save, suite

from ndeploy.cli import guard
from ndeploy.cli.test import suite_command
from ndeploy.errors import RefusedError, UsageError
from ndeploy.suite import baseline, history, inject
from ndeploy.suite.ci import github, junit
from ndeploy.suite.toml_file import load
from ndeploy.suite.verdict import CaseResult, Check, SuiteResult

Capsys = pytest.CaptureFixture[str]
HOSTILE = "<script>alert(1)</script> %0A::error::x\x1b[31m\x00"


def call(capsys: Capsys, *arguments: object) -> Done:
    capsys.readouterr()
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("test")(suite_command)
    with mock.patch.object(sys, "argv", ["ndeploy", *map(str, arguments)]), pytest.raises(SystemExit) as left:
        guard.guarded(app)
    captured = capsys.readouterr()
    return Done(int(left.value.code or 0), captured.out, captured.err)


@pytest.fixture
def path(tmp_path: Path, capsys: Capsys) -> Path:
    found = suite(tmp_path)
    assert call(capsys, "--suite", found, "--update-baseline").code == 0
    return found


def hostile() -> SuiteResult:
    check = Check(HOSTILE, "failed", HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    case = CaseResult(HOSTILE, "failed", (check, Check("b", "skipped", reason=HOSTILE)), "model", {}, (HOSTILE,))
    return SuiteResult(HOSTILE, (case,), {"x": HOSTILE}, "2026-01-01T00:00:00+00:00", "", 1.0, HOSTILE)


def test_json_has_the_fields_and_nothing_else_is_on_stdout(path: Path, capsys: Capsys) -> None:
    done = call(capsys, "--suite", path, "--json")
    fields = json.loads(done.out)
    assert done.code == 0
    assert fields["schema"] == "ndeploy.test/1"
    assert fields["passed"] is True
    assert fields["outcomes"] == {"passed": 1, "failed": 0, "stale": 0, "error": 0}
    assert fields["cases"][0]["numbers"]["accuracy"] == 0.8
    assert {"name", "outcome", "reason", "found", "wanted", "cause"} == set(fields["cases"][0]["checks"][0])


def test_a_regression_exits_1_and_every_file_says_why(path: Path, capsys: Capsys, tmp_path: Path) -> None:
    save(path.parent, neuron(PROGRAM, "hidden", vth=9 << 6))
    xml, html, past = tmp_path / "j.xml", tmp_path / "p.html", tmp_path / "h.sqlite"
    files = ("--junit", xml, "--html", html, "--history", past)
    done = call(capsys, "--suite", path, "--annotations", *files)
    assert done.code == 1
    assert "threshold 192 -> 576" in done.out
    assert "::warning file=" in done.err
    root = ElementTree.parse(xml).getroot()
    failures = root.findall("testsuite/testcase/failure")
    assert {entry.get("type") for entry in failures} == {"model"}
    assert any("threshold 192 -> 576" in (entry.text or "") for entry in failures)
    assert "threshold 192 -&gt; 576" in html.read_text()


def test_trends_need_two_runs(path: Path, capsys: Capsys, tmp_path: Path) -> None:
    html, past = tmp_path / "p.html", tmp_path / "h.sqlite"
    assert call(capsys, "--suite", path, "--html", html, "--history", past).code == 0
    assert "Over time" not in html.read_text()
    assert call(capsys, "--suite", path, "--html", html, "--history", past).code == 0
    text = html.read_text()
    assert "Over time" in text
    assert text.count("<polyline") == 5  # an artifact is not compiled
    with sqlite3.connect(past) as base:
        assert base.execute("SELECT count(*), min(accuracy) FROM cases").fetchone() == (2, 0.8)


def test_the_page_needs_nothing_from_elsewhere(path: Path, capsys: Capsys, tmp_path: Path) -> None:
    html = tmp_path / "p.html"
    call(capsys, "--suite", path, "--html", html, "--inject", "bits=4")

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe")
            assert not {"src", "href"} & {name for name, _ in attrs}

    Reader().feed(html.read_text())
    assert "Under injected faults" in html.read_text()


def test_a_suite_is_not_measured_for_a_history_that_is_none(path: Path, capsys: Capsys, tmp_path: Path) -> None:
    past, xml = tmp_path / "h.sqlite", tmp_path / "j.xml"
    past.write_text("no database " * 100)
    with mock.patch("ndeploy.suite.run.run") as run:
        done = call(capsys, "--suite", path, "--history", past, "--junit", xml)
        assert done.code == 2
        assert "ND663" in done.err
        assert call(capsys, "--suite", path, "--history", tmp_path / "no" / "h").code == 2
    assert not run.called


def test_a_file_that_cannot_be_written_costs_no_other(path: Path, capsys: Capsys, tmp_path: Path) -> None:
    past, xml = tmp_path / "h.sqlite", tmp_path / "j.xml"
    with mock.patch.object(history, "add", side_effect=UsageError("ND663", "full", help="x")):
        done = call(capsys, "--suite", path, "--history", past, "--junit", xml)
    assert done.code == 2
    assert "ND663" in done.err
    assert "all passed" in done.out
    assert f"wrote {past}" not in done.out
    assert ElementTree.parse(xml).getroot().get("failures") == "0"


def test_an_update_says_what_it_wrote_and_what_not(tmp_path: Path, capsys: Capsys) -> None:
    path = suite(tmp_path, TEXT + TEXT[TEXT.index("[[case]]") :].replace('"small"', '"other"').replace(".npz", ".bad"))
    (tmp_path / "small.bad").write_text("no data")
    base = path.with_suffix(".baseline.json")
    done = call(capsys, "--suite", path, "--case", "other", "--update-baseline")
    assert done.code == 1
    assert not base.exists()
    assert "was written" in done.out
    assert "not measured, has no baseline: other" in done.out
    done = call(capsys, "--suite", path, "--update-baseline")
    assert "suite.baseline.json: 1 case, to be reviewed" in " ".join(done.out.split())
    assert "not measured, keeps its old baseline, if it has one: other" in done.out
    before = base.read_bytes()
    done = call(capsys, "--suite", path, "--case", "other", "--update-baseline")
    assert "is as it was: no case could be measured" in " ".join(done.out.split())
    assert base.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('runner = "brd"', "ND601", "case 'small'"),
        ('model = "small.npz"\ntarget = "loihi3"', "ND401", "case 'small'"),
        ("tolerance = {}", "ND660", "did you mean 'tolerances'?"),
        ('runner = "board"', "ND621", "no board is named"),
    ],
)
def test_a_suite_that_names_what_there_is_not_starts_nothing(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, line: str, code: str, says: str
) -> None:
    monkeypatch.delenv("NDEPLOY_BOARD", raising=False)
    text = TEXT.replace('artifact = "small.ndp"\n', "") if "model" in line else TEXT
    path = suite(tmp_path, text.replace('name = "small"\n', f'name = "small"\n{line}\n'))
    with mock.patch("ndeploy.suite.run.run") as run:
        done = call(capsys, "--suite", path)
    assert done.code == 2
    assert f"[{code}]" in done.err
    assert says in done.err
    assert not run.called


def test_what_strangers_name_is_shown_not_obeyed() -> None:
    from ndeploy.cli import console
    from ndeploy.report.suite import report
    from ndeploy.report.suite_page import page

    result = hostile()
    text = page(result, {HOSTILE: [history.Point("x", HOSTILE, HOSTILE, {"accuracy": 1.0})] * 2})
    assert "<script" not in text
    assert "\x1b" not in text
    ElementTree.fromstring(junit(result))
    (line,) = github(result, HOSTILE)
    assert line.startswith("::error file=")
    assert line.isprintable()
    assert "::" not in line.removeprefix("::error ").split("::", 1)[0]  # no property ends early
    with pytest.MonkeyPatch.context() as patch:
        shown: list[str] = []
        patch.setattr(console, "_write", shown.append)
        console.show(*report(result))
    assert "\x1b" not in shown[0]


@pytest.mark.parametrize(
    "arguments",
    [("--case", "none"), ("--target", "none"), ("--lava-mode", "odd"), ("--board", "tcp://x:1"), ("--bogus",)],
    ids=" ".join,
)
def test_bad_usage_exits_2(path: Path, capsys: Capsys, arguments: tuple[str, ...]) -> None:
    done = call(capsys, "--suite", path, "--target", "loihi2", *arguments)
    assert done.code == (0 if arguments[0] == "--target" else 2)  # an artifact knows its own target


def test_no_case_for_a_target_is_bad_usage(tmp_path: Path, capsys: Capsys) -> None:
    text = TEXT.replace("artifact", "model")
    assert call(capsys, "--suite", suite(tmp_path, text), "--target", "loihi1").code == 2


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--inject", "bits", "ND664"),
        ("--inject", "bits=0", "ND664"),
        ("--runner", "nobody", "ND601"),
        ("--workers", "many", "ND610"),
        ("--suite", "nowhere.toml", "ND101"),
    ],
)
def test_bad_values_have_codes(path: Path, capsys: Capsys, option: str, value: str, code: str) -> None:
    done = call(capsys, "--suite", path, option, value)
    assert (done.code, done.error) == (2, code)


def test_an_output_never_overwrites_suite_or_baseline(path: Path, capsys: Capsys) -> None:
    for file in (path, path.with_suffix(".baseline.json")):
        before = file.read_bytes()
        assert call(capsys, "--suite", path, "--junit", file).code == 2
        assert file.read_bytes() == before


def test_no_suite_away_from_the_repository(capsys: Capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ndeploy

    monkeypatch.setattr(ndeploy, "__file__", str(tmp_path / "ndeploy" / "__init__.py"))
    assert call(capsys).error == "ND662"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('schema = "ndeploy.suite/1"', 'schema = "ndeploy.suite/2"'),
        ("[[case]]", "[case]"),
        ('name = "small"', "name = 1"),
        ('name = "small"', 'name = "a\\nb"'),
        ('data = "small.npz"', ""),
        ('artifact = "small.ndp"', ""),
        ('artifact = "small.ndp"', 'artifact = "small.ndp"\nmodel = "small.ndp"'),
        ("traced = 5", "traced = true"),
        ("traced = 5", "traced = 0"),
        ("traced = 5", 'data = "small.npz"'),
        ("speed = 5", "speed = 0.5"),
        ("speed = 5", "speed = nan"),
        ("speed = 5", "sped = 5"),
        ("speed = 5", "speed = true"),
        ("tolerances = { speed = 5 }", "tolerances = 5"),
        ("tolerances = { speed = 5 }", "settings = { dt = [1] }"),
        ("tolerances = { speed = 5 }", 'mode = "fast"'),
        ("tolerances = { speed = 5 }", "exact = 1"),
        ("tolerances = { speed = 5 }", "time_limit = 0"),
        ("tolerances = { speed = 5 }", "bogus = 1"),
        ("[defaults]", "["),
    ],
)
def test_bad_suites_are_refused(tmp_path: Path, old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError) as refused:
        load(suite(tmp_path, TEXT.replace(old, new, 1)))
    assert refused.value.code == "ND660"


def test_two_cases_of_one_name_and_missing_files_are_refused(tmp_path: Path) -> None:
    entry = TEXT[TEXT.index("[[case]]") :]
    with pytest.raises(UsageError, match="two cases are named 'small'"):
        load(suite(tmp_path, TEXT + entry))
    with pytest.raises(UsageError, match=r"nowhere.npz") as refused:
        load(suite(tmp_path, TEXT.replace("small.npz", "nowhere.npz")))
    assert refused.value.code == "ND101"


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[]",
        '{"schema": "ndeploy.suite-baseline/1", "cases": []}',
        '{"schema": "ndeploy.suite-baseline/1", "cases": {"small": {}}}',
        '{"schema": "other/1", "cases": {}}',
        "[" * 100000,
    ],
    ids=range(6),
)
def test_bad_baselines_are_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    for use in (lambda: baseline.load(path), lambda: baseline.save(path, {}, frozenset())):
        with pytest.raises(UsageError) as refused:
            use()
        assert refused.value.code == "ND661"
    assert path.read_text() == text


@pytest.mark.parametrize("value", ["NaN", '"x"', "true", "[1]", "1e999"])
def test_a_baseline_of_odd_numbers_is_refused(path: Path, value: str) -> None:
    found = path.with_suffix(".baseline.json")
    found.write_text(found.read_text().replace('"accuracy": 0.8', f'"accuracy": {value}'))
    with pytest.raises(UsageError) as refused:
        baseline.load(found)
    assert refused.value.code == "ND661"


def test_another_database_is_no_history(tmp_path: Path) -> None:
    other, text = tmp_path / "o.sqlite", tmp_path / "t.sqlite"
    with sqlite3.connect(other) as base:
        base.execute("CREATE TABLE mine (x)")
    text.write_text("no database " * 100)
    for path in (other, text, tmp_path, tmp_path / "nowhere" / "h.sqlite"):
        with pytest.raises(UsageError) as refused:
            history.add(path, hostile())
        assert refused.value.code == "ND663"
    with sqlite3.connect(other) as base:
        assert base.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


# -- injected faults ---------------------------------------------------------------------------------------------------


def test_flipped_bits_are_that_many_and_nested() -> None:
    def flips(faults: int) -> set[tuple[int, int, int]]:
        found = set()
        made = inject.faulty(PROGRAM, "bits", faults, 3)
        for i, (before, after) in enumerate(zip(PROGRAM.projections, made.projections, strict=True)):
            pairs = zip(before.synapses.weight.reshape(-1), after.synapses.weight.reshape(-1), strict=True)
            for j, (a, b) in enumerate(pairs):
                found |= {(i, j, bit) for bit in range(8) if (int(a) ^ int(b)) >> bit & 1}
                assert -128 <= b <= 127
        return found

    assert len(flips(1)) == 1
    assert len(flips(40)) == 40
    assert flips(1) < flips(40)
    assert len(flips(18 * 8)) == 18 * 8


def test_stuck_neurons_are_silent_or_fire_always() -> None:
    from small_artifact import X

    from ndeploy import oracle
    from ndeploy.decode import encode

    made = inject.faulty(PROGRAM, "stuck", 5, 0)
    traces = oracle.run(made, encode(made, X)).traces
    rates = [traces[f"spikes/{name}"].mean(axis=(0, 1)) for name in ("hidden", "out")]
    assert {float(rate) for population in rates for rate in population} == {0.0, 1.0}


def test_more_faults_than_places_are_refused() -> None:
    for kind, most in (("bits", 18 * 8), ("stuck", 5)):
        with pytest.raises(RefusedError) as refused:
            inject.faulty(PROGRAM, kind, most + 1, 0)
        assert refused.value.code == "ND664"


@pytest.mark.parametrize("text", ["", "bits=-1", "bits=1,seed=x", "bits=1;stuck=1", "bits=99999999999", "odd=1"])
def test_bad_injections_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        inject.parse(text)
    assert refused.value.code == "ND664"


def test_levels_double() -> None:
    assert inject.parse("bits=1").levels() == (1,)
    assert inject.parse("bits=8").levels() == (1, 2, 4, 8)
    assert inject.parse("stuck=10, seed=4").levels() == (1, 2, 4, 8, 10)
    assert inject.parse("stuck=10,seed=4").seed == 4
