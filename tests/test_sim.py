"""The simulator computes what the oracle computes: outputs, traces, counts, overflow; tolerance zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import Case, cases

from ndeploy import oracle, sim
from ndeploy.ir.result import RunResult

SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)


def assert_equal(found: RunResult, expected: RunResult, traces: bool = True) -> None:
    """Every field that does not depend on the clock."""
    assert found.outputs.keys() == expected.outputs.keys()
    for name, value in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], value, err_msg=name)
        assert found.outputs[name].dtype == np.int64
    if expected.predictions is None:
        assert found.predictions is None
    else:
        np.testing.assert_array_equal(found.predictions, expected.predictions)
    for kind in ("spikes", "synaptic_ops", "neuron_updates", "embedded_ops"):
        have, want = getattr(found.counts, kind), getattr(expected.counts, kind)
        assert have.keys() == want.keys(), kind
        for name, value in want.items():
            np.testing.assert_array_equal(have[name], value, err_msg=f"{kind} {name}")
    assert found.overflow == expected.overflow
    assert found.chip_steps == expected.chip_steps
    if traces:
        assert found.traces.keys() == expected.traces.keys()
        for name, value in expected.traces.items():
            np.testing.assert_array_equal(found.traces[name], value, err_msg=name)


@settings(SETTINGS, max_examples=150)
@given(cases())
def test_numpy_kernels_equal_the_oracle(case: Case) -> None:
    program, messages = case
    assert_equal(sim.run(program, messages, trace=True, kernels="numpy"), oracle.run(program, messages))


@settings(SETTINGS, max_examples=300)
@given(cases())
def test_compiled_kernels_equal_the_oracle(case: Case) -> None:
    program, messages = case
    assert_equal(sim.run(program, messages, trace=True, kernels="compiled", threads=1), oracle.run(program, messages))


@settings(SETTINGS, max_examples=40)
@given(cases(max_samples=7))
def test_threads_and_chunks_change_nothing(case: Case) -> None:
    program, messages = case
    expected = oracle.run(program, messages)
    for threads, chunk in ((1, 2), (2, None), (3, 1)):
        found = sim.run(program, messages, threads=threads, chunk=chunk, kernels="compiled")
        assert_equal(found, expected, traces=False)
        assert found.traces == {}


@pytest.mark.long
@settings(SETTINGS, max_examples=5000)
@given(cases())
def test_many_programs(case: Case) -> None:
    program, messages = case
    assert_equal(sim.run(program, messages, trace=True, kernels="compiled"), oracle.run(program, messages))
