"""Suites on a dask cluster of real processes: the same results as here, boards lent once, and nothing left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from boards import TOKEN, lent
from dask_clusters import TERMS, GatedBoard, eventually, measurers, worker
from small_artifact import PROGRAM
from suite_cases import TEXT, neuron, save, suite
from test_search_workers import dask_cluster

from ndeploy.board.server import Server
from ndeploy.errors import NdeployError, RunnerError, UnreachableError, UsageError
from ndeploy.runners import RunnerOptions
from ndeploy.suite import dask_lanes, dask_worker
from ndeploy.suite.bench import Bench
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import Lane, WorkerDiedError, close_all
from ndeploy.suite.measure import Context
from ndeploy.suite.measured import Failure, Measured
from ndeploy.suite.run import run
from ndeploy.suite.toml_file import load
from ndeploy.suite.verdict import CaseResult

SECONDS = 60.0
BOARDS = ("", "dask worker left (", "dask worker right (")


@dataclass(frozen=True, eq=False)
class Cluster:
    """Two boards with a worker each, and a worker without one that has two threads."""

    address: str
    devices: tuple[GatedBoard, GatedBoard]
    servers: tuple[Server, Server]

    def held(self, board: int) -> bool:
        """Whether somebody has the board."""
        return self.servers[board].leases.snapshot()[0] is not None


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        address = stack.enter_context(dask_cluster(0))
        devices = GatedBoard(), GatedBoard()
        servers = tuple(stack.enter_context(lent(device, TERMS)) for device in devices)
        stack.enter_context(worker(address, "plain", "--no-nanny", threads=2))
        for name, server in zip(("left", "right"), servers, strict=True):
            stack.enter_context(worker(address, name, board=server.url))
        import distributed

        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=SECONDS)
        yield Cluster(address, devices, (servers[0], servers[1]))


@pytest.fixture
def lanes(cluster: Cluster) -> Iterator[list[Lane]]:
    found = list(dask_lanes.lanes(cluster.address, Context(timed=False)))
    yield found
    close_all(found)
    assert not measurers()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return load(suite(tmp_path_factory.mktemp("suite"))).cases[0]


def board(case: Case) -> Case:
    return replace(case, name="on a board", runner="board")


def plain(found: Measured | Failure) -> Measured:
    assert isinstance(found, Measured), found
    return found


def test_lanes_are_threads_and_boards(cluster: Cluster, lanes: list[Lane]) -> None:
    names = [lane.name for lane in lanes]
    assert [lane.board for lane in lanes] == [False, False, True, True]
    assert names[0] == names[1]
    assert names[0].startswith("dask worker plain (tcp://127.0.0.1:")
    assert [name.rpartition(" with ")[2] for name in names[2:]] == [server.url for server in cluster.servers]


def untimed(result: CaseResult) -> dict[str, float | None]:
    return {name: value for name, value in result.numbers.items() if name not in ("compile_time", "speed")}


def test_results_are_those_of_a_serial_run(
    cluster: Cluster, lanes: list[Lane], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    save(tmp_path, neuron(PROGRAM, "hidden", vth=9 << 6))
    (tmp_path / "small.ndp").rename(tmp_path / "other.ndp")
    entry = TEXT[TEXT.index("[[case]]") :]
    first = entry.replace('"small"', '"on a board"\nrunner = "board"')
    second = first.replace("on a board", "other").replace("small.ndp", "other.ndp")
    given = load(suite(tmp_path, TEXT + first + second))
    probed = lanes[3].probe()
    serial = run(given, Context(Bench(RunnerOptions(board=cluster.servers[1].url)), timed=False), update=True)
    assert probed.result(SECONDS) is None
    found = run(given, Context(), cluster.address.replace("tcp://", "dask://"))
    assert found.passed  # beside the baseline of the serial run: hashes of messages, the program, numbers
    assert [untimed(result) for result in found.results] == [untimed(result) for result in serial.results]
    assert [r.board.startswith(b) for r, b in zip(found.results, BOARDS, strict=True)] == [True] * 3


def test_a_closed_lane_gives_its_board_back(cluster: Cluster, lanes: list[Lane], case: Case) -> None:
    device = cluster.devices[0]
    device.gate.clear()
    try:
        future = lanes[2].submit(board(case))
        assert device.inside.wait(SECONDS)
        assert len(measurers()) == 1
        close_all(lanes)
        eventually(lambda: not cluster.held(0), 2.0)
        eventually(lambda: not measurers(), 2.0)
        with pytest.raises(WorkerDiedError, match="left"):
            future.result(1.0)
    finally:
        device.gate.set()


CLIENT = """
import pathlib, pickle, sys, time
from ndeploy.suite import dask_lanes
from ndeploy.suite.measure import Context
case = pickle.loads(pathlib.Path(sys.argv[2]).read_bytes())
if __name__ == "__main__":
    lanes = dask_lanes.lanes(sys.argv[1], Context())
    lanes[2].submit(case)
    time.sleep(600)
"""


def test_a_client_that_is_killed_leaves_no_board_lent(cluster: Cluster, case: Case, tmp_path: Path) -> None:
    device, given = cluster.devices[0], tmp_path / "case"
    given.write_bytes(pickle.dumps(board(case)))
    device.gate.clear()
    process = subprocess.Popen([sys.executable, "-c", CLIENT, cluster.address, str(given)])
    try:
        assert device.inside.wait(SECONDS)
        process.kill()
        process.wait()
        eventually(lambda: not cluster.held(0) and not measurers(), 5.0)
    finally:
        process.kill()
        device.gate.set()


def test_two_suites_never_use_a_board_at_once(cluster: Cluster, lanes: list[Lane], case: Case) -> None:
    device = cluster.devices[0]
    others = dask_lanes.lanes(cluster.address, Context(timed=False))
    try:
        device.gate.clear()
        first = lanes[2].submit(board(case))
        assert device.inside.wait(SECONDS)
        second = others[2].submit(board(case))
        waiting = 0
        for _ in range(12):  # its process would be there by now
            waiting = max(waiting, cluster.servers[0].leases.snapshot()[1])
            time.sleep(0.1)
        assert not second.done()
        assert waiting == 0  # the scheduler made it wait, not the board's server
        assert len(measurers()) == 1
        device.gate.set()
        assert plain(first.result(SECONDS)) == plain(second.result(SECONDS))
    finally:
        device.gate.set()
        close_all(others)


def died(future: Future[Any]) -> str:
    with pytest.raises(WorkerDiedError) as error:
        future.result(SECONDS)
    return str(error.value)


def test_what_dies_is_said_and_the_lane_goes_on(cluster: Cluster, lanes: list[Lane], case: Case) -> None:
    device, lane = cluster.devices[0], lanes[2]
    device.gate.clear()
    try:
        future = lane.submit(board(case))
        assert device.inside.wait(SECONDS)
        (measurer,) = measurers().values()
        parent = measurer.parent()
        measurer.kill()
        assert "was killed by SIGKILL" in died(future)
        eventually(lambda: not cluster.held(0))
        device.inside.clear()
        future = lane.submit(board(case))
        assert device.inside.wait(SECONDS)
        assert parent is not None
        parent.send_signal(signal.SIGKILL)  # the worker; its nanny starts another
        assert died(future).endswith("is gone")
        eventually(lambda: not cluster.held(0) and not measurers(), 3.0)
        device.gate.set()
        assert isinstance(lane.submit(board(case)).result(SECONDS), Measured)
        assert lane.name.endswith(cluster.servers[0].url)
    finally:
        device.gate.set()


STARTS = """
import os, pathlib, subprocess, time
command = subprocess.Popen(["sleep", "600"], start_new_session=True)  # as the command of a board
pathlib.Path({!r}).write_text(str(command.pid))
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "time.sleep(600)"], ids=["killed", "not wanted"])
def test_a_process_that_is_ended_leaves_nothing_that_it_started(tmp_path: Path, end: str) -> None:
    told = tmp_path / "pid"
    job = pickle.dumps((exec, STARTS.format(str(told)) + end, {}))
    ended = dask_worker.in_process(job, lambda: end.startswith("os.kill") or not told.exists())
    assert ended.answer == b""
    assert ended.how.endswith("was killed by SIGKILL") is end.startswith("os.kill")
    eventually(lambda: not psutil.pid_exists(int(told.read_text())))  # it would sleep for ten minutes


def test_a_scheduler_that_goes_leaves_no_board_lent(case: Case) -> None:
    device = GatedBoard()
    device.gate.clear()
    with lent(device, TERMS) as server, ExitStack() as stack:
        with dask_cluster(0) as address:
            stack.enter_context(worker(address, "alone", "--no-nanny", board=server.url))
            found = dask_lanes.lanes(address, Context(), [board(case)])
            future = found[0].submit(board(case))
            assert device.inside.wait(SECONDS)
        assert "failed" in died(future)
        eventually(lambda: server.leases.snapshot()[0] is None and not measurers(), 5.0)
        close_all(found)


def test_a_kind_of_worker_that_is_lacking_is_said_at_once(cluster: Cluster, case: Case) -> None:
    with dask_cluster(0) as address, worker(address, "alone", "--no-nanny"):
        with pytest.raises(UnreachableError, match=r"no worker of .* has a board for 1 of the suite's") as refused:
            dask_lanes.lanes(address, Context(), [case, board(case)])
        assert refused.value.code == "ND670"
        assert f'dask worker {address} --nthreads 1 --resources "board=1"' in refused.value.help
        mine = Context(Bench(RunnerOptions(board="tcp://lab:1")))
        found = dask_lanes.lanes(f"dask://{address.removeprefix('tcp://')}", mine, [case, board(case)])
        close_all(found)
        assert [lane.board for lane in found] == [False]


def test_files_that_a_worker_does_not_see(
    cluster: Cluster, lanes: list[Lane], case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = lanes[0].submit(replace(case, data=tmp_path / "nowhere.npz"))
    monkeypatch.setattr(dask_lanes, "digests", lambda case: {"data": "of another file"})
    futures = [future, lanes[1].submit(case)]
    for future, why in zip(futures, ("does not see", "sees another file at"), strict=True):
        with pytest.raises(UsageError, match=why) as refused:
            future.result(SECONDS)
        assert refused.value.code == "ND672"
    mine, real = os.getpid(), dask_worker.about

    def elsewhere(paths: list[str]) -> dask_worker.About:
        found = real(paths)
        return found if os.getpid() == mine else replace(found, sizes=(*found.sizes[:-1], -1))

    monkeypatch.setattr(dask_worker, "about", elsewhere)
    with pytest.raises(UsageError, match=r"does not see .*small\.n") as refused:
        dask_lanes.lanes(cluster.address, Context(), [case])
    assert refused.value.code == "ND672"


def test_workers_with_other_files_of_ndeploy_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_worker, "code_digest", lambda: "other")
    with pytest.raises(RunnerError, match="has other files of ndeploy") as refused:
        dask_lanes.lanes(cluster.address, Context())
    assert refused.value.code == "ND671"


@pytest.mark.parametrize(
    ("boards", "urls", "hosts", "why"),
    [
        ((2, 1), ("tcp://a:1", "tcp://b:1"), "xy", "board=2"),
        ((1, 1), ("", "tcp://b:1"), "xy", "NDEPLOY_BOARD is not set"),
        ((1, 1), ("tcp://a:1", "tcp://a:1"), "xy", "one and the same board"),
        ((1, 1), ("exec:a", "exec:a"), "xx", "one and the same board"),
        ((1, 1), ("exec:a", "exec:a"), "xy", ""),
        ((1, 1), ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1"), "xy", ""),
    ],
)
def test_a_worker_has_a_board_of_its_own(boards: tuple[int, int], urls: tuple[str, str], hosts: str, why: str) -> None:
    found = [dask_lanes._Worker(at, at, host, 1, n) for at, host, n in zip("pq", hosts, boards, strict=True)]
    alive = {each.address: each for each in found}
    told = dict(zip("pq", urls, strict=True))
    if not why:
        dask_lanes._check_board(found[0], told, alive)
        return
    with pytest.raises(NdeployError, match=why) as refused:
        dask_lanes._check_board(found[0], told, alive)
    assert refused.value.code == "ND673"
