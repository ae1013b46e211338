"""The coarsest threshold of delta coding that calibration data allow, with a method that does as it is told."""

from __future__ import annotations

from dataclasses import replace

import graded_compile
import numpy as np
import pytest
from graded_networks import thinker

from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.ir.result import Counts, RunResult
from ndeploy.passes import delta_threshold
from ndeploy.passes.delta_threshold import SHARES, with_threshold
from ndeploy.quantizer import Choices, Quantised

SAMPLES = 100


class FakeMethod:
    """Quantises into a program that is its threshold; wrong(share) samples answer otherwise than right."""

    def __init__(self, monkeypatch, wrong) -> None:
        self.tried: list[float] = []
        self.wrong = wrong
        monkeypatch.setattr(delta_threshold, "_run", self.run)

    def __call__(self, request, progress) -> Quantised:
        self.tried.append(request.threshold)
        return Quantised(request.threshold, Choices({}, {}, {}))

    def run(self, program, data) -> RunResult:
        answers = np.zeros(len(data), dtype=np.int64)
        answers[: self.wrong(program)] = 1
        spent = {p: np.full(len(data), 10) for p in self.projections}
        return RunResult({}, answers, Counts(spent, {}, {}), 1, 0.0)


@pytest.fixture(scope="module")
def asked():
    network = thinker()
    made = graded_compile.request(network, graded_compile.samples(network, 3), together=False, coding="sigma-delta")
    return replace(made, calibration=Data(np.zeros((SAMPLES, 1)), np.zeros(SAMPLES, dtype=np.int64)))


def chosen(monkeypatch, asked, wrong, budget=5.0, text="auto"):
    method = FakeMethod(monkeypatch, wrong)
    method.projections = [p.name for p in asked.lowered.projections]
    made, told = with_threshold(asked, method, text, budget, lambda stage: None)
    return made, told, method


def test_the_coarsest_within_the_budget_is_taken_and_no_finer_one_tried(monkeypatch, asked):
    # five points of 100 samples: 3 lost and sqrt(3) for those not seen is within, 4 lost is not
    made, told, method = chosen(monkeypatch, asked, lambda share: 0 if not share else 3 if share <= SHARES[4] else 4)
    assert made.program == told["threshold"] == SHARES[4]
    assert method.tried == [0.0, *SHARES[:5]]
    assert told["chosen"] == "auto"
    assert told["accuracy_budget"] == 5.0
    assert told["calibration_score"] == 0.97


def test_nothing_lost_takes_the_coarsest_of_all(monkeypatch, asked):
    made, _, _ = chosen(monkeypatch, asked, lambda share: 0, budget=0.0)
    assert made.program == max(SHARES)


def test_where_every_threshold_loses_too_much_changes_are_sent_whole(monkeypatch, asked):
    made, told, method = chosen(monkeypatch, asked, lambda share: 50 if share else 0)
    assert made.program == told["threshold"] == 0.0
    assert method.tried == [0.0, *SHARES]


def test_samples_wrong_before_are_no_loss_and_gains_make_up_for_none(monkeypatch, asked):
    labels = np.zeros(SAMPLES, dtype=np.int64)
    labels[:50] = 1
    request = replace(asked, calibration=Data(asked.calibration.x, labels))
    # without a threshold 0..9 are right of the first half, and with one 0..49: all gained, none lost
    made, _, _ = chosen(monkeypatch, request, lambda share: 50 if share else 10, budget=0.0)
    assert made.program == max(SHARES)


def test_without_labels_answers_are_compared_with_those_at_threshold_0(monkeypatch, asked):
    request = replace(asked, calibration=Data(asked.calibration.x))
    made, _, _ = chosen(monkeypatch, request, lambda share: 30 if share > SHARES[2] else 7)
    assert made.program == SHARES[2]


def test_events_are_counted_against_every_neuron_sending_at_every_step(monkeypatch, asked):
    _, told, _ = chosen(monkeypatch, asked, lambda share: 0, text="0.05")
    coded = {p.source for p in asked.lowered.projections if p.source.endswith(".delta")}
    weighted = [p for p in asked.lowered.projections if p.source in coded and not p.unit]
    assert weighted
    dense = sum(p.synapses.weight.size for p in weighted) * asked.lowered.steps
    assert (told["threshold"], told["chosen"]) == (0.05, "given")
    assert told["dense_events"] == dense
    assert told["events"] == 10 * len(weighted)
    assert told["events_share"] == pytest.approx(10 * len(weighted) / dense)


def test_a_threshold_given_needs_no_calibration_data(monkeypatch, asked):
    _, told, method = chosen(monkeypatch, replace(asked, calibration=None), lambda share: 0, text="0.25")
    assert method.tried == [0.25]
    assert told["threshold"] == 0.25


@pytest.mark.parametrize("text", ["1", "-0.1", "much", "nan", "inf", ""])
def test_a_threshold_that_is_no_share_is_refused(monkeypatch, asked, text):
    with pytest.raises(UsageError) as refused:
        chosen(monkeypatch, asked, lambda share: 0, text=text)
    assert refused.value.code == "ND205"


def test_auto_without_data_or_answers_is_refused(monkeypatch, asked):
    with pytest.raises(UsageError) as refused:
        chosen(monkeypatch, replace(asked, calibration=None), lambda share: 0)
    assert refused.value.code == "ND305"
    silent = replace(asked, lowered=replace(asked.lowered, decode="none"))
    with pytest.raises(UsageError, match="compares answers") as refused:
        chosen(monkeypatch, silent, lambda share: 0)
    assert refused.value.code == "ND205"
