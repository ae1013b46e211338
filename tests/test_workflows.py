"""The workflow files that users copy, executed step by step in a repository of a user's own (tests/local_ci.py).

The steps that install are left out: this environment is installed already.
`NDEPLOY_INSTALL=git+file://$PWD pytest tests/test_workflows.py -m long` runs them too, in a fresh environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from fixtures_path import ROOT
from local_ci import Job, Machine, git, github, gitlab
from small_model import network, write

from ndeploy.graph.write import nir_bytes

yaml = pytest.importorskip("yaml", reason="PyYAML comes with dask")
GITHUB = yaml.safe_load((ROOT / "examples" / "ci" / "github-actions.yml").read_text())
GITLAB = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab-ci.yml").read_text())
SUITE = """schema = "ndeploy.suite/1"

[[case]]
name = "keyword"
model = "small.nir"
data = "eval.npz"
calibration = "calibration.npz"
tolerances = { float_points = 40, compile_time = 10, speed = 10 }
"""
PLANTED = ("targets/_loihi_prices.py", '"neuron-update.active": (72.8,', '"neuron-update.active": (80.1,')
"""A file of ndeploy, what stands there, and what another release has in its place."""


def tools(folder: Path, toolchain: Path | None = None) -> Path:
    """A folder with `ndeploy` and `git` on it. toolchain: where another ndeploy lies."""
    folder.mkdir()
    path = "" if toolchain is None else f'export PYTHONPATH="{toolchain}"\n'
    (folder / "ndeploy").write_text(f'#!/bin/sh\n{path}exec "{sys.executable}" -m ndeploy "$@"\n')
    (folder / "ndeploy").chmod(0o755)
    found = shutil.which("git")
    assert found is not None
    (folder / "git").symlink_to(found)
    return folder


def another_release(folder: Path) -> Path:
    """ndeploy as it is here, but for one number: links to its files, and the planted one written anew."""
    package = folder / "ndeploy"
    package.mkdir(parents=True)
    planted, before, after = PLANTED
    for path in (ROOT / "ndeploy").iterdir():
        (package / path.name).symlink_to(path)
    for name in ("quantize", "converters", "hwtests"):
        (package / name).symlink_to(ROOT / name)
    (package / "targets").mkdir()
    for path in (ROOT / "targets").iterdir():
        if path.name == Path(planted).name:
            text = path.read_text()
            assert text.count(before) == 1
            (package / "targets" / path.name).write_text(text.replace(before, after))
        elif path.name != "__pycache__":
            (package / "targets" / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A user's repository with a reviewed baseline, and a CI machine beside it."""
    base = tmp_path_factory.mktemp("ci")
    repository = base / "repository"
    (repository / "deploy").mkdir(parents=True)
    write(repository / "deploy")
    (repository / "deploy" / "suite.toml").write_text(SUITE)
    found = Machine(base, repository, [tools(base / "bin")])
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    home = found.begin()
    done = subprocess.run(
        [str(base / "bin" / "ndeploy"), "test", "--suite", "deploy/suite.toml", "--update-baseline"],
        cwd=repository,
        env=found.clean(home),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "a reviewed baseline")
    return found


@pytest.fixture
def retrained(machine: Machine) -> Iterator[tuple[str, str]]:
    """The commit of the baseline, and the next one, which changes a row of weights; taken back afterwards."""
    reviewed = git(machine.repository, "rev-parse", "HEAD")
    made = network()
    node = made.nodes["second"]
    weight = np.array(node.weight)
    weight[0] = -weight[0]
    nodes = {**made.nodes, "second": type(node)(weight)}
    (machine.repository / "deploy" / "small.nir").write_bytes(nir_bytes(type(made)(**{**vars(made), "nodes": nodes})))
    git(machine.repository, "commit", "-q", "-a", "-m", "trained anew")
    yield reviewed, git(machine.repository, "rev-parse", "HEAD")
    git(machine.repository, "reset", "-q", "--hard", reviewed)


def run(machine: Machine, job: str = "simulator", **more: Any) -> Job:
    found = github(GITHUB, job, machine, **more)
    assert found is not None
    return found


def cases(job: Job, name: str) -> dict[str, ElementTree.Element]:
    """JUnit's test cases by name, with what GitHub's and GitLab's readers ask of them."""
    root = ElementTree.parse(job.artifacts[name]).getroot()
    assert root.tag == "testsuites"
    found = {}
    for suite in root:
        entries = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(entries)
        for kind, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == len(suite.findall(f"testcase/{kind}"))
        for case in entries:
            assert case.attrib["classname"].startswith("ndeploy.")
            found[case.attrib["name"]] = case
    return found


def failing(job: Job, name: str) -> dict[str, str]:
    return {
        key: case[0].attrib["message"] for key, case in cases(job, name).items() if case.find("failure") is not None
    }


def test_github(machine: Machine, retrained: tuple[str, str]) -> None:
    """A commit that is well, one that is not, and the first again under another release of ndeploy."""
    reviewed, broken = retrained
    git(machine.repository, "reset", "-q", "--hard", reviewed)
    well = run(machine)
    assert well.code == 0, well.output
    assert [step.name for step in well.steps if step.status == "not run"] == ["actions/setup-python@v5"]
    assert [step.name for step in well.steps if step.status == "replaced"] == ["Install"]
    assert not well.annotations()
    assert "1 case: all passed" in well.summary
    assert "| keyword | passed |" in well.summary
    assert not failing(well, "deployment.xml")

    git(machine.repository, "reset", "-q", "--hard", broken)
    stale = run(machine)
    assert stale.code == 1
    assert stale.status("Test") == "failed"
    assert stale.status("Keep the reports") == "passed"
    assert any(a.level == "warning" and a.message.startswith("stale: model changed") for a in stale.annotations())
    assert {a.properties["file"] for a in stale.annotations()} == {"deploy/suite.toml"}
    assert "baseline" in failing(stale, "deployment.xml")
    assert "| keyword | stale |" in stale.summary
    assert "ndeploy test --suite deploy/suite.toml --case keyword --update-baseline" in stale.summary

    git(machine.repository, "reset", "-q", "--hard", reviewed)
    release = tools(machine.base / "bin-of-a-release", another_release(machine.base / "release"))
    drifted = run(Machine(machine.base, machine.repository, [release], runs=machine.runs, caches=machine.caches))
    machine.runs += 1
    assert drifted.code == 1
    (found,) = drifted.annotations()
    assert found.level == "error"
    assert found.properties["title"] == "keyword: energy"
    assert "cause: price of neuron-update.active" in found.message
    assert "blame: toolchain" in found.message
    assert found.message.endswith("ndeploy energy keyword.ndp --data deploy/eval.npz")
    assert list(failing(drifted, "deployment.xml")) == ["energy"]

    page = drifted.artifacts["deployment.html"].read_text()
    assert "over 3 runs" in page  # the history of the runs before, failures too
    assert reviewed[:7] in page
    assert broken[:7] in page


def test_gitlab(machine: Machine, retrained: tuple[str, str]) -> None:
    """A commit that is not well, then the one before it."""
    stale = gitlab(GITLAB, "deployment", machine)
    assert stale.code == 1
    assert "baseline" in failing(stale, "deployment.xml")
    git(machine.repository, "reset", "-q", "--hard", retrained[0])
    well = gitlab(GITLAB, "deployment", machine)
    assert well.code == 0, well.output
    assert all("pip install" in step.name for step in well.steps if step.status == "replaced")
    assert not failing(well, "deployment.xml")
    assert "over 2 runs" in well.artifacts["deployment.html"].read_text()


def test_boards_are_for_pushes_with_a_board(machine: Machine) -> None:
    assert github(GITHUB, "board", machine) is None
    assert (
        github(GITHUB, "board", machine, event="pull_request", given={"vars.NDEPLOY_BOARD": "tcp://lab:5580"}) is None
    )


TOKEN = "of the tests, long enough"


def board(machine: Machine, address: str) -> Job:
    given = {"vars.NDEPLOY_BOARD": address, "secrets.NDEPLOY_BOARD_TOKEN": TOKEN}
    return run(machine, "board", given=given)


def test_a_board_that_answers(machine: Machine) -> None:
    here = board(machine, "exec:ndeploy board serve --stdio --runner sim")
    assert here.code == 0, here.output
    assert "agreement" in cases(here, "board.xml")


@pytest.mark.long
def test_a_board_that_is_not_there_is_not_the_model(machine: Machine) -> None:
    """Exit code 3, after pauses in which it is asked again."""
    gone = board(machine, "tcp://127.0.0.1:1")
    assert gone.code == 3, gone.output
    (found,) = [entry for entry in gone.annotations() if entry.level == "error"]
    assert [entry.properties["title"] for entry in gone.annotations() if entry.level == "warning"] == ["quarantine"]
    assert "blame: board" in found.message
    assert found.message.endswith("ndeploy test --suite deploy/suite.toml --case keyword --runner sim")


@pytest.mark.long
def test_the_steps_that_install(machine: Machine) -> None:
    """The workflow with nothing left out, in a virtual environment of its own."""
    source = os.environ.get("NDEPLOY_INSTALL")
    if not source:
        pytest.skip("NDEPLOY_INSTALL names no source to install from")
    fresh = machine.base / "fresh"
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True)
    names = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "no_proxy", "NO_PROXY")
    env = {name: value for name, value in os.environ.items() if name.startswith(names)}
    place = Machine(machine.base, machine.repository, [fresh / "bin"], False, env, runs=100)
    done = github({**GITHUB, "env": {"NDEPLOY": source}}, "simulator", place)
    assert done is not None
    assert done.code == 0, done.output
    assert done.status("Install") == "passed"
    assert not failing(done, "deployment.xml")
