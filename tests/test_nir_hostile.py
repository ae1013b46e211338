"""Files from strangers: damaged, hostile or merely wrong, each ends in a coded error that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from ndeploy.errors import NdeployError
from ndeploy.graph.read import read_nir
from ndeploy.settings import Settings


@pytest.fixture
def good(tmp_path) -> Path:
    file = tmp_path / "good.nir"
    nodes = {
        "input": nir.Input(np.array([1, 6, 6])),
        "conv": nir.Conv2d((6, 6), np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2)),
        "lif": nir.LIF(*(np.full((2, 4, 4), v) for v in (1e-3, 1.0, 0.0, 1.0, 0.0))),
        "output": nir.Output(np.array([2, 4, 4])),
    }
    nir.write(file, nir.NIRGraph(nodes, [("input", "conv"), ("conv", "lif"), ("lif", "output")]))
    return file


def refused(file: Path, *settings: str) -> NdeployError:
    with pytest.raises(NdeployError) as error:
        read_nir(file, Settings.parse(settings))
    assert error.value.exit_code in (1, 2)
    assert error.value.help
    return error.value


def test_the_unchanged_file_is_read(good):
    assert len(read_nir(good).nodes) == 4


def test_missing_garbage_and_empty_files(tmp_path):
    assert refused(tmp_path / "absent.nir").code == "ND101"
    garbage = tmp_path / "garbage.nir"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    assert refused(garbage).code == "ND110"
    garbage.write_bytes(b"")
    assert refused(garbage).code == "ND110"


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.6, 0.9, 0.99])
def test_truncated_anywhere(good, kept):
    data = good.read_bytes()
    good.write_bytes(data[: int(len(data) * kept)])
    assert refused(good).code == "ND110"


def test_flipped_bytes_never_end_in_another_exception(good):
    data = bytearray(good.read_bytes())
    rng = np.random.default_rng(3)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 8):
            damaged[position] = rng.integers(0, 256)
        good.write_bytes(bytes(damaged))
        try:
            read_nir(good)
            outcomes["read"] += 1
        except NdeployError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 10


def test_links_are_refused(good, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as f:
        f["weight"] = np.ones((2, 1, 3, 3))
    for link in (h5py.ExternalLink(str(other), "/weight"), h5py.SoftLink("/node/nodes/lif/tau")):
        with h5py.File(good, "r+") as f:
            del f["node/nodes/conv/weight"]
            f["node/nodes/conv/weight"] = link
        error = refused(good)
        assert error.code == "ND111"
        assert "/node/nodes/conv/weight" in error.message


def test_a_group_inside_itself_and_deep_nesting(good, tmp_path):
    with h5py.File(good, "r+") as f:
        f["node/nodes/again"] = f["node"]
    assert refused(good).code == "ND111"
    deep = tmp_path / "deep.nir"
    with h5py.File(deep, "w") as f:
        f.create_group("node" + "/a" * 100)
    assert refused(deep).code == "ND111"


def test_data_stored_elsewhere(good, tmp_path):
    raw = tmp_path / "raw.bin"
    raw.write_bytes(b"\0" * 4096)
    with h5py.File(good, "r+") as f:
        del f["node/nodes/conv/bias"]
        f["node/nodes/conv"].create_dataset("bias", (2,), dtype="f8", external=[(str(raw), 0, 16)])
    assert refused(good).code == "ND111"


def test_a_compressed_bomb_is_not_unpacked(good):
    with h5py.File(good, "r+") as f:
        del f["node/nodes/conv/weight"]
        declared = {"shape": (1 << 20, 1 << 20, 3, 3), "dtype": "f4", "chunks": (16, 16, 3, 3), "compression": "gzip"}
        f["node/nodes/conv"].create_dataset("weight", **declared)
    assert refused(good).code == "ND111"


@pytest.mark.parametrize("shape", [[1 << 40], [0, 6, 6], [-1], [1 << 14, 1 << 14, 1 << 14]])
def test_absurd_declared_shapes(good, shape):
    with h5py.File(good, "r+") as f:
        del f["node/nodes/input/shape"]
        f["node/nodes/input/shape"] = np.array(shape)
    error = refused(good)
    assert error.code == "ND111"
    assert "'input'" in error.message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(good, bad):
    with h5py.File(good, "r+") as f:
        weight = f["node/nodes/conv/weight"][()]
        weight[0, 0, 0, 0] = bad
        f["node/nodes/conv/weight"][...] = weight
    error = refused(good)
    assert error.code == "ND304"
    assert "'conv'" in error.message
    assert "'weight'" in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conv/weight", "text"),
        ("conv/weight", np.ones((2, 3))),
        ("conv/bias", np.ones(3)),
        ("conv/groups", 0),
        ("conv/groups", np.array([1, 1])),
        ("conv/stride", np.array([0, 1])),
        ("conv/stride", np.array([1, 1, 1])),
        ("conv/stride", 1.5),
        ("conv/padding", np.array([-1, 0])),
        ("conv/padding", "reflect"),
        ("conv/dilation", np.array([0, 0])),
        ("lif/tau", "soon"),
        ("lif/type", 3),
    ],
)
def test_fields_of_the_wrong_kind(good, field, value):
    with h5py.File(good, "r+") as f:
        del f[f"node/nodes/{field}"]
        f[f"node/nodes/{field}"] = value
    error = refused(good)
    assert error.code == "ND112"
    assert field.split("/")[0] in error.message
    assert field.split("/")[1] in error.message


@pytest.mark.parametrize(
    "field", ["conv/weight", "conv/stride", "lif/tau", "lif/v_threshold", "lif/type", "input/shape"]
)
def test_missing_fields(good, field):
    with h5py.File(good, "r+") as f:
        del f[f"node/nodes/{field}"]
    error = refused(good)
    assert error.code == "ND112"
    assert field.split("/")[1] in error.message


@pytest.mark.parametrize("gone", ["node", "node/type", "node/nodes", "node/edges"])
def test_missing_parts_of_the_graph(good, gone):
    with h5py.File(good, "r+") as f:
        del f[gone]
    assert refused(good).code == "ND112"


def test_edges_that_are_no_pairs(good):
    with h5py.File(good, "r+") as f:
        del f["node/edges"]
        f["node/edges"] = np.arange(6).reshape(3, 2)
    assert refused(good).code == "ND112"


def test_unknown_node_types_are_named(good):
    for kind, word in (("Softmax", "Softmax"), ("ndeploy.v9.Product", "does not know")):
        with h5py.File(good, "r+") as f:
            del f["node/nodes/lif/type"]
            f["node/nodes/lif/type"] = kind
        error = refused(good)
        assert error.code == "ND113"
        assert "'lif'" in error.message
        assert word in error.message


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "nodes": ["x"]}'])
def test_metadata_of_ours_that_someone_changed(good, text):
    with h5py.File(good, "r+") as f:
        f["node/metadata/ndeploy"] = text
    assert refused(good).code in ("ND112", "ND113")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("lif", "{"),
        ("lif", '{"refractory": "long"}'),
        ("lif", '{"refractory": NaN}'),
        ("lif", '{"refractory": -1}'),
        ("lif", '{"semantics": {"reset": "soft"}}'),
        ("lif", '{"semantics": {"colour": 1}}'),
        ("lif", '{"semantics": 3}'),
        ("conv", '{"integer": {"bits": 8}}'),
        ("conv", '{"integer": 3}'),
        ("conv", '{"integer": {"bits": 999, "exponent": 0, "sign": "mixed"}}'),
    ],
)
def test_metadata_of_a_node_that_someone_changed(good, node, text):
    with h5py.File(good, "r+") as f:
        f[f"node/nodes/{node}/metadata/ndeploy"] = text
    error = refused(good)
    assert error.code == "ND112"
    assert f"'{node}'" in error.message


def test_delays_that_do_not_fit_their_weights(good):
    with h5py.File(good, "r+") as f:
        f["node/nodes/conv/metadata/ndeploy"] = '{"integer": {"bits": 8, "exponent": 0, "sign": "mixed"}}'
        f["node/nodes/conv/metadata/delays"] = np.zeros(3, dtype=np.int64)
    assert refused(good).code == "ND112"


def test_a_graph_that_is_one_loop(tmp_path):
    file = tmp_path / "loop.nir"
    nir.write(file, nir.NIRGraph({"a": nir.Scale(np.ones(2))}, [("a", "a")], type_check=False))
    assert refused(file).code == "ND202"


def test_unknown_settings_values(good):
    error = refused(good, "reset=soft")
    assert error.code == "ND205"
    assert "delayed-subtract" in error.help
    assert refused(good, "steps=0").code == "ND205"
