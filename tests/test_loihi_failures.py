"""The runner `loihi` when something fails, and when two want the board: a coded error, nothing left, the lease back.

On the stand-in for lava-loihi of fake_loihi.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_loihi
import pytest
from fake_loihi import called, locks, needs_lava, wait_until
from lava_cases import chain, mismatches, random_messages
from ndeploy.targets._lava.cleanup import session_members
from ndeploy.targets._lava.loihi_lease import Lease
from ndeploy.targets._lava.loihi_runner import Loihi, opened

from ndeploy import oracle
from ndeploy.errors import NdeployError, RunnerError, UnreachableError
from ndeploy.neurons import CubaLif
from ndeploy.runners import RunnerOptions, find

OPTIONS = RunnerOptions(time_limit=60)
LIF = CubaLif(du=1000, dv=200, vth=40 << 6)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board for one test; the record of its calls."""
    return fake_loihi.use(monkeypatch, fake_loihi.install(tmp_path / "lava-loihi"), tmp_path)


def free(log: Path) -> bool:
    """Whether the local board can be leased at once."""
    with Lease("the local board", locks(log.parent)) as lease:
        try:
            lease.acquire(0.0, lambda line: None)
        except UnreachableError:
            return False
    return True


# -- failures ---------------------------------------------------------------------------------------------------------


def broken(fault: str, options: RunnerOptions, monkeypatch: pytest.MonkeyPatch) -> tuple[NdeployError, int]:
    """Run on a board with that fault: the error, and the worker that ran."""
    monkeypatch.setenv("FAKE_LOIHI_FAULT", fault)
    program = chain(LIF, steps=12)
    pids: list[int] = []
    run = Loihi._started

    def noted(self: Loihi, progress: Callable[[str], None]) -> object:
        session = run(self, progress)
        pids.append(session.pid)
        return session

    monkeypatch.setattr(Loihi, "_started", noted)
    with pytest.raises(NdeployError) as caught:
        find("loihi")(program, random_messages(program, 2), trace=False, options=options)
    return caught.value, pids[0]


@needs_lava
def test_a_board_lost_while_it_runs(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM", "1")
    error, worker = broken("lost@5", OPTIONS, monkeypatch)
    assert isinstance(error, UnreachableError)
    assert (error.code, error.exit_code) == ("ND678", 3)
    assert "the connection to the host was lost" in error.message
    kept = Path(error.message.split("traceback: ")[1].split(")")[0])
    assert "_send_pm_cmd" in kept.read_text()
    kept.unlink()
    assert not session_members(worker)
    assert called(alone).count("scancel") == 1  # the scheduler's client was asked to end before it was killed
    wait_until(lambda: free(alone), 5)


@pytest.mark.long
@needs_lava
def test_a_board_that_hangs(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error, worker = broken("hang@5", replace(OPTIONS, time_limit=4.0), monkeypatch)
    assert isinstance(error, RunnerError)
    assert error.code == "ND607"
    assert not session_members(worker)
    wait_until(lambda: free(alone), 5)


@needs_lava
def test_a_board_that_falls_silent(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a chip's configuration takes: the board's failure, not a limit of ours."""
    monkeypatch.setattr("ndeploy.targets._lava.loihi_runner.STALL_SECONDS", 2.5)
    error, worker = broken("silent@5", OPTIONS, monkeypatch)
    assert (error.code, error.exit_code) == ("ND678", 3)
    assert "no sign of life" in error.message
    assert not session_members(worker)


@needs_lava
def test_a_worker_killed_and_the_next_call(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is kept, the worker is started anew."""
    monkeypatch.setenv("FAKE_LOIHI_FAULT", "hang@5")
    program = chain(LIF, steps=12)
    messages = random_messages(program, 2)
    with opened(OPTIONS) as board:
        assert isinstance(board, Loihi)

        def kill() -> None:
            wait_until(lambda: "fault" in called(alone))
            assert board._session is not None
            os.kill(board._session.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(UnreachableError, match="killed by signal 9") as caught:
            board(program, messages, trace=False, options=OPTIONS)
        killer.join()
        assert caught.value.code == "ND678"
        monkeypatch.delenv("FAKE_LOIHI_FAULT")
        assert not mismatches(oracle.run(program, messages), board(program, messages, trace=True, options=OPTIONS))
        assert not free(alone)
    wait_until(lambda: free(alone), 5)


HOLDER = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from lava_cases import chain, random_messages
from ndeploy.neurons import CubaLif
from ndeploy.runners import RunnerOptions, find
program = chain(CubaLif(du=1000, dv=200, vth=40 << 6), steps=12)
find("loihi")(program, random_messages(program, 2), trace=False, options=RunnerOptions(time_limit=60))
"""


@pytest.mark.long
@needs_lava
def test_one_at_a_time(alone: Path) -> None:
    """A second process waits, says for whom, and gives up when told; it gets the board when nothing of the first is
    left, though that was killed and could give nothing back."""
    script = textwrap.dedent(HOLDER.format(tests=str(Path(__file__).parent)))
    environment = {**os.environ, "FAKE_LOIHI_FAULT": "hang@5"}
    first = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "fault" in called(alone))
        told: list[str] = []
        program = chain(LIF, steps=3)
        messages = random_messages(program, 1)
        with pytest.raises(UnreachableError, match=f"process {first.pid} has it") as caught:
            find("loihi")(program, messages, trace=False, options=RunnerOptions(time_limit=3.0, progress=told.append))
        assert caught.value.code == "ND677"
        assert any(f"process {first.pid} has it" in line for line in told)
    finally:
        first.kill()
        first.wait()
    result = find("loihi")(program, messages, trace=False, options=OPTIONS)
    assert not mismatches(replace(oracle.run(program, messages), traces={}), result)
    assert called(alone).count("boot") == 2


def test_a_lock_outlives_its_owner_while_a_worker_holds_it(tmp_path: Path) -> None:
    lease = Lease("board", tmp_path)
    lease.acquire(0.0, print)
    worker = subprocess.Popen(["sleep", "60"], pass_fds=(lease.descriptor,))
    try:
        lease.close()
        with Lease("board", tmp_path) as other, pytest.raises(UnreachableError) as caught:
            other.acquire(0.2, lambda line: None)
        assert caught.value.code == "ND677"
        with Lease("another board", tmp_path) as elsewhere:
            elsewhere.acquire(0.0, print)
    finally:
        worker.kill()
        worker.wait()
    with Lease("board", tmp_path) as other:
        other.acquire(2.0, lambda line: None)


def test_a_lock_folder_of_others_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UnreachableError, match="only this user") as caught:
        Lease("board", tmp_path / "open")
    assert caught.value.code == "ND677"
