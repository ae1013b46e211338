"""Second-order rounding, the moments it needs, and that it never does worse than nearest."""

from __future__ import annotations

import graded_compile
import numpy as np
import pytest
from graded_networks import GRADED_NETWORKS
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.graph import reference
from ndeploy.graph.plan import plan
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Held, RealConv
from ndeploy.passes.codings import top
from ndeploy.passes.graded_form import graded_form
from ndeploy.passes.rounding import BLOCK, mean_square, metric, round_together


@st.composite
def problems(draw):
    """Weights in steps, a covariance of any rank, and limits that bind for some columns."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    groups, rows = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    columns = draw(st.sampled_from([1, 2, 5, 9, BLOCK + 3]))
    rank = draw(st.integers(0, columns))
    half = rng.normal(size=(groups, columns, rank)) * 2.0 ** rng.uniform(-8, 8, (groups, columns, 1))
    limit = draw(st.sampled_from([1.0, 7.0, 127.0]))
    weight = rng.uniform(-limit, limit, (groups, rows, columns))
    weight[rng.random(weight.shape) < 0.2] = 0.0
    return weight, half @ half.transpose(0, 2, 1), np.full(columns, limit)


@settings(max_examples=30, deadline=None)
@given(problems())
def test_no_row_loses_more_than_by_rounding_to_nearest(problem):
    weight, covariance, limit = problem
    cost = metric(covariance)
    rounded = round_together(weight, cost, limit)
    assert np.array_equal(rounded, np.rint(rounded))
    assert (np.abs(rounded) <= limit).all()
    nearest = np.clip(np.rint(weight), -limit, limit)
    least, reached = mean_square(weight - nearest, cost.c), mean_square(weight - rounded, cost.c)
    assert (reached <= least * (1 + 1e-9) + 1e-12).all()


def test_messages_that_do_not_vary_together_are_rounded_to_nearest():
    rng = np.random.default_rng(0)
    weight = rng.uniform(-100, 100, (1, 5, 8))
    rounded = round_together(weight, metric(np.diag(rng.uniform(0.1, 3, 8))[None]), np.full(8, 127.0))
    assert np.array_equal(rounded, np.rint(weight))


def test_equal_messages_share_their_error():
    """Two columns that always carry the same value: only the sum of their weights counts."""
    rounded = round_together(np.array([[[3.4, 5.4]]]), metric(np.ones((1, 2, 2))), np.full(2, 127.0))
    assert rounded.sum() == 9


def test_nothing_varies():
    weight = np.array([[[0.4, -2.6]]])
    assert np.array_equal(round_together(weight, metric(np.zeros((1, 2, 2))), np.full(2, 127.0)), [[[0, -3]]])


def _values(network, data):
    found = reference.run(graded_form(network), data.x, graded_compile.STEPS, trace=True)
    return {**found.values, **found.outputs}


@pytest.mark.parametrize("name", ["ctm", "u-net", "no attention, ctc"])
def test_moments_are_those_of_the_references_values(name):
    network = GRADED_NETWORKS[name](0)
    data = graded_compile.samples(network, 70)  # more than one batch
    asked = graded_compile.request(network, data)
    values = _values(network, data)
    compared = 0
    for key, moments in asked.moments.items():
        into = [next(p for p in asked.lowered.projections if p.name == n) for n in moments.projections]
        sources = [asked.lowered.population(p.source) for p in into]
        names = [
            next(p.source for p in asked.lowered.into(s.name)) if isinstance(s.model, Held) else s.name for s in sources
        ]
        if any(isinstance(p.synapses, RealConv) for p in into):
            continue
        static = all(s.updates is not None for s in sources)
        x = np.concatenate(
            [
                values[n][:, : 1 if static else None].reshape(len(data.x), 1 if static else graded_compile.STEPS, -1)
                for n in names
            ],
            axis=2,
        ).astype(np.float64)
        x = x.reshape(-1, x.shape[2])
        np.testing.assert_allclose(moments.mean[0], x.mean(0), rtol=1e-4, atol=1e-5, err_msg=key)
        scale = np.abs(np.cov(x.T, bias=True)).max()
        np.testing.assert_allclose(
            moments.covariance[0], np.cov(x.T, bias=True), rtol=1e-3, atol=1e-4 * scale, err_msg=key
        )
        compared += 1
    assert compared


def test_moments_of_neuron_level_models_are_by_group():
    network = GRADED_NETWORKS["ctm"](0)
    data = graded_compile.samples(network, 30)
    moments = graded_compile.request(network, data).moments["hidden"]
    trace = _values(network, data)["trace"].astype(np.float64)  # (samples, steps, neurons, memory)
    for neuron in range(trace.shape[2]):
        x = trace[:, :, neuron].reshape(-1, trace.shape[3])
        np.testing.assert_allclose(moments.mean[neuron], x.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(moments.covariance[neuron], np.cov(x.T, bias=True), rtol=1e-3, atol=1e-4)


def _late_constant():
    """A network whose last value is the same at every step, beside one whose values are not."""
    rng = np.random.default_rng(0)
    nodes = {
        "x": net.Input((3,), static=True),
        "w": net.Linear(rng.normal(size=(4, 3)), None),
        "a": net.Activation("identity", (4,)),
        "z": net.Register(rng.normal(size=4)),
        "r": net.Linear(rng.normal(size=(4, 4)), None),
        "silu": net.Activation("silu", (4,)),
        "v": net.Linear(rng.normal(size=(2, 4)), None),
        "out": net.Output((2,)),
        "u": net.Linear(rng.normal(size=(2, 3)), None),
        "still": net.Output((2,)),
    }
    edges = (("x", "w"), ("w", "a"), ("r", "a"), ("a", "z"), ("z", "r"), ("r", "silu"), ("silu", "v"), ("v", "out"))
    edges += (("x", "first"), ("first", "second"), ("second", "u"), ("u", "still"))
    nodes |= {name: net.Activation("silu", (3,)) for name in ("first", "second")}
    return net.Network("late", nodes, edges, decode="last")


def test_a_network_that_ends_on_a_constant_is_observed_at_every_step():
    network = _late_constant()
    assert plan(network).order[-1] == "still"
    data = graded_compile.samples(network, 20)
    moments = graded_compile.request(network, data).moments
    x = _values(network, data)["z"].reshape(-1, 4)
    np.testing.assert_allclose(moments["silu"].covariance[0], np.cov(x.T, bias=True), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_one_sample_is_enough_for_second_order_rounding(count):
    network = GRADED_NETWORKS["ctm"](0)
    made = graded_compile.quantise(graded_compile.request(network, graded_compile.samples(network, count)))
    limit = top(8, True)
    assert all(np.abs(w).max() <= limit for w in made.choices.weights.values())
