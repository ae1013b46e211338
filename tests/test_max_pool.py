"""Maximum pools of graded values as rectified differences, against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.errors import RefusedError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.passes.max_pool import expand_max_pools


def pooled(shape, pool, function="relu"):
    """Image -> activation -> pool -> output."""
    nodes = {"x": net.Input(shape, static=True), "act": net.Activation(function, shape), "pool": pool}
    edges = [("x", "act"), ("act", "pool"), ("pool", "out")]
    nodes["out"] = net.Output(reference_shape(shape, pool))
    return net.Network("pooled", nodes, tuple(edges), decode="none", steps=1)


def reference_shape(shape, pool):
    return tuple(torch.nn.functional.max_pool2d(torch.zeros(shape), pool.kernel, pool.stride, pool.padding).shape)


@st.composite
def cases(draw):
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    function = draw(st.sampled_from(["relu", "identity", "silu"]))
    padding = (0, 0)
    if function == "relu":
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    # as small as the window, one wide where the window is, odd and even
    image = tuple(draw(st.integers(max(1, k - 2 * p), k + 4)) for k, p in zip(kernel, padding, strict=True))
    return (draw(st.integers(1, 3)), *image), net.Pool("max", kernel, stride, padding), function


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 99))
def test_the_expansion_is_torchs_maximum_pool(case, seed):
    shape, pool, function = case
    network = pooled(shape, pool, function)
    made = expand_max_pools(network)
    assert not any(isinstance(node, net.Pool) for node in made.nodes.values())
    x = np.random.default_rng(seed).normal(size=(3, *shape))
    got = reference.run(made, x, 1, dtype=torch.float64).outputs["out"][:, 0]
    value = torch.from_numpy(x)
    value = {"relu": torch.relu, "identity": lambda v: v, "silu": torch.nn.functional.silu}[function](value)
    want = torch.nn.functional.max_pool2d(value, pool.kernel, pool.stride, pool.padding)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "taps"), [((2, 2), 2), ((3, 3), 4), ((1, 4), 3), ((3, 1), 2)])
def test_a_window_takes_one_relu_less_than_its_size_an_axis(kernel, taps):
    made = expand_max_pools(pooled((2, 6, 6), net.Pool("max", kernel, kernel), "identity"))
    relus = [n for n in made.nodes.values() if isinstance(n, net.Activation) and n.function == "relu"]
    assert len(relus) == taps


def test_the_result_has_the_pools_name_and_no_sign_where_nothing_is_negative():
    for function, kind in (("relu", "relu"), ("identity", "identity")):
        node = expand_max_pools(pooled((2, 6, 6), net.Pool("max", (3, 3), (2, 2)), function)).nodes["pool"]
        assert isinstance(node, net.Activation)
        assert node.function == kind


def test_a_pool_of_one_is_no_pool():
    made = expand_max_pools(pooled((2, 3, 3), net.Pool("max", (1, 1), (1, 1))))
    assert list(made.nodes) == ["x", "act", "out"]
    assert ("act", "out") in made.edges


def test_pads_that_could_win_are_refused():
    with pytest.raises(RefusedError, match="'pool' is padded") as refused:
        expand_max_pools(pooled((2, 6, 6), net.Pool("max", (3, 3), (2, 2), (1, 1)), "silu"))
    assert refused.value.code == "ND203"


def test_spikes_keep_their_or_and_networks_without_pools_are_untouched():
    network = pooled((1, 4, 4), net.Pool("max", (2, 2), (2, 2)))
    spiking = net.IF(np.ones((1, 4, 4)), np.ones((1, 4, 4)), np.zeros((1, 4, 4)))
    binary = net.Network("b", {**network.nodes, "act": spiking}, network.edges, decode="none")
    assert expand_max_pools(binary) is binary
    once = expand_max_pools(network)
    assert expand_max_pools(once) is once
