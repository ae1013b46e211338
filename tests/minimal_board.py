"""A board written from docs/board.md alone: Python's library for the protocol, ndeploy only to compute.

ndeploy run model.ndp --data d.npz --runner board --board "exec:python tests/minimal_board.py"
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ndeploy import artifact, oracle

KINDS = ("synaptic_ops", "spikes", "neuron_updates", "embedded_ops")
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever else prints does not get into the protocol
key, sent, received, tags = b"", 0, 0, {}


def tag(side: bytes, number: int, data: bytes) -> bytes:
    return hmac.new(key, side + struct.pack("<Q", number) + data, hashlib.sha256).digest()


def send(op: str, body: bytes = b"", **fields: Any) -> None:
    global sent
    header = json.dumps({"op": op, **fields}).encode()
    start = struct.pack("<4sIQ", b"NDB1", len(header), len(body))
    data = start + struct.pack("<I", zlib.crc32(start)) + header + body
    tags[b"s"] = tag(b"s", sent, data)
    answers.write(data + tags[b"s"])
    answers.flush()
    sent += 1


def receive() -> tuple[str, dict[str, Any], bytes]:
    global received
    start = sys.stdin.buffer.read(20)
    if len(start) < 20:
        sys.exit()
    _, header, body, _ = struct.unpack("<4sIQI", start)
    rest = sys.stdin.buffer.read(header + body)
    tags[b"c"] = tag(b"c", received, start + rest)
    if not hmac.compare_digest(sys.stdin.buffer.read(32), tags[b"c"]):
        sys.exit("a frame was damaged")
    received += 1
    fields = json.loads(rest[:header])
    return fields.pop("op"), fields, rest[header:]


def proof(role: bytes, *parts: bytes) -> str:
    return hmac.new(b"", b"ndeploy-board/1 " + role + b"\0" + b"".join(parts), hashlib.sha256).hexdigest()


def packed(arrays: dict[str, Any]) -> tuple[list[Any], bytes]:
    listed = [[name, "i8", list(array.shape)] for name, array in arrays.items()]
    return listed, b"".join(np.ascontiguousarray(array, "<i8").tobytes() for array in arrays.values())


def main() -> None:
    global key
    mine = os.urandom(32)
    send("challenge", protocol=1, nonce=mine.hex())
    theirs = bytes.fromhex(receive()[1]["nonce"])
    send(
        "welcome", proof=proof(b"server", mine, theirs), runner="minimal", features=["counters"], watts=None,
        beat=60, idle=600, run=600, artifact_bytes=1 << 28, stream_bytes=1 << 28,
    )  # fmt: skip
    key = bytes.fromhex(proof(b"key", mine, theirs, tags[b"c"], tags[b"s"]))
    program: Any = None
    result: Any = None
    while True:
        op, fields, body = receive()
        number = fields.get("id")
        if op in ("lease", "release"):
            send(op + "d", id=number)
        elif op == "program":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "program.ndp"
                path.write_bytes(body)
                program = artifact.load(path).program
            send("programmed", id=number)
        elif op == "stream":
            messages, at = {}, 0
            for name, kind, shape in fields["arrays"]:
                array = np.frombuffer(body, "<" + kind, int(np.prod(shape)), at).reshape(shape)
                messages[name], at = array.astype(np.int64), at + array.nbytes
            result = oracle.run(program, messages)
            named = {f"outputs/{name}": value for name, value in result.outputs.items()}
            if fields["trace"]:
                named |= {f"traces/{name}": value for name, value in result.traces.items()}
            listed, data = packed(named)
            send("result", data, id=number, arrays=listed, seconds=result.seconds, chip_steps=result.chip_steps)
        elif op == "read":
            named = {f"{kind}/{n}": value for kind in KINDS for n, value in getattr(result.counts, kind).items()}
            listed, data = packed(named)
            send("counters", data, id=number, arrays=listed)


main()
