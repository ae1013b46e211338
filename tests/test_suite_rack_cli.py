"""`ndeploy test` on racks from the outside: Ctrl-C, SIGTERM, two suites on one board, and going on after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from boards import SHARED, TOKEN
from racks import END, alive, below, racked, served, soon

from ndeploy.suite import lock

MINIMAL = Path(__file__).with_name("minimal_board.py")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    monkeypatch.delenv("NDEPLOY_BOARD", raising=False)


def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "ndeploy", "test", "--suite", str(path), "--json", *arguments]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def status(url: str) -> dict[str, Any]:
    from ndeploy.board.runner import status as ask
    from ndeploy.runners import RunnerOptions

    return ask(RunnerOptions(board=url))


def noting(folder: Path, name: str, seconds: float = 0.3) -> str:
    """A board that is a command: one that takes so long for a stream, and writes when it begins and ends."""
    script = folder / f"{name}.py"
    script.write_text(
        "import runpy, time\n"
        "from ndeploy import oracle\n"
        "run = oracle.run\n"
        f"oracle.run = lambda *given, **told: (time.sleep({seconds}), run(*given, **told))[1]\n"
        "def note(what):\n"
        f"    with open({str(folder / name)!r}, 'a') as file:\n"
        "        file.write(what + '\\n')\n"
        "note('begins')\n"
        "try:\n"
        f"    runpy.run_path({str(MINIMAL)!r})\n"
        "finally:\n"
        "    note('ends')\n"
    )
    return f"exec:{sys.executable} {script}"


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_who_leaves_gives_everything_back_and_goes_on_later(tmp_path: Path, number: signal.Signals) -> None:
    """A rack of a server and a command, in the middle of the second case."""
    path, journal = racked(tmp_path, 4), tmp_path / "journal"
    command = noting(tmp_path, "board")
    with served("--runner", "oracle", "--inject", "slow=1") as (_, url):
        arguments = ("--journal", str(journal), "--board", url, "--board", command)
        suite = start(path, *arguments)
        try:
            assert soon(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 1, 120)
            assert soon(lambda: status(url)["busy"], 60)
            family = [suite.pid, *below(suite.pid)]
            suite.send_signal(number)
            out, err = suite.communicate(timeout=END)
        finally:
            suite.kill()
        assert suite.returncode == 128 + number, err
        assert "goes on from there" in err
        assert soon(lambda: not status(url)["busy"])
        assert soon(lambda: not alive(family))
        assert not _locks(command)
        kept = journal.read_bytes().count(b"\n") - 1
        again = start(path, *arguments)
        out, err = again.communicate(timeout=240)
        assert again.returncode == 0, err
        assert f"{kept} measurements are taken from it" in err
        cases = json.loads(out)["cases"]
        assert [(entry["outcome"], entry["moves"]) for entry in cases] == [("passed", [])] * 4
        assert {entry["board"] for entry in cases} <= {url, command}
        assert all(entry["board"] for entry in cases)
    assert not journal.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_leaves_boards_that_hang_waits_for_none(tmp_path: Path, number: signal.Signals) -> None:
    """They would hang for ten minutes."""
    command = noting(tmp_path, "board", 600.0)
    with served("--runner", "oracle", "--inject", "hang=1") as (_, url):
        suite = start(racked(tmp_path, 4), "--board", url, "--board", command)
        try:
            assert soon(lambda: status(url)["busy"] and (tmp_path / "board").exists(), 120)
            family = below(suite.pid)
            assert len(alive(family)) >= 3
            assert not [entry for pid in (suite.pid, *family) for entry in _shared(pid)]  # so none can be left
            began = time.monotonic()
            suite.send_signal(number)
            suite.communicate(timeout=END)
        finally:
            suite.kill()
        assert suite.returncode == (130 if number == signal.SIGINT else -number)
        assert soon(lambda: not status(url)["busy"])
        assert soon(lambda: not alive(family))
        print(f"{number.name}: {time.monotonic() - began:.1f} s")
        if number == signal.SIGINT:
            assert not _locks(command)


def test_two_suites_never_overlap_on_a_command(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    command = noting(tmp_path, "board")
    suites = [start(racked(tmp_path / name, 2), "--board", command) for name in "ab"]
    outs = [json.loads(suite.communicate(timeout=240)[0]) for suite in suites]
    assert [suite.returncode for suite in suites] == [0, 0]
    assert all(entry["board"] == command for out in outs for entry in out["cases"])
    lines = (tmp_path / "board").read_text().split()
    assert len(lines) >= 8  # a command for every case, and none begins before the last has ended
    assert lines == ["begins", "ends"] * (len(lines) // 2)
    assert not _locks(command)


@pytest.mark.long
def test_two_suites_never_overlap_on_a_server(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    command = noting(tmp_path, "board").removeprefix("exec:")
    with served("--command", command) as (_, url):
        suites = [start(racked(tmp_path / name, 3), "--board", url) for name in "ab"]
        outs = [json.loads(suite.communicate(timeout=240)[0]) for suite in suites]
        assert [suite.returncode for suite in suites] == [0, 0]
        assert status(url)["leases"] == 6
    assert all(entry["board"] == url and not entry["moves"] for out in outs for entry in out["cases"])


@pytest.mark.long
def test_several_boards_from_the_environment_and_one_for_other_commands(tmp_path: Path) -> None:
    path = racked(tmp_path, 2)
    with served("--runner", "oracle") as (_, url), served("--runner", "oracle") as (_, other):
        environment = {**os.environ, "NDEPLOY_BOARD": f"{url},{other}"}
        done = subprocess.run(
            [sys.executable, "-m", "ndeploy", "test", "--suite", str(path), "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert {entry["board"] for entry in json.loads(done.stdout)["cases"]} == {url, other}
        files = [str(tmp_path / "small.ndp"), "--data", str(tmp_path / "small.npz"), "--runner", "board"]
        words = [sys.executable, "-m", "ndeploy", "run", *files]
        refused = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "ND669" in refused.stderr
        ran = subprocess.run([*words, "--board", url], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


def _locks(command: str) -> list[Path]:
    """Lock files of that board."""
    import hashlib
    import shlex

    words = shlex.split(command.removeprefix("exec:"))
    name = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
    return [path for path in lock._folder(None).iterdir() if path.name == name]


def _shared(pid: int) -> list[str]:
    """Shared memory of a process: mapped, or open."""
    with contextlib.suppress(OSError):
        told = Path(f"/proc/{pid}/maps").read_text().splitlines()
        opened = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        return [line for line in (*told, *opened) if SHARED in line]
    return []
