"""A stand-in for lava-loihi in a folder for PYTHONPATH: modules of its names in Lava's namespace packages.

What they are called and how they are called is read in published programs (docs/loihi.md). `fake_loihi_chip.py` is what
they do.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="lava-nc is not installed (ndeploy doctor says how)"
)
SETTINGS = ("SLURM", "NXSDKHOST", "BOARD", "PARTITION", "LOIHI_GEN", "NDEPLOY_LOIHI_STEPS", "NDEPLOY_LOIHI_POWER")

_ABSTRACT = """
from lava.magma.core.model.model import AbstractProcessModel
class {0}(AbstractProcessModel):
    pass
"""
_FILES = {
    "lava/magma/core/model/nc/model.py": _ABSTRACT.format("AbstractNcProcessModel"),
    "lava/magma/core/model/c/model.py": _ABSTRACT.format("AbstractCProcessModel")
    + "class CLoihiProcessModel(AbstractCProcessModel):\n    pass\n",
    "lava/magma/compiler/builders/c_builder.py": """
from lava.magma.compiler.builders.interfaces import AbstractProcessBuilder
class CProcessBuilder(AbstractProcessBuilder):
    pass
""",
    "lava/magma/compiler/builders/nc_builder.py": """
from lava.magma.compiler.builders.interfaces import AbstractProcessBuilder
class NcProcessBuilder(AbstractProcessBuilder):
    pass
""",
    "lava/magma/compiler/subcompilers/c/cproc_compiler.py": "class CProcCompiler:\n    pass\n",
    "lava/magma/compiler/subcompilers/nc/ncproc_compiler.py": """
class NcProcCompiler:
    pass
class CompilerOptions:
    verbose = False
""",
    "lava/utils/loihi2_profiler.py": "",
    "lava/utils/loihi2_profiler_api.py": "from fake_loihi_chip import Loihi2HWProfiler\n",
    "lava/utils/loihi2_state_probes.py": "from fake_loihi_chip import StateProbe\n",
    "lava/proc/embedded_io/spike.py": """
import numpy as np
import fake_loihi_chip as chip
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
if not hasattr(chip, "installed"):
    chip.installed = True
    chip.install()
class _Adapter(AbstractProcess):
    def __init__(self, shape, num_message_bits=0):
        super().__init__(shape=shape, bits=num_message_bits)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)
        chip.say(type(self).__name__, bits=num_message_bits)
class PyToNxAdapter(_Adapter):
    pass
class NxToPyAdapter(_Adapter):
    pass
class _Model(PyLoihiProcessModel):
    inp = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    side = 0
    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.late = chip.Late(self.side)
    def run_spk(self):
        message = self.late(self.inp.recv())
        graded = self.proc_params["bits"] and self.side
        self.out.send(message & 0xFFFFFF if graded else message)
@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
class IntoModel(_Model):
    pass
@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
class OutOfModel(_Model):
    side = 1
""",
}
_MODELS: dict[str, dict[str, str]] = {
    "lif": {"LIF": "PyLifModelBitAcc", "LIFReset": "PyLifResetModelBitAcc"},
    "dense": {"Dense": "PyDenseModelBitAcc", "DelayDense": "PyDelayDenseModelBitAcc"},
    "sparse": {"Sparse": "PySparseModelBitAcc", "DelaySparse": "PyDelaySparseModelBitAcc"},
    "sdn": {"Sigma": "PySigmaModelFixed", "Delta": "PyDeltaModelFixed", "SigmaDelta": "PySigmaDeltaModelFixed"},
    "graded": {"GradedVec": "PyGradedVecModelFixed"},
    "prodneuron": {"ProdNeuron": "PyProdNeuronModelFixed"},
}
"""By package and process, the CPU model that computes for the chip. There is none for TernaryLIF."""


def _models(package: str, pairs: dict[str, str]) -> str:
    lines = [
        "from lava.magma.core.decorator import implements, requires",
        "from lava.magma.core.model.nc.model import AbstractNcProcessModel",
        "from lava.magma.core.resources import Loihi2NeuroCore",
        "from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol",
        f"from lava.proc.{package} import models",
        f"from lava.proc.{package}.process import {', '.join(pairs)}",
    ]
    for process, model in pairs.items():
        lines += [
            f"@implements(proc={process}, protocol=LoihiProtocol)",
            "@requires(Loihi2NeuroCore)",
            f"class Nc{process}(AbstractNcProcessModel):",
            f"    on_cpu = models.{model}",
        ]
    return "\n".join(lines) + "\n"


def install(folder: Path, without: Sequence[str] = ()) -> Path:
    """Write the stand-in; without: files that it lacks."""
    files = dict(_FILES)
    for package, pairs in _MODELS.items():
        files[f"lava/proc/{package}/ncmodels.py"] = _models(package, pairs)
    for name, text in files.items():
        if name not in without:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    shutil.copy(Path(__file__).with_name("fake_loihi_chip.py"), folder)
    return folder


def use(patch: pytest.MonkeyPatch, extension: Path, folder: Path) -> Path:
    """Settings of the local board, its locks and its record of calls in a folder; the record."""
    patch.setenv("PYTHONPATH", str(extension))
    patch.setenv("XDG_RUNTIME_DIR", str(folder))
    patch.setenv("FAKE_LOIHI_LOG", str(folder / "calls"))
    for name in SETTINGS:
        patch.delenv(name, raising=False)
    return folder / "calls"


def calls(log: Path) -> list[dict[str, Any]]:
    """The record."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def called(log: Path) -> list[str]:
    """Names of the calls."""
    return [str(call["call"]) for call in calls(log)]


def locks(folder: Path) -> Path:
    """Where `use` has the locks."""
    return folder / f"ndeploy-loihi-{os.getuid()}"


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Until it holds; fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
