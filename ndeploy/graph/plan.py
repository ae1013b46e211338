"""The order in which a Network is executed step by step, and where its loops are cut.

Carriers are the nodes whose value is kept: inputs, outputs, neurons, delays, joins, products, maximum pools and
graded nodes (activations, gates, norms, registers, ...). Between them lie linear nodes, evaluated on demand as terms.
A loop is cut at the path that leads back to a carrier which a depth-first walk from the inputs has already passed;
that path reads the value of `recurrent_delay` steps ago. What a linear node in the loop adds by itself (its bias) is
there from the first step. A register's path is never cut: the register itself is the delay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.discrete import NEURON_NODES, delay_steps
from ndeploy.graph.graded_shapes import GRADED
from ndeploy.ir import network as ir

MAX_PATHS = 100_000
"""Paths between carriers; more of them means a graph made to be slow."""


@dataclass(frozen=True)
class Value:
    """What a carrier put out `lag` steps ago (0 before the first step)."""

    carrier: str
    lag: int


@dataclass(frozen=True)
class Apply:
    """A linear node applied to the sum of earlier terms (indices). delay: only its synapses of that delay, or all."""

    node: str
    terms: tuple[int, ...]
    delay: int | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """terms: each refers only to terms before it. inputs: by carrier, the terms that are summed into it.

    operands: by product and gate, the terms that are summed into its left (value) and its right (gate) operand.
    order: carriers, sources before targets within a step. late: delay nodes and registers, whose output never depends
    on the same step; they come first in `order` and take their input last.
    history: how many past values of a carrier are read, 0 for none.
    """

    terms: tuple[Value | Apply, ...]
    inputs: Mapping[str, tuple[int, ...]]
    operands: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    order: tuple[str, ...]
    late: tuple[str, ...]
    history: Mapping[str, int]

    def reads(self, name: str) -> tuple[int, ...]:
        """All terms that enter a carrier."""
        left, right = self.operands.get(name, ((), ()))
        return (*self.inputs.get(name, ()), *left, *right)


def is_carrier(network: ir.Network, name: str) -> bool:
    """Whether the node's value is kept; all others are linear and evaluated on demand."""
    node = network.nodes[name]
    if isinstance(node, ir.Scale):
        # a Scale of ones that several edges enter is a residual join: a value of its own that others read
        return bool((node.scale == 1).all()) and len(network.sources(name)) > 1
    kept = (ir.Input, ir.Output, ir.Delay, ir.Product, ir.IntegerNeuron, *NEURON_NODES, *GRADED)
    return isinstance(node, kept) or (isinstance(node, ir.Pool) and node.kind == "max")


def plan(network: ir.Network) -> Plan:
    """Raises RefusedError ND202 (a linear node without input), ND206 (a loop that cannot be cut), ND201 (too many
    paths)."""
    return _Planner(network).plan()


@dataclass(frozen=True)
class Constant:
    """What is the same at every step: carriers, terms (indices). lasting: the terms of them that others read later."""

    carriers: frozenset[str]
    terms: frozenset[int]
    lasting: frozenset[int]


_STATELESS = (ir.Output, ir.Product, ir.Pool, ir.Scale, ir.Activation, ir.Gate, ir.LayerNorm, ir.Softmax)


def constant(network: ir.Network, made: Plan, inputs: Collection[str]) -> Constant:
    """What depends on nothing but those `inputs` (each one value for all steps) and keeps no state."""
    carriers: set[str] = set()
    known: dict[int, bool] = {}

    def same(i: int) -> bool:
        if i not in known:
            term = made.terms[i]
            if isinstance(term, Value):
                known[i] = term.lag == 0 and term.carrier in carriers
            else:
                known[i] = all(same(t) for t in term.terms)
        return known[i]

    # by the order of a step: what a carrier reads of the same step has been decided before it
    for name in made.order:
        if name in inputs or (isinstance(network.nodes[name], _STATELESS) and all(same(i) for i in made.reads(name))):
            carriers.add(name)
    terms = frozenset(i for i in range(len(made.terms)) if same(i))
    readers = [made.reads(name) for name in made.order if name not in carriers]
    readers += [term.terms for i, term in enumerate(made.terms) if isinstance(term, Apply) and i not in terms]
    return Constant(frozenset(carriers), terms, terms & {i for read in readers for i in read})


def last_reads(made: Plan) -> Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """By carrier: the carriers and terms that nothing reads in a step once this carrier has been computed."""
    end = len(made.order)
    last = [-1] * len(made.terms)
    for position, name in enumerate(made.order):
        for i in made.reads(name):
            last[i] = max(last[i], end if name in made.late else position)
    # terms refer to terms before them
    for i, term in reversed(list(enumerate(made.terms))):
        for t in term.terms if isinstance(term, Apply) else ():
            last[t] = max(last[t], last[i])
    until = {name: end if made.history.get(name) else position for position, name in enumerate(made.order)}
    for i, term in enumerate(made.terms):
        if isinstance(term, Value) and not term.lag:
            until[term.carrier] = max(until[term.carrier], last[i])
    done: dict[str, tuple[list[str], list[int]]] = {name: ([], []) for name in made.order}
    for carrier, position in until.items():
        if position < end:
            done[made.order[position]][0].append(carrier)
    for i, position in enumerate(last):
        if 0 <= position < end:
            done[made.order[position]][1].append(i)
    return {name: (tuple(carriers), tuple(terms)) for name, (carriers, terms) in done.items()}


Path = tuple[str, ...]


@dataclass
class _Planner:
    network: ir.Network
    terms: list[Value | Apply] = field(default_factory=list)
    known: dict[Value | Apply, int] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)

    def plan(self) -> Plan:
        network = self.network
        self.sources: dict[str, list[str]] = {name: [] for name in network.nodes}
        for source, target in network.edges:
            self.sources[target].append(source)
        self.carriers = [name for name in network.nodes if is_carrier(network, name)]
        self.kept = frozenset(self.carriers)
        self.late = tuple(name for name in self.carriers if self._never_now(name))
        self.paths = [(path, target) for target in self.carriers for path in self._paths(target)]
        self.back = self._back_paths()
        inputs: dict[str, tuple[int, ...]] = {}
        operands: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for name in self.carriers:
            node = network.nodes[name]
            if isinstance(node, ir.Product):
                operands[name] = (self._sum(name, (node.left,)), self._sum(name, (node.right,)))
            elif isinstance(node, ir.Gate):
                operands[name] = (self._sum(name, node.value), self._sum(name, node.gate))
            else:
                inputs[name] = self._sum(name, self.sources[name])
        return Plan(tuple(self.terms), inputs, operands, self._order(), self.late, dict(self.history))

    def _never_now(self, name: str) -> bool:
        node = self.network.nodes[name]
        if isinstance(node, ir.Register):
            return True
        return isinstance(node, ir.Delay) and int(delay_steps(node, self.network.semantics, name).min()) >= 1

    def _paths(self, target: str) -> Iterator[Path]:
        """Paths (carrier, linear nodes ..) into a carrier, in edge order."""
        count = 0
        stack: list[Path] = [(source,) for source in reversed(self.sources[target])]
        while stack:
            path = stack.pop()
            head = path[0]
            if head in self.kept:
                count += 1
                if count > MAX_PATHS:
                    raise RefusedError(
                        "ND201",
                        f"more than {MAX_PATHS} paths of linear nodes lead to node '{target}'",
                        help="fold the linear nodes before exporting the network",
                    )
                yield path
                continue
            if head in path[1:]:
                raise RefusedError(
                    "ND206",
                    f"nodes {', '.join(repr(p) for p in path)} form a loop without a neuron",
                    help="put a neuron or a Delay node into the loop",
                )
            if not self.sources[head]:
                raise RefusedError("ND202", f"node '{head}' has no input", help="connect it, or remove it")
            stack += [(source, *path) for source in reversed(self.sources[head])]

    def _back_paths(self) -> frozenset[tuple[Path, str]]:
        after: dict[str, list[tuple[Path, str]]] = {name: [] for name in self.carriers}
        for path, target in self.paths:
            if target not in self.late:
                after[path[0]].append((path, target))
        found: set[tuple[Path, str]] = set()
        walking: dict[str, bool] = {}
        entries = [name for name in self.carriers if isinstance(self.network.nodes[name], ir.Input)]
        for start in [*entries, *self.carriers]:
            if start in walking:
                continue
            walking[start] = True
            walk = [(start, iter(after[start]))]
            while walk:
                here, steps = walk[-1]
                for path, target in steps:
                    if walking.get(target):
                        if not isinstance(self.network.nodes[target], ir.Product):
                            found.add((path, target))
                    elif target not in walking:
                        walking[target] = True
                        walk.append((target, iter(after[target])))
                        break
                else:
                    walking[here] = False
                    walk.pop()
        return frozenset(found)

    def _sum(self, target: str, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(term for name in names for term in self._term(target, name, (), 0))

    def _term(self, target: str, name: str, below: Path, lag: int) -> list[int]:
        """Indices of the terms whose sum is what node `name` sends to `target` through the linear nodes `below`."""
        path = (name, *below)
        if name in self.kept:
            if (path, target) in self.back:
                lag += self.network.semantics.recurrent_delay
            self.history[name] = max(self.history.get(name, 0), lag)
            return [self._intern(Value(name, lag))]
        delays = getattr(getattr(self.network.nodes[name], "integer", None), "delays", None)
        extra = [None] if delays is None else [int(d) for d in np.unique(delays)]
        result = []
        for d in extra:
            children = [t for s in self.sources[name] for t in self._term(target, s, path, lag + (d or 0))]
            result.append(self._intern(Apply(name, tuple(children), d)))
        return result

    def _intern(self, term: Value | Apply) -> int:
        if term not in self.known:
            self.known[term] = len(self.terms)
            self.terms.append(term)
        return self.known[term]

    def _order(self) -> tuple[str, ...]:
        """Late delays, then the others with sources before targets over what is needed in the same step."""
        needs: dict[str, set[str]] = {name: set() for name in self.carriers}
        gives: dict[str, list[str]] = {name: [] for name in self.carriers}
        for path, target in self.paths:
            source = path[0]
            if target in self.late or (path, target) in self.back or source in needs[target]:
                continue
            needs[target].add(source)
            gives[source].append(target)
        waiting = {name: len(sources) for name, sources in needs.items()}
        ready = [name for name in (*self.late, *self.carriers) if not waiting[name]]
        order: list[str] = []
        for name in dict.fromkeys(ready):
            order.append(name)
        for name in order:  # grows while it is walked
            for target in gives[name]:
                waiting[target] -= 1
                if not waiting[target]:
                    order.append(target)
        if len(order) != len(self.carriers):
            stuck = next(name for name in self.carriers if name not in order)
            raise RefusedError(
                "ND206",
                f"node '{stuck}' is in a loop whose values would depend on themselves within one step",
                help="put a neuron or a Delay node of at least one step into the loop",
            )
        return tuple(order)
