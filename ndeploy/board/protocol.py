"""Frames: what travels between a client and a board. docs/board.md defines them for other implementations.

    magic "NDB1" | header bytes, uint32 | body bytes, uint64 | crc32 of these 16 bytes | header, JSON | body, raw | tag

All numbers are little-endian. The crc32 is there so that nobody waits for bytes that a damaged length announces. The
tag, 32 bytes, is HMAC-SHA256 under the connection's key over the sender's side, the frame's number and everything
before it: a frame that was damaged, lost, doubled or forged on its way is found out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
MAGIC = b"NDB1"
PREFIX = struct.Struct("<4sIQI")
TAG_BYTES = 32
CLIENT, SERVER = b"c", b"s"

HEADER_BYTES = 1 << 20
"""Largest header: names and shapes of some thousands of arrays."""
ARTIFACT_BYTES = 1 << 30
STREAM_BYTES = 1 << 28
HELLO_BYTES = 4096
"""Largest header before the peer has proved that it knows the token; no body is taken until then."""
MAX_DEPTH = 8
"""Nesting of a header; ours have four levels."""


class WireError(Exception):
    """The connection cannot go on. Never reaches a user: client and server each say it in their own way."""


class FrameError(WireError):
    """What came is no frame of this protocol, or not the one that was sent."""


class GoneError(WireError):
    """The peer has closed its end."""


class SlowError(WireError):
    """The peer did not answer, or did not take what was sent, in time."""


class AnswerError(WireError):
    """The peer answered with an error frame, or is about to. kind: one of KINDS; code: an ndeploy code or ""."""

    def __init__(self, kind: str, message: str, *, code: str = "", help: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.kind, self.message, self.code, self.help, self.exit_code = kind, message, code, help, exit_code


KINDS = ("auth", "busy", "lease", "usage", "limit", "model", "fault", "closing")
"""Of error frames. "model": the runner refused the program or its data, which says nothing against the board."""


@dataclass(frozen=True)
class Bounds:
    """Bytes of a header and of a body that are taken at most."""

    header: int = HEADER_BYTES
    body: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """op: what it is; fields: the rest of the header, JSON-like; body: raw bytes."""

    op: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""


def tag(key: bytes, side: bytes, number: int, *parts: bytes) -> bytes:
    """The 32 bytes at a frame's end. side: who sends; number: how many frames that side has sent before."""
    digest = hmac.new(key, side + struct.pack("<Q", number), hashlib.sha256)
    for part in parts:
        digest.update(part)
    return digest.digest()


def prefix_of(header: int, body: int) -> bytes:
    """The first bytes of a frame whose header and body have so many."""
    sizes = struct.pack("<4sIQ", MAGIC, header, body)
    return sizes + struct.pack("<I", zlib.crc32(sizes))


def encode(frame: Frame, key: bytes, side: bytes, number: int) -> list[bytes]:
    """The frame's bytes, in parts so that a large body is not copied. Raises ValueError where JSON cannot hold it."""
    header = json.dumps({"op": frame.op, **frame.fields}, separators=(",", ":"), allow_nan=False).encode()
    prefix = prefix_of(len(header), len(frame.body))
    return [prefix, header, frame.body, tag(key, side, number, prefix, header, frame.body)]


def sizes(prefix: bytes, bounds: Bounds) -> tuple[int, int]:
    """(header bytes, body bytes) that follow the prefix. Raises FrameError before anything is allocated for them."""
    magic, header, body, _ = PREFIX.unpack(prefix)
    if magic != MAGIC or prefix != prefix_of(header, body):
        raise FrameError("what came does not begin like a frame")
    if header > bounds.header:
        raise FrameError(f"a header of {header} bytes, the limit is {bounds.header}")
    if body > bounds.body:
        raise FrameError(f"a body of {body} bytes, the limit is {bounds.body}")
    return header, body


def decode(header: bytes, body: bytes) -> Frame:
    """The frame of a header and body whose tag was right. Raises FrameError."""
    try:
        tree = json.loads(header, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(tree, ensure_ascii=False).encode()  # half a surrogate pair is no text: nothing could print it
    except (ValueError, RecursionError) as error:
        raise FrameError("the header is no JSON") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("op"), str) or not 0 < len(tree["op"]) <= 32:
        raise FrameError("the header is no object with an op")
    if _deeper(tree, MAX_DEPTH):
        raise FrameError(f"the header nests deeper than {MAX_DEPTH}")
    op = tree.pop("op")
    return Frame(op, tree, body)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is no finite number")
    return value


def _deeper(tree: Any, levels: int) -> bool:
    if not isinstance(tree, dict | list):
        return False
    inside = tree.values() if isinstance(tree, dict) else tree
    return levels == 0 or any(_deeper(value, levels - 1) for value in inside)


def text(fields: Mapping[str, Any], name: str, default: str = "", longest: int = 2000) -> str:
    """A text field, cut. Raises FrameError where it is none."""
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise FrameError(f"field '{name}' is no text")
    return value[:longest]


def number(fields: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """A number field, within bounds. Raises FrameError where it is none."""
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FrameError(f"field '{name}' is no number from {low:g} to {high:g}")
    return float(value)


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false, false where absent. Raises FrameError."""
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise FrameError(f"field '{name}' is neither true nor false")
    return value


def error_frame(error: AnswerError, reply_to: int | None = None) -> Frame:
    """An error as it is sent."""
    fields = {
        "kind": error.kind,
        "code": error.code,
        "message": error.message[:2000],
        "help": error.help[:2000],
        "exit": error.exit_code,
    }
    return Frame("error", fields if reply_to is None else {**fields, "id": reply_to})


def answer_error(frame: Frame) -> AnswerError:
    """The error of an error frame. Raises FrameError."""
    kind = text(frame.fields, "kind")
    if kind not in KINDS:
        raise FrameError(f"an error of unknown kind '{kind[:40]}'")
    return AnswerError(
        kind,
        text(frame.fields, "message"),
        code=text(frame.fields, "code"),
        help=text(frame.fields, "help"),
        exit_code=int(number(frame.fields, "exit", 1, 0, 255)),
    )
