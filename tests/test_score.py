"""The loss that widths are judged by, against cross-entropies written out here."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import searched_networks as nets
import small_artifact

from ndeploy.certainty import most_certain
from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.ir.program import OutputPort
from ndeploy.search import score as scores
from ndeploy.search.score import OVERFLOW, TEMPERATURES, Reference, judge, reference, score, unit

ONE = np.ones(())


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def divergence(wanted: np.ndarray, logits: np.ndarray) -> float:
    p, q = softmax(wanted), softmax(logits)
    return float((p * (np.log(p) - np.log(q))).sum(axis=-1).mean())


def wanted_of(
    output: np.ndarray,
    labels: np.ndarray | None,
    decode: str,
    answer: tuple[int, ...] = (),
    t: float = 1.0,
    labelled: bool = True,
) -> Reference:
    read = scores._logits(output, decode, answer, 1.0)
    return Reference(output, read, labels, labelled, t, None, decode, answer)


def port(decode: str, answer: tuple[int, ...] = ()) -> OutputPort:
    return OutputPort("out", decode=decode, answer=answer)


@pytest.fixture
def outputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(10, 4, 3)) * 2


# -- one answer a sample -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decode", ["sum", "last", "max"])
def test_the_loss_is_half_divergence_and_half_cross_entropy(outputs, decode):
    labels = np.random.default_rng(1).integers(0, 3, 10)
    t = 2.0
    other = outputs + np.random.default_rng(2).normal(size=outputs.shape)
    read = {"sum": lambda o: o.sum(axis=1), "last": lambda o: o[:, -1], "max": lambda o: o.max(axis=1)}[decode]
    wanted = wanted_of(outputs, labels, decode, t=t)
    predictions = read(other).argmax(axis=1)
    found = judge(other, predictions, port(decode), ONE, wanted)
    picked = softmax(read(other) / t)[np.arange(10), labels]
    assert found.loss == pytest.approx(
        0.5 * divergence(read(outputs) / t, read(other) / t) - 0.5 * np.log(picked).mean()
    )
    assert found.accuracy == (predictions == labels).mean()
    assert found.elements is None


@pytest.mark.parametrize("decode", ["sum", "last", "max"])
def test_a_perfect_program_loses_nothing_but_what_the_float_network_does(outputs, decode):
    read = scores._logits(outputs, decode, (), 1.0)[:, 0]
    own = read.argmax(axis=1)
    sure = wanted_of(outputs * 5000, own, decode)
    assert judge(outputs * 5000, own, port(decode), ONE, sure).loss == pytest.approx(0, abs=1e-3)
    bare = wanted_of(outputs, None, decode)
    assert judge(outputs, None, port(decode), ONE, bare).loss == pytest.approx(0, abs=1e-12)
    # any other program loses more, and the units of an output count
    assert judge(outputs + 1.0 * (np.arange(3) == 1), None, port(decode), ONE, bare).loss > 1e-3
    assert judge(outputs / 0.25, None, port(decode), np.asarray(0.25), bare).loss == pytest.approx(0, abs=1e-12)
    channels = np.array([0.5, 2.0, 0.125])
    assert judge(outputs / channels, None, port(decode), channels, bare).loss == pytest.approx(0, abs=1e-12)


def test_labels_beyond_the_classes_pull_at_nothing(outputs):
    labels = outputs.sum(axis=1).argmax(axis=1)
    odd = labels.copy()
    odd[:5] = [-1, 3, 99, -7, 2**40]
    found = judge(outputs, labels, port("sum"), ONE, wanted_of(outputs, odd, "sum"))
    picked = np.log(softmax(outputs.sum(axis=1)))[np.arange(5, 10), labels[5:]]
    assert found.loss == pytest.approx(-0.5 * picked.sum() / 10)
    assert found.accuracy == 0.5


def test_the_temperature_is_the_one_that_fits_the_labels_best():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    sharp = rng.normal(size=(400, 1, 3)) * 0.5 + 2.0 * np.eye(3)[labels][:, None]
    for factor in (0.125, 1.0, 16.0):
        t = scores._temperature(sharp * factor, labels, "last")
        assert t in TEMPERATURES

        def cross(s: float, factor: float = factor) -> float:
            return float(-np.log(softmax(sharp[:, 0] * factor / s)[np.arange(400), labels]).mean())

        assert cross(t) == min(cross(s) for s in TEMPERATURES)
    assert scores._temperature(sharp * 16, labels, "last") == pytest.approx(
        16 * scores._temperature(sharp, labels, "last")
    )
    assert scores._temperature(sharp, None, "last") == 1.0
    assert scores._temperature(sharp, labels, "most-certain") == 1.0


def test_the_loss_does_not_depend_on_the_size_of_the_logits(outputs):
    """A rate code has no natural temperature: what counts is how the logits lie to each other."""
    labels = np.where(np.arange(10) < 8, outputs.sum(axis=1).argmax(axis=1), 0)
    other = outputs + np.random.default_rng(2).normal(size=outputs.shape)
    losses = []
    for factor in (1, 4, 16):
        t = scores._temperature(scores._logits(outputs * factor, "sum", (), 1.0), labels, "sum")
        wanted = wanted_of(outputs * factor, labels, "sum", t=t)
        losses.append(judge(other * factor, labels, port("sum"), ONE, wanted).loss)
    assert losses == pytest.approx([losses[0]] * 3)
    assert 0.1 < losses[0] < 10


# -- sequences ---------------------------------------------------------------------------------------------------------


def test_every_tick_is_compared_and_labels_at_the_most_certain_one():
    rng = np.random.default_rng(0)
    output = rng.normal(size=(7, 5, 8))
    other = output + rng.normal(size=output.shape)
    answer = (4, 2)
    labels = rng.integers(0, 2, (7, 4))
    wanted = wanted_of(output, labels, "most-certain", answer)
    ticks = most_certain(other, answer)
    at = other.reshape(7, 5, 4, 2)[np.arange(7), ticks]
    predictions = at.argmax(axis=-1)
    found = judge(other, predictions, port("most-certain", answer), ONE, wanted)
    soft = divergence(output.reshape(7, 5, 4, 2), other.reshape(7, 5, 4, 2))
    hard = -np.log(np.take_along_axis(softmax(at), labels[..., None], axis=-1)).mean()
    assert found.loss == pytest.approx(0.5 * (soft + hard))
    assert found.accuracy == (predictions == labels).all(axis=1).mean()
    assert found.elements == (predictions == labels).mean()


def test_sequences_of_any_length_are_whole_or_wrong():
    """Labels of CTC: padded with -1, longer or shorter than what is predicted."""
    sure = np.full((3, 4, 3), -20.0)
    for sample, classes in enumerate(([0, 2, 1, 2], [0, 0, 1, 1], [2, 2, 2, 2])):
        sure[sample, np.arange(4), classes] = 20.0
    said = np.array([[0, 1, -1, -1], [0, 1, -1, -1], [-1, -1, -1, -1]])
    for labels, right in (
        ([[0, 1], [0, 1], [-1, -1]], 1.0),
        ([[0, 1, -1, -1, -1, -1]] * 3, 2 / 3),
        ([[0, 1, 1, -1], [0, -1, -1, -1], [1, -1, -1, -1]], 0.0),
    ):
        wanted = wanted_of(sure, np.array(labels), "ctc", (3,))
        found = judge(sure, said, port("ctc", (3,)), ONE, wanted)
        assert found.accuracy == pytest.approx(right)
        assert found.loss == pytest.approx(0.5 * scores.CTC_WEIGHT * (1 - right), abs=1e-6)


def test_values_without_a_decode_are_compared_by_their_error():
    output = np.random.default_rng(0).normal(size=(5, 3, 4))
    wanted = wanted_of(output, None, "none")
    assert judge(output, None, port("none"), ONE, wanted).loss == 0
    assert judge(output * 0, None, port("none"), ONE, wanted).loss == pytest.approx(1)
    found = judge(output * 1.1, None, port("none"), ONE, wanted)
    assert found.loss == pytest.approx(0.01)
    assert (found.accuracy, found.elements) == (None, None)
    nothing = wanted_of(output * 0, None, "none")
    assert math.isfinite(judge(output * 0, None, port("none"), ONE, nothing).loss)


# -- overflow and units ------------------------------------------------------------------------------------------------


def test_every_population_that_overflows_costs(outputs):
    wanted = wanted_of(outputs, None, "sum")
    for n in (0, 1, 3):
        found = judge(outputs, None, port("sum"), ONE, wanted, n)
        assert (found.loss, found.overflow) == (pytest.approx(n * OVERFLOW, abs=1e-9), n)
    bare = wanted_of(outputs, None, "none")
    assert judge(outputs, None, port("none"), ONE, bare, 2).loss == pytest.approx(2 * OVERFLOW)


def test_a_program_whose_currents_leave_their_width_is_a_last_resort():
    """What simulates with overflow is told from what does not, on the same outputs."""
    program = small_artifact.PROGRAM
    data = Data(small_artifact.X)
    output = np.zeros((5, program.steps, 2))
    wanted = wanted_of(output, None, "sum")
    quiet = score(program, data, wanted)
    assert quiet.overflow == 0
    loud = replace(
        program,
        projections=(replace(program.projections[0], exponent=18), program.projections[1]),
    )
    found = score(loud, data, wanted)
    assert found.overflow >= 1
    assert found.loss >= OVERFLOW


def test_units_of_outputs():
    program = small_artifact.PROGRAM
    message = program.outputs[0]
    assert unit(program, message) == 1.0
    assert unit(program, replace(message, scale=0.25)) == 0.25
    state = replace(message, variable="v")
    scaled = tuple(replace(p, scale=np.array([0.5, 2.0])) if p.name == "out" else p for p in program.populations)
    assert np.array_equal(unit(replace(program, populations=scaled), state), [0.5, 2.0])


# -- the float network -------------------------------------------------------------------------------------------------


def test_the_float_networks_own_answers_stand_in_for_labels():
    network = nets.dense(0)
    data = nets.samples(network, labelled=False)
    wanted = reference(network, data)
    assert (wanted.labelled, wanted.accuracy) == (False, 1.0)
    assert np.array_equal(wanted.labels, wanted.output.sum(axis=1).argmax(axis=1))


def test_labels_of_another_shape_are_refused():
    network = nets.dense(0)
    data = nets.samples(network)
    for y in (np.zeros((24, 1)), np.zeros((24, 2)), np.zeros((24, 5, 3))):
        with pytest.raises(UsageError) as refused:
            reference(network, Data(data.x, y.astype(np.int64)))
        assert refused.value.code == "ND502"


def test_a_network_without_answers_has_no_labels():
    network = replace(nets.dense(0), decode="none")
    wanted = reference(network, nets.samples(nets.dense(0)))
    assert (wanted.labels, wanted.labelled, wanted.accuracy) == (None, False, None)


def test_a_program_of_many_bits_is_near_the_float_network():
    network = nets.recurrent(0)
    data = nets.samples(network, 40)
    asked = nets.request(network, data)
    wanted = reference(network, data)
    losses = [score(nets.uniform(asked, bits).program, data, wanted).loss for bits in (2, 4, 8)]
    none = score(
        nets.uniform(nets.request(network, Data(data.x)), 8).program, Data(data.x), reference(network, Data(data.x))
    )
    assert losses[0] > losses[1] > losses[2]
    assert none.accuracy is not None
    assert none.accuracy > 0.9
