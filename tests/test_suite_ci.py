"""What a user copies or calls in continuous integration: the workflow's own steps, and `pytest --pyargs`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fixtures_path import ROOT
from small_artifact import PROGRAM
from suite_cases import TEXT, neuron, save, suite

WORKFLOW = ROOT / "examples" / "ci" / "github-actions.yml"
FILES = ("deployment.xml", "deployment.html", "history.sqlite")


def step(name: str) -> str:
    """The `run` block of a step, as a runner would hand it to bash; no YAML parser is among what ndeploy needs."""
    lines = WORKFLOW.read_text().splitlines()
    start = lines.index(f"      - name: {name}")
    block = lines[lines.index("        run: |", start) + 1 :]
    indent = " " * 10
    body = []
    for line in block:
        if line.strip() and not line.startswith(indent):
            break
        body.append(line.removeprefix(indent))
    return "\n".join(body)


def run_step(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs it: bash -e, in the repository, with `ndeploy` on the path."""
    scripts = folder / "bin"
    scripts.mkdir(exist_ok=True)
    (scripts / "ndeploy").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ndeploy "$@"\n')
    (scripts / "ndeploy").chmod(0o755)
    env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "GITHUB_WORKSPACE": str(folder)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_the_workflow_passes_and_fails_where_it_should(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    folder.mkdir()
    path = suite(folder)
    done = subprocess.run(
        [sys.executable, "-m", "ndeploy", "test", "--suite", str(path), "--update-baseline"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    done = run_step(tmp_path, "Test")
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / "build" / name).is_file() for name in FILES)
    save(folder, neuron(PROGRAM, "hidden", vth=9 << 6))
    done = run_step(tmp_path, "Test")
    assert done.returncode == 1
    assert "::warning file=deploy/suite.toml,title=small%3A baseline::stale" in done.stderr
    assert ElementTree.parse(tmp_path / "build" / "deployment.xml").getroot().find(".//failure") is not None


@pytest.mark.parametrize("broken", [False, True])
def test_pytest_runs_the_same_cases(tmp_path: Path, broken: bool) -> None:
    path = suite(tmp_path, TEXT + "budgets = { accuracy = 0.9 }\n" if broken else TEXT)
    asked = ("-q", "-p", "no:cacheprovider", "--pyargs", "ndeploy.hwtests", "-k", "test_case")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked],
        cwd=tmp_path,
        env={**os.environ, "NDEPLOY_SUITE": str(path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == int(broken), done.stdout + done.stderr
    assert ("1 failed" if broken else "1 passed") in done.stdout
    assert ("80.00 %, not at least 90.00 %" in done.stdout) == broken
