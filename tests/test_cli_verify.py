"""Evaluation and verification against runners whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ndeploy import oracle
from ndeploy.data import Data
from ndeploy.errors import RunnerError, UsageError
from ndeploy.evaluate import accuracies, evaluate, mean_per_sample
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import RunResult
from ndeploy.neurons import CubaLif, Input
from ndeploy.runners import BUILT_IN, RunnerOptions
from ndeploy.synapses import Dense
from ndeploy.verify import batch_size, verify

PROGRAM = Program(
    name="two layers",
    populations=(
        Population("in", (2, 2), Input()),
        Population("hidden", (3,), CubaLif(du=2000, dv=300, vth=3 << 6), offset=1),
        Population("out", (2,), CubaLif(du=4095, dv=0, vth=2 << 6, reset="subtract", reset_amount=128), offset=2),
    ),
    projections=(
        Projection("w1", "in", "hidden", Dense(np.arange(-4, 8, dtype=np.int16).reshape(3, 4))),
        Projection("w2", "hidden", "out", Dense(np.array([[2, 1, 1], [1, 3, 2]], dtype=np.int16))),
    ),
    inputs=(InputPort("in"),),
    outputs=(OutputPort("out"),),
    steps=5,
)
X = np.random.default_rng(1).integers(0, 2, (7, 2, 2)).astype(np.uint8)
ORACLE = BUILT_IN["oracle"]


def whole() -> RunResult:
    from ndeploy.decode import encode

    return oracle.run(PROGRAM, encode(PROGRAM, X))


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_batches_join_to_the_whole(batch: int) -> None:
    evaluation = evaluate(PROGRAM, Data(X), ORACLE, RunnerOptions(), batch=batch, trace=True)
    expected, got = whole(), evaluation.result
    assert evaluation.samples == 7
    assert np.array_equal(got.predictions, expected.predictions)
    assert all(np.array_equal(got.traces[key], expected.traces[key]) for key in expected.traces)
    for kind in ("synaptic_ops", "spikes", "neuron_updates"):
        ours, theirs = getattr(got.counts, kind), getattr(expected.counts, kind)
        assert {k: v.tolist() for k, v in ours.items()} == {k: v.tolist() for k, v in theirs.items()}
    assert mean_per_sample(got.counts.synaptic_ops) == sum(v.sum() for v in expected.counts.synaptic_ops.values()) / 7


def test_accuracy_of_labels_and_sequences() -> None:
    labels = np.array([0, 1, 1, 0])
    assert accuracies(labels, labels) == (1.0, None)
    assert accuracies(labels, 1 - labels) == (0.0, None)
    assert accuracies(labels, np.array([0, 1, 0, 0])) == (0.75, None)
    sequences = np.array([[0, 1], [1, 1]])
    assert accuracies(sequences, np.array([[0, 1], [1, 0]])) == (0.75, 0.5)
    assert accuracies(labels, None) == (None, None)
    assert accuracies(None, labels) == (None, None)


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(4, 2\)") as caught:
        accuracies(np.zeros(4, dtype=np.int64), np.zeros((4, 2), dtype=np.int64))
    assert caught.value.code == "ND502"


def test_the_time_limit_holds_between_batches() -> None:
    def slow(*arguments: Any, options: RunnerOptions, **more: Any) -> RunResult:
        assert options.time_limit is not None
        assert options.time_limit <= 1e-9
        return ORACLE(*arguments, options=options, **more)

    with pytest.raises(RunnerError) as caught:
        evaluate(PROGRAM, Data(X), slow, RunnerOptions(time_limit=1e-9), batch=1)
    assert caught.value.code == "ND690"


def corrupt(changes: Mapping[str, tuple[tuple[int, ...], int]]) -> Any:
    """The oracle with single values of its traces changed: key -> (index, added)."""

    def runner(program: Program, messages: Any, *, trace: bool, options: RunnerOptions) -> RunResult:
        result = ORACLE(program, messages, trace=trace, options=options)
        traces = {key: value.copy() for key, value in result.traces.items()}
        for key, (index, added) in changes.items():
            traces[key][index] += added
        return replace(result, traces=traces)

    return runner


def test_equal_runners_have_no_mismatch() -> None:
    found = verify(PROGRAM, Data(X), {"a": ORACLE, "b": ORACLE}, RunnerOptions())
    assert (found.samples, found.populations, found.mismatches, found.first_mismatch) == (7, 2, 0, None)
    # samples x steps x (message, u, v) x neurons, inputs left out
    assert found.compared == 7 * 5 * 3 * (3 + 2)


def test_every_mismatch_is_counted_and_the_earliest_chip_step_comes_first() -> None:
    bad = corrupt(
        {
            "state/hidden/v": ((2, 3, 1), 5),  # chip step 4
            "spikes/out": ((2, 1, 0), 1),  # chip step 3
            "state/out/u": ((6, 0, 1), -2),
        }
    )
    found = verify(PROGRAM, Data(X), {"oracle": ORACLE, "bad": bad}, RunnerOptions())
    first = found.first_mismatch
    assert found.mismatches == 3
    assert dict(found.by_population) == {"hidden": 1, "out": 2}
    assert first is not None
    assert (first.population, first.variable, first.sample, first.model_step) == ("out", "message", 2, 1)
    assert (first.chip_step, first.neuron) == (3, (0,))
    assert first.values["bad"] == first.values["oracle"] + 1


@pytest.mark.parametrize("key", ["spikes/hidden", "state/hidden/u", "state/out/v"])
def test_no_trace_is_left_uncompared(key: str) -> None:
    for index in ((0, 0, 0), (6, 4, -1)):
        found = verify(PROGRAM, Data(X), {"a": ORACLE, "b": corrupt({key: (index, 1)})}, RunnerOptions())
        assert found.mismatches == 1
        assert found.first_mismatch is not None
        assert found.first_mismatch.sample == index[0]


@pytest.mark.parametrize(
    "change", [lambda traces: traces.pop("state/out/v"), lambda t: t.update({"spikes/out": t["spikes/out"][:, 1:]})]
)
def test_a_runner_that_leaves_something_out_is_an_error(change: Any) -> None:
    def partial(program: Program, messages: Any, *, trace: bool, options: RunnerOptions) -> RunResult:
        result = ORACLE(program, messages, trace=trace, options=options)
        traces = dict(result.traces)
        change(traces)
        return replace(result, traces=traces)

    with pytest.raises(RunnerError, match="partial") as caught:
        verify(PROGRAM, Data(X), {"a": ORACLE, "partial": partial}, RunnerOptions())
    assert caught.value.code == "ND691"


def test_batches_shrink_with_the_traces() -> None:
    assert batch_size(PROGRAM) == 64
    big = replace(PROGRAM, populations=(replace(PROGRAM.populations[1], shape=(1000, 1000)),), steps=100)
    assert batch_size(big) == 1
