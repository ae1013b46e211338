"""Moments seen in an integer program, against covariances computed from unrolled synapses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import searched_networks as nets
from networks import HALF, chain, lif

from ndeploy import oracle
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Lowered, RealConv, RealProjection
from ndeploy.ir.program import Program
from ndeploy.moments import OBSERVATIONS, Moments
from ndeploy.passes.message_units import message_units
from ndeploy.passes.rounding import metric
from ndeploy.quantizer import Request
from ndeploy.traced_moments import SLOW, traced_moments


def seen(asked: Request) -> tuple[dict[str, Moments], dict[str, np.ndarray], Lowered]:
    """The moments, and by population the real values it sent according to the oracle: (samples, steps, *shape)."""
    made = nets.uniform(asked, 8)
    units = message_units(asked.lowered, made.choices)
    assert asked.calibration is not None
    x = asked.calibration.x
    program: Program = made.program
    result = oracle.run(program, encode(program, x))
    sent = {
        p.name: result.traces[f"spikes/{p.name}"] * np.asarray(units[p.name], dtype=np.float64)
        for p in program.populations
        if f"spikes/{p.name}" in result.traces
    }
    return traced_moments(program, asked.lowered, asked.calibration, units), sent, asked.lowered


def late(value: np.ndarray, lag: int) -> np.ndarray:
    """What arrives `lag` model steps later, zero before."""
    moved = np.zeros_like(value)
    for k in range(lag, value.shape[1]):
        moved[:, k] = value[:, k - lag]
    return moved


def windows(p: RealProjection, value: np.ndarray) -> np.ndarray:
    """(groups, observations, columns): what every output of a projection reads, by explicit loops; observations are
    samples, steps and places in that order."""
    samples, steps = value.shape[:2]
    s = p.synapses
    if not isinstance(s, RealConv):
        return value.reshape(1, samples * steps, -1)
    image = value.reshape(samples, steps, *s.in_shape)
    image = np.pad(image, [(0, 0)] * 3 + [(s.padding[0],) * 2, (s.padding[1],) * 2])
    kernel = s.weight.shape[2:]
    spans = [d * (k - 1) + 1 for d, k in zip(s.dilation, kernel, strict=True)]
    places = [range(0, n - span + 1, step) for n, span, step in zip(image.shape[3:], spans, s.stride, strict=True)]
    each = s.in_shape[0] // s.groups
    found = []
    for group in range(s.groups):
        rows = []
        for sample, step, i, j in itertools.product(range(samples), range(steps), *places):
            rows.append(
                [
                    image[sample, step, c, i + a * s.dilation[0], j + b * s.dilation[1]]
                    for c in range(group * each, (group + 1) * each)
                    for a in range(kernel[0])
                    for b in range(kernel[1])
                ]
            )
        found.append(rows)
    return np.array(found, dtype=np.float64)


def plain(into: list[RealProjection], sent: dict[str, np.ndarray]) -> np.ndarray:
    """All that enters, side by side."""
    return np.concatenate([windows(p, late(sent[p.source], p.lag)) for p in into], axis=2)


def compare(found: Moments, x: np.ndarray) -> None:
    """Mean and covariance of (groups, observations, columns)."""
    for group in range(len(x)):
        np.testing.assert_allclose(found.mean[group], x[group].mean(axis=0), rtol=1e-5, atol=1e-7)
        wanted = np.cov(x[group].T, bias=True).reshape(x.shape[2], x.shape[2])
        np.testing.assert_allclose(
            found.covariance[group], wanted, rtol=1e-5, atol=1e-6 * max(float(np.abs(wanted).max()), 1e-30)
        )


def by_name(lowered: Lowered, found: Moments) -> list[RealProjection]:
    return [next(p for p in lowered.projections if p.name == name) for name in found.projections]


CONVOLUTIONS = {
    "plain": {},
    "strides": {"stride": (2, 3)},
    "padding": {"padding": (2, 1)},
    "dilation": {"dilation": (2, 1), "padding": (1, 0)},
    "groups": {"groups": 2},
    "all": {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_what_convolutions_read(name):
    given = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **CONVOLUTIONS[name]}
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 4 // given["groups"], 3, 2))
    node = net.Conv(weight, None, given["stride"], given["padding"], given["dilation"], given["groups"])
    spans = [d * (k - 1) + 1 for d, k in zip(given["dilation"], (3, 2), strict=True)]
    places = [
        (n + 2 * p - span) // s + 1
        for n, p, span, s in zip((6, 7), given["padding"], spans, given["stride"], strict=True)
    ]
    network = chain(
        ("x", net.Input((4, 6, 7))),
        ("c", node),
        ("h", lif((4, *places))),
        ("d", net.Conv(rng.normal(size=(2, 4, 1, 2)))),
        ("o", lif((2, places[0], places[1] - 1), 0.5)),
        ("out", net.Output((2, places[0], places[1] - 1))),
        semantics=HALF,
    )
    network = replace(network, steps=nets.STEPS, decode="none")
    moments, sent, lowered = seen(nets.request(network, nets.samples(network, 5, labelled=False)))
    assert set(moments) == {"h", "o"}
    assert sent["h"].any()
    for found in moments.values():
        into = by_name(lowered, found)
        groups = into[0].synapses.groups
        assert found.mean.shape == (groups, math.prod(into[0].synapses.weight.shape[1:]))
        compare(found, plain(into, sent))


def test_a_loop_sees_the_step_before_beside_what_sees_this_one():
    """Two dense projections into one population, one of them of lag 1; membranes halve, so nothing is filtered."""
    rng = np.random.default_rng(1)
    nodes = {
        "x": net.Input((5,)),
        "a": net.Linear(rng.normal(size=(6, 5))),
        "r": net.Linear(rng.normal(size=(6, 6))),
        "h": lif((6,)),
        "out": net.Output((6,)),
    }
    edges = (("x", "a"), ("a", "h"), ("h", "r"), ("r", "h"), ("h", "out"))
    network = net.Network("loop", nodes, edges, HALF, steps=nets.STEPS)
    moments, sent, lowered = seen(nets.request(network, nets.samples(network, 9, labelled=False)))
    into = by_name(lowered, moments["h"])
    assert sorted(p.lag for p in into) == [0, 1]
    x = plain(into, sent)
    compare(moments["h"], x)
    unmoved = np.concatenate([windows(p, sent[p.source]) for p in into], axis=2)
    with pytest.raises(AssertionError):
        compare(moments["h"], unmoved)


def test_what_forgets_slowly_answers_to_filtered_messages_as_well():
    """Half of the covariance is of messages filtered by current and membrane, scaled to the same trace."""
    network = nets.recurrent(0)
    moments, sent, lowered = seen(nets.request(network, nets.samples(network, 10)))
    for name in ("h", "o"):
        found = moments[name]
        model = lowered.population(name).model
        alpha, beta = float(np.mean(model.alpha)), float(np.mean(model.beta))
        assert max(alpha, beta) > SLOW
        into = by_name(lowered, found)
        x = plain(into, sent)[0]
        samples = x.reshape(10, nets.STEPS, -1)
        filtered = np.zeros_like(samples)
        for sample in range(10):
            current, state = np.zeros(samples.shape[2]), np.zeros(samples.shape[2])
            for k in range(nets.STEPS):
                current = alpha * current + samples[sample, k]
                state = beta * state + current
                filtered[sample, k] = state
        own = np.cov(x.T, bias=True)
        other = np.cov(filtered.reshape(len(x), -1).T, bias=True)
        wanted = (own + other * np.trace(own) / np.trace(other)) / 2
        np.testing.assert_allclose(found.mean[0], x.mean(axis=0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.covariance[0], wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())


def test_many_places_are_thinned_out():
    """Of more places than it takes every so many-th is looked at, and what is seen is like what is there."""
    rng = np.random.default_rng(0)
    network = chain(
        ("x", net.Input((1, 40, 40))),
        ("c", net.Conv(rng.normal(size=(2, 1, 2, 2)))),
        ("h", lif((2, 39, 39))),
        ("out", net.Output((2, 39, 39))),
        semantics=HALF,
    )
    network = replace(network, steps=nets.STEPS, decode="none")
    asked = nets.request(network, nets.samples(network, 16, labelled=False))
    assert asked.calibration is not None
    places = 16 * nets.STEPS * 39 * 39
    every = places // OBSERVATIONS
    assert every == 3
    moments, sent, lowered = seen(asked)
    into = by_name(lowered, moments["h"])
    x = sent["x"].reshape(16, nets.STEPS, 40, 40)
    windows_ = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(2, 3)).reshape(16, -1, 4)
    # thinned out eight samples at a time, as they are run
    kept = np.concatenate([windows_[i : i + 8].reshape(-1, 4)[::every] for i in (0, 8)])
    compare(moments["h"], kept[None])
    assert into[0].name == moments["h"].projections[0]


def test_graded_inputs_are_counted_in_real_units():
    rng = np.random.default_rng(2)
    network = replace(
        chain(
            ("x", net.Input((4,))),
            ("w", net.Linear(rng.normal(size=(3, 4)))),
            ("h", lif((3,))),
            ("out", net.Output((3,))),
        ),
        steps=nets.STEPS,
    )
    x = rng.normal(size=(12, nets.STEPS, 4)) * [0.1, 1, 3, 0]
    asked = replace(nets.request(network, Data(x)), input_settings={})
    moments, _, _ = seen(asked)
    flat = x.reshape(-1, 4)
    # 8-bit messages of a range of about 9
    np.testing.assert_allclose(moments["h"].mean[0], flat.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(moments["h"].covariance[0], np.cov(flat.T, bias=True), atol=0.15, rtol=0.05)


@pytest.mark.parametrize("value", [0.1, 1000.3, 255.0, 200 / 255])
def test_what_hardly_varies_keeps_a_covariance_that_can_be_inverted(value):
    rng = np.random.default_rng(3)
    network = replace(
        chain(
            ("x", net.Input((9,))),
            ("w", net.Linear(rng.normal(size=(3, 9)))),
            ("h", lif((3,))),
            ("out", net.Output((3,))),
        ),
        steps=nets.STEPS,
    )
    for spread in (0.0, 1e-2):
        x = value * (1 + spread * rng.normal(size=(20, nets.STEPS, 9)))
        asked = replace(nets.request(network, Data(x)), input_settings={"input_bits": 16, "input_scale": value / 20000})
        moments, _, _ = seen(asked)
        covariance = moments["h"].covariance
        if spread == 0:
            assert not covariance.any()
        else:
            np.testing.assert_allclose(np.diag(covariance[0]), x.reshape(-1, 9).var(axis=0), rtol=1e-2)
        assert np.isfinite(metric(covariance).upper).all()


def test_every_population_with_weights_is_covered():
    network = nets.recurrent(0)
    moments, _, lowered = seen(nets.request(network, nets.samples(network, 4)))
    weighted = {p.target for p in lowered.projections if not p.unit}
    assert set(moments) == weighted
