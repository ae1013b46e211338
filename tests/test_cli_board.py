"""`ndeploy board serve`, `ndeploy board status` and `ndeploy run --runner board`, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import call, spawn, start
from small_artifact import write

TOKEN = "a token of the command line's tests"
OWN = f"{sys.executable} -m ndeploy board serve --stdio --runner oracle"
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path)


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """(url, process) of a server that has started."""
    process = start("board", "serve", "--listen", "127.0.0.1:0", "--json", *arguments, NDEPLOY_BOARD_TOKEN=TOKEN)
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            text += line
        said = json.loads(text)
        assert said["schema"] == "ndeploy.board-serve/1"
        yield said["url"], process
    finally:
        process.kill() if process.poll() is None else None
        process.communicate()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pids: list[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_a_lent_board_runs_says_how_it_is_and_ends(
    small: tuple[Path, Path], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = small
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    wanted = json.loads(call(capsys, "run", artifact, "--data", data, "--runner", "oracle", "--json").out)
    with serving("--runner", "oracle") as (url, process):
        found = call(
            capsys, "run", artifact, "--data", data, "--runner", "board", "--board", url, "--batch", 2, "--json"
        )
        assert found.code == 0, found.err
        mine = json.loads(found.out)
        for field in ("accuracy", "predictions", "synaptic_ops", "neuron_updates", "spikes", "chip_steps", "samples"):
            assert mine[field] == wanted[field], field
        monkeypatch.setenv("NDEPLOY_BOARD", url)
        status = json.loads(call(capsys, "board", "status", "--json").out)
        assert (status["schema"], status["runner"], status["busy"]) == ("ndeploy.board-status/1", "oracle", False)
        assert status["leases"] == 1  # one for all batches
        verified = call(capsys, "board", "status", url)
        assert "oracle" in verified.out
        workers = children(process.pid)
        assert workers
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        assert gone([process.pid, *workers])
        found = call(capsys, "run", artifact, "--data", data, "--runner", "board")
        assert (found.code, found.error) == (3, "ND620")


def test_ctrl_c_ends_the_server_and_its_worker() -> None:
    with serving("--runner", "oracle") as (_, process):
        workers = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert gone([process.pid, *workers])


def test_a_server_that_is_killed_leaves_no_worker() -> None:
    with serving("--runner", "oracle") as (_, process):
        workers = children(process.pid)
        process.kill()
        process.wait(5)
        assert gone(workers, 12.0)


def test_a_board_is_verified_like_any_runner(
    small: tuple[Path, Path], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = small
    monkeypatch.setenv("NDEPLOY_BOARD", f"exec:{OWN}")
    found = call(capsys, "verify", artifact, "--data", data, "--against", "board", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["mismatches"] == 0
    assert json.loads(found.out)["compared"] > 0


def test_a_board_over_a_subprocess(small: tuple[Path, Path], capsys: Capsys) -> None:
    artifact, data = small
    before = children(os.getpid())
    found = call(capsys, "run", artifact, "--data", data, "--runner", "board", "--board", f"exec:{OWN}", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["accuracy"] == 0.8
    assert children(os.getpid()) == before


def test_a_board_written_from_the_documentation(small: tuple[Path, Path], capsys: Capsys) -> None:
    artifact, data = small
    url = f"exec:{sys.executable} {Path(__file__).with_name('minimal_board.py')}"
    found = call(capsys, "run", artifact, "--data", data, "--runner", "board", "--board", url, "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["accuracy"] == 0.8
    assert json.loads(found.out)["synaptic_ops"] > 0


def test_a_board_that_dies_is_exit_3(small: tuple[Path, Path], capsys: Capsys) -> None:
    artifact, data = small
    url = f"exec:{OWN} --inject die=1,seed=1"
    asked = ("run", artifact, "--data", data, "--runner", "board", "--board", url, "--time-limit", 2.5)
    found = call(capsys, *asked)
    assert (found.code, found.error) == (3, "ND624"), found.err


def test_a_hanging_worker_is_replaced(
    small: tuple[Path, Path], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = small
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    with serving("--runner", "oracle", "--inject", "hang=1,seed=2", "--run-limit", "1", "--stream-limit", "7") as (
        url,
        process,
    ):
        first = children(process.pid)
        asked = ("run", artifact, "--data", data, "--runner", "board", "--board", url, "--time-limit", 2.5)
        found = call(capsys, *asked)
        assert (found.code, found.error) == (3, "ND630"), found.err
        assert gone(first)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["board", "status"], 2, "ND621"),
        (["board", "status", "http://x"], 2, "ND621"),
        (["board", "status", "tcp://127.0.0.1:99999"], 2, "ND621"),
        (["board", "status", "exec:"], 2, "ND621"),
        (["board", "status", "exec:'"], 2, "ND621"),
        (["board", "status", "exec:/no/such/command"], 3, "ND620"),
        (["board", "status", "exec:true"], 3, "ND620"),
        (["board", "status", "tcp://127.0.0.1:1"], 3, "ND620"),
        (["board", "status", "exec:echo a line that is no frame of the protocol"], 3, "ND625"),
        (["board", "serve", "--listen", "127.0.0.1:0"], 2, "ND631"),
        (["board", "serve", "--listen", "127.0.0.1:0", "--token-file", "/no/such/file"], 2, "ND631"),
        (["board", "serve", "--listen", "127.0.0.1:0", "--runner", "abacus"], 2, "ND601"),
        (["board", "serve", "--listen", "nowhere"], 2, ""),
        (["board", "serve", "--runner", "board"], 2, ""),
        (["board", "serve", "--inject", "bogus=1"], 2, "ND632"),
        (["board", "serve", "--stdio", "--json"], 2, ""),
        (["board", "serve", "--command", "x", "--inject", "flip=1"], 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_usage(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, error: str
) -> None:
    monkeypatch.delenv("NDEPLOY_BOARD", raising=False)
    monkeypatch.delenv("NDEPLOY_BOARD_TOKEN", raising=False)
    if error == "ND632":
        monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    done = call(capsys, *arguments)
    assert (done.code, done.error) == (code, error), done.err
    assert done.out == ""


def test_a_command_that_does_not_speak(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    done = call(capsys, "board", "serve", "--listen", "127.0.0.1:0", "--command", "true")
    assert (done.code, done.error) == (2, "ND631")


def test_board_needs_its_runner(small: tuple[Path, Path], capsys: Capsys) -> None:
    artifact, data = small
    done = call(capsys, "run", artifact, "--data", data, "--board", "tcp://127.0.0.1:1")
    assert done.code == 2
    assert "--board" in done.err


def test_help_does_not_wait_for_anything() -> None:
    done = spawn("board", "serve", "--help")
    assert done.code == 0
    assert "--token-file" in done.out
