"""What this machine has, what it lacks, and the command that mends it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ndeploy import plugins
from ndeploy.errors import NdeployError

if TYPE_CHECKING:
    from ndeploy.fixed import IntArray
    from ndeploy.ir.program import Program

CORE = (
    "numpy",
    "numba",
    "scipy",
    "h5py",
    "matplotlib",
    "safetensors",
    "threadpoolctl",
    "typer",
    "rich",
    "torch",
    "nir",
)
"""Distributions without which ndeploy does not work; those of pyproject.toml."""
OPTIONAL = {
    "lava-nc": "verify --against lava",
    "norse": "comparisons with Norse in tests and benchmarks",
    "pytest": "the tests",
    "hypothesis": "the tests",
}
"""Distributions that some command needs, and which."""
LAVA = "lava-nc==0.10.0"
RUNNER_SECONDS = 60.0
"""A runner that has not run two neurons by then does not work."""
FREE_BYTES = 1 << 30
"""Less free space than this is worth a word: Lava's shared memory and numba's cache live on the same disks."""


@dataclass(frozen=True)
class Check:
    """state: "ok", "missing" (something optional does not work) or "broken" (the core does not); mend: a command."""

    name: str
    state: str
    found: str
    mend: str = ""


def checks() -> Iterator[Check]:
    """Every check, one after another."""
    yield _python()
    yield Check("platform", "ok", f"{platform.platform()}, {os.cpu_count()} cores")
    for name in CORE:
        yield _distribution(name, "broken", f"{sys.executable} -m pip install ndeploy")
    for name, purpose in OPTIONAL.items():
        yield _distribution(name, "missing", _install(name), purpose)
    for name, question in _QUESTIONS.items():
        yield _asked(name, question)
    yield from _plugins()
    yield from _runners()
    yield _fixtures()
    yield from _disks()


def works(found: list[Check]) -> bool:
    """Whether the core works: nothing is broken."""
    return all(check.state != "broken" for check in found)


def _install(name: str) -> str:
    pip = f"{sys.executable} -m pip install"
    if name == "lava-nc":
        needs = '"scipy" "scikit-learn" "networkx" "asteval<0.10"'
        flags = " --no-deps --ignore-requires-python" if sys.version_info >= (3, 11) else ""
        return f"{pip} {needs} && {pip}{flags} {LAVA}"
    if name == "norse":
        return f"{pip} nirtorch && {pip} --no-deps norse==1.1.0"
    return f"{pip} {name}"


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    ok = sys.version_info >= (3, 10)
    return Check("python", "ok" if ok else "broken", found, "" if ok else "install Python 3.10 or newer")


def _distribution(name: str, state: str, mend: str, purpose: str = "") -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, state, "not installed" + (f"; needed by {purpose}" if purpose else ""), mend)


def _torch_runs() -> Check:
    import torch

    total = float(torch.ones(2, 2).sum())
    ok = total == 4.0
    return Check(
        "torch on the CPU", "ok" if ok else "broken", f"{torch.__version__}, {torch.get_num_threads()} threads"
    )


def _numba_cache() -> Check:
    from numba.core import config

    folder = str(getattr(config, "CACHE_DIR", "")) or str(Path(__file__).parent / "sim" / "__pycache__")
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    if os.access(place, os.W_OK):
        return Check("numba cache", "ok", folder)
    return Check(
        "numba cache",
        "missing",
        f"{folder} is not writable: kernels are compiled again in every process",
        'export NUMBA_CACHE_DIR="$HOME/.cache/ndeploy"',
    )


def _program() -> tuple[Program, dict[str, IntArray]]:
    """The smallest program there is, and messages for it."""
    import numpy as np

    from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
    from ndeploy.neurons import CubaLif, Input
    from ndeploy.synapses import Dense

    program = Program(
        name="doctor",
        populations=(
            Population("in", (2,), Input()),
            Population("out", (2,), CubaLif(du=4095, dv=0, vth=5 << 6), offset=1),
        ),
        projections=(Projection("w", "in", "out", Dense(np.array([[2, 2], [2, 4]], dtype=np.int16))),),
        inputs=(InputPort("in"),),
        outputs=(OutputPort("out"),),
        steps=3,
    )
    return program, {"in": np.ones((1, 3, 2), dtype=np.int64)}


def _runner(name: str) -> Check:
    """Run the program and compare with the oracle. Raises whatever the runner raises."""
    import numpy as np

    from ndeploy import runners

    program, messages = _program()
    options = runners.RunnerOptions(time_limit=RUNNER_SECONDS)
    found, wanted = (runners.find(n)(program, messages, trace=False, options=options) for n in (name, "oracle"))
    if np.array_equal(found.outputs["out"], wanted.outputs["out"]):
        return Check(f"runner {name}", "ok", f"agrees with the oracle on a small program ({found.seconds:.2f} s)")
    return Check(f"runner {name}", "broken", "differs from the oracle on a small program", "report this")


def _runners() -> Iterator[Check]:
    """The simulator, which must work, and what the targets bring, which may lack its chip or its library."""
    yield _asked("runner sim", lambda: _runner("sim"))
    try:
        names = sorted(plugins.runners())
    except NdeployError:
        return  # the check of the plugins has said which is broken
    for name in names:
        try:
            yield _runner(name)
        except NdeployError as error:
            yield Check(f"runner {name}", "missing", error.message, error.help)


_QUESTIONS: dict[str, Callable[[], Check]] = {
    "torch on the CPU": _torch_runs,
    "numba cache": _numba_cache,
}


def _asked(name: str, question: Callable[[], Check]) -> Check:
    try:
        return question()
    except Exception as error:  # whatever is wrong with this machine is what the command is asked to say
        mend = f"{sys.executable} -m pip install --force-reinstall ndeploy"
        return Check(name, "broken", f"{type(error).__name__}: {error}", mend)


def _plugins() -> Iterator[Check]:
    for group in plugins.GROUPS:
        names, broken = [], []
        for plugin in plugins.scan(group):
            try:
                plugins.load(plugin)
                names.append(plugin.name)
            except Exception as error:  # the same: report, whatever it is
                broken.append(f"{plugin.name} ({error})".replace("\n", " "))
        if broken:
            yield Check(group, "broken", "; ".join(broken), "mend or uninstall the plugin")
        else:
            yield Check(group, "ok", ", ".join(names) or "none")


def _fixtures() -> Check:
    default = Path(__file__).resolve().parents[1].parent / "shared" / "fixtures"
    folder = Path(os.environ.get("NDEPLOY_FIXTURES", default))
    if folder.is_dir():
        return Check("fixtures", "ok", str(folder))
    return Check(
        "fixtures", "missing", "not here; the tests that need them are skipped", "export NDEPLOY_FIXTURES=FOLDER"
    )


def _disks() -> Iterator[Check]:
    for name, folder in {"here": os.getcwd(), "temporary": tempfile.gettempdir(), "shared memory": "/dev/shm"}.items():
        if not Path(folder).is_dir():
            continue
        free = shutil.disk_usage(folder).free
        found = f"{free / 2**30:.1f} GiB free in {folder}"
        if free >= FREE_BYTES:
            yield Check(f"disk ({name})", "ok", found)
        else:
            yield Check(f"disk ({name})", "missing", found, f"free some space in {folder}")
