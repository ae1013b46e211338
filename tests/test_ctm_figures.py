"""The figures of trained Continuous Thought Machines: accuracy and ticks at 8-bit weights, delta coding, widths."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from fixtures_path import fixture

from ndeploy import sim
from ndeploy.certainty import certainties
from ndeploy.data import Data, load
from ndeploy.decode import encode, predict
from ndeploy.evaluate import accuracies
from ndeploy.graph import reference
from ndeploy.ir.result import RunResult
from ndeploy.pipeline import Compiled, CompileOptions, compile_model

EVALUATED = {"parity": "all.npz", "digits": "eval.npz", "sort": "eval.npz"}
LOSS = {"parity": 1.0, "digits": 0.5, "sort": 1.5}
"""Points that 8-bit weights may cost: of whole sequences, of images."""


@cache
def compiled(name: str, coding: str = "none") -> Compiled:
    options = CompileOptions(calibration=fixture(f"ctm/{name}/calibration.npz"), coding=coding)
    return compile_model(fixture(f"ctm/{name}/checkpoint.pt"), options)


@cache
def data(name: str) -> Data:
    return load(fixture(f"ctm/{name}/{EVALUATED[name]}"))


@cache
def run(name: str, coding: str = "none") -> RunResult:
    program = compiled(name, coding).program
    return sim.run(program, encode(program, data(name).x))


@cache
def logits(name: str) -> np.ndarray:
    return next(iter(reference.run(compiled(name).network, data(name).x).outputs.values()))


def score(predictions: np.ndarray | None, name: str) -> float:
    """Per cent of samples whose whole answer is right."""
    decode = compiled(name).program.outputs[0].decode
    accuracy, sequences = accuracies(predictions, data(name).y, decode)
    found = accuracy if sequences is None else sequences
    assert found is not None
    return 100 * found


def float_score(name: str) -> float:
    network = compiled(name).network
    return score(predict(logits(name), network.decode, network.answer), name)


@pytest.mark.parametrize("name", EVALUATED)
def test_eight_bit_weights_keep_the_answers(name: str) -> None:
    assert score(run(name).predictions, name) >= float_score(name) - LOSS[name]


@pytest.mark.parametrize("name", EVALUATED)
def test_the_most_certain_tick_is_that_of_the_float_network(name: str) -> None:
    port = compiled(name).program.outputs[0]
    ours = certainties(run(name).outputs[port.population], port.answer, port.scale).argmax(axis=1)
    theirs = certainties(logits(name), port.answer).argmax(axis=1)
    assert (ours == theirs).mean() >= 0.9


def test_sigma_delta_coding_sends_a_fifth_of_the_events_and_keeps_the_digits() -> None:
    program = compiled("digits", "sigma-delta").program
    result = run("digits", "sigma-delta")
    coded = [p for p in program.projections if p.source == "post.delta" and not p.unit]
    dense = sum(p.synapses.weight.size for p in coded) * program.steps
    spent = sum(float(result.counts.synaptic_ops[p.name].mean()) for p in coded)
    assert coded
    assert spent <= 0.2 * dense
    assert score(result.predictions, "digits") >= float_score("digits") - 0.5


@pytest.mark.parametrize("name", EVALUATED)
def test_messages_and_states_stay_inside_their_widths(name: str) -> None:
    """Clipped to their payload where calibration did not reach, a few in a thousand; no sum or state ever overflows."""
    result = run(name)
    events = {event for found in result.overflow.values() for event in found}
    assert events <= {"payload-saturated"}
    clipped = sum(n for found in result.overflow.values() for n in found.values())
    sent = sum(int(v.sum()) for v in result.counts.spikes.values())
    assert clipped < 1e-3 * sent


def test_the_made_up_inputs_of_a_family_calibrate_as_well() -> None:
    made = compile_model(fixture("ctm/parity/checkpoint.pt"), CompileOptions()).program
    result = sim.run(made, encode(made, data("parity").x))
    assert score(result.predictions, "parity") >= float_score("parity") - LOSS["parity"]
