"""What the tests of workers have them do: functions of a module that every process can import."""

from __future__ import annotations

import importlib
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ndeploy import oracle
from ndeploy.errors import RefusedError
from ndeploy.quantizer import Request
from ndeploy.search.workers import threads


@dataclass(frozen=True, eq=False)
class Context:
    """Counts in a folder how often it is loaded."""

    folder: str
    values: np.ndarray

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        (Path(str(state["folder"])) / f"{os.getpid()}-{time.monotonic_ns()}").touch()


def summed(context: Context, task: int) -> tuple[int, float, int, int | None]:
    import torch

    return task, float(context.values.sum() ** task), torch.get_num_threads(), threads()


def slow_first(context: object, task: int) -> int:
    time.sleep(0.4 if task == 0 else 0)
    return task


def failing(context: object, task: int) -> int:
    if task == 1:
        time.sleep(0.3)
        raise RefusedError("ND301", "weight 300 of 'a'", help="take 8 bits")
    if task == 2:
        raise ZeroDivisionError("two")
    return task


class UnsendableError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raising_unsendable(context: object, task: int) -> int:
    raise UnsendableError(1, 2)


def answering_unsendable(context: object, task: int) -> object:
    return lambda: task


def dying(context: object, task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def leaving(context: object, task: int) -> int:
    os._exit(3)


def sleeping(context: object, task: float) -> int:
    time.sleep(task)
    return os.getpid()


def mean_spikes(request: Request, bits: int) -> float:
    method = importlib.import_module("ndeploy.quantize.uniform")
    made = method.quantize(replace(request, bits=bits), lambda stage: None)
    assert request.calibration is not None
    x = request.calibration.x.astype(np.int64)
    (out,) = oracle.run(made.program, {"in": x}).outputs.values()
    return float(np.mean(out))
