"""Plantings of `benchmarks/suite_plantings.py` in a small network: caught, and named; and no alarm without them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ndeploy.suite.checks import judge
from ndeploy.suite.measured import Failure, Measured
from ndeploy.suite.toml_file import load

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parent.parent
KINDS = (
    "one weight bit",
    "decay",
    "threshold",
    "reset mode",
    "delay a model step late",
    "another rounding mode",
    "simulator: reset mode",
    "simulator: delay",
    "5 % energy: all prices",
    "5 % energy: one price",
    "5 % energy: counting",
    "more cores: layers",
)


@pytest.fixture(scope="module")
def plantings() -> Iterator[Any]:
    """The benchmark's modules, which import each other by name."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import suite_plantings

        yield suite_plantings
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def site(plantings: Any) -> Any:
    """The convolutional network of the examples, 16 samples."""
    suite = load(ROOT / "examples" / "suite.toml")
    case = replace(next(case for case in suite.cases if case.name == "mnist-conv"), limit=16)
    return plantings.site_of(case, timed=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planting_is_caught_and_named(plantings: Any, site: Any, kind: str) -> None:
    tried = (plantings.planted(site, plantings.KINDS[kind], seed) for seed in range(6))
    outcome = next((found for found in tried if found is not None), None)
    assert outcome is not None, "nothing of the kind acts on this network"
    assert outcome.caught, outcome.told
    assert outcome.named, outcome.told


def test_nothing_is_found_where_nothing_is_planted(plantings: Any, site: Any) -> None:
    found = plantings.measured(site.case, False, site.lost)
    assert judge(site.case, found, plantings.known(site.clean)).failed == ()


def test_another_part_is_not_taken_for_the_planted_one(plantings: Any, site: Any) -> None:
    planting = plantings.KINDS["one weight bit"](site, plantings.rng_of(site.case, 0))
    with planting.patch():
        found = plantings.measured(site.case, False, site.lost)
    assert isinstance(found, Measured)
    result = judge(site.case, found, plantings.known(site.clean))
    others = {p.name for p in site.deployed.program.projections} - {planting.what}
    assert plantings.named(result, planting)[0]
    for other in others:
        wrong = replace(planting, words=(f"projection '{other}': weights ",))
        assert plantings.named(result, wrong) == (False, False)


def test_a_case_that_could_not_run_names_nothing(plantings: Any, site: Any) -> None:
    planting = plantings.KINDS["decay"](site, plantings.rng_of(site.case, 0))
    failure = Failure("ND799", "internal error", "", 70)
    assert plantings.named(judge(site.case, failure, None), planting) == (False, False)


def test_the_suite_of_the_fixtures_is_one(plantings: Any, tmp_path: Path) -> None:
    from fixtures_path import fixture

    fixture("netx")
    suite = load(plantings.written(tmp_path))
    assert len(suite.cases) == 11
    assert all(case.limit is not None or case.data.stat().st_size < 1 << 20 for case in suite.cases)
