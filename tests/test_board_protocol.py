"""Frames: what is sent is what is read, and nothing else is."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ndeploy.board import arrays, handshake, protocol
from ndeploy.board.channel import Channel
from ndeploy.board.protocol import (
    CLIENT,
    SERVER,
    AnswerError,
    Bounds,
    Frame,
    FrameError,
    GoneError,
    SlowError,
    WireError,
)

BOUNDS = Bounds(4096, 1 << 20)
Pair = tuple[Channel, Channel, int, int]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """(client, server, descriptor the client writes to, descriptor the server writes to)."""
    to_server, to_client = os.pipe(), os.pipe()
    client = Channel(to_client[0], to_server[1], CLIENT)
    server = Channel(to_server[0], to_client[1], SERVER)
    yield client, server, to_server[1], to_client[1]
    for descriptor in (*to_server, *to_client):
        os.close(descriptor)


def shut(descriptor: int) -> None:
    """Close a pipe's end, but keep the number, so that the fixture closes nobody else's."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)


def test_frames_arrive_in_order_and_whole(pair: Pair) -> None:
    client, server, *_ = pair
    frames = [Frame("a", {"n": 1, "list": [[1, "x"]]}), Frame("b", {}, bytes(range(256)) * 300), Frame("c")]
    thread = threading.Thread(target=lambda: [client.send(frame) for frame in frames])
    thread.start()
    for sent in frames:
        found = server.receive(BOUNDS, 1.0)
        assert (found.op, found.fields, found.body) == (sent.op, sent.fields, sent.body)
    thread.join()


@pytest.mark.parametrize("at", [0, 5, 11, 14, 17, 40, -40, -1])
def test_a_damaged_byte_is_found_at_once(pair: Pair, at: int) -> None:
    _, server, write, _ = pair
    data = bytearray(b"".join(protocol.encode(Frame("stream", {"x": 1}, bytes(50)), b"", CLIENT, 0)))
    data[at] ^= 1
    os.write(write, data)
    with pytest.raises(FrameError):
        server.receive(Bounds(1 << 20, 1 << 40), 5.0)


def test_a_frame_that_stops_halfway_is_not_waited_for(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever size it announced."""
    monkeypatch.setattr("ndeploy.board.channel.FRAME_SECONDS", 0.2)
    _, server, write, _ = pair
    os.write(write, protocol.prefix_of(10, 1 << 30) + bytes(3000))
    began = time.monotonic()
    with pytest.raises(SlowError):
        server.receive(Bounds(100, 1 << 30), 5.0)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(("side", "number", "key"), [(SERVER, 0, b""), (CLIENT, 1, b""), (CLIENT, 0, b"other")])
def test_a_frame_sent_back_repeated_or_forged_is_found(pair: Pair, side: bytes, number: int, key: bytes) -> None:
    _, server, write, _ = pair
    os.write(write, b"".join(protocol.encode(Frame("stream"), key, side, number)))
    with pytest.raises(FrameError, match="checksum"):
        server.receive(BOUNDS, 0.3)


@pytest.mark.parametrize(("header", "body"), [(4097, 0), (2, (1 << 20) + 1), (2**32 - 1, 2**64 - 1)])
def test_an_oversized_frame_is_refused_before_it_is_taken(pair: Pair, header: int, body: int) -> None:
    _, server, write, _ = pair
    os.write(write, protocol.prefix_of(header, body))
    with pytest.raises(FrameError, match="the limit is"):
        server.receive(BOUNDS, 0.3)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{}",
        b'{"op": 1}',
        b'{"op": ""}',
        b'{"op": "a", "x": NaN}',
        b"\xff",
        b"[" * 4000,
        b'{"op": "a", "x": ' + b"[" * 9 + b"]" * 9 + b"}",
        b'{"op": "' + b"a" * 33 + b'"}',
    ],
)
def test_headers_that_are_none(header: bytes) -> None:
    with pytest.raises(FrameError):
        protocol.decode(header, b"")


def test_a_peer_that_drips_is_left(pair: Pair) -> None:
    _, server, write, _ = pair
    stop = threading.Event()

    def drip() -> None:
        for byte in b"".join(protocol.encode(Frame("hello", {"x": "y" * 500}), b"", CLIENT, 0)):
            os.write(write, bytes([byte]))
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(SlowError):
        server.receive(BOUNDS, 0.3, within=0.3)
    assert time.monotonic() - began < 0.6
    stop.set()
    thread.join()


def test_a_peer_that_does_not_read_is_left(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndeploy.board.channel.FRAME_SECONDS", 0.2)
    monkeypatch.setattr("ndeploy.board.channel.MIN_RATE", 1 << 24)
    with pytest.raises(SlowError, match="does not take"):
        pair[0].send(Frame("stream", {}, bytes(1 << 20)))


def test_a_peer_that_has_gone(pair: Pair) -> None:
    _, server, write, _ = pair
    shut(write)
    with pytest.raises(GoneError):
        server.receive(BOUNDS, 0.3)
    assert server.left()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_garbage_never_raises_anything_else(data: bytes, framed: bool) -> None:
    read, write = os.pipe()
    idle = os.pipe()
    try:
        server = Channel(read, idle[1], SERVER)
        if framed:  # past the prefix, so that the header is what is random
            data = protocol.prefix_of(len(data) // 2, len(data) // 3) + data
        os.write(write, data)
        os.close(write)
        with pytest.raises(WireError):
            server.receive(BOUNDS, 0.2, within=0.2)
    finally:
        for descriptor in (read, *idle):
            os.close(descriptor)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(json_like, st.binary(max_size=40))
def test_any_list_of_arrays_is_taken_or_refused(listed: object, body: bytes) -> None:
    try:
        found = arrays.unpack(listed, body)
    except FrameError:
        return
    assert sum(array.size for array in found.values()) <= len(body)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=3) | st.integers(),
            st.sampled_from(["i1", "i2", "i4", "i8", "f8", "O"]),
            st.lists(st.integers(-1, 4)),
        ).map(list),
        max_size=3,
    ),
    st.binary(max_size=40),
)
def test_lists_that_look_like_arrays(listed: object, body: bytes) -> None:
    try:
        found = arrays.unpack(listed, body)
    except FrameError:
        return
    assert all(array.dtype == np.int64 for array in found.values())


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)), st.integers(0, 63))
def test_arrays_come_back(array: np.ndarray[tuple[int, ...], np.dtype[np.int64]], bits: int) -> None:
    array = array >> bits
    listed, body = arrays.pack({"a/b": array, "c": array * 0})
    found = arrays.unpack(json.loads(json.dumps(listed)), body)
    np.testing.assert_array_equal(found["a/b"], array)
    assert found["a/b"].dtype == np.int64
    assert len(body) <= 9 * array.size
    assert arrays.digest(found) == arrays.digest({"c": array * 0, "a/b": array})


# -- handshake ---------------------------------------------------------------------------------------------------------


def shake(pair: Pair, ours: str, theirs: str) -> tuple[object, object]:
    """What the client's and the server's side of a handshake end with."""
    client, server, *_ = pair
    ended: list[object] = []

    def serve() -> None:
        try:
            ended.append(handshake.as_server(server, theirs, {"runner": "x"}))
        except WireError as error:
            if isinstance(error, AnswerError):
                server.send(protocol.error_frame(error))
            ended.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        mine: object = handshake.as_client(client, ours, "me", 1.0)
    except WireError as error:
        mine = error
    thread.join()
    return mine, ended[0]


def test_both_know_the_token(pair: Pair) -> None:
    welcome, peer = shake(pair, "secret", "secret")
    assert isinstance(welcome, dict)
    assert welcome["runner"] == "x"
    assert peer == handshake.Peer("me")
    pair[0].send(Frame("after"))
    assert pair[1].receive(BOUNDS, 1.0).op == "after"


def test_a_wrong_token(pair: Pair) -> None:
    mine, theirs = shake(pair, "secret", "Secret")
    assert isinstance(mine, AnswerError)
    assert isinstance(theirs, AnswerError)
    assert mine.kind == theirs.kind == "auth"


def test_a_board_that_does_not_know_the_token(pair: Pair) -> None:
    client, server, *_ = pair

    def pretend() -> None:
        server.send(Frame("challenge", {"protocol": 1, "nonce": "00" * 32}))
        server.receive(handshake.BOUNDS, 1.0)
        server.send(Frame("welcome", {"proof": "00" * 32}))

    thread = threading.Thread(target=pretend)
    thread.start()
    with pytest.raises(AnswerError, match="does not know the token"):
        handshake.as_client(client, "secret", "me", 1.0)
    thread.join()


def test_the_token_is_not_sent(pair: Pair) -> None:
    client, _, _, write = pair
    os.write(write, b"".join(protocol.encode(Frame("challenge", {"protocol": 1, "nonce": "ab" * 32}), b"", SERVER, 0)))
    shut(write)
    sent: list[bytes] = []
    original = client._put
    client._put = lambda data, deadline: (sent.append(bytes(data)), original(data, deadline))[1]  # type: ignore[method-assign]
    with pytest.raises(GoneError):
        handshake.as_client(client, "secret-of-mine", "me", 1.0)
    assert b"hello" in b"".join(sent)
    assert b"secret-of-mine" not in b"".join(sent)
