"""Graded nodes as the fields of an extension node "ndeploy.v1.<class>", and back, taken as coming from a stranger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ndeploy.graph import names
from ndeploy.graph.fields import Fields
from ndeploy.graph.graded_shapes import GRADED, Graded, fault
from ndeploy.graph.hdf5 import Tree
from ndeploy.ir import network as ir


def write_graded(node: Graded) -> Tree:
    """One dataset a field: arrays as they are, shapes as whole numbers, node names as they are named in the file."""
    return {field.name: _stored(getattr(node, field.name)) for field in fields(node)}


def _stored(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(v, str) for v in value):
        return np.array([names.encode(v) for v in value], dtype=object)
    return np.array(value, dtype=np.int64) if isinstance(value, tuple) else value


def read_graded(kind: str, f: Fields) -> ir.Node | None:
    """The node of a class `kind`, None where that is no graded node.

    Raises UsageError ND112 for a field that is missing or makes no sense, ND304 where it is not finite, ND111 where a
    shape is out of bounds.
    """
    if kind not in _READERS:
        return None
    node = _READERS[kind](f)
    found = fault(node)
    if found is not None:
        raise f.bad(*found)
    return node


def _activation(f: Fields) -> Graded:
    return ir.Activation(f.text("function"), f.shape("shape"))


def _gate(f: Fields) -> Graded:
    return ir.Gate(_names(f, "value"), _names(f, "gate"), f.shape("shape"))


def _names(f: Fields, key: str) -> tuple[str, ...]:
    try:
        return tuple(names.decode(name) for name in f.texts(key))
    except UnicodeDecodeError as error:
        raise f.bad(key, "holds what is no node name") from error


def _layer_norm(f: Fields) -> Graded:
    return ir.LayerNorm(
        f.shape("shape"),
        f.shape("view"),
        f.integer("axis"),
        f.array("gain", 1),
        f.array("offset", 1),
        float(f.array("epsilon", 0)),
    )


def _softmax(f: Fields) -> Graded:
    return ir.Softmax(f.shape("shape"))


def _register(f: Fields) -> Graded:
    return ir.Register(f.array("start"))


def _trace(f: Fields) -> Graded:
    return ir.Trace(f.array("start", 2))


def _synchronisation(f: Fields) -> Graded:
    return ir.Synchronisation(
        f.integers("left"), f.integers("right"), f.array("decay", 1), f.array("alpha", 1), f.array("beta", 1)
    )


_READERS: Mapping[str, Callable[[Fields], Graded]] = dict(
    zip(
        (cls.__name__ for cls in GRADED),
        (_activation, _gate, _layer_norm, _softmax, _register, _trace, _synchronisation),
        strict=True,
    )
)
