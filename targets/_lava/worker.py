"""The program that runs in the interpreter that has Lava: `python -c "<exec this file>"`, see session.py.

It reads requests, one JSON object a line, from standard input, and answers with events, one JSON object a line, on the
pipe that was its standard output. When standard input closes, whoever asked is gone: the worker ends, and takes every
process and shared memory of its own with it. It imports numpy, Lava and the numpy-only modules of ndeploy, by their
location: the interpreter needs no ndeploy.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def _bind(name: str, folder: str) -> ModuleType:
    """Import a package from a folder under a name, wherever else one of that name may be."""
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} holds no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Worker:
    """events: a file descriptor."""

    def __init__(self, events: int, setup: dict[str, Any]) -> None:
        self._events = events
        self._setup = setup

    def tell(self, **event: Any) -> None:
        os.write(self._events, (json.dumps(event) + "\n").encode())

    def _announce(self, path: str) -> None:
        self.tell(event="segment", path=path)

    def fail(self, text: str) -> None:
        """Relay a traceback and end. Called from whichever thread or process failed."""
        path = Path(self._setup["folder"]) / f"traceback-{os.getpid()}.txt"
        path.write_text(text)
        self.tell(event="failed", traceback=str(path))
        os._exit(1)

    def start(self) -> bool:
        """Import what is needed; tell what was found."""
        if sys.version_info < (3, 10):  # noqa: UP036 - the interpreter is the user's
            self.tell(event="missing", what=f"Python 3.10 or later (this is {sys.version.split()[0]})")
            return False
        try:
            _bind("ndeploy", self._setup["ndeploy"])
            targets = _bind("ndeploy.targets", self._setup["targets"])
            sys.modules["ndeploy"].targets = targets  # type: ignore[attr-defined]
            from ndeploy.targets._lava.compatibility import import_lava

            import_lava()
        except ImportError as error:
            self.tell(event="missing", what=str(error), module=error.name or "")
            return False
        from ndeploy.targets._lava import transport

        if self._setup.get("chip") and not self._told(self._attach):
            return False
        transport.install(self._setup["transport"], self.fail, self._announce)
        self.tell(event="ready", python=sys.version.split()[0])
        return True

    def _attach(self) -> None:
        from ndeploy.targets._lava.loihi_host import attach

        attach()

    def _told(self, action: Callable[[], None]) -> bool:
        """Whether an action succeeds; an error with a code is relayed as it is."""
        from ndeploy.errors import NdeployError

        try:
            action()
        except NdeployError as error:
            self.tell(event="error", kind=type(error).__name__, code=error.code, message=error.message, help=error.help)
            return False
        return True

    def run(self, request: dict[str, Any]) -> None:
        """One program on one set of samples; files in request["folder"]."""
        import numpy as np
        from ndeploy.targets._lava import network, traces
        from ndeploy.targets._lava.plan import plan

        from ndeploy.ir.serial import from_parts

        folder = Path(request["folder"])
        with np.load(folder / "program.npz", allow_pickle=False) as arrays:
            program = from_parts(json.loads((folder / "program.json").read_text()), dict(arrays))
        with np.load(folder / "messages.npz", allow_pickle=False) as arrays:
            messages = {name: arrays[f"m{i}"] for i, name in enumerate(request["inputs"])}
        samples = len(next(iter(messages.values())))
        files = traces.create(program, request["wanted"], samples)
        began = time.perf_counter()
        said: dict[str, Any] = {}
        if request["mode"] == "loihi":
            from ndeploy.targets._lava import loihi_network

            said = loihi_network.run(program, messages, files, request, self._events, self.tell)
        elif request["mode"] == "fused":
            network.run_fused(program, messages, files, self._events)
        else:
            network.Network(program, plan(program), messages, files, self._events).run()
        traces.save(folder, files)
        self.tell(event="done", seconds=time.perf_counter() - began, **said)

    def serve(self) -> None:
        """Requests one after another; the thread that reads them also notices when nobody asks any more."""
        import queue

        requests: queue.SimpleQueue[str] = queue.SimpleQueue()

        def read() -> None:
            # not through sys.stdin, whose lock a child process forked meanwhile would wait for
            rest = b""
            while data := os.read(0, 1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    requests.put(line.decode())
            from ndeploy.targets._lava.cleanup import remove_segments, segments_of

            remove_segments(segments_of([os.getpid()]))
            shutil.rmtree(self._setup["folder"], ignore_errors=True)
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(1)

        threading.Thread(target=read, daemon=True).start()
        while True:
            request = json.loads(requests.get())
            try:
                self._told(functools.partial(self.run, request))
            except Exception:
                text = traceback.format_exc()
                time.sleep(2.0)  # Lava's runtime may hear of a model's failure before the model could relay it
                self.fail(text)


def main() -> None:
    """setup: JSON object in the first argument: ndeploy, targets (folders), folder (for tracebacks), transport."""
    events = os.dup(1)
    os.dup2(2, 1)  # what Lava or numpy print must not reach the pipe of events
    worker = Worker(events, json.loads(sys.argv[1]))
    if worker.start():
        worker.serve()


if __name__ == "__main__":
    main()
