"""Units in loops: inputs and messages of very different worth on one neuron, and membranes that feed themselves."""

from __future__ import annotations

import numpy as np
import torch
from networks import chain, lif, quantise

from ndeploy import oracle
from ndeploy.decode import encode
from ndeploy.graph import reference
from ndeploy.ir import network as net

RNG = np.random.default_rng(5)
STEPS = 12


def looped(neuron: net.Node, feedback: np.ndarray) -> net.Network:
    """An input of three values, a weight matrix, and `neuron` whose output returns through `feedback`."""
    n = len(feedback)
    semantics = net.Semantics(dt=1.0, reset="zero")
    network = chain(
        ("in", net.Input((3,))),
        ("w", net.Linear(RNG.normal(size=(n, 3)))),
        ("n", neuron),
        ("out", net.Output((n,))),
        semantics=semantics,
        extra=(("n", "r"), ("r", "n")),
    )
    return net.Network("loop", {**network.nodes, "r": net.Linear(feedback)}, network.edges, semantics)


def test_weights_of_a_float_input_keep_their_bits_beside_those_of_spikes():
    network = looped(lif((20,), 0.3, tau=3.0), RNG.normal(size=(20, 20)))
    x = RNG.random((8, STEPS, 3))
    program = quantise(network, STEPS, x=x, settings={}, chip="loihi2")[1].program
    for p in program.projections:
        assert np.abs(p.synapses.weight).max() > 63, p.name
    got = oracle.run(program, encode(program, x)).outputs["n"]
    (want,) = reference.run(network, x, dtype=torch.float64).outputs.values()
    wrong = float((got != np.asarray(want)).sum() / np.asarray(want).sum())
    assert wrong < 0.05


def test_a_membrane_that_feeds_itself_is_heard():
    full = np.ones((6,))
    feedback = 0.4 * RNG.normal(size=(6, 6))
    network = looped(net.LI(4.0 * full, full, 0 * full), feedback)
    x = RNG.integers(0, 2, (4, STEPS, 3))
    program = quantise(network, STEPS, x=x, settings={}, chip="loihi2")[1].program
    neuron = program.population("n").neuron
    assert neuron.message.bits > 0
    back = next(p for p in program.projections if p.source == "n")
    assert np.abs(back.synapses.weight).max() > 7
    got = oracle.run(program, encode(program, x)).outputs["n"] * np.asarray(program.population("n").scale)
    (want,) = reference.run(network, x.astype(float), dtype=torch.float64).outputs.values()
    assert np.abs(got - np.asarray(want)).max() < 0.05 * np.abs(np.asarray(want)).max()
