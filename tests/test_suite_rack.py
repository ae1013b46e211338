"""Suites on racks of boards that hang, lie, die and are fought for: results are those of a serial run, or the boards
are to blame; and nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from boards import TERMS, TOKEN, left_open, lent, metered_board
from fake_lanes import deaf
from racks import alive, case, loaded, numbers, rack, served, soon

from ndeploy.board.faults import FaultyBoard, Plan
from ndeploy.board.protocol import AnswerError, Frame
from ndeploy.board.software import SoftwareBoard
from ndeploy.runners import BUILT_IN
from ndeploy.suite.lanes import WorkerDiedError
from ndeploy.suite.lanes_process import ProcessLane
from ndeploy.suite.measure import Context
from ndeploy.suite.run import run
from ndeploy.suite.verdict import SuiteResult

PAUSES = (0.2, 0.2)
UNTIMED = Context(timed=False)
"""Times are measured anew in every process, and are not what is looked at here."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    monkeypatch.delenv("NDEPLOY_BOARD", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the suite, with its baseline."""
    return tmp_path_factory.mktemp("rack")


@pytest.fixture(scope="module")
def serial(folder: Path) -> SuiteResult:
    """The suite on the simulator, case by case, in this process; its baseline is written."""
    return run(loaded(folder, 6, "sim"), UNTIMED, update=True)


def test_a_rack_with_a_board_that_hangs_and_one_that_flips_bits_gives_the_serial_result(
    folder: Path, serial: SuiteResult
) -> None:
    resource_tracker.ensure_running()  # stays until this process ends
    before = _left()
    with rack("hang=1,seed=1", "flip=1,seed=2", "") as urls:
        result = run(loaded(folder, 6), UNTIMED, boards=urls, pauses=PAUSES)
        assert numbers(result) == numbers(serial)
        assert result.exit_code == 0
        assert {entry.board for entry in result.quarantined} == set(urls[:2])
        assert {found.board for found in result.results} == {urls[2]}
        assert sum(bool(found.moves) for found in result.results) == 2
        told = result.to_json()
        assert {entry["board"] for entry in told["quarantined"]} == set(urls[:2])
        assert told["cases"][5]["board"] == urls[2]
    assert soon(lambda: _left() == before)


class Poisoned(SoftwareBoard):
    """A board that fails at three samples, and at nothing else."""

    def ask(self, frame: Frame, limit: float) -> Frame:
        if frame.op == "stream" and frame.fields["arrays"][0][2][0] == 3:
            raise AnswerError("fault", "no more than two of them")
        return super().ask(frame, limit)


@pytest.mark.long
def test_a_case_that_every_board_fails_at_costs_no_board_its_place(folder: Path, serial: SuiteResult) -> None:
    with contextlib.ExitStack() as stack:
        devices = [Poisoned(BUILT_IN["oracle"], "poisoned") for _ in range(2)]
        urls = [stack.enter_context(lent(device, replace(TERMS, run=5.0))).url for device in devices]
        result = run(loaded(folder, 4), UNTIMED, boards=urls, pauses=PAUSES)
    (poison,) = [found for found in result.results if found.outcome != "passed"]  # c2 has three samples
    assert (poison.name, poison.outcome, poison.blame, poison.code) == ("c2", "error", "board", "ND630")
    assert "are well otherwise" in poison.failed[0].reason
    assert len(poison.moves) == 2
    assert not result.quarantined
    others = [entry for entry in zip(numbers(result), numbers(serial), strict=False) if entry[0] != numbers(result)[2]]
    assert all(found == wanted for found, wanted in others)


@pytest.mark.long
@pytest.mark.parametrize("other", ["", "as the first"])
def test_a_meter_that_lies_is_found_by_another_board(tmp_path: Path, other: str) -> None:
    class Lies(FaultyBoard):
        def _meter(self, true: Mapping[str, float]) -> dict[str, float]:
            return {**true, "joules": true["joules"] * 1.5}

    def lying() -> Lies:
        return Lies(metered_board(), Plan({}, 0))

    suite = loaded(tmp_path, 4)
    with lent(metered_board(), TERMS) as server:
        assert run(suite, UNTIMED, boards=[server.url], update=True).passed
    with (
        lent(lying(), TERMS) as liar,
        lent(lying() if other else metered_board(), TERMS) as second,
    ):
        urls = [liar.url, second.url]
        result = run(suite, UNTIMED, boards=urls, pauses=PAUSES)
    if other:
        assert {found.blame for found in result.results} == {"toolchain"}
    else:
        assert result.passed
        assert {found.board for found in result.results} == {urls[1]}
        assert any("its meter shows more than it should" in move for r in result.results for move in r.moves)


def test_all_boards_dead_is_exit_3_and_blames_the_boards(folder: Path, serial: SuiteResult) -> None:
    with rack("", "") as urls:
        pass
    result = run(loaded(folder, 4), UNTIMED, boards=urls, pauses=(0.1,))
    assert result.exit_code == 3
    assert {(found.outcome, found.blame) for found in result.results} == {("error", "board")}
    assert {entry.board for entry in result.quarantined} == set(urls)


def test_a_server_killed_in_the_middle_of_a_case_loses_nothing(folder: Path, serial: SuiteResult) -> None:
    """Of two real servers one is ended by kill -9, with a case on it."""
    with served("--runner", "oracle", "--inject", "slow=1,seed=1") as (doomed, first), rack("slow=1") as (second,):
        killer = threading.Thread(target=lambda: soon(lambda: _leased(first)) and doomed.kill())
        killer.start()
        result = run(loaded(folder, 4), UNTIMED, boards=[first, second], pauses=PAUSES)
        killer.join()
        assert doomed.poll() is not None
    assert numbers(result) == numbers(serial)[:4]
    assert [entry.board for entry in result.quarantined] == [first]
    assert any(first in move for found in result.results for move in found.moves)


def test_a_lanes_process_killed_in_the_middle_of_a_case_starts_anew(
    folder: Path, serial: SuiteResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes: list[ProcessLane] = []
    begun = ProcessLane.submit

    def submit(lane: ProcessLane, case: object) -> object:
        lanes.append(lane)
        return begun(lane, case)  # type: ignore[arg-type]

    monkeypatch.setattr(ProcessLane, "submit", submit)
    with rack("slow=1") as (url,):

        def kill() -> None:
            assert soon(lambda: _leased(url))
            assert lanes[0].pid is not None
            os.kill(lanes[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = run(loaded(folder, 2), UNTIMED, boards=[url], pauses=PAUSES)
        killer.join()
    assert numbers(result) == numbers(serial)[:2]
    assert "was killed by SIGKILL: tried once more" in result.results[0].moves[0]
    assert not result.quarantined


@pytest.mark.long
def test_workers_and_boards_together_give_what_one_process_gives(tmp_path: Path) -> None:
    (tmp_path / "sims").mkdir()
    wanted = run(loaded(tmp_path / "sims", 6, "sim"), UNTIMED)
    extra = case("s0", "sim", 1) + case("s1", "sim", 2)
    with rack("") as urls:
        result = run(loaded(tmp_path, 4, extra=extra), UNTIMED, boards=urls)
    assert [entry[2] for entry in numbers(result)] == [entry[2] for entry in numbers(wanted)[:4] + numbers(wanted)[:2]]
    assert result.passed
    assert {found.board for found in result.results[4:]} == {""}


@pytest.mark.long
def test_a_cluster_whose_one_board_flips_bits_gives_the_serial_result(folder: Path, serial: SuiteResult) -> None:
    """Workers of dask with a board each: what holds for lanes of this machine holds for theirs."""
    pytest.importorskip("distributed")
    from dask_clusters import worker
    from test_search_workers import dask_cluster

    extra = case("s0", "sim", 1) + case("s1", "sim", 2)
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(rack("flip=1,seed=2", ""))
        address = stack.enter_context(dask_cluster(0))
        for name, url in (("plain", ""), ("left", urls[0]), ("right", urls[1])):
            stack.enter_context(worker(address, name, "--no-nanny", board=url))
        import distributed

        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
        cluster = address.replace("tcp://", "dask://")
        result = run(loaded(folder, 6, extra=extra), UNTIMED, cluster, pauses=PAUSES)
    assert numbers(result)[:6] == numbers(serial)
    assert [found.outcome for found in result.results] == ["passed"] * 8
    (entry,) = result.quarantined
    assert {found.board for found in result.results[:6]}.isdisjoint({entry.board, ""})


def test_a_process_that_does_not_listen_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    lane = ProcessLane(UNTIMED, "deaf")
    future = lane._give(deaf, str(path))
    assert soon(path.exists, 60)
    assert soon(lambda: len(path.read_text().split()) == 2)
    ids = [int(word) for word in path.read_text().split()]
    assert alive(ids) == ids
    lane.close()
    lane.close()
    assert not alive(ids)
    with pytest.raises(WorkerDiedError):
        future.result(0)
    with pytest.raises(WorkerDiedError, match="is closed"):
        lane.probe().result(0)


def _left() -> dict[str, int]:
    """Without shared memory, which is the whole machine's."""
    return {what: count for what, count in left_open().items() if what != "memory"}


def _leased(url: str) -> bool:
    from ndeploy.board.runner import status
    from ndeploy.runners import RunnerOptions

    return int(status(RunnerOptions(board=url))["leases"]) > 0
