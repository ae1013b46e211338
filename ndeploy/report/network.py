"""The text of `ndeploy inspect MODEL`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ndeploy.ir.network import Network, Node
from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType

_ELSEWHERE = ("shape", "output_shape", "input_shape", "semantics", "integer")
"""Fields that another column shows, or that are told in the settings."""
_NEUTRAL = {"stride": 1, "dilation": 1, "padding": 0}
"""What one says on every axis where it does nothing."""


def report(network: Network) -> list[RenderableType]:
    """Nodes with their shapes and parameters, edges, settings with their origin."""
    from ndeploy.graph.shapes import infer

    steps = "the data decide" if network.steps is None else str(network.steps)
    shapes = infer(network)
    nodes = style.grid("nodes", "name", "type", "shape", "parameters", "fed by")
    for name, node in network.nodes.items():
        nodes.add_row(
            style.plain(name),
            type(node).__name__,
            style.shape(shapes[name]),
            style.plain(_parameters(node)),
            style.plain(", ".join(network.sources(name))),
        )
    answer = f"{network.decode} over steps"
    size = f"{len(network.nodes)} nodes, {len(network.edges)} edges, {style.si(_numbers(network.nodes))} parameters"
    facts = {
        "network": network.name,
        "family": network.family or "-",
        "steps": steps,
        "answer": answer + (f", read as {style.shape(network.answer)}" if network.answer else ""),
        "size": size,
    }
    return [style.facts(facts), "", nodes, style.settings(network.settings)]


def _numbers(nodes: Mapping[str, Node]) -> int:
    """Values in all parameter arrays."""
    values = (getattr(node, field.name) for node in nodes.values() for field in fields(node))
    return sum(value.size for value in values if isinstance(value, np.ndarray))


def _parameters(node: Node) -> str:
    shown = (_parameter(field, getattr(node, field.name)) for field in fields(node))
    return " ".join(text for text in shown if text)


def _parameter(field: Field[Any], value: Any) -> str:
    """ "name=value", or "name[sizes]" of an array; empty for what says nothing."""
    if isinstance(value, np.ndarray):
        if value.size == 1 or (value.size and (value == value.flat[0]).all()):
            return f"{field.name}={value.flat[0]:.6g}"
        if field.name == "decay":
            return f"decay={value.min():.3g}..{value.max():.3g}"
        return f"{field.name}[{style.shape(value.shape)}]"
    if field.name in _ELSEWHERE or value is None or value is False or (isinstance(value, str | tuple) and not value):
        return ""
    if value is True:
        return field.name
    if isinstance(value, tuple):
        if all(isinstance(v, str) for v in value):
            return f"{field.name}={' + '.join(value)}"
        if field.name in _NEUTRAL:
            return "" if set(value) == {_NEUTRAL[field.name]} else f"{field.name}={style.shape(value)}"
        return f"{field.name}={style.shape(value)}"
    return "" if value == field.default and field.name in ("unit", "groups", "scale") else f"{field.name}={value}"
