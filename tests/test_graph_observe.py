"""Ranges of what the float network sends, and samples made up for networks that say what theirs look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from random_graded import graded_networks

from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.graph.reference import run
from ndeploy.ir import network as ir
from ndeploy.observe import observe, typical


def samples(network: ir.Network, n: int, seed: int = 0) -> np.ndarray:
    shapes = [node.shape for node in network.nodes.values() if isinstance(node, ir.Input)]
    rng = np.random.default_rng(seed)
    if len(shapes) == 1:
        return rng.normal(size=(n, *shapes[0]))
    return rng.normal(size=(n, sum(int(np.prod(shape)) for shape in shapes)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=graded_networks())
def test_ranges_are_those_of_all_values_over_samples_and_steps(network):
    x = samples(network, 7)
    found = observe(network, Data(x, x_scale=0.5), batch=3, dtype=torch.float64)
    result = run(network, x, x_scale=0.5, trace=True, dtype=torch.float64)
    values = {**result.outputs, **result.values}
    assert found.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_allclose(found[name].low, value.min(axis=(0, 1)), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found[name].high, value.max(axis=(0, 1)), rtol=1e-9, atol=1e-9)
        assert found[name].low.shape == value.shape[2:]
        assert found[name].low.dtype == np.float64


def network(**inputs: ir.Input) -> ir.Network:
    """The sum of all inputs, six values each."""
    nodes: dict[str, ir.Node] = dict(inputs)
    edges = []
    for name in inputs:
        nodes[f"w.{name}"] = ir.Linear(np.eye(6))
        edges += [(name, f"w.{name}"), (f"w.{name}", "sum")]
    nodes |= {"sum": ir.Activation("relu", (6,)), "out": ir.Output((6,))}
    return ir.Network("n", nodes, (*edges, ("sum", "out")), steps=2)


def test_typical_samples_are_what_the_inputs_say():
    made = network(a=ir.Input((2, 3), typical="signs"), b=ir.Input((6,), typical="normal"))
    data = typical(made, 400, 5)
    assert data is not None
    assert data.x.shape == (400, 12)
    signs, normal = data.x[:, :6], data.x[:, 6:]
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.1
    assert abs(normal.mean()) < 0.1
    assert normal.std() == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(typical(made, 400, 5).x, data.x)
    assert (typical(made, 400, 6).x != data.x).any()
    found = observe(made, data)
    np.testing.assert_array_equal(found["a"].low, np.full((2, 3), -1.0))
    np.testing.assert_allclose(found["sum"].high, (signs + normal).max(axis=0), rtol=1e-6)


def test_one_input_keeps_its_shape_and_silence_means_none():
    data = typical(network(a=ir.Input((2, 3), typical="normal")), 4, 0)
    assert data is not None
    assert data.x.shape == (4, 2, 3)
    assert typical(network(a=ir.Input((6,), typical="signs"), b=ir.Input((6,))), 4, 0) is None


def test_data_that_do_not_fit_or_are_not_finite():
    two = network(a=ir.Input((6,)), b=ir.Input((6,)))
    with pytest.raises(UsageError, match="ND502"):
        observe(two, Data(np.ones((3, 11))))
    with pytest.raises(UsageError, match="ND304") as error:
        observe(two, Data(np.full((3, 12), 1e30), x_scale=1e30))
    assert "NaN or infinity" in error.value.message
