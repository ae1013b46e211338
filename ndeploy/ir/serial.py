"""Frozen data as (JSON-like tree, named arrays) and back, without pickle.

numpy only: the Lava worker reads programs through this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ndeploy import neurons, synapses
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection

FORMAT = 2
"""Version of the tree; a reader refuses a higher one. 2 added updates, starts, answers and the graded kinds, all with
defaults, so that programs of version 1 are read as they were meant."""

_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Program,
        Population,
        Projection,
        Product,
        InputPort,
        OutputPort,
        *neurons.KINDS.values(),
        *synapses.KINDS.values(),
    )
}


def to_parts(program: Program) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The program as a JSON-like tree and the arrays it refers to by name ("a0", "a1", ...), in a fixed order."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return {"$": type(value).__name__, **{f.name: plain(getattr(value, f.name)) for f in fields(value)}}
        if isinstance(value, np.ndarray):
            name = f"a{len(arrays)}"
            arrays[name] = np.ascontiguousarray(value)
            return {"$array": name}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a Program cannot hold a {type(value).__name__}")

    return plain(program), arrays


def from_parts(tree: dict[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> Program:
    """The inverse of `to_parts`. Raises KeyError, TypeError or ValueError on a tree that is no program."""

    def build(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(build(item) for item in value)
        if isinstance(value, dict):
            if "$array" in value:
                return arrays[value["$array"]]
            if "$" in value:
                return _CLASSES[value["$"]](**{key: build(item) for key, item in value.items() if key != "$"})
            return {key: build(item) for key, item in value.items()}
        return value

    program = build(tree)
    if not isinstance(program, Program):
        raise TypeError("the tree does not hold a Program")
    return program
