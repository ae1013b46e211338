"""The text of `ndeploy inspect MODEL`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from ndeploy.ir.network import Network, Node
from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(network: Network) -> list[RenderableType]:
    """Nodes with their parameters' shapes, edges, settings with their origin."""

    steps = "the data decide" if network.steps is None else str(network.steps)
    nodes = style.grid("nodes", "name", "type", "parameters", "fed by")
    for name, node in network.nodes.items():
        nodes.add_row(
            style.plain(name),
            type(node).__name__,
            style.plain(_parameters(node)),
            style.plain(", ".join(network.sources(name))),
        )
    facts = {
        "network": network.name,
        "family": network.family or "-",
        "steps": steps,
        "answer": f"{network.decode} over steps",
        "size": f"{len(network.nodes)} nodes, {len(network.edges)} edges",
    }
    return [style.facts(facts), "", nodes, style.settings(network.settings)]


def _parameters(node: Node) -> str:
    shown = []
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, np.ndarray):
            if value.size == 1 or (value.size and (value == value.flat[0]).all()):
                shown.append(f"{field.name}={value.flat[0]:.6g}")
            else:
                shown.append(f"{field.name}[{style.shape(value.shape)}]")
        elif value is not None and value != "" and field.name not in ("semantics", "integer"):
            shown.append(f"{field.name}={value}")
    return " ".join(shown)
