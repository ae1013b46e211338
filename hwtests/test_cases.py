"""The cases of `ndeploy test`, one test each: those of the repository, or of the suite that NDEPLOY_SUITE names.

Shipped with the package: `NDEPLOY_SUITE=my.toml pytest --pyargs ndeploy.hwtests`. NDEPLOY_RUNNER runs them elsewhere
than their file says (lava, board).
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ndeploy.errors import UsageError
from ndeploy.suite.baseline import load as load_baseline
from ndeploy.suite.case import Case, Suite
from ndeploy.suite.checks import BY_MACHINE
from ndeploy.suite.ci import explained
from ndeploy.suite.measure import Context
from ndeploy.suite.run import run_one
from ndeploy.suite.toml_file import default_suite, load

TIMES = ("compile_time", "speed")


def suite() -> Suite | None:
    """None where neither a suite is named nor the repository is there."""
    named = os.environ.get("NDEPLOY_SUITE")
    try:
        return load(Path(named) if named else default_suite())
    except UsageError as error:
        if error.code != "ND662":
            raise
        return None


def parameters() -> list[Any]:
    found = suite()
    if found is None:
        missing = pytest.mark.skip(reason="the networks of the repository are not here; name a suite in NDEPLOY_SUITE")
        return [pytest.param(None, id="none", marks=missing)]
    return [pytest.param(case, id=case.name) for case in found.cases]


@pytest.mark.parametrize("case", parameters())
def test_case(case: Case) -> None:
    """All checks of a case. Times are told and not asserted, for machines are noisy; nor are bits beside a baseline of
    another toolchain or processor."""
    found = suite()
    assert found is not None
    runner = os.environ.get("NDEPLOY_RUNNER") or case.runner
    result = run_one(replace(case, runner=runner), Context(), load_baseline(found.baseline))
    told = {check.name: explained(result, check) for check in result.failed}
    lenient = set(TIMES) if result.same_toolchain else set(TIMES) | set(BY_MACHINE)
    for name in sorted(set(told) & lenient):
        warnings.warn(f"{case.name}, {name}: {told.pop(name)}", stacklevel=1)
    assert not told, "\n\n".join(f"{name}: {text}" for name, text in told.items())
    if runner != "sim":
        assert "agreement" in {check.name for check in result.checks}
