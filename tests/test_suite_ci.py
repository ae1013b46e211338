"""What a user calls in continuous integration: `pytest --pyargs`. The workflow files: test_workflows.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from suite_cases import TEXT, suite


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
