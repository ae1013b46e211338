"""Offsets, balanced skips, relays of long delays: timing changes nothing of what is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import HALF, chain, lif, quantise

from ndeploy import oracle
from ndeploy.errors import RefusedError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.program import lag
from ndeploy.neurons import Compare, Relay
from ndeploy.passes.integerise import integerise
from ndeploy.passes.long_delays import relay_long_delays
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule

RNG = np.random.default_rng(3)


def residual(depth: int) -> net.Network:
    """A skip over `depth` layers, joined by a sum."""
    nodes = [("in", net.Input((4,)))]
    for i in range(depth):
        nodes += [(f"w{i}", net.Linear(RNG.normal(size=(4, 4)) * 2)), (f"n{i}", lif((4,)))]
    nodes += [
        ("join", net.Scale(np.ones((4,)))),
        ("w", net.Linear(RNG.normal(size=(3, 4)) * 2)),
        ("n", lif((3,))),
        ("out", net.Output((3,))),
    ]
    return chain(*nodes, extra=(("n0", "join"),))


def test_skips_arrive_in_the_model_step_they_belong_to():
    program = quantise(residual(4), 5)[1].program
    for p in program.projections:
        assert lag(program, p.source, p.target, p.delay) == 0
    skip = next(p for p in program.projections if (p.source, p.target) == ("n0", "join"))
    assert skip.delay == 4
    assert program.mode == "pipelined"
    assert program.chip_steps_per_sample == 5


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_relays_on_long_delays_keep_every_message(limit):
    network = residual(6)
    lowered, made = quantise(network, 5)
    x = RNG.integers(0, 2, (3, 5, 4))
    plain = oracle.run(made.program, {"in": x}, strict=True)
    longer, planned = relay_long_delays(lowered, schedule(lowered), limit)
    program = integerise(longer, planned, made.choices, "relayed")
    relayed = oracle.run(program, {"in": x}, strict=True)
    assert max(p.delay for p in program.projections) <= limit
    for name in plain.traces:
        assert (plain.traces[name] == relayed.traces[name]).all(), name
    # the skip carries binary spikes: its relays need no graded messages
    added = [program.population(name) for name, _ in longer.added]
    assert added
    assert all(isinstance(p.neuron, Compare) for p in added)
    assert not any(isinstance(p.neuron, Relay) for p in added)


def test_without_a_limit_nothing_is_added():
    lowered = lower(residual(6), 5, graded=True)
    planned = schedule(lowered)
    assert relay_long_delays(lowered, planned, None) == (lowered, planned)


def test_recurrence_is_one_model_step_and_runs_fall_through():
    network = chain(
        ("in", net.Input((2,))),
        ("w", net.Linear(np.ones((2, 2)))),
        ("n", lif((2,))),
        ("out", net.Output((2,))),
        extra=(("n", "r"), ("r", "n")),
    )
    network = net.Network("loop", {**network.nodes, "r": net.Linear(np.eye(2))}, network.edges, HALF)
    program = quantise(network, 5)[1].program
    back = next(p for p in program.projections if p.source == "n")
    assert lag(program, "n", "n", back.delay) == 1
    assert program.mode == "fall-through"
    with pytest.raises(RefusedError, match="fall-through"):
        schedule(lower(network, 5, graded=True), mode="pipelined")


def test_a_loop_over_two_populations_takes_two_chip_steps_a_model_step():
    nodes = {
        "in": net.Input((2,)),
        "w": net.Linear(np.array([[3.0, 1.0], [1.0, 2.0]])),
        "a": lif((2,)),
        "v": net.Linear(np.array([[2.5, 0.0], [1.0, 3.0]])),
        "b": lif((2,)),
        "r": net.Linear(np.array([[-2.0, 1.5], [0.5, -3.0]])),
        "out": net.Output((2,)),
    }
    edges = (("in", "w"), ("w", "a"), ("a", "v"), ("v", "b"), ("b", "r"), ("r", "a"), ("b", "out"))
    network = net.Network("loop", nodes, edges, HALF)
    _, made = quantise(network, 9)
    assert made.program.period == 2
    x = RNG.integers(0, 2, (2, 9, 2))
    got = oracle.run(made.program, {"in": x}, strict=True)
    expected = reference.run(network, x.astype(float), dtype=torch.float64)
    (want,) = expected.outputs.values()
    assert (got.outputs["b"] == np.asarray(want)).all()
    assert np.asarray(want).any()


def test_a_loop_within_a_model_step_is_refused():
    lowered = lower(residual(1), 5, graded=True)
    join = next(p for p in lowered.projections if p.target == "join")
    looped = replace(lowered, projections=(*lowered.projections, replace(join, name="bad", source="join", target="n0")))
    with pytest.raises(RefusedError) as caught:
        schedule(looped)
    assert caught.value.code == "ND206"
