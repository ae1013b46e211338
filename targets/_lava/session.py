"""Starts the worker in the interpreter that has Lava, hands it programs, watches it, and ends it without a trace."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from ndeploy.targets._lava import traces
from ndeploy.targets._lava.cleanup import ask_session, end_session, remove_segments

import ndeploy
from ndeploy import targets
from ndeploy.errors import NdeployError, RefusedError, RunnerError, UnreachableError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.serial import to_parts

STALL_SECONDS = 300.0
"""A worker that reports no chip step for so long hangs: a step of the largest network takes seconds."""
START_SECONDS = 120.0
"""Importing Lava takes a second; on a cold network disk a minute."""
GRACE_SECONDS = 1.0
"""For what drives a board: a job of a scheduler is given back by whoever asked for it, not by one who is killed."""
TRANSPORTS = ("threads", "processes")

INSTALL = (
    "install it: pip install lava-nc==0.10.0 (Python 3.10), or pip install --no-deps --ignore-requires-python "
    "lava-nc==0.10.0 with scipy, scikit-learn, networkx and 'asteval<0.10' (3.11 and later); or name an interpreter "
    "that has it with --lava-python"
)

_RELAYED = {kind.__name__: kind for kind in (RefusedError, UnreachableError, UsageError)}
"""Errors that the worker may raise as they are."""


def _quiet(message: str) -> None:
    """Progress that nobody watches."""


class Session:
    """A running worker: a context manager; `run` any number of programs, one after another.

    python: interpreter with Lava (None: this one); transport: see transport.py; stall: seconds without a sign of life;
    time_limit: seconds for everything a call of `run` does. After an error the worker is gone and the session ends.
    chip: it drives a Loihi (loihi_runner.py), which needs lava-loihi too; inherit: a file descriptor that the worker
    and all it starts hold open. done: what the worker said at the end of the last run.
    Raises UsageError ND602 (no such interpreter), UnreachableError ND603 (it has no Lava), ND604 (it does not start).
    """

    def __init__(
        self,
        python: str | None = None,
        *,
        transport: str = "threads",
        stall: float = STALL_SECONDS,
        time_limit: float | None = None,
        threads: int | None = None,
        progress: Callable[[str], None] = _quiet,
        chip: bool = False,
        inherit: int | None = None,
    ) -> None:
        if transport not in TRANSPORTS:
            raise UsageError("ND608", f"no Lava transport '{transport}'", help=f"choose one of {', '.join(TRANSPORTS)}")
        self._python = _interpreter(python)
        self._stall = stall
        self._time_limit = time_limit
        self._progress = progress
        self._chip = chip
        self._inherit = () if inherit is None else (inherit,)
        self._busy = False
        self.done: dict[str, Any] = {}
        self._buffer = b""
        self._segments: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="ndeploy-lava-"))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(transport, threads)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The worker's process id, which is also its session's."""
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        """End the worker and everything it started; remove its files. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            if self._chip and self._busy:
                ask_session(process.pid, GRACE_SECONDS)
            end_session(process.pid)
            process.wait()
            remove_segments(self._segments)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self,
        program: Program,
        messages: Mapping[str, IntArray],
        wanted: traces.Wanted,
        mode: str = "native",
        *,
        time_limit: float | None = None,
        **more: Any,
    ) -> dict[str, IntArray]:
        """Traces of what is wanted, by RunResult's names. messages: int64 (samples, steps, *shape) by input population.

        time_limit: of this call, the session's where it has none; more: for the worker.
        Raises RunnerError ND605 (a model raised), ND606 (the worker died), ND607 (a limit of time), and what the worker
        refuses with a code of its own.
        """
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            tree, arrays = to_parts(program)
            (folder / "program.json").write_text(json.dumps(tree))
            np.savez(folder / "program.npz", **arrays)  # type: ignore[arg-type]
            numbered: dict[str, Any] = {f"m{i}": m for i, m in enumerate(messages.values())}
            np.savez(folder / "messages.npz", **numbered)
            request = {"folder": name, "inputs": list(messages), "wanted": dict(wanted), "mode": mode, **more}
            self._busy = True
            try:
                self._send(request)
                self.done = self._await("done", self._stall, self._time_limit if time_limit is None else time_limit)
            except BaseException:
                self.close()  # a worker that failed, or that Ctrl-C left behind, holds a half-run network
                raise
            self._busy = False
            return traces.load(folder, program)

    # -- the worker -----------------------------------------------------------------------------------------------

    def _start(self, transport: str, threads: int | None) -> None:
        setup = {
            "ndeploy": str(Path(ndeploy.__path__[0]).resolve()),
            "targets": str(Path(targets.__path__[0]).resolve()),
            "folder": str(self._folder),
            "transport": transport,
            "chip": self._chip,
        }
        environment = dict(os.environ)
        if self._python != sys.executable:  # our version's packages must not shadow the other interpreter's own
            environment.pop("PYTHONPATH", None)
            environment.pop("PYTHONHOME", None)
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        # executed from its text: a script's folder would come first on the module path
        boot = (
            f"exec(compile(open({str(Path(__file__).with_name('worker.py'))!r}).read(), 'ndeploy-lava-worker', 'exec'))"
        )
        try:
            with (self._folder / "worker.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [self._python, "-c", boot, json.dumps(setup)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._folder,
                    env=environment,
                    start_new_session=True,
                    pass_fds=self._inherit,
                )
        except OSError as error:
            raise UsageError(
                "ND602", f"'{self._python}' cannot be executed: {error.strerror}", help="give --lava-python a Python"
            ) from error
        self._await("ready", START_SECONDS, None)

    def _send(self, request: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            raise RunnerError("ND606", "the Lava worker has ended", help="start a new one")
        with contextlib.suppress(BrokenPipeError):  # _await says why it has ended
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()

    def _await(self, expected: str, stall: float, limit: float | None) -> dict[str, Any]:
        """Read events until the expected one, and answer it."""
        began = last = time.monotonic()
        while True:
            for event in self._read(0.2):
                last = time.monotonic()
                if event["event"] == expected:
                    return event
                self._handle(event)
            now = time.monotonic()
            if self._process is None or self._process.poll() is not None:
                while events := self._read(0.0):  # its last words
                    for event in events:
                        if event["event"] == expected:
                            return event
                        self._handle(event)
                raise self._died(expected)
            if limit is not None and now - began > limit:
                raise RunnerError(
                    "ND607", f"the Lava run exceeded {limit:g} s", help="raise --time-limit or use --limit"
                )
            if now - last > stall:
                raise RunnerError(
                    "ND607",
                    f"the Lava worker gave no sign of life for {stall:g} s",
                    help="try lava mode 'fused', or fewer samples with --limit",
                )

    def _read(self, wait: float) -> list[dict[str, Any]]:
        """Whole lines that have arrived, waiting up to `wait` seconds for some."""
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if selector.select(wait):
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    time.sleep(wait)  # the pipe is closed; `poll` will tell
                self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def _handle(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            self._progress(f"lava: chip step {event['step']} of {event['total']}")
        elif event["event"] == "stage":
            self._progress(f"lava: {event['text']}")
        elif event["event"] == "error":
            raise _RELAYED[event["kind"]](event["code"], event["message"], help=event["help"])
        elif event["event"] == "segment":
            self._segments.add(event["path"])
        elif event["event"] == "missing":
            if event.get("module", "").split(".")[0] == "lava" or "module" not in event:
                what = f"has no lava-nc: {event['what']}" if "module" in event else f"is not {event['what']}"
                raise UnreachableError("ND603", f"'{self._python}' {what}", help=INSTALL)
            raise UnreachableError("ND603", f"'{self._python}' cannot import Lava: {event['what']}", help=INSTALL)
        elif event["event"] == "failed":
            text = Path(event["traceback"]).read_text()
            raise RunnerError(
                "ND605",
                f"a Lava process model raised {text.strip().splitlines()[-1]} (traceback: {self._keep(text)})",
                help="read the traceback; if it names ndeploy's own code, report it with the artifact",
            )

    def _died(self, expected: str) -> NdeployError:
        assert self._process is not None
        log = (self._folder / "worker.log").read_text(errors="replace")
        how = self._process.returncode
        what = f"was killed by signal {-how}" if how is not None and how < 0 else f"ended with status {how}"
        kept = f" (its output: {self._keep(log)})" if log.strip() else ""
        if expected == "ready":
            return UnreachableError(
                "ND604", f"the Lava worker in '{self._python}' {what} before it was ready{kept}", help=INSTALL
            )
        return RunnerError(
            "ND606",
            f"the Lava worker {what} while it ran{kept}",
            help="signal 9 is most often the system's answer to too little memory: run fewer samples with --limit",
        )

    @staticmethod
    def _keep(text: str) -> str:
        """A file that outlives the session, for the reader of the message."""
        descriptor, path = tempfile.mkstemp(prefix="ndeploy-lava-", suffix=".log")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        return path


def _interpreter(python: str | None) -> str:
    """The interpreter's path. Raises UsageError ND602."""
    if python is None:
        return sys.executable
    found = shutil.which(python)
    if found is None:
        raise UsageError("ND602", f"'{python}' is no executable file", help="give --lava-python the path of a Python")
    return found
