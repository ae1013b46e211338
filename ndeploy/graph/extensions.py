"""Node types that NIR has not, under one versioned namespace, and what NIR's own types cannot carry.

Extension nodes are written with the type "ndeploy.v1.<class>" and one dataset a field. What a plain node holds beyond
NIR (a node's own semantics, a refractory time, integer mantissas) goes into the node's metadata, where other tools
ignore it; what the graph holds beyond NIR goes into the graph's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.graph import names
from ndeploy.graph.fields import Fields
from ndeploy.graph.graded_fields import read_graded, write_graded
from ndeploy.graph.graded_shapes import GRADED
from ndeploy.graph.hdf5 import Tree
from ndeploy.ir import network as ir
from ndeploy.neurons import KINDS

NAMESPACE = "ndeploy.v1."
FAMILY = "ndeploy."
METADATA = "ndeploy"
"""Name of the text (JSON) in a node's or the graph's metadata."""

TYPICAL = ("signs", "normal")
"""What `network.Input.typical` may say."""

_PLAIN: Mapping[str, type[ir.Node]] = {"Product": ir.Product, "Reduce": ir.Reduce}


def is_extension(kind: str) -> bool:
    """Whether a node type belongs to ndeploy, of whatever version."""
    return kind.startswith(FAMILY)


# -- nodes -------------------------------------------------------------------------------------------------------------


def write_extension(node: ir.Node) -> Tree | None:
    """The fields of an extension node; None for a node that NIR has a type for."""
    if isinstance(node, GRADED):
        return {"type": f"{NAMESPACE}{type(node).__name__}", **write_graded(node)}
    if isinstance(node, ir.Conv) and positional(node):
        return {
            "type": f"{NAMESPACE}Conv",
            "weight": node.weight,
            "bias": node.bias,
            "groups": node.groups,
            **{key: np.array(getattr(node, key), dtype=np.int64) for key in ("stride", "padding", "dilation")},
        }
    if isinstance(node, ir.Pool) and node.kind == "max":
        pool = {"kernel_size": node.kernel, "stride": node.stride, "padding": node.padding}
        return {"type": f"{NAMESPACE}MaxPool2d", **{key: np.array(value) for key, value in pool.items()}}
    if isinstance(node, ir.IntegerNeuron):
        tree: Tree = {"type": f"{NAMESPACE}IntegerNeuron", "shape": np.array(node.shape, dtype=np.int64)}
        plain: dict[str, Any] = {"kind": node.neuron.kind}
        for field in fields(node.neuron):
            value = getattr(node.neuron, field.name)
            if isinstance(value, np.ndarray):
                tree[f"neuron.{field.name}"] = value
            else:
                plain[field.name] = value
        tree["neuron"] = json.dumps(plain, sort_keys=True)
        return tree
    for name, cls in _PLAIN.items():
        if isinstance(node, cls):
            tree = {"type": f"{NAMESPACE}{name}"}
            for field in fields(node):
                value = getattr(node, field.name)
                tree[field.name] = np.array(value, dtype=np.int64) if isinstance(value, tuple) else value
            if isinstance(node, ir.Product):
                # operands are named as the nodes are named in the file
                tree.update(left=names.encode(node.left), right=names.encode(node.right))
            return tree
    return None


def read_extension(f: Fields) -> ir.Node:
    """The node. Raises UsageError ND113 for an extension this version does not know, ND112 for bad fields."""
    kind = f.kind.removeprefix(NAMESPACE)
    graded = read_graded(kind, f)
    if graded is not None:
        return graded
    if kind == "Conv":
        return _positional_conv(f)
    if kind == "MaxPool2d":
        kernel, stride, padding = (
            f.per_axis("kernel_size", 2, 1),
            f.per_axis("stride", 2, 1),
            f.per_axis("padding", 2, 0),
        )
        return ir.Pool("max", (kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1]))
    if kind == "Product":
        return ir.Product(
            _name(f, "left"),
            _name(f, "right"),
            f.shape("left_view"),
            f.shape("right_view"),
            f.text("subscripts"),
            f.shape("output_shape"),
            float(f.array("scale", 0)),
            f.text("stream"),
        )
    if kind == "Reduce":
        how = f.text("kind")
        if how not in ("sum", "mean"):
            raise f.bad("kind", f"is '{how}', must be sum or mean")
        return ir.Reduce(f.shape("input_shape"), tuple(int(a) for a in f.integers("axes").reshape(-1)), how)
    if kind == "IntegerNeuron":
        return _integer_neuron(f)
    raise UsageError(
        "ND113",
        f"node '{f.name}' has the type '{f.kind}', which this version of ndeploy does not know",
        help="read the file with the version of ndeploy that wrote it, or a newer one",
    )


def positional(node: ir.Conv) -> bool:
    """Whether the convolution's bias differs from position to position, which NIR's cannot."""
    return node.bias is not None and node.bias.ndim > 1


def _positional_conv(f: Fields) -> ir.Node:
    weight, bias, groups = f.array("weight"), f.array("bias"), f.integer("groups")
    axes = weight.ndim - 2
    if axes not in (1, 2) or 0 in weight.shape:
        raise f.bad("weight", f"has shape {weight.shape}")
    if bias.ndim != axes + 1 or bias.shape[0] != weight.shape[0]:
        raise f.bad("bias", f"has shape {bias.shape}, the weight {weight.shape}")
    if groups < 1 or weight.shape[0] % groups:
        raise f.bad("groups", f"is {groups}, which does not divide the {weight.shape[0]} output channels")
    stride, dilation = f.per_axis("stride", axes, 1), f.per_axis("dilation", axes, 1)
    return ir.Conv(weight, bias, stride, f.per_axis("padding", axes, 0), dilation, groups)


def _name(f: Fields, key: str) -> str:
    try:
        return names.decode(f.text(key))
    except UnicodeDecodeError as error:
        raise f.bad(key, "is no node name") from error


def _integer_neuron(f: Fields) -> ir.Node:
    plain = _object(f.text("neuron"), f"node '{f.name}'")
    cls = KINDS.get(str(plain.pop("kind", None)))
    if cls is None:
        raise f.bad("neuron", "names no known neuron model")
    shape = f.shape("shape")
    values: dict[str, Any] = {}
    for field in fields(cls):
        key = f"neuron.{field.name}"
        if key in f:
            values[field.name] = f.integers(key)
            own = values[field.name].shape  # by channel where convolutions share it: it broadcasts to the shape
            if own and not (len(own) == len(shape) and all(n in (1, m) for n, m in zip(own, shape, strict=True))):
                raise f.bad(key, f"has shape {values[field.name].shape}, the neuron {shape}")
        elif field.name in plain:
            # a word where the model has a word, a number (or truth value) everywhere else
            if not isinstance(plain[field.name], str if isinstance(field.default, str) else int):
                raise f.bad("neuron", f"has {plain[field.name]!r} for '{field.name}'")
            values[field.name] = plain[field.name]
    try:
        neuron = cls(**values)
    except TypeError as error:
        raise f.bad("neuron", f"does not fit the model '{cls.kind}': {error}") from error
    return ir.IntegerNeuron(neuron, shape)


# -- what plain nodes carry beside NIR's fields ------------------------------------------------------------------------


def write_extras(node: ir.Node) -> Tree:
    """The metadata of a plain node: empty, or a JSON text and, for delays per synapse, an array."""
    extra: dict[str, Any] = {}
    arrays: Tree = {}
    semantics = getattr(node, "semantics", None)
    if semantics is not None:
        extra["semantics"] = asdict(semantics)
    if getattr(node, "refractory", 0.0):
        extra["refractory"] = getattr(node, "refractory", 0.0)
    if isinstance(node, ir.Conv) and node.bias is None:
        extra["bias"] = None
    if isinstance(node, ir.Input):
        extra |= _input_extras(node)
    integer = getattr(node, "integer", None)
    if integer is not None:
        extra["integer"] = {"bits": integer.bits, "exponent": integer.exponent, "sign": integer.sign}
        if integer.delays is not None:
            arrays["delays"] = integer.delays
    return {METADATA: json.dumps(extra, sort_keys=True), **arrays} if extra else {}


def _input_extras(node: ir.Input) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if node.whole is not None:
        extra["whole"] = [*node.whole, node.unit]
    if node.static:
        extra["static"] = True
    if node.typical:
        extra["typical"] = node.typical
    return extra


def _read_input_extras(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Raises TypeError or ValueError for anything `_input_extras` does not write."""
    changes: dict[str, Any] = {}
    if "whole" in extra:
        low, high, unit = extra["whole"]
        if type(low) is not int or type(high) is not int or not -(2**31) <= low <= high < 2**31:
            raise ValueError(f"whole numbers of {low} to {high}")
        changes.update(whole=(low, high), unit=float(unit))
        if not 0 < changes["unit"] < np.inf:
            raise ValueError(f"a unit of {unit}")
    if "static" in extra:
        if extra["static"] is not True:
            raise ValueError(f"static: {extra['static']!r}")
        changes["static"] = True
    if "typical" in extra:
        if extra["typical"] not in TYPICAL:
            raise ValueError(f"typical inputs '{extra['typical']}'")
        changes["typical"] = extra["typical"]
    return changes


def read_extras(node: ir.Node, f: Fields) -> ir.Node:
    """The node with what its metadata adds. Raises UsageError ND112 where that makes no sense."""
    found = f.metadata.get(METADATA)
    if not isinstance(found, str):
        return node
    extra = _object(found, f"node '{f.name}'")
    changes: dict[str, Any] = {}
    known = {field.name for field in fields(node)}
    if "semantics" in extra and "semantics" in known:
        changes["semantics"] = read_semantics(extra["semantics"], f"node '{f.name}'")
    if "bias" in extra and extra["bias"] is None and "bias" in known:
        changes["bias"] = None
    try:
        if isinstance(node, ir.Input):
            changes |= _read_input_extras(extra)
        if "refractory" in extra and "refractory" in known:
            changes["refractory"] = float(extra["refractory"])
            if not 0 <= changes["refractory"] < np.inf:
                raise ValueError(f"a refractory time of {changes['refractory']} s")
        if "integer" in extra and isinstance(node, ir.Linear | ir.Conv):
            changes["integer"] = _integer_weights(extra["integer"], f.metadata.get("delays"), node.weight.shape)
    except (KeyError, TypeError, ValueError) as error:
        raise f.bad("metadata", f"does not fit the node: {error}") from error
    return replace(node, **changes)


def _integer_weights(stated: Mapping[str, Any], delays: Any, shape: tuple[int, ...]) -> ir.IntegerWeights:
    """Raises KeyError, TypeError or ValueError for anything `write_extras` does not write."""
    bits, exponent, sign = int(stated["bits"]), int(stated["exponent"]), str(stated["sign"])
    if not 1 <= bits <= 32 or abs(exponent) > 32 or sign not in ("mixed", "excitatory", "inhibitory"):
        raise ValueError(f"weights of {bits} bits, exponent {exponent}, sign {sign}")
    if delays is not None:
        delays = np.asarray(delays).astype(np.int64)
        if delays.shape != shape or (delays < 0).any():
            raise ValueError(f"delays of shape {delays.shape} for weights of shape {shape}")
    return ir.IntegerWeights(bits, exponent, sign, delays)


def read_semantics(stated: Any, where: str) -> ir.Semantics:
    """Semantics from their JSON form. Raises UsageError ND112 for unknown fields or values."""
    allowed = {
        "integrator": ir.INTEGRATORS,
        "reset": ir.RESETS,
        "compare": ir.COMPARES,
        "synapse_gain": ir.SYNAPSE_GAINS,
        "membrane_gain": ir.MEMBRANE_GAINS,
        "if_gain": ("ode", "unit"),
    }
    known = {field.name for field in fields(ir.Semantics)}
    good = isinstance(stated, dict) and set(stated) <= known
    good = good and all(stated[key] in words for key, words in allowed.items() if key in stated)
    if good:
        try:
            for key, kind in (("dt", float), ("recurrent_delay", int), ("synapse_first", bool)):
                if key in stated:
                    stated = {**stated, key: kind(stated[key])}
            return ir.Semantics(**stated)
        except (TypeError, ValueError):
            pass
    raise UsageError("ND112", f"{where}: its metadata state no valid semantics", help="write the file again")


# -- the graph's metadata ----------------------------------------------------------------------------------------------


def write_graph_metadata(network: ir.Network) -> str:
    """What a Network holds beside nodes and edges, as JSON: a fixed text for a fixed network."""
    return json.dumps(
        {
            "format": 1,
            "name": network.name,
            "nodes": list(network.nodes),
            "semantics": asdict(network.semantics),
            "steps": network.steps,
            "decode": network.decode,
            **({"answer": list(network.answer)} if network.answer else {}),
            "settings": {key: dict(entry) for key, entry in network.settings.items()},
            "family": network.family,
        }
    )


def read_graph_metadata(tree: Tree) -> dict[str, Any] | None:
    """The JSON of `write_graph_metadata`, None for a file of another tool. Raises UsageError ND112, ND113."""
    metadata = tree.get("metadata", {})
    found = metadata.get(METADATA) if isinstance(metadata, dict) else None
    if not isinstance(found, str):
        return None
    stated = _object(found, "the graph")
    if stated.get("format") != 1:
        raise UsageError(
            "ND113",
            f"the graph was written in format {stated.get('format')} of ndeploy, this version reads 1",
            help="read the file with the version of ndeploy that wrote it, or a newer one",
        )
    return stated


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("ND112", f"{where}: its metadata are no JSON: {error}", help="write the file again") from error
    if not isinstance(found, dict):
        raise UsageError("ND112", f"{where}: its metadata are no JSON object", help="write the file again")
    return found
