"""Shape inference: every node class, loops, and what does not agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ndeploy.errors import UsageError
from ndeploy.graph import shapes
from ndeploy.ir import network as ir
from ndeploy.neurons import Relay


def lif(*shape: int) -> ir.LIF:
    return ir.LIF(*(np.full(shape, v) for v in (1e-3, 1.0, 0.0, 1.0, 0.0)))


def chain(*nodes: ir.Node) -> ir.Network:
    names = [f"n{i}" for i in range(len(nodes))]
    return ir.Network("n", dict(zip(names, nodes, strict=True)), tuple(itertools.pairwise(names)))


CASES = {
    "linear over a flattened input": (ir.Input((2, 3)), ir.Linear(np.ones((5, 6))), (5,)),
    "conv, non-square and strided": (
        ir.Input((4, 9, 11)), ir.Conv(np.ones((8, 2, 3, 5)), None, (2, 1), (1, 0), (1, 2), 2), (8, 5, 3)
    ),
    "conv1d": (ir.Input((3, 10)), ir.Conv(np.ones((2, 3, 4)), None, (3,), (1,)), (2, 3)),
    "pool": (ir.Input((3, 8, 9)), ir.Pool("max", (3, 3), (2, 2), (1, 1)), (3, 4, 5)),
    "pool over two axes": (ir.Input((8, 9)), ir.Pool("sum", (2, 3), (2, 3)), (4, 3)),
    "flatten in the middle": (ir.Input((2, 3, 4, 5)), ir.Flatten((2, 3, 4, 5), 1, 2), (2, 12, 5)),
    "flatten of what arrives": (ir.Input((2, 3)), ir.Flatten((), 0, -1), (6,)),
    "reduce": (ir.Input((2, 3, 4)), ir.Reduce((2, 3, 4), (-1, 0), "mean"), (3,)),
    "scalar parameters": (ir.Input((2, 3)), lif(), (2, 3)),
    "scale": (ir.Input((2, 3)), ir.Scale(np.ones((1, 3))), (2, 3)),
    "delay": (ir.Input((2,)), ir.Delay(np.zeros(2)), (2,)),
    "integer neuron": (ir.Input((2, 2)), ir.IntegerNeuron(Relay(8), (2, 2)), (2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_output_shapes(case):
    first, second, expected = CASES[case]
    assert shapes.infer(chain(first, second))["n1"] == expected


def test_product_and_its_checks():
    def network(subscripts: str, right_view=(2, 3), out=(3, 3)) -> ir.Network:
        nodes = {
            "a": ir.Input((6,)),
            "b": ir.Input((2, 3)),
            "p": ir.Product("a", "b", (2, 3), right_view, subscripts, out),
        }
        return ir.Network("n", nodes, (("a", "p"), ("b", "p")))

    assert shapes.infer(network("nc,nd->cd"))["p"] == (3, 3)
    for bad in (
        network("nc,nd->ce"),
        network("nc,dn->cd"),
        network("nc,nd"),
        network("nnc,nd->cd"),
        network("nc,nd->cd", (2, 4)),
        network("nc,nd->cd", out=(3, 4)),
    ):
        with pytest.raises(UsageError, match="ND202"):
            shapes.infer(bad)
    half = network("nc,nd->cd")
    with pytest.raises(UsageError, match="no edge comes from its operand 'b'"):
        shapes.infer(ir.Network("n", half.nodes, (("a", "p"),)))


def test_loops_and_neurons_without_input():
    nodes = {"rec": ir.Linear(np.ones((3, 3))), "lif": lif(3), "in": ir.Input((3,)), "alone": lif(4), "loop": lif(2)}
    network = ir.Network("n", nodes, (("rec", "lif"), ("lif", "rec"), ("in", "lif"), ("loop", "loop")))
    assert shapes.infer(network) == {"rec": (3,), "lif": (3,), "in": (3,), "alone": (4,), "loop": (2,)}


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (chain(ir.Input((2, 3)), ir.Linear(np.ones((2, 5)))), ("'n1'", "5", "'n0'", "(2, 3)")),
        (chain(ir.Input((3, 5, 5)), ir.Conv(np.ones((2, 4, 3, 3)))), ("'n1'", "(4, ?, ?)", "(3, 5, 5)")),
        (chain(ir.Input((1, 3, 3)), ir.Conv(np.ones((1, 1, 5, 5)))), ("'n1'", "(1, 3, 3)")),
        (chain(ir.Input((4,)), lif(3)), ("'n1'", "(3,)", "(4,)")),
        (chain(ir.Input((1,)), lif(3)), ("'n1'", "(3,)", "(1,)")),
        (chain(ir.Input((4,)), ir.Output((3,))), ("'n1'", "(3,)", "(4,)")),
        (chain(ir.Input((4,)), ir.Flatten((5,))), ("'n1'", "(5,)", "(4,)")),
        (chain(ir.Input((4,)), ir.Input((4,))), ("'n0'", "'n1'")),
        (chain(ir.Input((4,)), ir.Pool("sum", (1, 1), (1, 1))), ("'n1'", "(4,)")),
        (chain(ir.Input((4,)), ir.Reduce((4,), (1,))), ("(1,)", "(4,)")),
        (ir.Network("n", {"a": ir.Input((1,))}, (("a", "b"),)), ("'a'", "'b'")),
        (ir.Network("n", {"a": ir.Scale(np.ones(()))}, ()), ("'a'",)),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_named(network, words):
    with pytest.raises(UsageError) as error:
        shapes.infer(network)
    assert error.value.code == "ND202"
    assert [w for w in words if w not in error.value.message] == []


def test_values_that_are_summed_must_have_one_shape():
    nodes = {"a": ir.Input((2, 3)), "b": ir.Input((6,)), "w": ir.Linear(np.ones((1, 6)))}
    with pytest.raises(UsageError) as error:
        shapes.infer(ir.Network("n", nodes, (("a", "w"), ("b", "w"))))
    assert all(word in error.value.message for word in ("'w'", "'a'", "'b'", "(2, 3)", "(6,)"))
