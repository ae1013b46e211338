"""The reasons of a search, measured: what every layer's width adds to the loss, and what one bit less would."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ndeploy.decode import encode, for_data
from ndeploy.ir.lowered import RealConv
from ndeploy.quantizer import Quantised
from ndeploy.search.assignment import Assignment, Layer, mean_bits
from ndeploy.search.cost import bit_costs
from ndeploy.search.explanation import Explanation, LayerReason
from ndeploy.search.limits import Problem, packed_bytes
from ndeploy.search.measure import REFUSED, Context, Measurer
from ndeploy.search.signals import signal_reasons

if TYPE_CHECKING:
    from ndeploy.search.search import Found

COUNTED = 64
"""Samples over which firing rates are counted for NS-ACE."""


def explain(context: Context, measurer: Measurer, asked: Problem, found: Found, quantised: Quantised) -> Explanation:
    """What the search found and why, for reports and the artifact."""
    best, request = found.assignment, context.request
    restored = [_with(best, x.name, max(asked.options[x.name])) for x in asked.layers]
    narrowed = [_with(_widest(asked, best), x.name, best.weights[x.name]) for x in asked.layers]
    scores = measurer([*restored, *narrowed], "shares of the loss")
    count = len(asked.layers)
    gains = [max(found.score.loss - s.loss, 0.0) for s in scores[:count]]
    total = sum(gains)
    layers = []
    for i, layer in enumerate(asked.layers):
        alone = scores[count + i]
        layers.append(
            LayerReason(
                layer.name,
                best.weights[layer.name],
                layer.parameters,
                scale_kind(quantised, context, layer),
                -(-int(asked.size.costs[layer.name][best.weights[layer.name]]) // 8),
                gains[i] / total if total > 0 else 0.0,
                max(alone.loss - found.widest.loss, 0.0),
                alone.accuracy,
                _why(measurer, asked, found, layer),
            )
        )
    program = quantised.program
    data = context.data.spread(COUNTED)
    return Explanation(
        "uniform" if best.rounding == "plain" else "bit-budget",
        tuple(layers),
        signal_reasons(program, request.lowered, request.target, data),
        (),
        context.wanted.accuracy,
        found.score.accuracy,
        found.score.loss,
        "labels" if context.wanted.labelled else "float model",
        mean_bits(request.lowered, best.weights),
        packed_bytes(request, program),
        measurer.evaluations,
        _costs(quantised, context),
        request.budget.given,
        "; ".join(f"{limit.name} {_share(limit.taken(best.weights), limit.most)} used" for limit in asked.limits),
        _notes(context),
    )


def _notes(context: Context) -> tuple[str, ...]:
    """What the user should know of the labels."""
    wanted, y = context.wanted, context.data.y
    if wanted.decode == "none":
        said = "the network gives no answers: what counts is how near its outputs come to the float network's"
        return (said if y is None else f"{said}; the labels are not used",)
    if y is None:
        return ("the calibration data have no labels y: what counts is agreement with the float network",)
    if wanted.decode == "ctc":
        return ()
    classes = wanted.logits.shape[-1]
    beyond = int(((y < 0) | (y >= classes)).sum())
    said = (
        f"{beyond} of {y.size} labels of the calibration data are none of the {classes} classes, and no answer is right"
    )
    return (f"{said} there",) if beyond else ()


def scale_kind(quantised: Quantised, context: Context, layer: Layer) -> str:
    """Whether the layer's weights have a step for every channel, every neuron, or one for the population."""
    projection = next(p for p in context.request.lowered.projections if p.name == layer.name)
    units = [
        u for key, u in quantised.choices.unit.items() if key in (layer.target, f"{layer.target}.{projection.port}")
    ]
    if not units or all(np.size(u) == 1 for u in units):
        return "per population"
    return "per channel" if isinstance(projection.synapses, RealConv) else "per neuron"


def _widest(asked: Problem, best: Assignment) -> Assignment:
    return replace(best, weights={x.name: max(asked.options[x.name]) for x in asked.layers}, rounding="together")


def _with(assignment: Assignment, name: str, bits: int) -> Assignment:
    return replace(assignment, weights={**assignment.weights, name: bits})


def _why(measurer: Measurer, asked: Problem, found: Found, layer: Layer) -> str:
    best = found.assignment
    bits = best.weights[layer.name]
    if bits == min(asked.options[layer.name]):
        return "the narrowest there is"
    less = measurer.known.get(_with(best, layer.name, bits - 1).key())
    if less is not None and less.loss < REFUSED:
        change = less.loss - found.score.loss
        said = "no more" if change <= 0 else f"{change:.3g} nats more"
        accuracy = "" if less.accuracy is None else f", {100 * less.accuracy:.4g} % right"
        return f"with {bits - 1} bits the answers would lose {said}{accuracy}"
    alone = found.alone[layer.name].get(bits - 1)
    if alone is not None:
        return f"alone at {bits - 1} bits it costs {max(alone.loss - found.widest.loss, 0.0):.3g} nats"
    return "wide because the budget allows it"


def _share(taken: float, most: float) -> str:
    return f"{taken / most:.1%}" if most > 0 else "0 %"


def _costs(quantised: Quantised, context: Context) -> dict[str, float]:
    from ndeploy.sim import run

    data = context.data.spread(COUNTED)
    program = for_data(quantised.program, data.x)
    result = run(program, encode(program, data.x, data.x_scale))
    return bit_costs(program, result.counts)
