"""What a board's meter shows: read, merged over batches, held beside the estimate and the baseline, and lied about."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import TERMS, TOKEN, ask, client, lent, metered_board, oracle_board
from cli_runner import call
from small_artifact import PROGRAM, X, write
from suite_cases import weight

from ndeploy import oracle, plugins
from ndeploy.board import credible
from ndeploy.board.beside import Beside, estimate_of, verdict
from ndeploy.board.faults import FaultyBoard, Plan
from ndeploy.board.meter import ModelMeter
from ndeploy.board.protocol import Frame, FrameError
from ndeploy.board.runner import Patience
from ndeploy.board.software import SoftwareBoard
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.energy.estimate import estimate
from ndeploy.energy.ranges import Range
from ndeploy.errors import NdeployError, UnreachableError, UsageError
from ndeploy.evaluate import evaluate
from ndeploy.ir.result import PowerReading
from ndeploy.place import place
from ndeploy.runners import BUILT_IN, RunnerOptions

MESSAGES = encode(PROGRAM, X)
Capsys = pytest.CaptureFixture[str]


def estimated() -> Range:
    activity = oracle.run(PROGRAM, MESSAGES, activity=True).activity
    assert activity is not None
    target = plugins.target("loihi2")
    found = estimate(PROGRAM, place(PROGRAM, target), target, activity, None).energy
    assert found is not None
    return found


# -- read --------------------------------------------------------------------------------------------------------------


def test_a_reading_is_of_the_samples_asked_for_and_follows_the_estimate() -> None:
    with lent(metered_board()) as server, client(server.url) as board:
        first, second = (ask(board, PROGRAM, MESSAGES).power for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.samples == len(X)
    assert first.joules_per_sample == pytest.approx(estimated().nominal)
    assert second.joules == pytest.approx(first.joules)  # not counted from when the board was switched on
    assert (first.scope, first.discarded) == ("dynamic", 0.0)
    assert "model" in first.meter
    assert "no measurement" in first.meter


def test_batches_add_up() -> None:
    with lent(metered_board()) as server, client(server.url) as board:
        whole = evaluate(PROGRAM, Data(X), board, RunnerOptions()).result.power
        parts = evaluate(PROGRAM, Data(X), board, RunnerOptions(), batch=2).result.power
    assert whole is not None
    assert parts is not None
    assert parts.samples == whole.samples == len(X)
    assert parts.joules == pytest.approx(whole.joules)


def test_no_meter_no_reading() -> None:
    with lent(oracle_board()) as server, client(server.url) as board:
        assert ask(board, PROGRAM, MESSAGES).power is None


def test_a_reading_of_some_batches_is_none_of_all() -> None:
    class Half:
        def __call__(self, program: Any, messages: Mapping[str, Any], *, trace: bool, options: RunnerOptions) -> Any:
            found = oracle.run(program, dict(messages))
            return replace(found, power=PowerReading(1.0, 1.0, 4, "m")) if len(messages["in"]) == 4 else found

    assert evaluate(PROGRAM, Data(X), Half(), RunnerOptions(), batch=4).result.power is None


def test_readings_add_up_and_name_every_meter_once() -> None:
    a, b = PowerReading(1.0, 2.0, 3, "a", "dynamic"), PowerReading(10.0, 20.0, 30, "b", "dynamic", 5.0)
    total = a + b + a + b
    assert total == PowerReading(22.0, 44.0, 66, "a; b", "dynamic", 10.0)
    assert (a + replace(a, scope="total")).scope == "total"


def test_energy_of_answers_that_were_thrown_away_is_told_apart() -> None:
    class FlipsOnce(FaultyBoard):
        def _answer(self, frame: Frame, limit: float) -> Frame:
            answer = super()._answer(frame, limit)
            if frame.op == "read" and not self.happened:  # after the meter was read, before the memory is
                self.happened.append("flip")
                self._board.program = weight(PROGRAM, "in->hidden", 0, 1)
            return answer

    device = FlipsOnce(metered_board(), Plan({}, 0))
    with lent(device) as server, client(server.url) as board:
        found = ask(board, PROGRAM, MESSAGES).power
        again = ask(board, PROGRAM, MESSAGES).power
    assert [error.code for error in board.retried] == ["ND626"]
    assert found is not None
    assert again is not None
    assert found.joules_per_sample == pytest.approx(estimated().nominal)
    assert found.discarded == pytest.approx(found.joules)
    assert again.discarded == 0.0


# -- what no meter shows -----------------------------------------------------------------------------------------------

POWER = {"features": ["power"]}


@pytest.mark.parametrize(
    ("said", "watts"),
    [
        (None, None),
        ({"joules": -1.0, "seconds": 1.0}, None),
        ({"joules": 1.0}, None),
        ({"joules": True, "seconds": 1.0}, None),
        ({"joules": "1", "seconds": 1.0}, None),
        ({"joules": 4.0, "seconds": 11.0}, None),  # back
        ({"joules": 6.0, "seconds": 9.0}, None),
        ({"joules": 6.0, "seconds": 1e5}, None),  # faster than time
        ({"joules": 8.0, "seconds": 11.0}, [1.0, 2.0]),
        ({"joules": 5.5, "seconds": 11.0}, [1.0, 2.0]),
    ],
)
def test_meters_that_cannot_be(said: object, watts: object) -> None:
    before = credible.Power(5.0, 10.0, -1.0)
    with pytest.raises(UnreachableError) as caught:
        credible.power({"power": said}, POWER | {"watts": watts}, replace(before, read_at=time.monotonic()))
    assert caught.value.code == "ND627"


def test_a_meter_that_can_be() -> None:
    before = credible.Power(5.0, 10.0, time.monotonic() - 1.0)
    for watts in (None, [1.0, 2.0], ["x"], [2.0, 1.0]):
        found = credible.power({"power": {"joules": 6.5, "seconds": 11.0}}, POWER | {"watts": watts}, before)
        assert found is not None
        assert (found.joules, found.seconds) == (6.5, 11.0)
    assert credible.power({}, {"features": []}, before) is None


def test_who_says_so() -> None:
    assert credible.meter({"runner": "chip"}) == ("the meter of 'chip'", "total", "")
    assert credible.meter({"meter": {"source": "x", "scope": "total", "chip": "loihi2"}}) == ("x", "total", "loihi2")
    assert credible.meter({"meter": {"source": "INA\x1b[31m; 3", "scope": "dynamic"}})[1] == "dynamic"
    assert "\x1b" not in credible.meter({"meter": {"source": "INA\x1b[31m; 3", "scope": "dynamic"}})[0]
    assert ";" not in credible.meter({"meter": {"source": "INA; 3", "scope": "dynamic"}})[0]
    for bad in ("x", {}, {"scope": "x"}, {"scope": "total", "source": 1}, {"scope": ["total"]}):
        with pytest.raises(FrameError):
            credible.meter({"meter": bad})


def test_a_meter_that_describes_itself_wrongly_breaks_the_protocol() -> None:
    class Strange(SoftwareBoard):
        def describe(self) -> dict[str, Any]:
            return {**super().describe(), "meter": "yes"}

    device = Strange(BUILT_IN["oracle"], "oracle", meter=ModelMeter(plugins.target("loihi2")))
    with (
        lent(device) as server,
        client(server.url, Patience(retries=0)) as board,
        pytest.raises(NdeployError) as caught,
    ):
        ask(board, PROGRAM, MESSAGES)
    assert caught.value.code == "ND625"


def test_a_modelled_meter_needs_activity() -> None:
    def silent(program: Any, messages: Mapping[str, Any], *, trace: bool, options: RunnerOptions) -> Any:
        return oracle.run(program, dict(messages))

    device = SoftwareBoard(silent, "silent", meter=ModelMeter(plugins.target("loihi2")))
    with lent(device) as server, client(server.url) as board:
        with pytest.raises(UsageError) as caught:
            ask(board, PROGRAM, MESSAGES)
        assert caught.value.code == "ND634"
        assert not board.retried


# -- beside the estimate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joules", "inside", "outside", "said"),
    [
        (2.0, True, 0.0, "inside"),
        (1.0, True, 0.0, "inside"),
        (4.0, True, 0.0, "inside"),
        (0.5, False, -0.5, "50 % below the low bound"),
        (6.0, False, 0.5, "50 % above the high bound"),
        (0.0, False, -1.0, "100 % below the low bound"),
    ],
)
def test_inside_or_outside_and_by_how_much(joules: float, inside: bool, outside: float, said: str) -> None:
    beside = Beside(PowerReading(10 * joules, 1.0, 10, "m"), Range(1.0, 2.0, 4.0))
    assert beside.inside is inside
    assert beside.outside_by == pytest.approx(outside)
    assert beside.of_nominal == pytest.approx(joules / 2)
    assert said in verdict(beside)
    assert beside.to_json()["inside"] is inside


def test_without_an_estimate_nothing_is_said() -> None:
    beside = Beside(PowerReading(1.0, 1.0, 10, "m"), None)
    assert (beside.inside, beside.outside_by, beside.of_nominal) == (None, None, None)
    assert "no estimate" in verdict(beside)
    assert beside.to_json()["estimate_joules"] == {"low": None, "nominal": None, "high": None}


def test_a_meter_in_the_supply_is_held_beside_static_energy_too() -> None:
    activity = oracle.run(PROGRAM, MESSAGES, activity=True).activity
    assert activity is not None
    target = plugins.target("loihi2")
    report = estimate(PROGRAM, place(PROGRAM, target), target, activity, None)
    assert report.energy is not None
    assert report.static is not None
    total = PowerReading(1.0, 1.0, 1, "m", "total")
    dynamic = replace(total, scope="dynamic")
    assert estimate_of(report, dynamic) == report.energy
    assert estimate_of(report, total) == report.energy + report.static
    assert estimate_of(replace(report, static=None), total) is None
    assert estimate_of(replace(report, energy=None), dynamic) is None
    assert estimate_of(report, replace(total, chip="loihi2")) == report.energy + report.static
    assert estimate_of(report, replace(total, chip="loihi1")) is None


# -- from the outside --------------------------------------------------------------------------------------------------

METERED = f"exec:{sys.executable} -m ndeploy board serve --stdio --runner oracle --meter loihi2"
PATIENT = replace(TERMS, run=30.0)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)


def fields(capsys: Capsys, *arguments: object) -> dict[str, Any]:
    import json

    done = call(capsys, *arguments, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def test_run_shows_what_was_measured(tmp_path: Path, capsys: Capsys) -> None:
    artifact, data = write(tmp_path)
    found = fields(capsys, "run", artifact, "--data", data, "--runner", "board", "--board", METERED, "--batch", 2)
    assert found["power"]["samples"] == len(X)
    assert found["power"]["joules_per_sample"] == pytest.approx(estimated().nominal)
    assert found["retried"] == {}
    with lent(metered_board(), PATIENT) as server:
        assert "no measurement" in fields(capsys, "board", "status", server.url)["meter"]
        text = call(capsys, "run", artifact, "--data", data, "--runner", "board", "--board", server.url).out
    assert "energy by a meter" in text
    assert "no measurement" in " ".join(text.split())
    assert fields(capsys, "run", artifact, "--data", data)["power"] is None


def test_energy_holds_both_side_by_side(tmp_path: Path, capsys: Capsys) -> None:
    artifact, data = write(tmp_path)
    asked = ("energy", artifact, "--data", data, "--runner", "board", "--board")
    page = tmp_path / "e.html"
    with lent(metered_board(), PATIENT) as server:
        found = fields(capsys, *asked, server.url, "--html", page)
    assert found["measured"]["inside"] is True
    assert found["measured"]["of_nominal"] == pytest.approx(1.0)
    assert found["measured"]["estimate_joules"] == found["energy_joules"]
    assert found["measured"]["other_messages"] == []
    assert "inside the estimate" in page.read_text()
    with lent(FaultyBoard(metered_board(), Plan({"scale": 1.0}, 1, 100.0)), PATIENT) as server:
        done = call(capsys, *asked, server.url)
    assert done.code == 0
    assert "warning[ND636]" in done.err
    assert "outside the estimate" in " ".join(done.out.split())
    with lent(oracle_board(), PATIENT) as server:
        assert fields(capsys, "board", "status", server.url)["meter"] is None
        none = call(capsys, *asked, server.url)
    assert (none.code, none.error) == (1, "ND635")
    for wrong in (("--board", METERED), ("--runner", "lava"), ("--time-limit", 3)):
        assert call(capsys, "energy", artifact, "--data", data, *wrong).code == 2
    assert call(capsys, *asked, METERED, artifact).code == 2


def test_verify_takes_a_board(tmp_path: Path, capsys: Capsys) -> None:
    artifact, data = write(tmp_path)
    asked = ("verify", artifact, "--data", data)
    with lent(oracle_board(), PATIENT) as server:
        for runners in (("--against", "board"), ("--reference", "board", "--against", "oracle")):
            assert fields(capsys, *asked, *runners, "--board", server.url)["mismatches"] == 0
        assert call(capsys, *asked, "--against", "oracle", "--board", server.url).code == 2


def test_a_meter_needs_a_target_that_is_known(capsys: Capsys) -> None:
    assert call(capsys, "board", "serve", "--listen", "127.0.0.1:0", "--meter", "abacus").code == 2
    assert call(capsys, "board", "serve", "--command", "x", "--meter", "loihi2").code == 2
