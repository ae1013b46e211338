"""Who should not get far with a board server: wrong tokens, garbage, slow and senseless clients."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from boards import TERMS, TOKEN, ask, client, closed, left_open, lent, oracle_board, raw, same, where
from small_artifact import PROGRAM, X

from ndeploy import oracle
from ndeploy.board import handshake, protocol
from ndeploy.board.link import Link
from ndeploy.board.protocol import Frame, WireError
from ndeploy.board.runner import Patience
from ndeploy.board.server import CONNECTIONS, Server
from ndeploy.decode import encode
from ndeploy.errors import UsageError

MESSAGES = encode(PROGRAM, X)
WANTED = oracle.run(PROGRAM, MESSAGES)
LONG = float(os.environ.get("NDEPLOY_LONG_SECONDS", "600"))


def test_a_wrong_token_is_refused_and_never_retried() -> None:
    with lent() as server, client(server.url, token="not the token of it") as board:
        with pytest.raises(UsageError) as caught:
            ask(board, PROGRAM, MESSAGES)
        assert (caught.value.code, caught.value.exit_code) == ("ND622", 2)
        assert not board.retried


def test_a_short_token_is_no_token() -> None:
    with pytest.raises(UsageError) as caught:
        Server(oracle_board(), "127.0.0.1", 0, "short", TERMS)
    assert caught.value.code == "ND631"
    assert "short" not in caught.value.message.replace("characters", "")


def test_an_address_in_use() -> None:
    with lent() as server:
        with pytest.raises(UsageError) as caught:
            Server(oracle_board(), "127.0.0.1", where(server).port, TOKEN, TERMS)
        assert caught.value.code == "ND631"


def test_the_token_is_never_logged() -> None:
    lines: list[str] = []
    with Server(oracle_board(), "127.0.0.1", 0, TOKEN, TERMS, log=lines.append) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with client(server.url) as board:
            ask(board, PROGRAM, MESSAGES)
        with client(server.url, token="wrong " + TOKEN) as board, pytest.raises(UsageError):
            ask(board, PROGRAM, MESSAGES)
        server.close()
        thread.join()
    assert len(lines) >= 2
    assert TOKEN not in "".join(lines)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: board\r\n\r\n",
        bytes(64),
        protocol.prefix_of(2**32 - 1, 0),
        protocol.prefix_of(100, 2**40),
        protocol.prefix_of(protocol.HELLO_BYTES + 1, 0),
        b"".join(protocol.encode(Frame("lease"), b"", protocol.CLIENT, 0)),
        b"".join(protocol.encode(Frame("hello", {"protocol": 2}), b"", protocol.CLIENT, 0)),
        b"".join(protocol.encode(Frame("hello", {"protocol": 1, "nonce": "x"}), b"", protocol.CLIENT, 0)),
    ],
    ids=["http", "zeros", "header", "body", "hello", "first", "version", "nonce"],
)
def test_strangers_are_shown_out_at_once(sent: bytes) -> None:
    with lent() as server, raw(server) as connection:
        connection.sendall(sent)
        assert closed(connection, 2.0)
        with client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)


def test_slow_strangers_do_not_keep_the_board_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "SECONDS", 0.5)
    with lent() as server:
        strangers = [raw(server) for _ in range(CONNECTIONS + 4)]
        for stranger in strangers:
            stranger.settimeout(0.01)
        time.sleep(0.8)
        for stranger in strangers:
            assert closed(stranger, 1.0)
            stranger.close()
        with client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)


def test_too_many_strangers_cost_a_client_no_more_than_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "SECONDS", 0.4)
    with lent() as server:
        strangers = [raw(server) for _ in range(CONNECTIONS + 4)]
        with client(server.url, Patience(retries=6, pause=0.2)) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (Frame("stream"), "needs a lease"),
        (Frame("bogus"), "needs a lease"),
        (Frame("lease", {"wait": -1}), "no number"),
        (Frame("lease", {"wait": "x"}), "no number"),
    ],
)
def test_requests_out_of_turn(frame: Frame, said: str) -> None:
    with lent() as server:
        link = Link(where(server), TOKEN)
        with pytest.raises(WireError, match=said):
            link.request(frame, 1.0)
        link.close()
        assert server.leases.snapshot() == (None, 0)


def test_bodies_come_with_a_lease_or_not_at_all() -> None:
    with lent() as server, Link(where(server), TOKEN) as link, pytest.raises(WireError):
        link.request(Frame("program", {}, bytes(10)), 1.0)


def test_silence_ends_a_connection() -> None:
    with lent(terms=replace(TERMS, idle=0.2)) as server:
        link = Link(where(server), TOKEN)
        link.request(Frame("lease"), 1.0)
        time.sleep(0.5)
        link.request(Frame("status"), 1.0)  # the keeper has spoken for us
        link._closing.set()  # now nobody does
        assert link._keeper is not None
        link._keeper.join()
        deadline = time.monotonic() + 2.0
        while server.leases.snapshot()[0] is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        link.close()


def fuzz(server: Server, seed: int, frames: int) -> None:
    """One client that knows the token and makes no sense."""
    draw = random.Random(seed)
    try:
        link = Link(where(server), TOKEN)
    except (WireError, OSError):
        return
    values: list[Any] = [
        0,
        -1,
        1.5,
        "x",
        "",
        None,
        True,
        [],
        {},
        [["in", "i1", [5, 4, 4]]],
        [["in", "i8", [2**29]]],
        2**70,
    ]
    names = ["id", "wait", "arrays", "sha256", "trace", "activity", "time_limit", "op"]
    try:
        link.request(Frame("lease", {"wait": 3.0}), 4.0)
        for _ in range(frames):
            op = draw.choice(["program", "stream", "read", "readback", "lease", "release", "status", "beat", "x" * 40])
            fields = {draw.choice(names): draw.choice(values) for _ in range(draw.randrange(4))}
            body = draw.randbytes(draw.choice([0, 3, 80, 5000]))
            if draw.random() < 0.5:
                link.channel.send(Frame(op, {"id": 1, **fields}, body))
            else:
                os.write(link.channel._write, draw.randbytes(draw.randrange(1, 60)))
    except (WireError, OSError):
        pass
    finally:
        link.close()


def test_clients_that_make_no_sense() -> None:
    before = left_open()
    with lent() as server:
        for seed in range(40):
            fuzz(server, seed, 6)
        with client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)
    assert left_open() == before


@pytest.mark.long
def test_ten_minutes_of_nonsense() -> None:
    """NDEPLOY_LONG_SECONDS sets another time than the ten minutes."""
    before = left_open()
    end = time.monotonic() + LONG
    seed = 1000
    with lent() as server:
        while time.monotonic() < end:
            fuzz(server, seed, 20)
            seed += 1
        assert seed - 1000 > LONG
        with client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)
    assert left_open() == before
