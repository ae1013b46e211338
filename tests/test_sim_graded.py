"""Graded kinds, several ports, populations that stop, latched operands: the simulator equals the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from random_programs import Case, cases
from synthetic_ctm import Size, samples, synthetic
from test_sim import SETTINGS, assert_equal

from ndeploy import oracle, sim


@settings(SETTINGS, max_examples=100)
@given(cases(graded=True))
def test_numpy_kernels_equal_the_oracle(case: Case) -> None:
    program, messages = case
    assert_equal(sim.run(program, messages, trace=True, kernels="numpy"), oracle.run(program, messages))


@settings(SETTINGS, max_examples=200)
@given(cases(graded=True))
def test_compiled_kernels_equal_the_oracle(case: Case) -> None:
    program, messages = case
    assert_equal(sim.run(program, messages, trace=True, kernels="compiled", threads=1), oracle.run(program, messages))


@settings(SETTINGS, max_examples=40)
@given(cases(max_samples=7, graded=True))
def test_threads_and_chunks_change_nothing(case: Case) -> None:
    program, messages = case
    expected = oracle.run(program, messages)
    for threads, chunk in ((1, 2), (2, None), (3, 1)):
        found = sim.run(program, messages, threads=threads, chunk=chunk, kernels="compiled")
        assert_equal(found, expected, traces=False)


@pytest.mark.long
@settings(SETTINGS, max_examples=5000)
@given(cases(graded=True))
def test_many_programs(case: Case) -> None:
    program, messages = case
    assert_equal(sim.run(program, messages, trace=True, kernels="compiled"), oracle.run(program, messages))


SIZES = [
    Size(),
    Size(neurons=6, memory=5, hidden=3, width=6, heads=3, tokens=2, pairs=9, ticks=7, bits=12, wide=16),
    Size(neurons=5, memory=1, hidden=1, width=2, heads=1, tokens=1, pairs=3, ticks=3, bits=16, wide=16),
    Size(neurons=16, memory=9, hidden=4, width=8, heads=2, tokens=5, pairs=20, ticks=12, bits=5, wide=6),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernels", ["numpy", "compiled"])
def test_a_continuous_thought_machine(size: Size, kernels: str) -> None:
    program = synthetic(size, seed=3)
    messages = samples(program, 4)
    expected = oracle.run(program, messages)
    assert_equal(sim.run(program, messages, trace=True, kernels=kernels, threads=1), expected)
    assert_equal(sim.run(program, messages, kernels=kernels, threads=2, chunk=1), expected, traces=False)


def test_stepped_populations_never_reach_past_their_bounds() -> None:
    """Bounds carried neuron by neuron hold for every message and are no wider than a payload for a shift register."""
    from ndeploy.sim.plan import plan_for

    program = synthetic(SIZES[1], seed=5)
    messages = samples(program, 6)
    traces = oracle.run(program, messages).traces
    plan = plan_for(program, True)
    component = next(c for c in plan.schedule.components if c.recurrent)
    outside = {name: plan.populations[name].neuron.message.high + 1 for name in plan.feeding(component)}
    members = plan.blueprint(component, outside)
    assert members is not None
    for m in members:
        sent = traces[f"spikes/{m.population.name}"]
        assert m.low <= sent.min() <= sent.max() <= m.high
    trace = next(m for m in members if m.population.name == "trace")
    assert trace.high <= trace.population.neuron.message.high + 1
