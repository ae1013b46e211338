"""Who means harm to a board server, its clients, or a board that means harm to its client."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from board_taps import Altered, Wiretap
from boards import TERMS, TOKEN, ask, client, closed, left_open, lent, oracle_board, raw, same, where
from small_artifact import PROGRAM, X

from ndeploy import oracle
from ndeploy.board import arrays, handshake, protocol
from ndeploy.board.channel import Channel
from ndeploy.board.link import Link
from ndeploy.board.protocol import AnswerError, Bounds, Frame, FrameError, WireError
from ndeploy.board.runner import Patience
from ndeploy.board.server import CONNECTIONS, Server
from ndeploy.board.software import SoftwareBoard
from ndeploy.decode import encode
from ndeploy.errors import UnreachableError
from ndeploy.ir.result import RunResult
from ndeploy.runners import RunnerOptions

MESSAGES = encode(PROGRAM, X)
WANTED = oracle.run(PROGRAM, MESSAGES)


class Counting:
    """A runner that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, program: Any, messages: Mapping[str, Any], *, trace: bool, options: RunnerOptions) -> RunResult:
        self.runs += 1
        return oracle.run(program, dict(messages))


@contextlib.contextmanager
def watched(terms: Any = TERMS) -> Iterator[tuple[Server, Counting]]:
    runner = Counting()
    before = left_open()
    with lent(SoftwareBoard(runner, "counting"), terms) as server:
        yield server, runner
    assert left_open() == before


def free(server: Server, seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while server.leases.snapshot() != (None, 0):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# -- on the way --------------------------------------------------------------------------------------------------------


def test_a_recorded_session_opens_nothing() -> None:
    with watched() as (server, runner):
        with Wiretap(server) as tap, client(tap.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)
        assert runner.runs == 1
        assert free(server)
        granted = server.leases.granted
        whole = b"".join(tap.said)
        hello = protocol.PREFIX.size + protocol.PREFIX.unpack_from(whole)[1] + protocol.TAG_BYTES
        for recorded in (whole, whole[:hello], whole[hello:]):
            with raw(server) as again:
                again.sendall(recorded)
                assert closed(again, 3.0)
        assert (runner.runs, server.leases.granted) == (1, granted)


@pytest.mark.parametrize("key", [b"", b"k" * 32])
def test_a_frame_that_somebody_adds_ends_the_connection(key: bytes) -> None:
    """As the second that the client seems to send, with its number: after prefix, header and tag of its hello."""
    release = b"".join(protocol.encode(Frame("lease", {"id": 0}), key, protocol.CLIENT, 1))
    with watched() as (server, runner):
        tap = Wiretap(server, lambda n, data: data + release if n == 3 else data)
        with tap, client(tap.url, Patience(retries=0, request=3.0)) as board, pytest.raises(UnreachableError):
            ask(board, PROGRAM, MESSAGES)
        assert free(server)
        assert runner.runs == 0


def test_a_frame_of_ones_own_sent_twice_ends_the_connection() -> None:
    with watched() as (server, _), Link(where(server), TOKEN) as link:
        link.request(Frame("lease"), 1.0)
        again = b"".join(protocol.encode(Frame("status", {"id": 9}), link.channel._key, protocol.CLIENT, 1))
        os.write(link.channel._write, again)  # number 1 was the lease
        with pytest.raises(WireError):
            link.request(Frame("status"), 2.0)
        assert free(server)


@pytest.mark.parametrize(
    ("who", "old", "new"),
    [(protocol.SERVER, b'"readback",', b""), (protocol.CLIENT, b'"client":"', b'"client":"not-')],
    ids=["welcome", "hello"],
)
def test_what_is_said_before_there_is_a_key_cannot_be_changed(who: bytes, old: bytes, new: bytes) -> None:
    """A board that seems to have no readback would be believed more easily."""
    altered = Altered(who, old, new)
    with watched() as (server, runner):
        tap = Wiretap(server, altered=altered)
        with (
            tap,
            client(tap.url, Patience(retries=0, request=3.0)) as board,
            pytest.raises(UnreachableError) as refused,
        ):
            ask(board, PROGRAM, MESSAGES)
        assert altered.changed == 1
        assert refused.value.code == "ND625"
        assert "forged" in refused.value.message
        assert free(server)
        assert runner.runs == 0


def test_a_client_that_vanishes_without_a_word_loses_the_board() -> None:
    """Half-open: its machine is gone, the connection is not."""
    with watched(replace(TERMS, idle=0.4)) as (server, _), Wiretap(server) as tap:
        board = client(tap.url, Patience(retries=0, request=1.0))
        assert same(ask(board, PROGRAM, MESSAGES), WANTED)
        tap.mute.set()
        assert free(server)
        with client(server.url) as other:
            assert same(ask(other, PROGRAM, MESSAGES), WANTED)
        board.close()


# -- at the door -------------------------------------------------------------------------------------------------------


def test_a_flood_of_strangers_does_not_keep_a_client_out() -> None:
    stop = threading.Event()
    met = [0]

    def flood(server: Server) -> None:
        held: list[socket.socket] = []
        while not stop.wait(0.002):
            with contextlib.suppress(OSError):
                held.append(raw(server))
                met[0] += 1
            while len(held) > 2 * CONNECTIONS:
                held.pop(0).close()
        for connection in held:
            connection.close()

    with watched() as (server, _):
        thread = threading.Thread(target=flood, args=(server,))
        thread.start()
        try:
            while met[0] < 2 * CONNECTIONS:
                time.sleep(0.01)
            for _ in range(3):
                with client(server.url, Patience(retries=6, pause=0.1)) as board:
                    assert same(ask(board, PROGRAM, MESSAGES), WANTED)
        finally:
            stop.set()
            thread.join()


def test_who_has_shown_the_token_does_not_leave_for_a_stranger() -> None:
    with watched() as (server, _), contextlib.ExitStack() as held:
        links = [held.enter_context(Link(where(server), TOKEN)) for _ in range(CONNECTIONS)]
        stranger = held.enter_context(raw(server))
        assert closed(stranger, 2.0)
        for link in links:
            assert link.request(Frame("status"), 2.0).op == "status"


def test_half_a_hello_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "SECONDS", 0.3)
    hello = b"".join(protocol.encode(Frame("hello", {"protocol": 1, "nonce": "ab" * 32}), b"", protocol.CLIENT, 0))
    with watched() as (server, _), raw(server) as connection:
        connection.sendall(hello[: len(hello) // 2])
        began = time.monotonic()
        assert closed(connection, 3.0)
        assert time.monotonic() - began > 0.2


def test_every_wrong_proof_is_answered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it, and compared in a time that does not tell where it differs."""
    compared: list[tuple[bytes, bytes]] = []

    def noted(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    answers = set()
    with watched() as (server, _):
        for wrong in ("", "0" * 64, "f" * 64, "0" * 63, "\u00e9" * 64, "x" * 2000):
            with raw(server) as connection:
                channel = Channel(connection.fileno(), connection.fileno(), protocol.CLIENT)
                nonce = channel.receive(handshake.BOUNDS, 2.0).fields["nonce"]
                right = handshake.proof(TOKEN, "client", bytes.fromhex(nonce), bytes(32))
                with monkeypatch.context() as patched:
                    patched.setattr("ndeploy.board.handshake.hmac.compare_digest", noted)
                    said = right[:-1] + "x" if wrong == "0" * 63 else wrong
                    channel.send(Frame("hello", {"protocol": 1, "nonce": "00" * 32, "proof": said}))
                    answer = channel.receive(Bounds(4096, 0), 2.0)
                answers.add((answer.op, tuple(sorted(answer.fields.items()))))
    assert len(answers) == 1
    assert dict(next(iter(answers))[1])["kind"] == "auth"
    proofs = [(said, wanted) for said, wanted in compared if len(wanted) == 64]
    assert len(proofs) == 6
    assert all(said != wanted for said, wanted in proofs)


@pytest.mark.parametrize(
    "text",
    [
        '{"op": "lease", "id": 0, "wait": 1e999}',
        '{"op": "lease", "id": 0, "wait": -Infinity}',
        '{"op": "\\ud800", "id": 0}',
        '{"op": "status", "id": 0, "x": ["\\udfff"]}',
        '{"op": "status", "id": ' + "9" * 4000 + "}",
        '{"op": "status", "id": 0.5}',
        '{"op": "status", "id": true}',
        '{"op": "status"}',
        '{"op": "status", "id": 0, "x": ' + "[" * 2000 + "]" * 2000 + "}",
    ],
)
def test_headers_made_to_hurt(text: str) -> None:
    """By one who knows the token: the connection ends, the board does not."""
    with watched() as (server, _):
        with Link(where(server), TOKEN) as link:
            header = text.encode()
            prefix = protocol.prefix_of(len(header), 0)
            tag = protocol.tag(link.channel._key, protocol.CLIENT, link.channel._sent, prefix, header)
            os.write(link.channel._write, prefix + header + tag)
            with pytest.raises(AnswerError) as answered:
                _answer(link)
            assert answered.value.kind == "usage"
        with client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)


def _answer(link: Link) -> None:
    raise protocol.answer_error(link.channel.receive(Bounds(4096, 0), 2.0))


@pytest.mark.parametrize("lease", [False, True])
def test_an_oversized_header_is_refused_unread(lease: bool) -> None:
    with watched() as (server, _), Link(where(server), TOKEN) as link:
        if lease:
            link.request(Frame("lease"), 1.0)
        size = (protocol.HEADER_BYTES if lease else protocol.HELLO_BYTES) + 1
        os.write(link.channel._write, protocol.prefix_of(size, 0))
        with pytest.raises(AnswerError, match="the limit is"):
            _answer(link)
        assert free(server)


# -- inside ------------------------------------------------------------------------------------------------------------


def test_one_with_a_lease_who_drips_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndeploy.board.channel.FRAME_SECONDS", 0.3)
    with watched() as (server, _), Link(where(server), TOKEN) as link:
        link.request(Frame("lease"), 1.0)
        os.write(link.channel._write, protocol.prefix_of(10, 1 << 20))
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while server.leases.snapshot()[0] is not None and time.monotonic() - began < 5.0:
                os.write(link.channel._write, b"x")
                time.sleep(0.02)
        assert free(server)


def test_one_who_asks_and_never_reads_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers fill the connection; the server's thread does not wait for ever."""
    monkeypatch.setattr("ndeploy.board.channel.FRAME_SECONDS", 0.3)
    with watched() as (server, _):
        server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections inherit it
        with Link(where(server), TOKEN) as link:
            with socket.socket(fileno=os.dup(link.channel._read)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.request(Frame("lease"), 1.0)
            for _ in range(1000):
                link.channel.send(Frame("status", {"id": 1}))
            assert free(server)
        with client(server.url) as board:
            assert same(ask(board, PROGRAM, MESSAGES), WANTED)


def test_a_driver_that_does_not_reset_does_not_keep_the_board_from_the_next() -> None:
    class Broken(SoftwareBoard):
        aborts = 0

        def reset(self) -> None:
            raise ZeroDivisionError("a defect")

        def abort(self) -> None:
            Broken.aborts += 1

    board = Broken(Counting(), "broken")
    with lent(board) as server:
        for _ in range(2):
            with Link(where(server), TOKEN) as link:
                link.request(Frame("lease", {"wait": 2.0}), 3.0)
            assert free(server)
        SoftwareBoard.reset(board)
        board.close = lambda: None  # type: ignore[method-assign]
    assert Broken.aborts == 2


# -- a board that means harm -------------------------------------------------------------------------------------------


class Liar(SoftwareBoard):
    """Answers `op` with a frame of its own."""

    def __init__(self, op: str, answer: Callable[[Frame], Frame]) -> None:
        super().__init__(Counting(), "liar")
        self._op, self._made = op, answer

    def ask(self, frame: Frame, limit: float) -> Frame:
        answer = super().ask(frame, limit)
        return self._made(answer) if frame.op == self._op else answer


def _huge(answer: Frame) -> Frame:
    listed, body = arrays.pack({"outputs/out": np.zeros((1 << 20,), np.int64)})
    return Frame(answer.op, {**answer.fields, "arrays": listed}, body)


@pytest.mark.parametrize(
    ("op", "answer"),
    [
        ("stream", _huge),
        ("program", lambda answer: Frame(answer.op, answer.fields, bytes(100))),
        ("readback", lambda answer: Frame(answer.op, answer.fields, bytes(1))),
        ("stream", lambda answer: Frame(answer.op, {**answer.fields, "arrays": [["x", "i8", [2**29]]]}, answer.body)),
        ("stream", lambda answer: Frame(answer.op, {**answer.fields, "arrays": "x"}, answer.body)),
        ("stream", lambda answer: Frame(answer.op, {**answer.fields, "chip_steps": "x"}, answer.body)),
        ("read", lambda answer: Frame(answer.op, {**answer.fields, "overflow": {"in": {"x": -1}}}, answer.body)),
        ("read", lambda answer: Frame(answer.op, {**answer.fields, "overflow": {"?": {}}}, answer.body)),
        ("read", lambda answer: Frame(answer.op, {**answer.fields, "activity": 1}, answer.body)),
    ],
)
def test_answers_made_to_hurt(op: str, answer: Callable[[Frame], Frame]) -> None:
    patience = Patience(retries=0, request=3.0)
    liar = Liar(op, answer)
    with lent(liar) as server, client(server.url, patience) as board, pytest.raises(UnreachableError) as caught:
        ask(board, PROGRAM, MESSAGES)
    assert caught.value.code == "ND625"


def test_decode_takes_no_number_that_is_none() -> None:
    for header in (b'{"op": "a", "x": 1e400}', b'{"op": "a", "x": "\\ud83d"}'):
        with pytest.raises(FrameError):
            protocol.decode(header, b"")
    assert protocol.decode(b'{"op": "a", "x": 1e300, "y": "\\ud83d\\ude00"}', b"").fields["x"] == 1e300


def test_the_board_of_these_tests_is_a_good_one() -> None:
    with lent(oracle_board()) as server, client(server.url) as board:
        assert same(ask(board, PROGRAM, MESSAGES), WANTED)
