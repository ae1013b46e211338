"""Nested NIR graphs to one flat graph: node "b" of subgraph "a" becomes "a.b".

A subgraph's Input and Output nodes only say where edges enter and leave; they vanish, and what led to them leads on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ndeploy.errors import RefusedError, UsageError
from ndeploy.graph.hdf5 import Tree

Edge = tuple[str, str]
MAX_EDGES = 1_000_000


def unnest(tree: Tree) -> tuple[dict[str, Tree], list[Edge], tuple[str, ...]]:
    """(nodes by flat name, edges in file order, notes on what was repaired) of a graph, or of a single node.

    Raises UsageError ND112 for a graph without nodes or edges and for edges that are no pairs of names, RefusedError
    ND201 for a subgraph with several inputs or outputs.
    """
    if tree.get("type") != "NIRGraph":
        return {"node": tree}, [], ()
    notes: list[str] = []
    nodes, edges = _flat(tree, "", notes)
    return nodes, edges, tuple(notes)


def _flat(tree: Tree, where: str, notes: list[str]) -> tuple[dict[str, Tree], list[Edge]]:
    called = f"graph '{where}'" if where else "the graph"
    found = tree.get("nodes")
    if not isinstance(found, dict) or not all(isinstance(node, dict) for node in found.values()):
        raise UsageError("ND112", f"{called} has no group of nodes", help="the file is incomplete; export it again")
    edges = _edges(tree, called)
    if len(set(edges)) != len(edges) and "ndeploy" not in tree.get("metadata", {}):
        # frameworks wrote an edge twice by mistake (snnTorch removes them on import); NIR allows each once
        notes.append(f"{called}: {len(edges) - len(set(edges))} repeated edges removed")
        edges = list(dict.fromkeys(edges))
    nodes: dict[str, Tree] = dict(found)
    for name, node in found.items():
        if node.get("type") == "NIRGraph":
            nodes, edges = _inline(name, node, where, nodes, edges, notes)
    return nodes, edges


def _edges(tree: Tree, called: str) -> list[Edge]:
    found: Any = tree.get("edges")
    if not isinstance(found, np.ndarray):
        raise UsageError("ND112", f"{called} has no edges", help="the file is incomplete; export it again")
    if found.size == 0:
        return []
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype != object or len(found) > MAX_EDGES:
        raise UsageError(
            "ND112",
            f"{called}: edges of shape {found.shape} are no list of pairs of names",
            help="the file is damaged or not NIR; export it again",
        )
    return [(str(a), str(b)) for a, b in found]


def _inline(
    name: str, node: Tree, where: str, nodes: dict[str, Tree], edges: list[Edge], notes: list[str]
) -> tuple[dict[str, Tree], list[Edge]]:
    """The graph with subgraph `name` in place of its node."""
    inside = f"{where}.{name}" if where else name
    sub_nodes, sub_edges = _flat(node, inside, notes)
    taken = set(nodes) - {name}
    renamed: dict[str, str] = {}
    for inner in sub_nodes:
        flat = f"{name}.{inner}"
        while flat in taken:
            flat += "_"
        renamed[inner] = flat
        taken.add(flat)
    entries, exits = _ends(sub_nodes, sub_edges)
    for what, found in (("inputs", entries), ("outputs", exits)):
        if len(found) > 1:
            raise RefusedError(
                "ND201",
                f"subgraph '{inside}' has {len(found)} {what} ({', '.join(found)}), and NIR does not say which edge "
                "goes to which",
                help="export the network without the subgraph, or with one input and one output in it",
            )
    inner_edges = [(renamed[a], renamed[b]) for a, b in sub_edges if a in renamed and b in renamed]
    lost = [e for e in sub_edges if e[0] not in renamed or e[1] not in renamed]
    if lost:
        raise UsageError(
            "ND202",
            f"subgraph '{inside}': edge '{lost[0][0]}' -> '{lost[0][1]}' names a node that does not exist",
            help="the file is inconsistent; export the network again",
        )
    joined: list[Edge] = []
    placed = False
    for a, b in edges:
        if name in (a, b) and not placed:
            joined += inner_edges
            placed = True
        source = renamed[exits[0]] if a == name and exits else a
        target = renamed[entries[0]] if b == name and entries else b
        joined.append((source, target))
    if not placed:
        joined += inner_edges
    flat_nodes: dict[str, Tree] = {}
    for key, value in nodes.items():
        if key == name:
            flat_nodes.update((renamed[inner], sub) for inner, sub in sub_nodes.items())
        else:
            flat_nodes[key] = value
    for inner in (*entries, *exits):
        if sub_nodes[inner].get("type") in ("Input", "Output"):
            joined = _bridge(renamed[inner], joined, inside)
            del flat_nodes[renamed[inner]]
    return flat_nodes, joined


def _ends(nodes: dict[str, Tree], edges: list[Edge]) -> tuple[list[str], list[str]]:
    """Where edges enter and leave a subgraph: its Input and Output nodes, else the nodes nothing leads to or from."""
    entries = [n for n, node in nodes.items() if node.get("type") == "Input"]
    exits = [n for n, node in nodes.items() if node.get("type") == "Output"]
    targets, sources = {b for _, b in edges}, {a for a, _ in edges}
    return entries or [n for n in nodes if n not in targets], exits or [n for n in nodes if n not in sources]


def _bridge(name: str, edges: list[Edge], inside: str) -> list[Edge]:
    """The edges without node `name`: whatever led to it leads to all its targets."""
    arriving = [a for a, b in edges if b == name]
    result: list[Edge] = []
    for a, b in edges:
        if b == name:
            continue
        result += [(source, b) for source in arriving] if a == name else [(a, b)]
        if len(result) > MAX_EDGES:
            raise UsageError(
                "ND111", f"subgraph '{inside}' leads to more than {MAX_EDGES} edges", help="export the network again"
            )
    return list(dict.fromkeys(result))
