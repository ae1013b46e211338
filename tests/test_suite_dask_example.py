"""examples/cluster: jobs take boards that no other job has, and a suite runs over jobs of submitit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from boards import TOKEN, lent
from dask_clusters import TERMS, measurers
from suite_cases import TEXT, suite

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cluster"
TAKING = 'set -euo pipefail; source "$0/take_board.sh"; echo "$NDEPLOY_BOARD $NDEPLOY_BOARD_NAME"; exec sleep 60'
ON_BOARD = (
    TEXT[TEXT.index("[[case]]") :].replace('"small"', '"on a board"').replace("data =", 'runner = "board"\ndata =')
)


@pytest.mark.parametrize("script", ["worker.sh", "take_board.sh"])
def test_the_scripts_are_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n", EXAMPLE / script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def job(boards: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """What a job with a board says that it has."""
    process = subprocess.Popen(
        ["bash", "-c", TAKING, EXAMPLE],
        env=os.environ | {"NDEPLOY_BOARDS": str(boards)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


def test_a_job_takes_a_board_that_no_other_has(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"exec:driver --port {name}\nsecond line\n")
    with ExitStack() as stack:
        first, process = stack.enter_context(job(tmp_path))
        second, _ = stack.enter_context(job(tmp_path))
        assert [first, second] == ["exec:driver --port a a", "exec:driver --port b b"]
        with job(tmp_path) as (third, late):
            assert third == ""
            assert late.wait(10.0) == 75
            assert late.stderr is not None
            assert "is taken" in late.stderr.read()
        process.kill()
        process.wait()
        assert stack.enter_context(job(tmp_path))[0] == first


def test_a_suite_over_jobs_of_submitit_gives_what_a_serial_run_gives(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="examples/cluster/submitit_suite.py needs submitit")
    path, boards = suite(tmp_path, TEXT + ON_BOARD), tmp_path / "boards"
    boards.mkdir()
    ndeploy = [sys.executable, "-m", "ndeploy", "test", "--suite", str(path)]
    script = [sys.executable, str(EXAMPLE / "submitit_suite.py"), "--executor", "local", "--host", "127.0.0.1"]
    with lent(None, TERMS) as server:
        (boards / "bench").write_text(server.url)
        environment = os.environ | {"NDEPLOY_BOARD_TOKEN": TOKEN, "NDEPLOY_BOARDS": str(boards)}
        here = environment | {"NDEPLOY_BOARD": server.url}
        subprocess.run([*ndeploy, "--update-baseline"], env=here, check=True, capture_output=True, cwd=tmp_path)
        done = subprocess.run(
            [*script, "--boards", "1", "--wait", "60", "--", "--suite", str(path), "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        found = json.loads(done.stdout)
        assert (done.returncode, found["outcomes"]["passed"]) == (0, 2), done.stderr
        assert found["cases"][1]["board"].endswith(f"with {server.url}")
        assert server.leases.granted == 2
        assert server.leases.snapshot() == (None, 0)
    assert not measurers()
