"""Networks written as NIR and read back are equal, field by field; plain ones are readable by the nir package."""

from __future__ import annotations

import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import nir
import numpy as np
import pytest
from fixtures_path import fixture
from hypothesis import HealthCheck, given, settings
from random_networks import networks

from ndeploy.errors import UsageError
from ndeploy.graph.names import decode, encode
from ndeploy.graph.read import read_nir
from ndeploy.graph.write import nir_bytes, write_nir
from ndeploy.ir import network as ir
from ndeploy.settings import Settings


def differences(a: object, b: object, where: str = "network") -> list[str]:
    """Every place where two values of a Network differ, also in type, shape or order."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        same = a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)
        return [] if same else [f"{where}: {a!r} != {b!r}"]
    if type(a) is not type(b):
        return [f"{where}: {type(a).__name__} != {type(b).__name__}"]
    if is_dataclass(a):
        return [d for f in fields(a) for d in differences(getattr(a, f.name), getattr(b, f.name), f"{where}.{f.name}")]
    if isinstance(a, dict):
        if list(a) != list(b):
            return [f"{where}: keys {list(a)} != {list(b)}"]
        return [d for key in a for d in differences(a[key], b[key], f"{where}[{key!r}]")]
    return [] if a == b else [f"{where}: {a!r} != {b!r}"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=networks())
def test_any_network_survives_the_file(network):
    data = nir_bytes(network)
    assert differences(network, read_nir(data)) == []
    assert nir_bytes(read_nir(data)) == data


def test_operands_of_any_name_survive_the_file():
    nodes = {"\0/": ir.Input((2,)), "%": ir.Input((2,)), "p": ir.Product("\0/", "%", (2,), (2,), "i,j->ij", (2, 2))}
    network = ir.Network("n", nodes, (("\0/", "p"), ("%", "p")))
    assert differences(network, replace(read_nir(nir_bytes(network)), settings={})) == []


def test_the_comparison_sees_what_it_must():
    one = ir.Network("n", {"a": ir.Input((2,)), "s": ir.Scale(np.ones(2))}, (("a", "s"),))
    other = replace(one, nodes={"a": ir.Input((2,)), "s": ir.Scale(np.array([1.0, 1.5]))})
    assert differences(one, other)
    assert differences(one, replace(one, nodes=dict(reversed(one.nodes.items()))))
    assert differences(one, replace(one, edges=()))
    assert differences(one, replace(one, semantics=ir.Semantics(reset="subtract")))


def test_the_same_bytes_at_another_time(tmp_path):
    network = read_nir(fixture("nir/mnist-conv/model.nir"), Settings.parse(["source=snntorch", "steps=6"]))
    write_nir(network, tmp_path / "a.nir")
    time.sleep(1.1)  # HDF5 would store times in seconds
    write_nir(network, tmp_path / "b.nir")
    assert (tmp_path / "a.nir").read_bytes() == (tmp_path / "b.nir").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nir", "b.nir"]


@pytest.mark.parametrize(
    "name",
    ["nir/mnist-conv/model.nir", "nir/braille/model.nir", "nir/awkward/braille-subgraph.nir", "nir/lif/lif_norse.nir"],
)
def test_plain_networks_are_plain_nir(tmp_path, name):
    network = read_nir(fixture(name), Settings.parse(["source=snntorch", "steps=6"]))
    write_nir(network, tmp_path / "out.nir")
    graph = nir.read(tmp_path / "out.nir")
    assert set(graph.nodes) == set(network.nodes)
    assert [tuple(e) for e in graph.edges] == list(network.edges)
    for key, node in network.nodes.items():
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(graph.nodes[key], field.name), value)
    again = read_nir(tmp_path / "out.nir")
    assert differences(network, again) == []
    assert again.settings["reset"] == {"value": "zero", "from": "preset snntorch"}


def test_settings_of_now_win_over_those_in_the_file(tmp_path):
    network = read_nir(fixture("nir/braille/model.nir"), Settings.parse(["source=snntorch"]))
    write_nir(network, tmp_path / "out.nir")
    again = read_nir(tmp_path / "out.nir", Settings.parse(["reset=subtract", "steps=9"]))
    assert again.semantics == replace(network.semantics, reset="subtract")
    assert again.steps == 9
    assert again.settings["reset"] == {"value": "subtract", "from": "--set"}
    assert again.settings["dt"] == {"value": 1e-4, "from": "preset snntorch"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "%", "%2F", "a.b", "\0", "ü/%", "blk.0/attn"])
def test_names_survive_hdf5(name):
    assert decode(encode(name)) == name
    assert "/" not in encode(name)
    assert encode(name) not in ("", ".", "..")


def test_an_unwritable_place(tmp_path):
    network = ir.Network("n", {"a": ir.Input((2,))}, ())
    with pytest.raises(UsageError) as error:
        write_nir(network, tmp_path / "absent" / "out.nir")
    assert error.value.code == "ND702"


def test_a_network_whose_shapes_disagree_is_not_written(tmp_path):
    network = ir.Network("n", {"a": ir.Input((2,)), "s": ir.Scale(np.ones(3))}, (("a", "s"),))
    with pytest.raises(UsageError, match="ND202"):
        write_nir(network, Path(tmp_path / "out.nir"))
    assert not list(tmp_path.iterdir())
