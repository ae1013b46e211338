"""Samples become messages, outputs become answers."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_path import fixture
from networks import chain, lif, quantise

from ndeploy import oracle
from ndeploy.certainty import certainties, first_certain, most_certain
from ndeploy.decode import collapse, encode, fitted, for_data, predict
from ndeploy.errors import UsageError
from ndeploy.evaluate import accuracies
from ndeploy.graph import reference
from ndeploy.ir import network as net


@pytest.fixture
def program():
    network = chain(
        ("in", net.Input((2, 3))),
        ("f", net.Flatten((2, 3))),
        ("w", net.Linear(np.ones((1, 6)))),
        ("n", lif((1,))),
        ("out", net.Output((1,))),
    )
    return quantise(network, 4, settings={"input_scale": 0.5, "input_bits": 3})[1].program


def test_static_samples_are_scaled_rounded_clipped_and_repeated(program):
    x = np.array([[[0.0, 0.24, 0.26], [1.25, 9.0, -3.0]]])
    message = encode(program, x)["in"]
    assert message.shape == (1, 4, 2, 3)
    # 0.24 / 0.5 rounds to 0, 0.26 / 0.5 to 1, 2.5 to even; 18 is clipped to three bits, -6 to unsigned
    assert (message[0] == np.array([[0, 0, 1], [2, 7, 0]])).all()


def test_sequences_set_the_steps(program):
    x = np.zeros((2, 9, 2, 3), dtype=np.uint8)
    longer = for_data(program, x)
    assert longer.steps == 9
    assert encode(longer, x)["in"].shape == (2, 9, 2, 3)
    assert for_data(program, np.zeros((2, 2, 3))) is program


@pytest.mark.parametrize(
    ("x", "code"),
    [
        (np.zeros((0, 2, 3)), "ND503"),
        (np.zeros((1, 3, 2)), "ND502"),
        (np.zeros((1, 5, 2, 3)), "ND502"),
        (np.full((1, 2, 3), np.nan), "ND501"),
        (np.full((1, 2, 3), "a"), "ND501"),
    ],
)
def test_data_that_do_not_fit_are_refused(program, x, code):
    with pytest.raises(UsageError) as caught:
        encode(program, x)
    assert caught.value.code == code


def test_ties_go_to_the_lowest_index():
    output = np.array([[[0, 2, 1], [1, 0, 1]]])
    assert predict(output, "sum").tolist() == [1]
    assert predict(output, "last").tolist() == [0]
    assert predict(output, "max").tolist() == [1]
    assert predict(output, "none") is None


def test_several_inputs_stand_one_after_another_in_a_sample():
    nodes = {
        "a": net.Input((2,)),
        "b": net.Input((1, 3)),
        "f": net.Flatten((1, 3)),
        "u": net.Linear(np.array([[2.0, 1.0], [0.5, -1.0]])),
        "v": net.Linear(np.array([[1.0, -1.0, 3.0], [2.0, 2.0, -1.0]])),
        "n": lif((2,)),
        "out": net.Output((2,)),
    }
    edges = (("a", "u"), ("b", "f"), ("f", "v"), ("u", "n"), ("v", "n"), ("n", "out"))
    network = net.Network("two", nodes, edges, net.Semantics(dt=1.0, compare="ge"))
    program = quantise(network, 6)[1].program
    x = np.random.default_rng(0).integers(0, 2, (3, 6, 5))
    got = oracle.run(program, encode(program, x), strict=True).outputs["n"]
    first, second = x[:, :, :2].astype(float), x[:, :, 2:].reshape(3, 6, 1, 3).astype(float)
    (want,) = reference.run(network, {"a": first, "b": second}).outputs.values()
    assert (got == np.asarray(want)).all()


def logits(*ticks: list[float]) -> np.ndarray:
    """One sample whose ticks show these values."""
    return np.array([ticks], dtype=np.int64)


def test_certainty_is_the_papers():
    output = logits([0, 0, 0], [2, 0, 0], [0, 9, 0])
    p = np.exp([1.0, 0.0, 0.0]) / np.exp([1.0, 0.0, 0.0]).sum()
    found = certainties(output, (), 0.5)[0]
    assert found[0] == 0.0
    assert found[1] == pytest.approx(1 + (p * np.log(p)).sum() / np.log(3), abs=1e-7)
    assert found[2] > found[1]
    # positions are averaged
    both = certainties(logits([0, 0, 2, 0]), (2, 2), 1.0)[0, 0]
    q = np.exp([2.0, 0.0]) / np.exp([2.0, 0.0]).sum()
    assert both == pytest.approx((0 + 1 + (q * np.log(q)).sum() / np.log(2)) / 2, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300, 1e308])
def test_certainty_of_any_output_lies_between_0_and_1(scale):
    output = np.random.default_rng(0).integers(-(1 << 23), 1 << 23, (50, 4, 6))
    output[0] = 0
    for answer in ((), (6,), (3, 2), (2, 3), (6, 1)):
        found = certainties(output, answer, scale)
        assert found.shape == (50, 4)
        assert ((found >= 0) & (found <= 1)).all()


def test_most_certain_answers_at_the_first_of_equal_ticks_with_the_lowest_of_equal_classes():
    output = logits([0, 1, 0], [0, 3, 3], [3, 3, 0], [3, 0, 3])
    assert most_certain(output).tolist() == [1]
    assert predict(output, "most-certain").tolist() == [1]
    # a permutation of the classes is no more certain, whatever order adds up how
    spread = np.array([0, 1, 2, 3, 5, 7, 11, 13, 17])
    rng = np.random.default_rng(1)
    shuffled = np.stack([rng.permutation(spread) for _ in range(64)])[None]
    assert most_certain(shuffled, (), 0.0931).tolist() == [0]
    # sure beyond what the reference resolves is as sure as can be
    assert most_certain(logits([0, 40], [0, 60], [0, 1000])).tolist() == [0]


def test_most_certain_answers_have_the_shape_of_the_answer():
    output = np.zeros((2, 3, 8), dtype=np.int64)
    output[0, 1] = [9, 0, 0, 9, 9, 0, 0, 9]
    output[1, 2] = [0, 9, 0, 9, 0, 9, 9, 0]
    assert predict(output, "most-certain", (2, 2, 2)).tolist() == [[[0, 1], [0, 1]], [[1, 1], [1, 0]]]
    assert predict(output, "most-certain", (4, 2)).tolist() == [[0, 1, 0, 1], [1, 1, 1, 0]]
    assert predict(output.astype(np.float32), "most-certain", (8,)).shape == (2,)


def test_the_first_tick_that_is_sure_enough_or_the_last():
    certainty = np.array([[0.1, 0.5, 0.4, 0.9], [0.1, 0.2, 0.3, 0.2]])
    assert first_certain(certainty, 0.5).tolist() == [1, -1]
    assert first_certain(certainty, 0.0).tolist() == [0, 0]
    assert first_certain(certainty, 1.0).tolist() == [-1, -1]


def test_ctc_merges_neighbours_then_drops_blanks():
    classes = np.array([[0, 0, 3, 0, 1, 1, 3], [3, 3, 3, 3, 3, 3, 3], [0, 1, 2, 0, 1, 2, 0]])
    expected = [[0, 0, 1, -1, -1, -1, -1], [-1] * 7, [0, 1, 2, 0, 1, 2, 0]]
    assert collapse(classes, 3).tolist() == expected
    assert predict(np.eye(4, dtype=np.int64)[classes], "ctc").tolist() == expected
    assert fitted(collapse(classes, 3), 2).tolist() == [[0, 0], [-1, -1], [0, 1]]
    assert fitted(collapse(classes, 3), 9)[0].tolist() == [0, 0, 1, *[-1] * 6]


@pytest.mark.parametrize(
    ("task", "answer", "decode", "wanted", "agree"),
    [
        ("parity", (9, 2), "most-certain", (0.979, 0.847), 1.0),
        ("digits", (10,), "most-certain", (1.0, None), 1.0),
        ("sort", (7,), "ctc", (0.826, 0.703), 0.98),
    ],
)
def test_the_fixtures_answers_and_ticks(task, answer, decode, wanted, agree):
    with np.load(fixture(f"ctm/{task}/reference.npz")) as file:
        output, y, sure = np.moveaxis(file["logits"], 2, 1), file["y"], file["certainties"][:, 1]
    assert np.abs(certainties(output, answer) - sure).max() < 1e-6
    assert (most_certain(output, answer) == sure.argmax(axis=1)).mean() >= agree
    accuracy, sequences = accuracies(predict(output, decode, answer), y, decode)
    assert accuracy == pytest.approx(wanted[0], abs=1e-3)
    assert sequences == (wanted[1] if wanted[1] is None else pytest.approx(wanted[1], abs=1e-3))
