"""A search on a dask cluster, given by the address of its scheduler.

The package `distributed` is imported here and nowhere else. The workers need ndeploy of the same version.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import pickle
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import ndeploy
from ndeploy.errors import NdeployError, RunnerError, UnreachableError, UsageError
from ndeploy.search.workers import Outcome, Outcomes, Pool, measure, packed, sent
from ndeploy.torch_threads import one_thread

PATIENCE = 10.0
"""Seconds for the scheduler to answer, and for a first worker to be there."""
_GLANCE = 1.0
"""Seconds between two looks at whether workers are left."""
_turn = threading.Lock()


class Cluster(Pool):
    """A client of a scheduler. Every process of the cluster runs one task at a time, with all threads it was given."""

    def __init__(self, context: object, address: str) -> None:
        super().__init__(None)
        self._address = address
        self._payload = sent(context)
        self._client = connect(address)
        try:
            self._check()
            # one object, not its parts, to every worker that there is
            self._context = self._client.scatter([_Packed(self._payload)], broadcast=True, hash=False)[0]
        except NdeployError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise self._lost(first_line(error)) from error

    def close(self) -> None:
        """Leave the cluster; what it still has to do for this client is cancelled."""
        with contextlib.suppress(Exception):  # a scheduler that is gone has nothing to be told
            self._client.close(timeout=2)

    def _check(self) -> None:
        """There is a worker, and every worker can import this ndeploy; other versions that differ are noted."""
        wait_for_workers(self._client, self._address)
        try:
            found: dict[str, dict[str, str]] = self._client.run(versions)
        except Exception as error:
            raise RunnerError(
                "ND613",
                f"the workers of {self._address} cannot run ndeploy: {first_line(error)}",
                help=f"install ndeploy {ndeploy.__version__} where the workers run, and restart them",
            ) from error
        self.width = len(found)
        here = versions()
        for worker, there in sorted(found.items()):
            if there["ndeploy"] != here["ndeploy"]:
                raise RunnerError(
                    "ND613",
                    f"worker {worker} has ndeploy {there['ndeploy']}, this is {here['ndeploy']}",
                    help="install the same version everywhere: others may measure something else",
                )
            other = ", ".join(f"{name} {there[name]} ({here[name]} here)" for name in here if there[name] != here[name])
            if other:
                self.notes = (*self.notes, f"worker {worker} has {other}: its last digits may differ")

    def _outcomes(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Outcomes:
        ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        futures: list[Any] = []
        try:
            for index, task in enumerate(tasks):
                data = pickle.dumps((function, task))
                future = self._client.submit(_run, self._context, data, pure=False, retries=0)
                future.add_done_callback(lambda _, index=index: ended.put(index))
                futures.append(future)
            for _ in tasks:
                index = self._next(ended)
                yield index, self._outcome(futures[index], tasks[index])
        finally:
            if any(not future.done() for future in futures):
                with contextlib.suppress(Exception):  # nothing to cancel where the scheduler is gone
                    self._client.cancel(futures)

    def _next(self, ended: queue.SimpleQueue[int]) -> int:
        """The next task that has ended, for as long as there are workers to wait for."""
        empty = 0.0
        while True:
            try:
                return ended.get(timeout=_GLANCE)
            except queue.Empty:
                workers = self._client.scheduler_info()["workers"]
                empty = 0.0 if workers else empty + _GLANCE
                if empty >= PATIENCE:
                    raise self._lost("no workers are left") from None

    def _outcome(self, future: Any, task: object) -> Outcome:
        try:
            # from workers that the user named; dask itself speaks pickle with them
            outcome: Outcome = pickle.loads(future.result(timeout=PATIENCE))
        except (Exception, asyncio.CancelledError) as error:
            at = f"at {task!r:.120}: {first_line(error)}"
            gone = "its scheduler or all of its workers are gone, " if future.status == "cancelled" else ""
            raise self._lost(gone + at) from error
        return outcome

    def _lost(self, why: str) -> RunnerError:
        return RunnerError(
            "ND613",
            f"the dask cluster at {self._address} failed: {why}",
            help="see the logs of its workers; what was measured is in the journal, if there is one",
        )


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")


class _Packed:
    """The context on its way: unpacked once in every process that runs tasks."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._context: tuple[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Packed, (self._payload,)

    def context(self) -> Any:
        if self._context is None:
            self._context = (pickle.loads(self._payload),)
        return self._context[0]


def versions() -> dict[str, str]:
    """Versions that measurements may depend on."""
    import platform

    import torch

    return {
        "ndeploy": ndeploy.__version__,
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__.partition("+")[0],
    }


def _run(packed_context: _Packed, data: bytes) -> bytes:
    """One task on a worker. One at a time in a process: torch's number of threads is the whole process's."""
    worker: Any = importlib.import_module("distributed").get_worker()
    with _turn:
        try:
            function, task = pickle.loads(data)
            context = packed_context.context()
        except Exception as error:
            return packed(Outcome(error=error, trace=traceback.format_exc()))
        with one_thread():
            return packed(measure(function, context, task, worker.state.nthreads))


def connect(address: str) -> Any:
    """A client. Raises UsageError ND611 without dask, UnreachableError ND612 where no scheduler answers."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise UsageError(
            "ND611",
            f"--workers {address} needs dask, which is not installed: {error}",
            help="pip install distributed (or ndeploy[cluster])",
        ) from error
    # what goes wrong is raised as an error of ndeploy: no tracebacks of threads beside it
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        # a client that fails to connect stays half open, so the scheduler is asked by itself first
        asyncio.run(asyncio.wait_for(_greet(address), PATIENCE + 1))
        return distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # whatever listens there may answer anything
        raise UnreachableError(
            "ND612",
            f"no dask scheduler answers at {address}: {first_line(error)}",
            help="check the address, that `dask scheduler` runs there, and for tls:// dask's settings of certificates",
        ) from error


def wait_for_workers(client: Any, address: str) -> None:
    """Until there is one. Raises UnreachableError ND612 where none comes."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise UnreachableError(
            "ND612",
            f"the dask scheduler at {address} has no workers",
            help=f"start some: dask worker {address}",
        ) from error


async def _greet(address: str) -> None:
    rpc: Any = importlib.import_module("distributed.core").rpc
    security: Any = importlib.import_module("distributed.security").Security()
    async with rpc(address, timeout=PATIENCE, connection_args=security.get_connection_args("client")) as scheduler:
        identity = await scheduler.identity()
    if identity.get("type") != "Scheduler":
        raise ValueError(f"a {identity.get('type')} answers")
