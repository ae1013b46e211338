"""Both sides prove that they know the token. It is never sent: an answer to a fresh random number is.

The key of all later frames follows from the token, both numbers, and the hello and the welcome as each side has seen
them, so that nobody in between can add a frame, or change what was said before there was a key. What is sent is not
hidden: docs/board.md says how to run the protocol through ssh.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from ndeploy.board import protocol
from ndeploy.board.channel import Channel
from ndeploy.board.protocol import AnswerError, Bounds, Frame, FrameError

NONCE_BYTES = 32
SECONDS = 5.0
"""For the whole handshake."""
BOUNDS = Bounds(protocol.HELLO_BYTES, 0)


@dataclass(frozen=True)
class Peer:
    """Who connected, by its own account: a label for messages, never a proof."""

    name: str


def proof(token: str, role: str, server: bytes, client: bytes) -> str:
    """What only one who knows the token can say about two random numbers. role: "client" or "server"."""
    message = b"ndeploy-board/1 " + role.encode() + b"\0" + server + client
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


def key(token: str, server: bytes, client: bytes, channel: Channel) -> bytes:
    """Of all frames after the welcome, which is the last that the channel has carried."""
    said = b"".join(channel.tags[side] for side in (protocol.CLIENT, protocol.SERVER))
    message = b"ndeploy-board/1 key\0" + server + client + said
    return hmac.new(token.encode(), message, hashlib.sha256).digest()


def as_server(channel: Channel, token: str, welcome: dict[str, Any]) -> Peer:
    """Challenge, check and welcome a client. Raises AnswerError "auth", and FrameError, GoneError or SlowError."""
    mine = secrets.token_bytes(NONCE_BYTES)
    channel.send(Frame("challenge", {"protocol": protocol.VERSION, "nonce": mine.hex()}))
    hello = channel.receive(BOUNDS, SECONDS, within=SECONDS)
    if hello.op != "hello":
        raise FrameError("the first frame is no hello")
    if hello.fields.get("protocol") != protocol.VERSION:
        raise AnswerError("usage", f"this board speaks version {protocol.VERSION} of the protocol")
    theirs = _nonce(hello)
    said = protocol.text(hello.fields, "proof").encode()
    if not hmac.compare_digest(said, proof(token, "client", mine, theirs).encode()):
        raise AnswerError("auth", "the token is wrong")
    channel.send(Frame("welcome", {**welcome, "proof": proof(token, "server", mine, theirs)}))
    channel.secure(key(token, mine, theirs, channel))
    return Peer(protocol.text(hello.fields, "client", "?", 80))


def as_client(channel: Channel, token: str, name: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Answer a board's challenge; its welcome. Raises AnswerError (what the board said, or "auth" where it does not
    know the token itself), and FrameError, GoneError or SlowError."""
    challenge = channel.receive(BOUNDS, seconds, within=seconds)
    if challenge.op == "error":
        raise protocol.answer_error(challenge)
    if challenge.op != "challenge" or challenge.fields.get("protocol") != protocol.VERSION:
        raise FrameError(f"no board that speaks version {protocol.VERSION} of the protocol")
    theirs, mine = _nonce(challenge), secrets.token_bytes(NONCE_BYTES)
    hello = {
        "protocol": protocol.VERSION,
        "nonce": mine.hex(),
        "proof": proof(token, "client", theirs, mine),
        "client": name[:80],
    }
    channel.send(Frame("hello", hello))
    welcome = channel.receive(Bounds(protocol.HEADER_BYTES, 0), seconds, within=seconds)
    if welcome.op == "error":
        raise protocol.answer_error(welcome)
    if welcome.op != "welcome":
        raise FrameError("the board did not welcome us")
    said = protocol.text(welcome.fields, "proof").encode()
    if not hmac.compare_digest(said, proof(token, "server", theirs, mine).encode()):
        raise AnswerError("auth", "the board does not know the token: it is not the one it should be")
    channel.secure(key(token, theirs, mine, channel))
    return dict(welcome.fields)


def _nonce(frame: Frame) -> bytes:
    try:
        nonce = bytes.fromhex(protocol.text(frame.fields, "nonce"))
    except ValueError as error:
        raise FrameError("the nonce is not hexadecimal") from error
    if len(nonce) != NONCE_BYTES:
        raise FrameError(f"the nonce has not {NONCE_BYTES} bytes")
    return nonce
