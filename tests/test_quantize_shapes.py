"""Shapes and delays that random networks found: every method builds a program of them, near the float network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import searched_networks as nets
from networks import HALF, lif

from ndeploy import oracle, sim
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.quantizer import Quantised, Request


def flattened(answer: net.Node | None) -> net.Network:
    """A convolution behind which the places are flattened before a neuron, or the answer, takes them."""
    rng = np.random.default_rng(0)
    nodes: dict[str, net.Node] = {
        "x": net.Input((2, 4, 3)),
        "c": net.Conv(rng.normal(size=(3, 2, 2, 2)), rng.normal(size=3), (1, 1), (0, 0), (1, 1)),
        "f": net.Flatten((3, 3, 2)),
    }
    names = ["x", "c", "f"]
    if answer is not None:
        nodes["n"] = answer
        names.append("n")
    nodes["out"] = net.Output((18,))
    names.append("out")
    return net.Network("flat", nodes, tuple(itertools.pairwise(names)), HALF, steps=nets.STEPS)


ANSWERS = {
    "sum": None,
    "spikes": replace(lif((18,)), v_threshold=np.linspace(0.5, 2, 18)),
    "membranes": net.LI(2 * np.ones(18), np.ones(18), np.zeros(18)),
}


def both(network: net.Network, data: Data, **settings: float) -> list[tuple[Request, Quantised]]:
    asked = nets.request(network, data, mean_bits=8)
    asked = replace(asked, input_settings=settings) if settings else asked
    return [(asked, nets.uniform(asked, 8)), (asked, nets.searched(asked))]


@pytest.mark.parametrize("name", ANSWERS)
def test_convolutions_behind_which_places_are_flattened(name):
    network = flattened(ANSWERS[name])
    data = nets.samples(network, 12, labelled=False)
    wanted = reference.run(network, data.x).outputs["out"]
    for _, made in both(network, data):
        messages = encode(made.program, data.x)
        found, exact = sim.run(made.program, messages), oracle.run(made.program, messages)
        port = made.program.outputs[0]
        output = found.outputs[port.population]
        assert np.array_equal(output, exact.outputs[port.population])
        if name == "spikes":
            assert (output == wanted).mean() > 0.97
        else:
            real = output * np.asarray(made.program.population(port.population).scale)
            wanted_ = np.cumsum(wanted, axis=1) if name == "sum" else wanted
            assert np.abs(real - wanted_).max() < 0.03 * np.abs(wanted_).max()


def test_a_join_of_nothing_but_delayed_values():
    """A residual join of one delayed value by two ways: nothing of the same step enters it."""
    nodes: dict[str, net.Node] = {
        "x": net.Input((3,)),
        "d": net.Delay(np.array([1.0, 2.0, 2.0])),
        "f": net.Flatten((3,)),
        "s": net.Scale(np.ones(3)),
        "a": net.Output((3,)),
        "b": net.Output((3,)),
    }
    edges = (("x", "d"), ("d", "a"), ("d", "f"), ("f", "s"), ("d", "s"), ("s", "b"))
    network = net.Network("late", nodes, edges, HALF, steps=nets.STEPS, decode="none")
    data = nets.samples(network, 6, labelled=False)
    wanted = reference.run(network, data.x).outputs
    for _, made in both(network, data):
        found = sim.run(made.program, encode(made.program, data.x)).outputs
        for port, output in zip(made.program.outputs, wanted.values(), strict=True):
            real = found[port.population] * np.asarray(made.program.population(port.population).scale)
            np.testing.assert_allclose(real, np.cumsum(output, axis=1), atol=0.05)


def test_synaptic_delays_of_what_is_the_same_at_every_step():
    """A static input is computed once; synapses that read it late still find it."""
    weight = np.array([[1.0, 2.0], [4.0, 8.0]])
    delayed = net.IntegerWeights(8, 0, "mixed", np.array([[0, 1], [2, 3]]))
    nodes: dict[str, net.Node] = {
        "x": net.Input((2,)),
        "w": net.Linear(weight, None, delayed),
        "out": net.Output((2,)),
    }
    network = net.Network("static", nodes, (("x", "w"), ("w", "out")), HALF, steps=5)
    x = np.array([[1.0, 3.0]])
    found = reference.run(network, x, 5).outputs["out"]
    again = reference.run(network, np.repeat(x[:, None], 5, axis=1)).outputs["out"]
    assert np.array_equal(found, again)
    assert np.array_equal(found[0], [[1, 0], [7, 0], [7, 4], [7, 28], [7, 28]])
