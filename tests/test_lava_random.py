"""Random programs: oracle = simulator = Lava native = Lava fused, every population, every model step, every count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, seed, settings
from lava_cases import assert_equal_to_oracle, mismatches, needs_lava
from ndeploy.targets._lava.plan import describe
from ndeploy.targets._lava.session import Session
from random_programs import Case, cases

from ndeploy import sim

pytestmark = needs_lava


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(stall=60) as running:
        yield running


def agree(
    session: Session, examples: int, *, lava_native: bool = False, graded: bool = False, start: int
) -> Counter[str]:
    """Compares `examples` programs; the Lava processes that took part, counted."""
    processes: Counter[str] = Counter()

    @seed(start)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases(lava_native=lava_native, graded=graded))
    def compare(case: Case) -> None:
        program, messages = case
        expected = assert_equal_to_oracle(session, program, messages)
        assert not mismatches(expected, sim.run(program, messages, trace=True, threads=1))
        processes.update(a.process for a in describe(program))

    compare()
    return processes


def test_what_lava_has_natively(session: Session) -> None:
    processes = agree(session, 120, lava_native=True, start=1)
    assert {"LIF", "LIFReset", "TernaryLIF", "Dense", "Sparse", "DelayDense", "DelaySparse"} <= processes.keys()


def test_everything(session: Session) -> None:
    processes = agree(session, 70, start=2)
    assert {"ndeploy.Population", "ndeploy.Product", "LIFReset"} <= processes.keys()


def test_networks_that_think_in_ticks(session: Session) -> None:
    """Graded kinds, several ports, populations that stop, latched operands, start values."""
    processes = agree(session, 60, graded=True, start=4)
    assert {"ndeploy.Population", "ndeploy.Product", "GradedVec"} <= processes.keys()


def test_lavas_own_transport() -> None:
    """Messages between threads change nothing: Lava's own processes and shared memory give the same."""
    with Session(stall=60, transport="processes") as session:
        agree(session, 6, lava_native=True, start=3)


@pytest.mark.long
@pytest.mark.parametrize("start", range(10, 15))
def test_many_more(session: Session, start: int) -> None:
    agree(session, 400, lava_native=True, start=start)
    agree(session, 400, start=start)
    agree(session, 400, graded=True, start=start)
