"""Nobody shares a board: locks for commands, leases for servers, one board for commands that take one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from boards import TOKEN
from racks import alive, soon

from ndeploy import runners
from ndeploy.errors import UnreachableError, UsageError
from ndeploy.runners import RunnerOptions
from ndeploy.suite import canary, lanes_process, lock
from ndeploy.suite.bench import Bench
from ndeploy.suite.case import Case
from ndeploy.suite.lanes_asked import asked
from ndeploy.suite.measure import Context

WORDS = ("board-driver", "--port", "3")


def quiet(line: str) -> None:
    pass


def test_one_at_a_time_and_the_file_goes(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    told: list[str] = []
    held_until = [0.0]

    def first() -> None:
        with lock.held(WORDS, 5, quiet, folder):
            ready.set()
            time.sleep(0.3)
            held_until[0] = time.monotonic()

    ready = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    ready.wait(5)
    with lock.held(("another", "board"), 0, quiet, folder), lock.held(WORDS, 5, told.append, folder):
        assert time.monotonic() >= held_until[0] > 0
    thread.join()
    assert told == [f"waiting for the board: process {os.getpid()} has it"]
    assert not list(folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_who_waits_too_long_is_told_who_has_it(tmp_path: Path) -> None:
    with (
        lock.held(WORDS, 0, quiet, tmp_path / "locks"),
        pytest.raises(UnreachableError, match=f"ND623.*process {os.getpid()}"),
        lock.held(WORDS, 0.05, quiet, tmp_path / "locks"),
    ):
        pass


def test_many_threads_never_overlap(tmp_path: Path) -> None:
    inside, most, turns = [0], [0], [0]

    def use() -> None:
        for _ in range(5):
            with lock.held(WORDS, 30, quiet, tmp_path / "locks"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                turns[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], turns[0]) == (1, 30)


def test_what_a_killed_owner_has_started_is_waited_for(tmp_path: Path) -> None:
    """The owner is killed by kill -9, its command goes on for a while."""
    folder = tmp_path / "locks"
    inner = f"import time; time.sleep(1.5); open({str(tmp_path / 'ended')!r}, 'w')"
    owner = (
        "import pathlib, subprocess, sys, time\n"
        "from ndeploy.suite import lock\n"
        f"with lock.held({WORDS!r}, 0, print, pathlib.Path({str(folder)!r})):\n"
        f"    subprocess.Popen([sys.executable, '-c', {inner!r}], start_new_session=True)\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
    told: list[str] = []
    with lock.held(WORDS, 30, told.append, folder):
        assert (tmp_path / "ended").exists()
    assert any("of a client that was killed" in line for line in told)


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    link = tmp_path / "link"
    (tmp_path / "mine").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "mine")
    for folder in (open_to_all, link, tmp_path / "nowhere" / "below"):
        with pytest.raises(UsageError, match="ND668"), lock.held(WORDS, 0, quiet, folder):
            pass


def test_addresses_are_separated_by_commas_before_an_address() -> None:
    assert runners.boards("tcp://a:1, tcp://b:2,exec:drive --ports 1,2") == (
        "tcp://a:1",
        "tcp://b:2",
        "exec:drive --ports 1,2",
    )
    assert runners.boards("") == ()


def test_several_boards_are_for_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD", "tcp://a:1,tcp://b:2")
    runner = runners.find("board")
    with pytest.raises(UsageError, match=r"ND669.*2 boards are named"), runners.opened(runner, RunnerOptions()):
        pass
    some = [Case("x", Path("x"), artifact=Path("y"), runner="board")]
    lanes = asked("1", (), Context(), some, quiet)
    assert [lane.name for lane in lanes] == ["tcp://a:1", "tcp://b:2"]
    assert all(lane.board for lane in lanes)
    for wrong, code in ((("tcp://a:1", "tcp://a:1"), "ND669"), (("nonsense",), "ND621")):
        with pytest.raises(UsageError, match=code):
            asked("1", wrong, Context(), some, quiet)


def test_without_cases_on_boards_no_board_is_used() -> None:
    some = [Case("x", Path("x"), artifact=Path("y"))]
    assert [lane.board for lane in asked("1", ("tcp://a:1",), Context(), some, quiet)] == [False]
    assert [lane.name for lane in asked("3", (), Context(), [*some, *some], quiet)] == ["process 1", "process 2"]


def test_the_canary_knows_a_good_board_from_one_that_flips_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    from racks import rack

    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    with rack("", "flip=1,seed=3") as (good, bad):
        assert canary.probe(_with(good)) is None
        found = canary.probe(_with(bad))
        assert found is not None
        assert found.board
    gone = canary.probe(_with(good))
    assert gone is not None
    assert gone.code == "ND620"


def _with(url: str) -> Context:
    return Context(Bench(RunnerOptions(board=url)))


def test_what_a_killed_process_has_started_is_ended(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    environment = {**os.environ, lanes_process.MARK: "of the test"}
    with contextlib.ExitStack() as stack:
        mine, other = (
            stack.enter_context(subprocess.Popen(words, env=given, start_new_session=True))
            for given in (environment, {**environment, lanes_process.MARK: "of another"})
        )
        try:
            assert soon(lambda: lock.with_environment(lanes_process.MARK, "of the test") == [mine.pid])
            ending = threading.Thread(target=lanes_process.end_orphans, args=("of the test",))
            ending.start()
            mine.wait(10)
            ending.join()
            assert alive([other.pid]) == [other.pid]
        finally:
            mine.kill()
            other.kill()
