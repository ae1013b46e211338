"""A client that is stopped, however it is stopped, gives the board back at once: tried with processes of their own."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from cli_runner import call, start
from small_artifact import write
from test_cli_board import OWN, TOKEN, children, gone, serving

Capsys = pytest.CaptureFixture[str]
SOON = 5.0
"""Seconds. A lease that is not given back lasts for as long as a connection may be silent: 60."""


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)


def busy(url: str, capsys: Capsys) -> bool:
    done = call(capsys, "board", "status", url, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["busy"]
    assert isinstance(found, bool)
    return found


def becomes(url: str, capsys: Capsys, wanted: bool, seconds: float = SOON) -> bool:
    deadline = time.monotonic() + seconds
    while busy(url, capsys) != wanted:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_client_that_is_stopped_gives_the_board_back(tmp_path: Path, capsys: Capsys) -> None:
    """By Ctrl-C, SIGTERM, SIGKILL, or its time limit, while the board hangs; and nothing of the board is left."""
    artifact, data = write(tmp_path)
    asked: tuple[object, ...] = ("run", artifact, "--data", data, "--runner", "board", "--board")
    workers: set[int] = set()
    with serving("--runner", "oracle", "--inject", "hang=1") as (url, server):
        for sent, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            client = start(*asked, url)
            try:
                assert becomes(url, capsys, True, 20.0)
                workers |= set(children(server.pid))
                client.send_signal(sent)
                assert client.wait(SOON) == code
                assert becomes(url, capsys, False)
            finally:
                client.kill()
                out, err = client.communicate()
            assert out == ""
            assert "Traceback" not in err
        began = time.monotonic()
        done = call(capsys, *asked, url, "--time-limit", 1)
        assert (done.code, done.error) == (1, "ND690"), done.err
        assert time.monotonic() - began < 1 + SOON
        assert becomes(url, capsys, False)
        workers |= set(children(server.pid))
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 143
        assert gone([server.pid, *workers])


def test_a_boards_command_ends_with_its_client(tmp_path: Path) -> None:
    artifact, data = write(tmp_path)
    url = f"exec:{OWN} --inject hang=1"
    client = start("run", artifact, "--data", data, "--runner", "board", "--board", url)
    try:
        deadline = time.monotonic() + 20.0
        while not (boards := children(client.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(1.0)  # it has started, and hangs
        client.send_signal(signal.SIGINT)
        assert client.wait(SOON) == 130
        assert gone(boards)
    finally:
        client.kill()
        _, err = client.communicate()
    assert "Traceback" not in err
