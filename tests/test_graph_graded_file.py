"""Graded nodes and what inputs and answers say beside NIR, written and read back; and files that someone changed."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_graded import graded_networks
from test_nir_write import differences

from ndeploy.errors import NdeployError
from ndeploy.graph.read import read_nir
from ndeploy.graph.write import nir_bytes, write_nir
from ndeploy.ir import network as ir


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=graded_networks())
def test_any_graded_network_survives_the_file(network):
    data = nir_bytes(network)
    again = read_nir(data)
    assert differences(network, replace(again, settings={}, family="")) == []
    assert nir_bytes(again) == nir_bytes(read_nir(nir_bytes(again)))


def network() -> ir.Network:
    """One node of every graded class in a row; the gate's operands have awkward names."""
    pairs = np.array([0, 5])
    nodes = {
        "x": ir.Input((3,), static=True, typical="signs"),
        "a/b": ir.Linear(np.ones((3, 3))),
        "": ir.Linear(np.ones((3, 3))),
        "gate": ir.Gate(("a/b",), ("",), (3,)),
        "activation": ir.Activation("silu", (3,)),
        "register": ir.Register(np.ones(3)),
        "trace": ir.Trace(np.ones((3, 2))),
        "norm": ir.LayerNorm((3, 2), (3, 2), 1, np.ones(2), np.zeros(2)),
        "softmax": ir.Softmax((3, 2)),
        "sync": ir.Synchronisation(pairs, pairs, np.ones(2), np.zeros(2), np.zeros(2)),
        "out": ir.Output((2,)),
    }
    order = ["gate", "activation", "register", "trace", "norm", "softmax", "sync", "out"]
    edges = (("x", "a/b"), ("x", ""), ("a/b", "gate"), ("", "gate"), *itertools.pairwise(order))
    return ir.Network("n", nodes, edges, steps=3, decode="most-certain", answer=(1, 2))


@pytest.fixture
def good(tmp_path) -> Path:
    file = tmp_path / "good.nir"
    write_nir(network(), file)
    return file


def refused(file: Path) -> NdeployError:
    with pytest.raises(NdeployError) as error:
        read_nir(file)
    assert error.value.help
    return error.value


def test_the_unchanged_file_is_read(good):
    again = read_nir(good)
    assert differences(network(), replace(again, settings={}, family="")) == []
    assert (again.decode, again.answer) == ("most-certain", (1, 2))


CHANGES = [
    ("activation/function", "tanh", "ND112"),
    ("activation/function", 3, "ND112"),
    ("activation/shape", np.array([-3]), "ND111"),
    ("activation/shape", np.array([4]), "ND202"),
    ("gate/value", np.array(["%"], dtype=object), "ND112"),
    ("gate/value", np.array(["nobody"], dtype=object), "ND202"),
    ("gate/value", np.array([3]), "ND112"),
    ("gate/value", np.array(["%FF"], dtype=object), "ND112"),
    ("gate/gate", "text", "ND112"),
    ("norm/axis", 2, "ND112"),
    ("norm/axis", -1, "ND112"),
    ("norm/axis", 0.5, "ND112"),
    ("norm/axis", np.array([0, 1]), "ND112"),
    ("norm/view", np.array([2, 2]), "ND112"),
    ("norm/view", np.array([0, 6]), "ND111"),
    ("norm/view", np.array([1 << 40, 1 << 40]), "ND111"),
    ("norm/gain", np.array([1.0, np.nan]), "ND304"),
    ("norm/offset", np.ones((1, 2)), "ND112"),
    ("norm/epsilon", 0.0, "ND112"),
    ("norm/epsilon", -1.0, "ND112"),
    ("norm/epsilon", np.inf, "ND304"),
    ("softmax/shape", np.zeros(0, dtype=np.int64), "ND112"),
    ("register/start", np.array([np.inf, 0, 0]), "ND304"),
    ("register/start", np.ones(4), "ND202"),
    ("register/start", "text", "ND112"),
    ("trace/start", np.ones(3), "ND112"),
    ("trace/start", np.ones((3, 0)), "ND112"),
    ("trace/start", np.ones((4, 2)), "ND202"),
    ("sync/left", np.array([0, 6]), "ND202"),
    ("sync/right", np.array([0, -1]), "ND112"),
    ("sync/right", np.array([0, 0.5]), "ND112"),
    ("sync/right", np.array([0]), "ND112"),
    ("sync/left", np.zeros((2, 1), dtype=np.int64), "ND112"),
    ("sync/decay", np.array([0.5, 0.0]), "ND112"),
    ("sync/decay", np.array([0.5, 1.01]), "ND112"),
    ("sync/decay", np.array([0.5, np.nan]), "ND304"),
    ("sync/alpha", np.array([0.5, np.inf]), "ND304"),
    ("sync/beta", np.array([0.5, -0.1]), "ND112"),
]


@pytest.mark.parametrize(("field", "value", "code"), CHANGES)
def test_fields_that_someone_changed(good, field, value, code):
    with h5py.File(good, "r+") as f:
        del f[f"node/nodes/{field}"]
        texts = isinstance(value, np.ndarray) and value.dtype.kind == "O"
        f.create_dataset(f"node/nodes/{field}", data=value, dtype=h5py.string_dtype() if texts else None)
    error = refused(good)
    assert error.code == code
    # a node that is right by itself is named where it meets the others
    if code != "ND202":
        assert f"'{field.split('/')[0]}'" in error.message
    if code in ("ND112", "ND304"):
        assert f"'{field.split('/')[1]}'" in error.message


@pytest.mark.parametrize("field", sorted({field for field, _, _ in CHANGES}))
def test_missing_fields(good, field):
    with h5py.File(good, "r+") as f:
        del f[f"node/nodes/{field}"]
    error = refused(good)
    assert error.code == "ND112"
    assert f"'{field.split('/')[1]}'" in error.message


@pytest.mark.parametrize(
    "text",
    [
        '{"static": 1}',
        '{"static": false}',
        '{"typical": "odd"}',
        '{"typical": ["signs"]}',
        '{"typical": []}',
        '{"whole": 3}',
        '{"whole": [1, 0, 1.0]}',
        '{"whole": [0, 1, NaN]}',
        '{"whole": [0, 1, 0]}',
        '{"whole": [0.5, 1, 1]}',
    ],
)
def test_what_an_input_says_that_someone_changed(good, text):
    with h5py.File(good, "r+") as f:
        del f["node/nodes/x/metadata/ndeploy"]
        f["node/nodes/x/metadata/ndeploy"] = text
    error = refused(good)
    assert error.code == "ND112"
    assert "'x'" in error.message


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("answer", [3], "ND112"),
        ("answer", [2, 0], "ND112"),
        ("answer", [2.0], "ND112"),
        ("answer", "2", "ND112"),
        ("answer", [True, 2], "ND112"),
        ("decode", "best", "ND205"),
    ],
)
def test_an_answer_that_someone_changed(good, key, value, code):
    with h5py.File(good, "r+") as f:
        stated = json.loads(f["node/metadata/ndeploy"][()])
        del f["node/metadata/ndeploy"]
        f["node/metadata/ndeploy"] = json.dumps({**stated, key: value})
    assert refused(good).code == code


def test_flipped_bytes_never_end_in_another_exception(good):
    data = good.read_bytes()
    rng = np.random.default_rng(5)
    refusals = 0
    for _ in range(100):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 8):
            damaged[position] = rng.integers(0, 256)
        try:
            read_nir(bytes(damaged))
        except NdeployError:
            refusals += 1
    assert refusals > 10
