"""A compact Continuous Thought Machine, written for this project from the paper (arXiv 2505.05522).

A Continuous Thought Machine thinks in internal *ticks* over one constant input. Every neuron keeps the last M
pre-activations that reached it and has weights of its own to turn that history into its next activation. What the
network looks at and what it answers are read not from activations but from how pairs of neurons move together.
One tick, with B samples, D neurons, M remembered pre-activations, S synchronised pairs, E channels and L tokens:

    action synchronisation (B, S) --q--> attention over the tokens (B, L, E) --> context (B, E)
    [context, z] --synapses--> pre-activations (B, D) --> the newest column of the trace (B, D, M)
    trace --neuron-level models--> post-activations z (B, D) --> output synchronisation (B, S) --> logits, certainty

The names of parameters and buffers are those of the public code base, and `save` writes its checkpoint layout, so that
whatever reads those checkpoints reads these.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Config:
    """Everything that fixes the shape of a machine; the names are those of the public training options."""

    task: str
    """parity, digits, ...: for the reader only."""
    out_dims: int
    """Number of logits."""
    prediction_reshaper: tuple[int, ...] = (-1,)
    """How the logits are read: (-1,) one class, (L, 2) a choice of two at each of L positions."""
    iterations: int = 10
    """Ticks a sample."""
    d_model: int = 64
    """D, neurons."""
    d_input: int = 32
    """E, channels of tokens, queries and context; of the input itself where heads = 0."""
    heads: int = 4
    """Heads of attention; 0: no attention, the input enters the synapses at every tick."""
    n_synch_out: int = 32
    n_synch_action: int = 32
    """Neurons (random, first-last) or pairs of neurons (random-pairing) that are synchronised."""
    neuron_select_type: str = "random-pairing"
    n_random_pairing_self: int = 0
    """Pairs of a neuron with itself, for random-pairing."""
    memory_length: int = 8
    """M, pre-activations a neuron remembers."""
    memory_hidden_dims: int = 4
    """Hidden units of each neuron's own model."""
    backbone_type: str = "none"
    """parity_backbone: +1 and -1 become learnt vectors. none: the input holds the tokens, (B, channels, L...)."""
    positional_embedding_type: str = "none"
    """custom-rotational-1d: a vector turned by half a circle from first to last token, then projected. Or none."""
    channels: int | None = None
    img_size: str | None = None
    """Of the input where backbone_type is none and heads > 0: its channels, and its tokens as "HEIGHTxWIDTH"."""
    synapse_depth: int = 1
    """1: one gated layer. The public code also has U-Nets (deeper); this one does not."""
    deep_memory: bool = True
    do_normalisation: bool = False
    """Neuron-level models with a hidden layer and without layer norm: the only kind here."""
    seed: int = 0
    """Of the weights and of the choice of neurons."""


class Tick(NamedTuple):
    """What one tick computed; samples come first."""

    logits: Tensor
    pre: Tensor
    post: Tensor
    synch_out: Tensor
    synch_action: Tensor | None
    attention: Tensor | None


class PrivateLinear(nn.Module):
    """One linear layer for each neuron: (B, D, inputs) -> (B, D, outputs), divided by a learnt temperature T."""

    def __init__(self, inputs: int, outputs: int, neurons: int) -> None:
        super().__init__()
        bound = (inputs + outputs) ** -0.5
        self.w1 = nn.Parameter(torch.empty(inputs, outputs, neurons).uniform_(-bound, bound))
        self.b1 = nn.Parameter(torch.zeros(1, neurons, outputs))
        self.T = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        # a matrix product batched over the neurons: (D, B, inputs) @ (D, inputs, outputs)
        private = torch.bmm(x.transpose(0, 1), self.w1.permute(2, 0, 1)).transpose(0, 1)
        return (private + self.b1) / self.T


class ParityBackbone(nn.Module):
    """+1 and -1 become learnt vectors: (B, L) -> (B, E, L)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding((x == 1).long()).transpose(1, 2)


class RotationalEmbedding(nn.Module):
    """Position as an angle: token i of L gets the projection of (0, 1) turned by i / (L - 1) of half a circle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(2, channels)

    def forward(self, features: Tensor) -> Tensor:
        angle = torch.linspace(0, torch.pi, features.shape[-1], device=features.device)
        turned = torch.stack((-angle.sin(), angle.cos()), dim=-1)
        return self.projection(turned).transpose(0, 1)  # (E, L)


class Attention(nn.Module):
    """Multi-head attention of one query; keys and values are constant over the ticks and computed once."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * channels, channels)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, L, E) -> keys and values, each (B, heads, L, E / heads)."""
        e = tokens.shape[-1]
        both = F.linear(tokens, self.in_proj_weight[e:], self.in_proj_bias[e:])
        k, v = both.unflatten(-1, (2, self.heads, e // self.heads)).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(self, query: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """query (B, E) -> context (B, E) and the weights (B, heads, L)."""
        e = query.shape[-1]
        q = F.linear(query, self.in_proj_weight[:e], self.in_proj_bias[:e]).unflatten(-1, (self.heads, -1))
        weights = torch.einsum("bhd,bhld->bhl", q, k).mul((e // self.heads) ** -0.5).softmax(dim=-1)
        return self.out_proj(torch.einsum("bhl,bhld->bhd", weights, v).flatten(1)), weights


class ContinuousThoughtMachine(nn.Module):
    """Input -> logits and certainties of every tick; `ticks` yields what lies between."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.synapse_depth != 1 or not config.deep_memory or config.do_normalisation:
            raise ValueError("this model has gated one-layer synapses and deep neuron-level models without layer norm")
        torch.manual_seed(config.seed)
        self.config = c = config
        D, E, M, H = c.d_model, c.d_input, c.memory_length, c.memory_hidden_dims

        self.start_activated_state = nn.Parameter(torch.empty(D).uniform_(-(D**-0.5), D**-0.5))
        self.start_trace = nn.Parameter(torch.empty(D, M).uniform_(-((D + M) ** -0.5), (D + M) ** -0.5))
        outs = self._select("out", c.n_synch_out)

        self.backbone = ParityBackbone(E) if c.backbone_type == "parity_backbone" else nn.Identity()
        rotational = c.positional_embedding_type == "custom-rotational-1d"
        self.positional_embedding = RotationalEmbedding(E) if rotational else None
        if c.heads:
            actions = self._select("action", c.n_synch_action)
            self.kv_proj = nn.Sequential(nn.Linear(c.channels or E, E), nn.LayerNorm(E))
            self.q_proj = nn.Linear(actions, E)
            self.attention = Attention(E, c.heads)

        # the empty places keep the public numbering: dropout comes first there
        self.synapses = nn.Sequential(nn.Identity(), nn.Linear(E + D, 2 * D), nn.GLU(), nn.LayerNorm(D))
        self.trace_processor = nn.Sequential(
            nn.Sequential(PrivateLinear(M, 2 * H, D), nn.GLU(), PrivateLinear(H, 2, D), nn.GLU(), nn.Flatten(1))
        )
        self.output_projector = nn.Sequential(nn.Linear(outs, c.out_dims))

    # -- synchronisation -----------------------------------------------------------------------------------------------

    def _select(self, name: str, n: int) -> int:
        """Choose the neurons whose products are followed, and a decay for each product; returns their number."""
        D, kind = self.config.d_model, self.config.neuron_select_type
        if kind == "first-last":
            left = right = torch.arange(n) if name == "out" else torch.arange(D - n, D)
        elif kind in ("random", "random-pairing"):
            left, right = torch.randint(D, (n,)), torch.randint(D, (n,))
            if kind == "random-pairing":
                own = self.config.n_random_pairing_self
                right = torch.cat((left[:own], right[own:]))
        else:
            raise ValueError(f"neuron_select_type '{kind}' is not random, random-pairing or first-last")
        self.register_buffer(f"{name}_neuron_indices_left", left)
        self.register_buffer(f"{name}_neuron_indices_right", right)
        size = n if kind == "random-pairing" else n * (n + 1) // 2
        self.register_parameter(f"decay_params_{name}", nn.Parameter(torch.zeros(size)))
        return size

    def _products(self, name: str, z: Tensor) -> Tensor:
        """The products of the selected neurons' activations: of pairs, or of all with all (upper triangle)."""
        left = z[:, self.get_buffer(f"{name}_neuron_indices_left")]
        right = z[:, self.get_buffer(f"{name}_neuron_indices_right")]
        if self.config.neuron_select_type == "random-pairing":
            return left * right
        i, j = torch.triu_indices(left.shape[1], left.shape[1])
        return left[:, i] * right[:, j]

    def _retention(self, name: str) -> Tensor:
        """What an accumulator keeps from tick to tick, (S,): exp(-decay), decays clamped to 0..15."""
        return torch.exp(-self.get_parameter(f"decay_params_{name}").clamp(0, 15))

    # -- the machine ---------------------------------------------------------------------------------------------------

    def tokens(self, x: Tensor) -> Tensor:
        """The input as tokens: (B, L, E), after positions, projection and layer norm."""
        features = self.backbone(x)
        if self.positional_embedding is not None:
            features = features + self.positional_embedding(features)
        return self.kv_proj(features.flatten(2).transpose(1, 2))

    def ticks(self, x: Tensor) -> Iterator[Tick]:
        """Think about x, one tick at a time. Stop whenever you like."""
        batch = x.shape[0]
        keep_action = keys_values = None
        if self.config.heads:
            keys_values = self.attention.keys_values(self.tokens(x))
            keep_action = self._retention("action")
        keep_out = self._retention("out")

        z = self.start_activated_state.expand(batch, -1)
        trace = self.start_trace.expand(batch, -1, -1)
        alpha_action, beta_action = torch.zeros(()), torch.zeros(())
        alpha_out, beta_out = self._products("out", z), torch.ones(())  # the output has already seen the start state

        for _ in range(self.config.iterations):
            synch_action = weights = None
            if keys_values is None or keep_action is None:
                seen = x
            else:
                alpha_action = keep_action * alpha_action + self._products("action", z)
                beta_action = keep_action * beta_action + 1
                synch_action = alpha_action / beta_action.sqrt()
                seen, weights = self.attention(self.q_proj(synch_action), *keys_values)

            pre = self.synapses(torch.cat((seen, z), dim=-1))
            trace = torch.cat((trace[:, :, 1:], pre.unsqueeze(-1)), dim=-1)
            z = self.trace_processor(trace)

            alpha_out = keep_out * alpha_out + self._products("out", z)
            beta_out = keep_out * beta_out + 1
            synch_out = alpha_out / beta_out.sqrt()
            yield Tick(self.output_projector(synch_out), pre, z, synch_out, synch_action, weights)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, out_dims, T) and certainties (B, T)."""
        logits = torch.stack([tick.logits for tick in self.ticks(x)], dim=-1)
        return logits, certainty(logits, self.config.prediction_reshaper)


def choices(logits: Tensor, reshaper: tuple[int, ...]) -> Tensor:
    """(B, out_dims, T) -> (B, positions, classes, T)."""
    return logits.unsqueeze(1) if reshaper == (-1,) else logits.unflatten(1, reshaper)


def certainty(logits: Tensor, reshaper: tuple[int, ...]) -> Tensor:
    """1 - entropy / log(classes), the mean over the positions: (B, T), 1 where the machine has no doubt."""
    log_p = choices(logits, reshaper).log_softmax(dim=2)
    entropy = -(log_p.exp() * log_p).sum(dim=2)
    return 1 - entropy.mean(dim=1) / torch.tensor(float(log_p.shape[2])).log()


def answer(logits: Tensor, certainties: Tensor, reshaper: tuple[int, ...]) -> Tensor:
    """The classes (B, positions) at each sample's most certain tick."""
    tick = certainties.argmax(dim=-1)
    return choices(logits, reshaper)[torch.arange(len(logits)), ..., tick].argmax(dim=2)


def save(path: Path, model: ContinuousThoughtMachine, iteration: int, **more: Any) -> None:
    """Write a checkpoint in the public layout: weights, options, iteration; more: losses, accuracies."""
    args = {name: value for name, value in asdict(model.config).items() if value is not None}
    args |= {"dataset": model.config.task, "prediction_reshaper": list(model.config.prediction_reshaper)}
    state = {"model_state_dict": model.state_dict(), "args": argparse.Namespace(**args), "iteration": iteration}
    torch.save({**state, **more}, path)


def load(path: Path) -> ContinuousThoughtMachine:
    """The machine in a checkpoint that `save` wrote."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        stored = torch.load(path, map_location="cpu", weights_only=True)
    fields = Config.__dataclass_fields__
    options = {name: value for name, value in vars(stored["args"]).items() if name in fields}
    options["prediction_reshaper"] = tuple(options["prediction_reshaper"])
    model = ContinuousThoughtMachine(Config(**options))
    model.load_state_dict(stored["model_state_dict"])
    return model
