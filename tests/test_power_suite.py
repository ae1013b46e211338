"""A board's meter in `ndeploy test`: its checks, who is to blame, baseline and history."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import TOKEN, lent, metered_board, oracle_board
from small_artifact import PROGRAM
from suite_cases import save, suite, weight

from ndeploy import plugins
from ndeploy.board.faults import FaultyBoard, Plan
from ndeploy.board.meter import ModelMeter
from ndeploy.board.software import SoftwareBoard
from ndeploy.runners import BUILT_IN, RunnerOptions
from ndeploy.suite import baseline, history, metered
from ndeploy.suite.bench import Bench
from ndeploy.suite.measure import Context, measure
from ndeploy.suite.measured import Measured
from ndeploy.suite.run import run_one
from ndeploy.suite.toml_file import load
from ndeploy.suite.verdict import CaseResult

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)


class OnBoard(Bench):
    """Lends a board on this machine."""

    def __init__(self, url: str) -> None:
        super().__init__(RunnerOptions(board=url))


def judged(folder: Path, device: Any, known: Any = None) -> tuple[Measured, CaseResult]:
    case = replace(load(folder / "suite.toml").cases[0], runner="board")
    with lent(device) as server:
        context = Context(OnBoard(server.url), timed=False)
        found = measure(context, case)
        assert isinstance(found, Measured), found
        from ndeploy.suite.checks import judge

        return found, judge(case, found, known)


def known(found: Measured, folder: Path) -> Any:
    baseline.save(folder / "b.json", {"small": found}, frozenset())
    return baseline.load(folder / "b.json")["small"]


def outcomes(result: CaseResult) -> dict[str, str]:
    return {check.name: check.outcome for check in result.checks if check.name in metered.CHECKS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    suite(tmp_path)
    return tmp_path


def test_a_case_on_a_board_with_a_meter(folder: Path) -> None:
    found, result = judged(folder, metered_board())
    assert result.outcome == "passed"
    assert outcomes(result) == {"measured energy": "passed", "measured energy, baseline": "skipped"}
    assert found.numbers["measured_energy"] == pytest.approx(found.numbers["energy"])
    assert any("meter" in remark for remark in result.remarks)
    assert result.retried == {}
    _, again = judged(folder, metered_board(), known(found, folder))
    assert outcomes(again) == dict.fromkeys(metered.CHECKS, "passed")


def test_a_board_without_a_meter_and_a_runner_that_is_no_board(folder: Path) -> None:
    found, result = judged(folder, oracle_board())
    assert result.outcome == "passed"
    assert outcomes(result) == dict.fromkeys(metered.CHECKS, "skipped")
    assert not set(metered.KEPT) & set(found.numbers)
    result = run_one(load(folder / "suite.toml").cases[0], Context(timed=False), {})
    assert outcomes(result) == {}


LIES = {1.05: (), 1.2: metered.CHECKS[1:], 1.5: metered.CHECKS[1:], 10.0: metered.CHECKS}
"""By factor: what fails, where every stream is lied about in the same direction."""


@pytest.mark.parametrize("factor", sorted(LIES))
@pytest.mark.parametrize("up", [True, False])
def test_a_meter_that_lies_is_the_boards_fault(folder: Path, factor: float, up: bool) -> None:
    class Lies(FaultyBoard):
        def _meter(self, true: Mapping[str, float]) -> dict[str, float]:
            return {**true, "joules": true["joules"] * (factor if up else 1 / factor)}

    honest, _ = judged(folder, metered_board())
    _, result = judged(folder, Lies(metered_board(), Plan({}, 0)), known(honest, folder))
    failed = tuple(check.name for check in result.failed)
    assert failed == LIES[factor]
    assert result.blame == ("board" if failed else "")
    assert result.outcome == ("failed" if failed else "passed")
    for check in result.failed:
        assert "bound" in check.reason or "baseline" in check.reason
        assert "meter" in check.cause


def test_a_change_of_the_program_is_not_blamed_on_the_meter(folder: Path) -> None:
    honest, _ = judged(folder, metered_board())
    save(folder, weight(PROGRAM, "in->hidden", 4, 1))
    _, result = judged(folder, metered_board(), known(honest, folder))
    assert outcomes(result)["measured energy, baseline"] == "skipped"
    assert result.blame == "model"  # stale


def test_another_meter_is_not_compared(folder: Path) -> None:
    honest, _ = judged(folder, metered_board())
    _, result = judged(
        folder, metered_board(), known(replace(honest, identity={**honest.identity, "meter": "an INA226"}), folder)
    )
    assert outcomes(result) == {"measured energy": "passed", "measured energy, baseline": "skipped"}
    assert any("INA226" in check.reason for check in result.checks)
    assert any("another meter: an INA226" in remark for remark in result.remarks)
    _, without = judged(folder, oracle_board(), known(honest, folder))
    assert any("another meter" in remark for remark in without.remarks)
    _, same = judged(folder, metered_board(), known(honest, folder))
    assert not any("another meter" in remark for remark in same.remarks)


def test_the_meter_of_another_chip_is_not_held_beside_the_estimate(folder: Path) -> None:
    other = SoftwareBoard(BUILT_IN["oracle"], "oracle", meter=ModelMeter(plugins.target("loihi1")))
    found, result = judged(folder, other)
    assert result.outcome == "passed"
    assert outcomes(result) == dict.fromkeys(metered.CHECKS, "skipped")
    assert found.numbers["measured_energy"]
    assert found.numbers["measured_low"] is None


def test_faults_that_were_mended_are_told_of(folder: Path) -> None:
    class Flaky(FaultyBoard):
        def _draws(self, kind: str) -> bool:
            return len(self.happened) < 2 and super()._draws(kind)

    _, result = judged(folder, Flaky(oracle_board(), Plan({"fail": 1.0}, 1)))
    assert result.outcome == "passed"
    assert result.retried == {"ND630": 2}
    assert any("ND630 x 2" in remark for remark in result.remarks)


def test_an_update_without_a_meter_keeps_what_was_measured(folder: Path) -> None:
    path = folder / "b.json"
    honest, _ = judged(folder, metered_board())
    baseline.save(path, {"small": honest}, frozenset())
    plain, _ = judged(folder, oracle_board())
    baseline.save(path, {"small": plain}, frozenset())
    kept = baseline.load(path)["small"]
    assert kept.numbers["measured_energy"] == honest.numbers["measured_energy"]
    assert kept.identity["meter"] == honest.identity["meter"]
    before = path.read_bytes()
    baseline.save(path, {"small": plain}, frozenset())
    assert path.read_bytes() == before
    save(folder, weight(PROGRAM, "in->hidden", 4, 1))
    other, _ = judged(folder, oracle_board())
    baseline.save(path, {"small": other}, frozenset())
    assert "measured_energy" not in baseline.load(path)["small"].numbers


def test_a_history_of_the_former_format_is_taken_up(folder: Path, capsys: Capsys) -> None:
    past, page = folder / "h.sqlite", folder / "p.html"
    base = sqlite3.connect(past)
    with base:
        base.execute(f"PRAGMA application_id = {history.APPLICATION}")
        base.execute("PRAGMA user_version = 1")
        base.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, suite TEXT, at TEXT, git TEXT, passed INTEGER)")
        numbers = "accuracy REAL, energy REAL, latency REAL, synaptic_ops REAL, speed REAL, compile_time REAL"
        base.execute(f"CREATE TABLE cases (run INTEGER REFERENCES runs (id), name TEXT, outcome TEXT, {numbers})")
        base.execute("INSERT INTO runs VALUES (1, 'suite.toml', '2026-01-01', '', 1)")
        base.execute("INSERT INTO cases VALUES (1, 'small', 'passed', 0.8, 1e-9, 1e-6, 36.8, 1, NULL)")
    base.close()
    from ndeploy.report.suite_page import page as shown
    from ndeploy.suite.verdict import SuiteResult

    _, result = judged(folder, metered_board())
    whole = SuiteResult("suite.toml", (result,), {}, "2026-01-02", "", 1.0)
    for _ in range(2):
        trends = history.add(past, whole)
    assert [point.numbers["measured_energy"] for point in trends["small"]] == [
        None,
        *(2 * [result.numbers["measured_energy"]]),
    ]
    page.write_text(shown(whole, trends))
    assert "energy a sample by the board&#39;s meter" in page.read_text()
    assert capsys.readouterr().err == ""
