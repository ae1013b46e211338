"""What the stand-in for lava-loihi does (fake_loihi.py puts it into Lava's packages): it keeps a record of how it is
called, and computes with Lava's models for the CPU.

FAKE_LOIHI_LOG: file of the record, a JSON object a line. FAKE_LOIHI_FAULT: NAME@STEP, see `ChipService`.
FAKE_LOIHI_STEPS: "IN,OUT", chip steps that the adapters take.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections import deque
from typing import Any

import numpy as np
from lava.magma.compiler import compiler_graphs
from lava.magma.compiler.builders import runtimeservice_builder
from lava.magma.compiler.builders.runtimeservice_builder import RuntimeServiceBuilder
from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.core.callback_fx import NxSdkCallbackFx
from lava.magma.core.sync.protocols import loihi_protocol
from lava.magma.runtime.runtime_services.runtime_service import LoihiPyRuntimeService

MICROJOULES_A_STEP = 2.0
WATTS = 0.5
BOARD = object()


def say(call: str, **more: Any) -> None:
    """One line, whole even where several processes write."""
    path = os.environ.get("FAKE_LOIHI_LOG")
    if path:
        with open(path, "ab", buffering=0) as file:
            file.write((json.dumps({"call": call, **more}) + "\n").encode())


class Probed:
    """Before a CPU model: what a state probe on the chip would note."""

    def run_spk(self) -> None:
        super().run_spk()  # type: ignore[misc]
        for name, path in (self.proc_params.get("fake probes") or {}).items():  # type: ignore[attr-defined]
            with open(path, "ab") as file:
                file.write(np.asarray(getattr(self, name), dtype=np.int64).tobytes())


class ChipService(LoihiPyRuntimeService):
    """The board, with a job of a scheduler where it is one's.

    Faults: lost (it raises), hang, silent (its process ends).
    """

    callback_fxs: Any = ()
    steps = 0

    def start(self) -> None:
        environment = {name: os.environ.get(name, "") for name in ("SLURM", "NXSDKHOST", "BOARD", "LOIHI_GEN")}
        say("boot", **environment)
        if environment["SLURM"]:
            said = json.dumps({"call": "scancel"})
            told = f"trap 'echo {json.dumps(said)} >> {os.environ['FAKE_LOIHI_LOG']}; exit' TERM"
            subprocess.Popen(["sh", "-c", f"{told}; while :; do sleep 0.05; done"])
        for probe in self.callback_fxs:
            probe.pre_run_callback(BOARD, {})
        super().start()

    def _send_pm_cmd(self, phase: Any) -> None:
        if np.array_equal(phase, LoihiPyRuntimeService.Phase.SPK):
            self.steps += 1
            fault, _, step = os.environ.get("FAKE_LOIHI_FAULT", "").partition("@")
            if fault and self.steps == int(step):
                say("fault", name=fault)
                if fault == "lost":
                    raise ConnectionError("NxBoard: the connection to the host was lost")
                if fault == "hang":
                    time.sleep(3600)
                if fault == "silent":
                    os._exit(7)
        super()._send_pm_cmd(phase)

    def _handle_stop(self) -> None:
        say("halt", steps=self.steps)
        for probe in self.callback_fxs:
            probe.post_run_callback(BOARD, {})
        super()._handle_stop()


class StateProbe(NxSdkCallbackFx):
    """The value of a variable after every chip step."""

    def __init__(self, var: Any) -> None:
        self._neurons = int(np.prod(var.shape))
        descriptor, self._path = tempfile.mkstemp(dir=os.getcwd())
        os.close(descriptor)
        known = dict(var.process.proc_params.get("fake probes") or {})
        var.process.proc_params.overwrite("fake probes", {**known, var.name: self._path})
        say("StateProbe", var=var.name)

    def pre_run_callback(self, board: Any = None, var_id_to_var_model_map: Any = None) -> None:
        say("attach", probe="state")

    def post_run_callback(self, board: Any = None, var_id_to_var_model_map: Any = None) -> None:
        say("detach", probe="state")

    @property
    def time_series(self) -> Any:
        return np.fromfile(self._path, dtype=np.int64).reshape(-1, self._neurons).T


class EnergyProbe(NxSdkCallbackFx):
    """Made up: so much a chip step."""

    def pre_run_callback(self, board: Any = None, var_id_to_var_model_map: Any = None) -> None:
        say("attach", probe="energy")

    def post_run_callback(self, board: Any = None, var_id_to_var_model_map: Any = None) -> None:
        say("detach", probe="energy")


class Loihi2HWProfiler:
    """As `Profiler.init` makes it."""

    def __init__(self, run_cfg: Any) -> None:
        self._configuration = run_cfg
        self._steps = 0

    def energy_probe(self, num_steps: int) -> None:
        say("energy_probe", num_steps=num_steps)
        self._steps = num_steps
        self._configuration.callback_fxs.append(EnergyProbe())

    def energy_breakdown(self) -> tuple[float, ...]:
        say("energy_breakdown")
        total = MICROJOULES_A_STEP * self._steps
        return total, total / 2, total / 2, 0.0, 0.0, 0.0

    def power_breakdown(self) -> tuple[float, ...]:
        return WATTS, WATTS / 2, WATTS / 2, 0.0, 0.0, 0.0


class Late:
    """A message comes out so many chip steps after it went in."""

    def __init__(self, side: int) -> None:
        steps = int(os.environ.get("FAKE_LOIHI_STEPS", "0,0").split(",")[side])
        self._waiting: deque[Any] = deque([None] * steps)

    def __call__(self, message: Any) -> Any:
        self._waiting.append(message)
        first = self._waiting.popleft()
        return np.zeros_like(message) if first is None else first


def _compiled(self: Any, groups: Any) -> Any:
    """The chosen chip models become CPU models: from here on Lava compiles them itself."""
    chosen = {}
    for group in groups:
        for process in group:
            model = process.model_class
            chosen[type(process).__name__] = model.__name__
            if hasattr(model, "on_cpu"):
                process._model_class = type(model.__name__, (Probed, model.on_cpu), {})
    say("compile", models=chosen)
    return groups


def install() -> None:
    """Hook into Lava's compiler and runtime."""
    get_proc_groups = ProcGroupDiGraphs.get_proc_groups
    build = RuntimeServiceBuilder.build

    def groups(self: Any) -> Any:
        return _compiled(self, get_proc_groups(self))

    def built(self: Any) -> Any:
        service = build(self)
        service.callback_fxs = self.rs_kwargs.get("callback_fxs", ())
        return service

    ProcGroupDiGraphs.get_proc_groups = groups
    RuntimeServiceBuilder.build = built
    loihi_protocol.LoihiPyRuntimeService = ChipService


__all__ = ["compiler_graphs", "runtimeservice_builder"]
