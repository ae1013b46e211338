"""What a dask worker does for `ndeploy test`: it measures every case in a process of its own.

A task of dask cannot be interrupted, a process can. Where the task is cancelled, or the client or the worker is gone,
the process is told to end, so that it gives its board back, and killed where it does not. A process also measures times
as a local one does: it does not inherit what dask's nanny sets for the allocator of its workers.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pickle
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndeploy.search.processes import ONE_THREAD
from ndeploy.search.workers import measure as outcome_of
from ndeploy.search.workers import packed
from ndeploy.suite.case import Case
from ndeploy.suite.lanes_process import MARK, end_orphans
from ndeploy.suite.measure import Context, measure
from ndeploy.suite.measured import FILES, Failure, Measured

LOOK = 0.1
"""Seconds between two looks at whether the task is still wanted."""
GRACE = 1.0
"""Seconds that a process which was told to end has for it."""
_NANNYS = ("MALLOC_TRIM_THRESHOLD_",)
"""Set by dask's nanny: memory goes back to the system at every turn, and mnist-conv compiles 1.6 times slower."""
_LAUNCH = "import sys; sys.path[:] = sys.argv[1:]; from ndeploy.suite.dask_worker import child; child()"
_SIZE = 8
"""Bytes that say how long the job, or its answer, is."""


@dataclass(frozen=True)
class Ended:
    """How a job ended. answer: a packed Outcome, b"" where there is none; how: of a process that died, what it died of,
    "" where it answered or was not wanted any more."""

    answer: bytes = b""
    how: str = ""


@dataclass(frozen=True)
class About:
    """What a client must know of a worker. ndeploy: version; code: digest of the toolchain's files; board: address of
    its board, "" where NDEPLOY_BOARD is not set; sizes: bytes of the files that were asked for, -1 for what is none."""

    ndeploy: str
    code: str
    board: str
    sizes: tuple[int, ...]


def about(paths: Sequence[str]) -> About:
    """Of this machine and process, and of these files here."""
    import ndeploy
    from ndeploy.board.runner import BOARD

    sizes = tuple(os.path.getsize(path) if os.path.isfile(path) else -1 for path in paths)
    return About(ndeploy.__version__, code_digest(), os.environ.get(BOARD, ""), sizes)


def code_digest() -> str:
    """SHA-256 of the files that this interpreter would run: of ndeploy and of the folders of its plugins."""
    import ndeploy
    from ndeploy.plugins import GROUPS

    told = hashlib.sha256()
    groups = [importlib.import_module(group).__path__ for group in GROUPS]
    for folder in dict.fromkeys((Path(ndeploy.__file__).parent, *(Path(part) for group in groups for part in group))):
        for path in sorted(file for file in folder.rglob("*") if file.suffix in (".py", ".toml") and file.is_file()):
            told.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return told.hexdigest()


def measured(context: Context, case: Case) -> Measured | Failure | tuple[str, ...]:
    """The case measured; where this machine does not have its files, those that it lacks."""
    missing = tuple(
        str(path) for name in FILES if (path := getattr(case, name)) is not None and not os.access(path, os.R_OK)
    )
    return missing or measure(context, case)


def probed(context: Context, _: None) -> Failure | None:
    """What the canary says of the worker's board."""
    from ndeploy.suite.canary import probe

    return probe(context)


def perform(job: bytes) -> Ended:
    """A task of dask. job: pickled (function, context, task), run in a process that lives no longer than the task is
    wanted."""
    worker: Any = importlib.import_module("distributed").get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        closing = worker.status.name in ("closing", "closed", "failed")
        return task is not None and task.state in ("executing", "long-running") and not closing

    return in_process(job, wanted)


def in_process(job: bytes, wanted: Callable[[], bool]) -> Ended:
    """Run the job in a process of its own, as long as it is wanted; nothing of it is left behind."""
    paths = [path for path in sys.path if path]
    mark = secrets.token_hex(16)
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(os.environ) | {MARK: mark},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(OSError):  # it ended already: it is said below how
            process.stdin.write(len(job).to_bytes(_SIZE, "little") + job)
            process.stdin.flush()
        answer = _read(process.stdout.fileno(), wanted)
        if answer is None:
            return Ended()
        _wait(process, GRACE)
        if len(answer) >= _SIZE and len(answer) == _SIZE + int.from_bytes(answer[:_SIZE], "little"):
            return Ended(answer[_SIZE:])
    finally:
        _end(process)
        if process.returncode != 0:
            end_orphans(mark)  # the command of a board, which has a session of its own
    code = process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return Ended(how=f"process {process.pid} {how}")


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """That of a local worker process: one thread for every library."""
    kept = {name: value for name, value in given.items() if name not in _NANNYS}
    return kept | dict.fromkeys(ONE_THREAD, "1")


def _read(descriptor: int, wanted: Callable[[], bool]) -> bytes | None:
    """All that the process says until it closes its end; None where it is not wanted any more."""
    said = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while wanted():
            if selector.select(LOOK):
                data = os.read(descriptor, 1 << 20)
                if not data:
                    return bytes(said)
                said += data
    return None


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends in time. It is not reaped: its id stays its own."""
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it end, make it, and end what is left of its group."""
    if not _wait(process, 0.0):
        process.send_signal(signal.SIGTERM)
        _wait(process, GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


# -- in the process ----------------------------------------------------------------------------------------------------


def child() -> None:
    """The life of such a process: a job from stdin, its outcome to stdout."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print goes where the worker's log goes
    signal.signal(signal.SIGTERM, _leave)
    job = _exactly(int.from_bytes(_exactly(_SIZE), "little"))
    threading.Thread(target=_end_with_worker, name="worker watch", daemon=True).start()
    function, context, task = pickle.loads(job)  # from the worker, which takes pickles of its cluster
    answer = packed(outcome_of(function, context, task, 1))
    view = memoryview(len(answer).to_bytes(_SIZE, "little") + answer)
    while view:
        view = view[os.write(answers, view) :]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(answers)


def _exactly(size: int) -> bytes:
    """So many bytes of stdin. Raises EOFError."""
    data = bytearray()
    while len(data) < size:
        more = os.read(0, min(size - len(data), 1 << 20))
        if not more:
            raise EOFError("the worker has closed its end")
        data += more
    return bytes(data)


def _leave(*_: object) -> None:
    """End by an exception, so that leases are given back on the way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signal.SIGTERM)


def _end_with_worker() -> None:
    while os.read(0, 1 << 10):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
