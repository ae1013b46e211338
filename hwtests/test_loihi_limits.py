"""What the chip's limits are said to be, and programs at the edge of them in the simulator.

Shipped with the package: `pytest --pyargs ndeploy.hwtests`.
"""

from __future__ import annotations

import numpy as np
import pytest
from ndeploy.hwtests.programs import messages, programs

from ndeploy import oracle, sim
from ndeploy.check import check
from ndeploy.place import place
from ndeploy.plugins import targets
from ndeploy.target import EVENTS, limits, validate

PROGRAMS = programs()


@pytest.mark.parametrize("name", sorted(targets()))
def test_limits_are_whole_and_sourced(name: str) -> None:
    """Every installed target, foreign ones included."""
    target = targets()[name]
    validate(target)
    assert all(limit.source and limit.status for _, limit in limits(target))
    if target.placed and target.energy:
        assert {price.name for price in target.energy} <= set(EVENTS)


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_programs_at_the_limits_fit(name: str, chip: str) -> None:
    program, target = PROGRAMS[name], targets()[chip]
    check(program, target)
    placed = place(program, target)
    assert placed.cores == placed.cores_lower_bound == placed.chips == 1


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_programs_at_the_limits_agree(name: str) -> None:
    """The simulator against the oracle: every population, state variable, chip step and count."""
    program = PROGRAMS[name]
    given = messages(program)
    expected = oracle.run(program, given)
    found = sim.run(program, given, trace=True)
    assert found.traces.keys() == expected.traces.keys()
    for key, trace in expected.traces.items():
        np.testing.assert_array_equal(found.traces[key], trace, err_msg=key)
    for kind in ("synaptic_ops", "spikes", "neuron_updates"):
        for owner, count in getattr(expected.counts, kind).items():
            np.testing.assert_array_equal(getattr(found.counts, kind)[owner], count, err_msg=f"{kind} of {owner}")
    assert found.overflow == expected.overflow


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_programs_at_the_limits_do_something(name: str) -> None:
    """The comparison above is not one of silence with silence."""
    result = oracle.run(PROGRAMS[name], messages(PROGRAMS[name]))
    assert any(trace[1:].any() for key, trace in result.traces.items() if not key.startswith("spikes/in"))
    assert all(count[0] == 0 for count in result.counts.synaptic_ops.values())
