"""What `ndeploy inspect MODEL` says of a network's nodes."""

from __future__ import annotations

import io
import itertools

import numpy as np
from rich.console import Console

from ndeploy.ir import network as ir
from ndeploy.report.network import report


def lines(network: ir.Network) -> list[list[str]]:
    """The words of every line."""
    out = io.StringIO()
    console = Console(file=out, width=200)
    for part in report(network):
        console.print(part)
    return [line.split() for line in out.getvalue().splitlines()]


def test_every_graded_node_with_its_kind_shape_and_parameters():
    pairs = np.array([0, 5])
    nodes = {
        "x": ir.Input((3,), static=True, typical="signs"),
        "a": ir.Linear(np.ones((3, 3))),
        "b": ir.Linear(np.ones((3, 3))),
        "gate": ir.Gate(("a", "x"), ("b",), (3,)),
        "silu": ir.Activation("silu", (3,)),
        "register": ir.Register(np.arange(3.0)),
        "trace": ir.Trace(np.zeros((3, 2))),
        "norm": ir.LayerNorm((3, 2), (3, 2), 1, np.arange(2.0), np.zeros(2)),
        "softmax": ir.Softmax((3, 2)),
        "scores": ir.Product("softmax", "trace", (6,), (6,), "i,i->i", (6,), np.float64(0.5)),
        "sync": ir.Synchronisation(pairs, pairs, np.array([0.5, 1.0]), np.zeros(2), np.ones(2)),
        "out": ir.Output((2,)),
    }
    edges = [("x", "a"), ("x", "b"), ("a", "gate"), ("b", "gate"), ("x", "gate")]
    row = ["gate", "silu", "register", "trace", "norm", "softmax", "scores", "sync", "out"]
    edges += [*itertools.pairwise(row), ("trace", "scores")]
    network = ir.Network("n", nodes, tuple(edges), steps=3, decode="most-certain", answer=(1, 2))
    found = lines(network)
    for expected in (
        "x Input 3 static typical=signs",
        "gate Gate 3 value=a + x gate=b a, b, x",
        "silu Activation 3 function=silu gate",
        "register Register 3 start[3] silu",
        "trace Trace 3x2 start=0 register",
        "norm LayerNorm 3x2 view=3x2 axis=1 gain[2] offset=0 epsilon=1e-05 trace",
        "softmax Softmax 3x2 norm",
        "scores Product 6 left=softmax right=trace left_view=6 right_view=6 subscripts=i,i->i scale=0.5 softmax, trace",
        "sync Synchronisation 2 left[2] right[2] decay=0.5..1 alpha=0 beta=1 scores",
        "answer most-certain over steps, read as 1x2",
    ):
        assert expected.split() in found


def test_what_does_nothing_is_not_told():
    conv = ir.Conv(np.ones((2, 1, 3, 3)), None, (1, 1), (1, 1), (1, 1))
    nodes = {"x": ir.Input((1, 4, 4)), "conv": conv, "flat": ir.Flatten((2, 4, 4)), "out": ir.Output((32,))}
    found = lines(ir.Network("n", nodes, (("x", "conv"), ("conv", "flat"), ("flat", "out"))))
    assert ["conv", "Conv", "2x4x4", "weight=1", "padding=1x1", "x"] in found
    assert ["flat", "Flatten", "32", "start=0", "end=-1", "conv"] in found
