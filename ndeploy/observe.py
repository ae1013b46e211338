"""What the float network does on calibration data: the range of every value that is sent.

A quantiser needs to know how large graded messages get, and how often; weights do not say it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.graph.machine import Machine
from ndeploy.graph.reference import inputs
from ndeploy.histograms import BINS, FINE_BITS, Histogram, clip_ranges, largest_of
from ndeploy.ir import network as ir
from ndeploy.quantizer import Observed


def observe(
    network: ir.Network,
    data: Data,
    *,
    batch: int = 64,
    steps: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Mapping[str, Observed]:
    """Least and greatest value of every element of every kept node's output, over samples and model steps.

    Kept nodes are the network's carriers (see `graph.plan`): inputs, outputs, neurons, joins, products, graded nodes.
    Nothing is stored but the ranges, `batch` samples are in memory at a time. steps: None for the data's or the
    network's own. Raises UsageError ND204 (steps not known), ND502 (shape), ND503 (no samples), ND304 where a node puts
    out NaN or infinity, and what `Machine` raises.
    """
    machine = Machine(network, dtype)
    arrays, length = inputs(network, data.x, steps)
    low: dict[str, Tensor] = {}
    high: dict[str, Tensor] = {}

    def visit(name: str, k: int, value: Tensor, membrane: Tensor | None) -> None:
        least, greatest = torch.aminmax(value, dim=0)
        low[name] = torch.minimum(low[name], least) if name in low else least
        high[name] = torch.maximum(high[name], greatest) if name in high else greatest

    for start in range(0, len(data), batch):
        part = {name: value[start : start + batch] for name, value in arrays.items()}
        machine.run(part, length, data.x_scale, visit)
    return {name: _observed(name, low[name], high[name]) for name in low}


def histograms(
    network: ir.Network,
    data: Data,
    observed: Mapping[str, Observed],
    *,
    batch: int = 64,
    steps: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Histogram]:
    """Of the nodes in `observed`, over samples and model steps; values that are the same at every step count once.

    observed: what `observe` found on the same data. At most GROUPS x BINS counts a node are held, `batch` samples at a
    time. The counts do not depend on `batch`. Raises what `observe` raises.
    """
    machine = Machine(network, dtype)
    arrays, length = inputs(network, data.x, steps)
    largest = {name: largest_of(seen) for name, seen in observed.items()}
    counts = {name: torch.zeros(value.size * BINS, dtype=torch.int64) for name, value in largest.items()}
    unit = {name: torch.from_numpy(BINS / np.maximum(value, 1e-300)) for name, value in largest.items()}

    def visit(name: str, k: int, value: Tensor, membrane: Tensor | None) -> None:
        if name in counts:
            groups = unit[name].numel()
            at = value.reshape(len(value), groups, -1).abs().double() * unit[name][:, None]
            at = at.long().clamp_(0, BINS - 1) + torch.arange(groups)[:, None] * BINS
            counts[name] += torch.bincount(at.reshape(-1), minlength=groups * BINS)

    for start in range(0, len(data), batch):
        part = {name: value[start : start + batch] for name, value in arrays.items()}
        machine.run(part, length, data.x_scale, visit)
    return {name: Histogram(counts[name].reshape(-1, BINS).numpy(), largest[name]) for name in counts}


def ranges(
    network: ir.Network, data: Data, steps: int | None, how: str, bits_of: Mapping[str, int]
) -> Mapping[str, Observed]:
    """What `observe` finds, with ranges narrowed as `how` says (see `histograms.clip_ranges`): for `Request.observed`.

    network: in the form that observation needs (`passes.graded_form`). bits_of: payload by population, as
    `passes.graded_choices.message_bits` gives it. The network is run a second time unless nothing can be narrowed.
    Raises UsageError ND205 for an unknown `how`, and what `observe` raises.
    """
    observed = observe(network, data, steps=steps)
    narrow = {name: bits for name, bits in bits_of.items() if bits < FINE_BITS and name in observed}
    found: Mapping[str, Histogram] = {}
    if narrow and how != "range":
        found = histograms(network, data, {name: observed[name] for name in narrow}, steps=steps)
    rectified = frozenset(
        name for name, node in network.nodes.items() if isinstance(node, ir.Activation) and node.function == "relu"
    )
    return clip_ranges(observed, found, how, narrow, rectified)


def typical(network: ir.Network, samples: int, seed: int) -> Data | None:
    """Samples made up as every Input says its own look like; None where one does not say.

    "signs": -1 or +1, evenly; "normal": mean 0, variance 1. Of several inputs a sample holds all, flattened, in the
    network's order. The same seed gives the same samples.
    """
    nodes = [node for node in network.nodes.values() if isinstance(node, ir.Input)]
    rng = np.random.default_rng(seed)
    made = []
    for node in nodes:
        if node.typical == "signs":
            made.append(rng.integers(0, 2, (samples, *node.shape)) * 2.0 - 1.0)
        elif node.typical == "normal":
            made.append(rng.standard_normal((samples, *node.shape)))
        else:
            return None
    if not made:
        return None
    return Data(made[0] if len(made) == 1 else np.concatenate([x.reshape(samples, -1) for x in made], axis=1))


def _observed(name: str, low: Tensor, high: Tensor) -> Observed:
    found = Observed(*(v.numpy().astype(np.float64) for v in (low, high)))
    if not (np.isfinite(found.low).all() and np.isfinite(found.high).all()):
        raise UsageError(
            "ND304",
            f"node '{name}' puts out NaN or infinity on the calibration data",
            help="the training diverged, or the data are not scaled as the network expects (x_scale)",
        )
    return found
