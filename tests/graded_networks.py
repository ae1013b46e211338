"""Small networks of graded nodes with random weights: Continuous Thought Machines and what else may be drawn so."""

from __future__ import annotations

import numpy as np

from ndeploy.ir import network as net


class Drawing:
    """Nodes and edges under construction; every method returns the name of what it added."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: dict[str, net.Node] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: net.Node, *sources: str) -> str:
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.normal(0, 1 / np.sqrt(shape[-1]), size=shape)

    def linear(self, name: str, source: str, n_in: int, n_out: int, bias: bool = True) -> str:
        own = self.rng.normal(size=n_out) if bias else None
        return self.add(name, net.Linear(self.weights(n_out, n_in), own), source)

    def norm(self, name: str, shape: tuple[int, ...], axis: int, *sources: str) -> str:
        gain, offset = self.rng.uniform(0.5, 2, shape[axis]), self.rng.normal(size=shape[axis])
        return self.add(name, net.LayerNorm(shape, shape, axis, gain, offset), *sources)

    def sync(self, name: str, source: str, neurons: int, pairs: int, started: bool) -> str:
        left, right = self.rng.integers(0, neurons, (2, pairs))
        decay = np.where(self.rng.random(pairs) < 0.5, 1.0, self.rng.uniform(0.2, 1, pairs))
        alpha = self.rng.normal(size=pairs) if started else np.zeros(pairs)
        return self.add(name, net.Synchronisation(left, right, decay, alpha, np.full(pairs, float(started))), source)

    def network(self, decode: str = "most-certain") -> net.Network:
        return net.Network("drawn", self.nodes, tuple(self.edges), decode=decode)


def thinker(
    seed: int = 0,
    *,
    neurons: int = 6,
    memory: int = 3,
    attention: bool = True,
    unet: bool = False,
    deep: bool = True,
    decode: str = "most-certain",
) -> net.Network:
    """A Continuous Thought Machine, drawn as its converter draws it."""
    d = Drawing(seed)
    width, heads, tokens, hidden, pairs = 4, 2, 5, 2, 7
    d.add("x", net.Input((3, tokens), static=True))
    d.add("z", net.Register(d.rng.normal(size=neurons)))
    if attention:
        d.add("embed", net.Conv(d.weights(width, 3, 1), d.rng.normal(size=width)), "x")
        d.norm("kv", (width, tokens), 0, "embed")
        for name in ("k", "v"):
            d.add(f"{name}_proj", net.Conv(d.weights(width, width, 1), d.rng.normal(size=width)), "kv")
            d.add(name, net.Activation("identity", (width, tokens)), f"{name}_proj")
        d.sync("synch_action", "z", neurons, pairs, started=False)
        d.linear("q_proj", "synch_action", pairs, width)
        d.linear("in_proj_q", "q_proj", width, width)
        d.add("q", net.Activation("identity", (width,)), "in_proj_q")
        each = width // heads
        views = (heads, each), (heads, each, tokens)
        scores = net.Product("q", "k", *views, "hd,hdl->hl", (heads, tokens), each**-0.5)
        d.add("scores", scores, "q", "k")
        d.add("attention", net.Softmax((heads, tokens)), "scores")
        views = (heads, tokens), (heads, each, tokens)
        d.add("weigh", net.Product("attention", "v", *views, "hl,hdl->hd", (width,)), "attention", "v")
        d.add("context", net.Activation("identity", (width,)), "weigh")
        read = d.linear("out_proj", "context", width, width)
    else:
        read, width = "x", 3 * tokens
    if unet:
        _unet(d, read, width, neurons)
    else:
        names = {
            side: [d.linear(f"{side}_read", read, width, neurons), d.linear(f"{side}_z", "z", neurons, neurons, False)]
            for side in ("value", "gate")
        }
        d.add(
            "synapse",
            net.Gate(tuple(names["value"]), tuple(names["gate"]), (neurons,)),
            *names["value"],
            *names["gate"],
        )
        d.norm("pre", (neurons,), 0, "synapse")
    d.add("trace", net.Trace(d.rng.normal(size=(neurons, memory))), "pre")
    inner, length = "trace", memory
    if deep:
        inner = _gated(d, "hidden", inner, neurons, hidden, length)
        # hidden units of a neuron are its own channels: (D H, 1)
        length = hidden
    inner = _gated(d, "post", inner, neurons, 1, length, channels=deep)
    d.add("flat", net.Flatten((neurons, 1)), inner)
    d.edges.append(("flat", "z"))
    d.sync("synch_out", "flat", neurons, pairs, started=True)
    d.linear("logits", "synch_out", pairs, 3)
    d.add("output", net.Output((3,)), "logits")
    return d.network(decode)


def _gated(d: Drawing, name: str, source: str, neurons: int, units: int, taps: int, channels: bool = False) -> str:
    shape = (neurons * units, taps, 1) if channels else (neurons * units, 1, taps)
    for side in ("value", "gate"):
        d.add(f"{name}_{side}", net.Conv(d.weights(*shape), d.rng.normal(size=shape[0]), groups=neurons), source)
    sides = f"{name}_value", f"{name}_gate"
    return d.add(name, net.Gate(sides[:1], sides[1:], (neurons * units, 1)), *sides)


def _unet(d: Drawing, read: str, width: int, neurons: int) -> None:
    """Linear, layer norm and SiLU down and up, with skips."""
    sizes = [neurons, 4, 2]

    def block(name: str, sources: list[tuple[str, int]], n_out: int, final: str = "") -> str:
        sums = [d.linear(f"{name}_{i}", s, n, n_out, i == 0) for i, (s, n) in enumerate(sources)]
        d.norm(f"{name}_norm", (n_out,), 0, *sums)
        return d.add(final or name, net.Activation("silu", (n_out,)), f"{name}_norm")

    down = [block("first", [(read, width), ("z", neurons)], sizes[0])]
    for i in (1, 2):
        down.append(block(f"down{i}", [(down[-1], sizes[i - 1])], sizes[i]))
    up = down[-1]
    for i in (1, 0):
        raised = block(f"up{i}", [(up, sizes[i + 1])], sizes[i])
        up = d.norm(f"skip{i}" if i else "pre", (sizes[i],), 0, raised, down[i])


def oddities(seed: int = 0) -> net.Network:
    """What no converter draws, but the nodes allow: weighed and summed values into registers, traces and pairs; static
    values into all of them; joins, pools, delays and products between graded nodes."""
    d = Drawing(seed)
    n = 4
    d.add("x", net.Input((n,), static=True))
    d.add("s", net.Input((n,)))
    d.linear("a", "s", n, n)
    d.add("held", net.Register(d.rng.normal(size=n)), "a", "x")
    d.add("late", net.Delay(np.full(n, 2.0)), "held")
    d.linear("b", "late", n, n, bias=False)
    d.add("join", net.Scale(np.ones(n)), "b", "x", "held")
    d.add("relu", net.Activation("relu", (n,)), "join")
    d.add("trace", net.Trace(d.rng.normal(size=(n, 1))), "a", "relu")
    d.add("still", net.Register(d.rng.normal(size=n)), "x")
    d.add("sum", net.Scale(np.ones(n)), "relu", "still")
    d.sync("pairs", "sum", n, 5, started=True)
    d.sync("same", "x", n, 5, started=False)
    d.add("flat", net.Flatten((n, 1)), "trace")
    d.add("wise", net.Product("flat", "x", (n,), (n,), "a,a->a", (n,), 0.7), "flat", "x")
    d.linear("g", "pairs", 5, n)
    d.linear("f", "same", 5, n)
    d.add("gate", net.Gate(("wise", "relu"), ("g", "f", "x"), (n,)), "wise", "relu", "g", "f", "x")
    d.add("square", net.Product("x", "x", (n,), (n,), "a,b->ab", (n, n)), "x", "x")
    d.add("soft", net.Softmax((n, n)), "square")
    d.add("mean", net.Reduce((n, n), (1,), "mean"), "soft")
    d.linear("m", "mean", n, n)
    d.norm("norm", (n,), 0, "m", "gate")
    d.add("out", net.Output((n,)), "norm")
    d.add("flat_out", net.Output((n,)), "mean")
    return d.network()


def pools(seed: int = 0) -> net.Network:
    """Maximum pools of graded values: padded behind a ReLU, one on another, of any sign without padding."""
    d = Drawing(seed)
    d.add("x", net.Input((2, 8, 7), static=True))
    d.add("c", net.Conv(d.weights(3, 2, 3, 3), d.rng.normal(size=(3, 8, 7)), (1, 1), (1, 1)), "x")
    d.add("relu", net.Activation("relu", (3, 8, 7)), "c")
    d.add("first", net.Pool("max", (3, 3), (2, 2), (1, 1)), "relu")
    d.add("second", net.Pool("max", (2, 2), (1, 1)), "first")
    d.add("third", net.Pool("max", (1, 2), (1, 2)), "second")
    d.add("any", net.Pool("max", (4, 1), (2, 1)), "c")
    d.add("flat", net.Flatten((3, 3, 1)), "third")
    d.linear("w", "flat", 9, 4)
    d.add("host", net.Pool("max", (3, 1), (8, 7)), "x")
    d.add("host_flat", net.Flatten((2, 1, 1)), "host")
    d.linear("u", "host_flat", 2, 4)
    d.add("mean", net.Pool("average", (3, 7), (1, 1)), "any")
    d.linear("v", "mean", 3, 4)
    d.add("s", net.Register(np.zeros(4)), "w", "v", "u")
    d.add("out", net.Output((4,)), "s")
    return d.network()


GRADED_NETWORKS = {
    "ctm": lambda seed: thinker(seed),
    "shallow, memory of one": lambda seed: thinker(seed, deep=False, memory=1),
    "u-net": lambda seed: thinker(seed, unet=True),
    "no attention, ctc": lambda seed: thinker(seed, attention=False, decode="ctc"),
    "oddities": oddities,
    "maximum pools": pools,
}
