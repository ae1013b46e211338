"""The package as it is built and installed: nothing forgotten, nothing heavy at start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from fixtures_path import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest and mypy on Python 3.10

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = {"ndeploy.targets": "targets", "ndeploy.quantize": "quantize", "ndeploy.converters": "converters"}
MAPPED |= {"ndeploy.hwtests": "hwtests", "ndeploy": "ndeploy"}


def packages_on_disk() -> dict[str, Path]:
    """Every folder with an __init__.py, by package name."""
    found = {}
    for package, folder in MAPPED.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found[".".join((package, *parts))] = init.parent
    return found


def test_the_package_list_is_complete() -> None:
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(packages_on_disk())


def test_every_folder_of_modules_is_a_package() -> None:
    for folder in MAPPED.values():
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module.parent} holds modules but is no package"


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0].lower().replace("_", "-") for line in requirements}


def test_every_requirement_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
    project = PYPROJECT["project"]
    wanted = names([*project["dependencies"], *chain(*project["optional-dependencies"].values())])
    assert wanted <= names(lines)


def test_torch_is_the_same_everywhere() -> None:
    exact = {"torch==2.13.0"}
    assert set(re.findall(r"(?<!\w)torch==[\d.]+", (ROOT / "Makefile").read_text())) == exact
    assert set(re.findall(r"^torch==[\d.]+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)) == exact
    assert exact <= set(PYPROJECT["project"]["dependencies"])


def test_ci_runs_make_test_and_is_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("make test")


def run(*command: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **env})


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['ndeploy', '--help']\n"
        "from ndeploy.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'numpy', 'torch', 'numba', 'h5py', 'scipy', 'lava', 'nir'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.stdout.rstrip().endswith("HEAVY []"), done.stdout + done.stderr


@pytest.mark.long
def test_wheel_and_sdist_hold_every_module(tmp_path: Path) -> None:
    """Built from a copy of what git tracks, so that no leftover of this folder can hide a missing file."""
    copy = tmp_path / "source"
    copy.mkdir()
    tracked = [name for name in run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0") if (ROOT / name).is_file()]
    for name in tracked:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    for kind in ("wheel", "sdist"):
        build = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
        done = run(sys.executable, "-c", build, str(out), cwd=copy)
        assert done.returncode == 0, done.stderr
    modules = {
        str(Path(*package.split(".")) / path.name)
        for package, folder in packages_on_disk().items()
        for path in folder.glob("*.py")
        if str(path.relative_to(ROOT)) in tracked
    }
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    assert modules | {"ndeploy/py.typed"} <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    with tarfile.open(next(out.glob("*.tar.gz"))) as sdist:
        held = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    sources = {name for name in tracked if name.endswith(".py") and name.split("/")[0] in MAPPED.values()}
    assert sources <= held


@pytest.mark.long
def test_the_wheel_works_away_from_its_source(tmp_path: Path) -> None:
    """Installed into a folder of its own, the command runs and finds its plugins there."""
    site = tmp_path / "site"
    done = run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(ROOT))
    assert done.returncode == 0, done.stderr
    done = run(
        sys.executable,
        "-P" if sys.version_info >= (3, 11) else "-s",
        "-c",
        "import ndeploy, sys; print(ndeploy.__file__); sys.argv=['ndeploy','targets'];"
        "from ndeploy.cli import main; main()",
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    assert "loihi2" in done.stdout


@pytest.mark.long
def test_the_demo_runs_and_keeps_its_accuracy(tmp_path: Path) -> None:
    """`make demo` without its make: the example networks, within half a point of their float accuracy."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "ndeploy").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ndeploy "$@"\n')
    (scripts / "ndeploy").chmod(0o755)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = run("bash", str(ROOT / "examples" / "demo.sh"), PATH=path, NDEPLOY_DEMO_OUT=str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    accuracies = [float(found) for found in re.findall(r"^accuracy +([\d.]+) %", done.stdout, re.MULTILINE)]
    # spikformer, mnist-conv, parity, parity stopped early, parity's energy report, digits stopped early: of parity by
    # position, 256 of them
    for accuracy, wanted in zip(accuracies, (96.8, 92.2, 100.0, 100.0, 100.0, 97.2), strict=True):
        assert abs(accuracy - wanted) <= 0.5
    assert "0 mismatches" in done.stdout
