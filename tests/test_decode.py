"""Samples become messages, outputs become answers."""

from __future__ import annotations

import numpy as np
import pytest
from networks import chain, lif, quantise

from ndeploy import oracle
from ndeploy.decode import encode, for_data, predict
from ndeploy.errors import UsageError
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
