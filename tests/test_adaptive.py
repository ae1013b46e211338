"""Samples that end when they are certain: what is counted is what a run of that many steps counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_runner import call
from small_artifact import write as write_small
from thinking import PROGRAM, TICKS, X, Y, write

from ndeploy import adaptive, oracle
from ndeploy.certainty import certainties
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.energy.estimate import estimate
from ndeploy.errors import RunnerError, UsageError
from ndeploy.ir.program import Program
from ndeploy.place import place
from ndeploy.plugins import targets
from ndeploy.runners import BUILT_IN, RunnerOptions

Capsys = pytest.CaptureFixture[str]
ORACLE = BUILT_IN["oracle"]
LEAST = 0.8


def alone(program: Program, sample: np.ndarray, ticks: int) -> dict[str, dict[str, int]]:
    """Counts of one sample that runs for so many ticks, by kind and name."""
    short = replace(program, steps=ticks)
    counts = oracle.run(short, encode(short, sample[None])).counts
    return {kind: {k: int(v[0]) for k, v in getattr(counts, kind).items()} for kind in adaptive.KINDS}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("runner", ["oracle", "sim"])
def test_a_sample_ends_at_its_first_certain_tick_and_costs_what_it_ran(runner: str, batch: int) -> None:
    found = adaptive.run(PROGRAM, Data(X, Y), BUILT_IN[runner], RunnerOptions(), LEAST, batch=batch)
    output = oracle.run(PROGRAM, encode(PROGRAM, X)).outputs["logits"]
    sure = certainties(output, (4,), 0.5)
    for i in range(len(X)):
        ends = next((k for k in range(TICKS) if sure[i, k] >= LEAST), TICKS - 1)
        assert found.ticks[i] == ends + 1
        assert found.spent.result.predictions is not None
        assert found.spent.result.predictions[i] == output[i, ends].argmax()
        expected = alone(PROGRAM, X[i], ends + 1)
        for kind in adaptive.KINDS:
            spent = getattr(found.spent.result.counts, kind)
            assert {name: int(value[i]) for name, value in spent.items()} == expected[kind]
    assert found.ticks.tolist() == [5, 1, 6, 4, 1, 6]
    assert found.full.result.predictions is not None
    assert found.full.result.predictions.tolist() == output[np.arange(6), sure.argmax(axis=1)].argmax(axis=1).tolist()


def test_the_extremes_are_one_tick_and_all_of_them() -> None:
    none = adaptive.run(PROGRAM, Data(X, Y), ORACLE, RunnerOptions(), 0.0)
    assert none.ticks.tolist() == [1] * len(X)
    every = adaptive.run(replace(PROGRAM, steps=2), Data(X[:1], Y[:1]), ORACLE, RunnerOptions(), 1.0)
    assert every.ticks.tolist() == [2]
    assert every.saved("synaptic_ops") == every.saved("neuron_updates") == every.saved("embedded_ops") == 0.0
    assert every.spent.accuracy == 1.0


def test_sequences_are_cut_where_their_sample_ends() -> None:
    program = replace(PROGRAM, populations=(replace(PROGRAM.populations[0], updates=None), *PROGRAM.populations[1:]))
    x = np.repeat(X[:, None], TICKS, axis=1)
    x[:, 3:] = 0
    found = adaptive.run(program, Data(x, Y), ORACLE, RunnerOptions(), LEAST)
    assert len(set(found.ticks.tolist())) > 1
    for i in range(len(x)):
        short = alone(program, x[i, : found.ticks[i]], int(found.ticks[i]))
        assert sum(short["synaptic_ops"].values()) == sum(
            int(v[i]) for v in found.spent.result.counts.synaptic_ops.values()
        )


def test_saving_prices_both_runs_with_one_table() -> None:
    found = adaptive.run(PROGRAM, Data(X, Y), ORACLE, RunnerOptions(), LEAST)
    saving = adaptive.saving(PROGRAM, targets()["loihi2"], found)
    assert saving.chip_steps == pytest.approx(found.ticks.mean() * PROGRAM.period + PROGRAM.latency)
    assert saving.energy is not None
    assert 0 < saving.energy[1] < saving.energy[0]
    assert saving.energy_saved == pytest.approx(1 - saving.energy[1] / saving.energy[0])
    unpriced = adaptive.saving(PROGRAM, None, found)
    assert (unpriced.target, unpriced.energy, unpriced.energy_saved) == ("", None, None)


def test_what_a_sample_spends_is_what_a_run_of_as_many_ticks_costs() -> None:
    """Updates, embedded operations and resting neurons of ticks that did not happen cost nothing."""
    target = targets()["loihi2"]
    found = adaptive.run(PROGRAM, Data(X, Y), ORACLE, RunnerOptions(), 0.0)  # a tick each
    saving = adaptive.saving(PROGRAM, target, found)
    one = replace(PROGRAM, steps=1)
    activity = oracle.run(one, encode(one, X), activity=True).activity
    assert activity is not None
    report = estimate(one, place(PROGRAM, target), target, activity)
    assert report.energy is not None
    assert saving.energy is not None
    assert saving.energy[1] == pytest.approx(report.energy.nominal, rel=0.1)


def test_only_networks_that_answer_at_a_tick_have_one_to_stop_at() -> None:
    for decode in ("sum", "ctc", "none"):
        program = replace(PROGRAM, outputs=(replace(PROGRAM.outputs[0], decode=decode),))
        with pytest.raises(UsageError) as caught:
            adaptive.run(program, Data(X, None), ORACLE, RunnerOptions(), 0.5)
        assert caught.value.code == "ND708"


def test_the_time_limit_holds_for_all_runs_together() -> None:
    with pytest.raises(RunnerError) as caught:
        adaptive.run(PROGRAM, Data(X, Y), ORACLE, RunnerOptions(time_limit=1e-9), 0.5, batch=1)
    assert caught.value.code == "ND690"


# -- the command line --------------------------------------------------------------------------------------------------


def test_run_reports_ticks_and_what_was_saved(capsys: Capsys, tmp_path: Path) -> None:
    model, data = write(tmp_path)
    output = tmp_path / "out.npz"
    plain = json.loads(call(capsys, "run", model, "--data", data, "--json").out)
    assert plain["accuracy"] == pytest.approx(5 / 6)
    assert plain["certain_ticks_mean"] == pytest.approx(np.mean([5, 3, 1, 6, 1, 6]))
    assert "stop_certainty" not in plain
    found = json.loads(
        call(capsys, "run", model, "--data", data, "--stop-certainty", LEAST, "--output", output, "--json").out
    )
    assert found["stop_certainty"] == LEAST
    assert found["ticks"] == [2, 0, 0, 1, 1, 2]
    assert found["ticks_mean"] == pytest.approx(23 / 6)
    assert found["all_ticks"]["synaptic_ops"] == plain["synaptic_ops"]
    assert found["saved"]["synaptic_ops"] == pytest.approx(1 - found["synaptic_ops"] / plain["synaptic_ops"])
    assert found["saved"]["chip_steps"] == pytest.approx(1 - found["chip_steps"] / plain["chip_steps"])
    assert 0 < found["saved"]["energy"] < 1
    assert found["energy_target"] == "loihi2"
    with np.load(output) as file:
        assert file["ticks"].tolist() == [5, 1, 6, 4, 1, 6]
        assert file["output"].shape == (6, TICKS, 4)


def test_the_text_says_what_the_json_says(capsys: Capsys, tmp_path: Path) -> None:
    model, data = write(tmp_path)
    assert "most certain tick: 3.7 of 6" in call(capsys, "run", model, "--data", data).out
    text = call(capsys, "run", model, "--data", data, "--stop-certainty", LEAST).out
    assert "after 3.83 of 6 ticks" in text
    assert "on loihi2" in text
    model, data = write(tmp_path, target="nowhere")
    text = call(capsys, "run", model, "--data", data, "--stop-certainty", LEAST).out
    assert "no prices known for the target" in text


def test_a_sequence_of_answers_is_scored_whole(capsys: Capsys, tmp_path: Path) -> None:
    program = replace(PROGRAM, outputs=(replace(PROGRAM.outputs[0], answer=(2, 2)),))
    y = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [0, 1], [1, 0]])
    model, data = write(tmp_path, program, y=y)
    found = json.loads(call(capsys, "run", model, "--data", data, "--json").out)
    assert np.array(found["predictions"]).shape == (6, 2)
    assert found["sequence_accuracy"] == (np.array(found["predictions"]) == y).all(axis=1).mean()
    text = call(capsys, "run", model, "--data", data, "--stop-certainty", 0.5).out
    assert "whole sequences" in text
    assert "positions" in text


def test_ctc_answers_are_cut_to_the_labels(capsys: Capsys, tmp_path: Path) -> None:
    program = replace(PROGRAM, outputs=(replace(PROGRAM.outputs[0], decode="ctc"),))
    model, data = write(tmp_path, program, y=np.array([[0, -1], [0, -1], [0, -1], [2, -1], [-1, -1], [0, -1]]))
    found = json.loads(call(capsys, "run", model, "--data", data, "--json").out)
    assert np.array(found["predictions"]).shape == (6, TICKS)
    assert found["sequence_accuracy"] == 1.0
    assert found["certain_ticks_mean"] is None
    text = call(capsys, "run", model, "--data", data).out
    assert "positions" in text
    assert text.count("100.00 %") >= 2
    refused = call(capsys, "run", model, "--data", data, "--stop-certainty", 0.5)
    assert (refused.code, refused.error) == (2, "ND708")


def test_a_network_without_ticks_is_refused(capsys: Capsys, tmp_path: Path) -> None:
    model, data = write_small(tmp_path)
    done = call(capsys, "run", model, "--data", data, "--stop-certainty", "0.9")
    assert (done.code, done.error) == (2, "ND708")


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "inf", "much"])
def test_a_certainty_lies_between_0_and_1(capsys: Capsys, tmp_path: Path, value: str) -> None:
    model, data = write(tmp_path)
    done = call(capsys, "run", model, "--data", data, "--stop-certainty", value)
    assert (done.code, done.out) == (2, "")


def test_traces_are_of_whole_runs(capsys: Capsys, tmp_path: Path) -> None:
    model, data = write(tmp_path)
    arguments = ("--stop-certainty", "0.5", "--trace", "--output", tmp_path / "t.npz")
    assert call(capsys, "run", model, "--data", data, *arguments).code == 2
