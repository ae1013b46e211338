"""Networks to NIR files. A plain network comes out as a plain NIR graph that any NIR tool reads.

The same network gives the same bytes: no times, a fixed order of objects, fixed compression.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ndeploy.atomic import writing
from ndeploy.errors import RefusedError
from ndeploy.graph import names, shapes
from ndeploy.graph.extensions import METADATA, write_extension, write_extras, write_graph_metadata
from ndeploy.graph.hdf5 import Tree
from ndeploy.ir import network as ir

NIR_VERSION = "1.0.8"
"""The NIR version whose layout is written."""

_NEURONS: Mapping[type[ir.Node], tuple[str, tuple[str, ...]]] = {
    ir.Threshold: ("Threshold", ("threshold",)),
    ir.Integrator: ("I", ("r",)),
    ir.IF: ("IF", ("r", "v_threshold", "v_reset")),
    ir.LI: ("LI", ("tau", "r", "v_leak")),
    ir.LIF: ("LIF", ("tau", "r", "v_leak", "v_threshold", "v_reset")),
    ir.CubaLI: ("CubaLI", ("tau_syn", "tau_mem", "r", "v_leak", "w_in")),
    ir.CubaLIF: ("CubaLIF", ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in")),
    ir.Scale: ("Scale", ("scale",)),
    ir.Delay: ("Delay", ("delay",)),
}


def write_nir(network: ir.Network, path: Path) -> None:
    """Write the network; the file appears whole or not at all.

    Raises UsageError ND202 if its shapes do not agree, ND702 if it cannot be written, RefusedError ND201 for a node
    class that has no form in the file.
    """
    data = nir_bytes(network)
    with writing(path) as file:
        file.write(data)


def nir_bytes(network: ir.Network) -> bytes:
    """The NIR file of a network as bytes; the same network gives the same bytes. Raises as `write_nir`."""
    tree = _graph(network)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="v110") as file:
        _dataset(file, "version", NIR_VERSION)
        _write(file.create_group("node"), tree)
    return buffer.getvalue()


def _graph(network: ir.Network) -> Tree:
    known = shapes.infer(network)
    nodes: Tree = {}
    for name, node in network.nodes.items():
        nodes[names.encode(name)] = _node(network, name, node, known)
    edges = np.array([[names.encode(a), names.encode(b)] for a, b in network.edges], dtype=object).reshape(-1, 2)
    return {
        "type": "NIRGraph",
        "nodes": nodes,
        "edges": edges,
        "metadata": {METADATA: write_graph_metadata(network)},
    }


def _node(network: ir.Network, name: str, node: ir.Node, known: Mapping[str, shapes.Shape]) -> Tree:
    extension = write_extension(node)
    tree = _plain(network, name, node, known) if extension is None else extension
    extras = write_extras(node)
    return {**tree, "metadata": extras} if extras else tree


def _plain(network: ir.Network, name: str, node: ir.Node, known: Mapping[str, shapes.Shape]) -> Tree:
    """The fields that NIR gives the node's type."""
    if isinstance(node, ir.Input | ir.Output):
        return {"type": type(node).__name__, "shape": np.array(node.shape, dtype=np.int64)}
    if isinstance(node, ir.Linear):
        if node.bias is None:
            return {"type": "Linear", "weight": node.weight}
        return {"type": "Affine", "weight": node.weight, "bias": node.bias}
    if isinstance(node, ir.Conv):
        return _conv(node, shapes.input_shape(network, name, known))
    if isinstance(node, ir.Pool):
        return {
            "type": "SumPool2d" if node.kind == "sum" else "AvgPool2d",
            "kernel_size": np.array(node.kernel),
            "stride": np.array(node.stride),
            "padding": np.array(node.padding),
        }
    if isinstance(node, ir.Flatten):
        shape = np.array(node.input_shape, dtype=np.int64)
        return {"type": "Flatten", "input_type": shape, "start_dim": node.start, "end_dim": node.end}
    for cls, (kind, parameters) in _NEURONS.items():
        if isinstance(node, cls):
            return {"type": kind, **{key: getattr(node, key) for key in parameters}}
    raise RefusedError(
        "ND201",
        f"node '{name}' ({type(node).__name__}) has no form in a NIR file",
        help="add it to ndeploy/graph/extensions.py",
    )


def _conv(node: ir.Conv, given: shapes.Shape) -> Tree:
    axes = node.weight.ndim - 2
    per_axis = {
        "stride": shapes.spread(node.stride, axes),
        "padding": shapes.spread(node.padding, axes),
        "dilation": shapes.spread(node.dilation, axes),
    }
    spatial = tuple(given[1:])
    return {
        "type": f"Conv{axes}d",
        "input_shape": spatial[0] if axes == 1 else np.array(spatial),
        "weight": node.weight,
        # NIR's convolutions always have a bias; that there was none is kept in the metadata
        "bias": np.zeros(node.weight.shape[0]) if node.bias is None else node.bias,
        "groups": node.groups,
        **{key: value[0] if axes == 1 else np.array(value) for key, value in per_axis.items()},
    }


def _write(group: h5py.Group, tree: Tree) -> None:
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, dict):
            _write(group.create_group(key), value)
        else:
            _dataset(group, key, value)


def _dataset(group: h5py.Group, key: str, value: Any) -> None:
    if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype == object):
        group.create_dataset(key, data=value, dtype=h5py.string_dtype(), track_times=False)
    elif isinstance(value, np.ndarray) and value.size > 64:
        group.create_dataset(key, data=value, compression="gzip", compression_opts=4, track_times=False)
    else:
        group.create_dataset(key, data=value, track_times=False)
