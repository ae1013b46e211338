"""Activity: what the simulator sums over samples is what the oracle finds synapse by synapse; tolerance zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import Case, cases, messages_for, programs

from ndeploy import oracle, sim
from ndeploy.data import Data
from ndeploy.evaluate import evaluate
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import Activity, RunResult
from ndeploy.neurons import CubaLif, Input
from ndeploy.runners import RunnerOptions, find
from ndeploy.synapses import Sparse

SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)


def activity(result: RunResult) -> Activity:
    """What was asked for is there."""
    if result.activity is None:
        raise AssertionError("no activity")
    return result.activity


def assert_same(found: Activity, expected: Activity) -> None:
    """Every sum of every neuron at every model step."""
    assert found.samples == expected.samples
    for kind in ("messages", "arrivals", "live"):
        have, want = getattr(found, kind), getattr(expected, kind)
        assert have.keys() == want.keys(), kind
        for name, value in want.items():
            np.testing.assert_array_equal(have[name], value, err_msg=f"{kind} {name}")
            assert have[name].dtype == np.int64


@settings(SETTINGS, max_examples=100)
@given(cases())
def test_numpy_kernels_equal_the_oracle(case: Case) -> None:
    program, messages = case
    expected = activity(oracle.run(program, messages, activity=True))
    assert_same(activity(sim.run(program, messages, activity=True, kernels="numpy")), expected)


@settings(SETTINGS, max_examples=150)
@given(cases(graded=True))
def test_compiled_kernels_equal_the_oracle(case: Case) -> None:
    program, messages = case
    expected = activity(oracle.run(program, messages, activity=True))
    assert_same(activity(sim.run(program, messages, activity=True, kernels="compiled", threads=1)), expected)


@settings(SETTINGS, max_examples=40)
@given(cases(max_samples=7))
def test_threads_and_chunks_change_nothing(case: Case) -> None:
    program, messages = case
    expected = activity(oracle.run(program, messages, activity=True))
    for threads, chunk in ((1, 2), (2, None), (3, 1)):
        found = sim.run(program, messages, threads=threads, chunk=chunk, kernels="compiled", activity=True)
        assert_same(activity(found), expected)


@settings(SETTINGS, max_examples=80)
@given(programs(graded=True), st.sampled_from((9, 64, 65, 130)), st.sampled_from((0.0, 0.02, 0.3)), st.integers(0, 99))
def test_words_of_many_samples_equal_truth_values(program: Program, samples: int, density: float, seed: int) -> None:
    """More samples than a byte holds, than a word holds, and words that are not full."""
    messages = messages_for(program, samples, np.random.default_rng(seed), density)
    expected = activity(sim.run(program, messages, activity=True, kernels="numpy", counts=False))
    assert_same(activity(sim.run(program, messages, activity=True, kernels="compiled", counts=False)), expected)


@pytest.mark.long
@settings(SETTINGS, max_examples=3000)
@given(cases(graded=True, max_samples=12))
def test_many_programs(case: Case) -> None:
    program, messages = case
    expected = activity(oracle.run(program, messages, activity=True))
    assert_same(activity(sim.run(program, messages, activity=True, kernels="compiled")), expected)


def test_batches_add_up() -> None:
    program = sized_program()
    x = np.random.default_rng(1).integers(0, 2, size=(7, program.steps, 5)).astype(np.int64)
    whole = activity(sim.run(program, {"in": x}, activity=True))
    found = evaluate(program, Data(x.astype(np.float64)), find("sim"), RunnerOptions(), batch=3, activity=True)
    assert_same(activity(found.result), whole)
    assert whole.samples == 7
    without = evaluate(program, Data(x.astype(np.float64)), find("sim"), RunnerOptions(), batch=3)
    assert without.result.activity is None


def test_the_oracle_is_a_runner_that_gives_activity() -> None:
    program = sized_program()
    x = np.random.default_rng(2).integers(0, 2, size=(2, program.steps, 5)).astype(np.int64)
    expected = activity(sim.run(program, {"in": x}, activity=True))
    found = evaluate(program, Data(x.astype(np.float64)), find("oracle"), RunnerOptions(), activity=True)
    assert_same(activity(found.result), expected)


def test_arrivals_by_hand() -> None:
    """Two synapses of opposite weight and one of weight zero: what cancels out has arrived, as what weighs nothing."""
    program = sized_program()
    x = np.zeros((1, program.steps, 5), dtype=np.int64)
    x[0, 1, 0] = x[0, 1, 1] = 1  # both reach neuron 0 of "sparse", with weights 3 and -3, and neuron 1 with weight 0
    found = activity(oracle.run(program, {"in": x}, activity=True))
    np.testing.assert_array_equal(found.messages["in"], x[0])
    expected = np.zeros((program.steps, 3), dtype=np.int64)
    expected[1, :2] = 1
    np.testing.assert_array_equal(found.arrivals["sparse"], expected)
    assert "in" not in found.arrivals
    assert_same(activity(sim.run(program, {"in": x}, activity=True)), found)


def sized_program() -> Program:
    """5 inputs, 3 neurons, 4 model steps."""
    weight = np.array([3, -3, 0, 5])
    sparse = Sparse(weight, np.array([0, 0, 1, 2]), np.array([0, 1, 0, 4]), 5, 3)
    return Program(
        "by-hand",
        (Population("in", (5,), Input(1)), Population("sparse", (3,), CubaLif(4095, 4095, 64), 1)),
        (Projection("in-sparse", "in", "sparse", sparse),),
        (InputPort("in"),),
        (OutputPort("sparse"),),
        4,
    )
