"""Weights of graded populations rounded by what their neurons' sums lose, and biases that take up the mean of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.lowered import FloatArray, Lowered, RealConv, RealPopulation, RealProjection
from ndeploy.moments import Moments, weighed
from ndeploy.passes.along import by_row, columns, largest_by_row, sum_by_row
from ndeploy.passes.codings import top
from ndeploy.passes.graded_units import REACH, port_key, source_coding, weighted_ports
from ndeploy.passes.rounding import by_column, mean_square, metric, refined, round_together
from ndeploy.quantizer import Choices

STRETCHES = tuple(2.0 ** (i / 12) for i in range(12))
"""How much coarser a row's unit may get where its weights then lie nearer to whole numbers."""
CLIPS = tuple(2.0 ** (-i / 6) for i in range(1, 11))
"""How much finer a row's unit may get where weights have few bits: its largest weights are then clipped."""
CLIPPED_BITS = 6
"""Widths from which nothing is clipped."""
GROWTH = 1.5
"""How much further than before a sum may reach: half of the state is left beyond `graded_units.REACH`."""
SMALL = 1 << 16
"""Weights of a port for which every stretch is tried: beyond, one costs seconds and gains little."""
WIDE = 256
"""Columns, likewise."""


def second_order(
    lowered: Lowered, choices: Choices, moments: Mapping[str, Moments], memo: dict[Any, Any] | None = None
) -> Choices:
    """The choices with mantissas, row units and bias corrections for every port whose moments are known.

    memo: ports rounded before, for calls with the same network and moments.
    """
    memo = {} if memo is None else memo
    weights: dict[str, npt.NDArray[np.int16]] = dict(choices.weights)
    unit, bias, message = dict(choices.unit), dict(choices.bias), dict(choices.message)
    for population in lowered.populations:
        for port in weighted_ports(population):
            key = port_key(population.name, port)
            if key not in moments:
                continue
            known = _key(lowered, choices, population, key, port)
            if known not in memo:
                memo[known] = _port(lowered, choices, population, key, moments[key])
            found, stretch, correction = memo[known]
            weights |= found
            full = np.broadcast_to(choices.unit[key], population.shape)
            unit[key] = full * stretch.reshape(full.shape)
            bias[key] = correction.reshape(population.shape)
            for p in lowered.into(population.name):
                if p.port == port and p.unit:  # a sum of weighed changes has the unit of the port
                    unit[p.source] = unit[key]
                    message[p.source] = replace(message[p.source], scale=unit[key])
    return replace(choices, weights=weights, unit=unit, bias=bias, message=message)


def _key(lowered: Lowered, choices: Choices, population: RealPopulation, key: str, port: str) -> tuple[object, ...]:
    """All that a port's rounding depends on."""
    parts: list[object] = [key, np.asarray(choices.unit[key]).tobytes()]
    for p in weighed(lowered, population.name, port):
        scale = np.asarray(_source_scale(choices, p.source))
        parts += [p.name, choices.bits[p.name], choices.own_exponent.get(p.name, 0), scale.tobytes()]
        parts.append(_largest(lowered, choices, p))
    return tuple(parts)


def _port(
    lowered: Lowered, choices: Choices, population: RealPopulation, key: str, moments: Moments
) -> tuple[dict[str, npt.NDArray[np.int16]], FloatArray, FloatArray]:
    """(mantissas by projection, stretch of the unit by neuron, what to add to the bias by neuron)."""
    into = [next(p for p in lowered.projections if p.name == name) for name in moments.projections]
    real = [_in_steps(lowered, choices, population, key, p) for p in into]
    groups = len(moments.mean)
    size = math.prod(population.shape)
    steps = np.concatenate([_message_steps(lowered, choices, p, groups) for p in into], axis=1)
    limit = np.concatenate(
        [np.full(w.shape[-1], top(choices.bits[p.name], True)) for p, w in zip(into, real, strict=True)]
    )
    weight = np.concatenate(real, axis=2)
    covariance = moments.covariance * steps[:, :, None] * steps[:, None, :]
    factors = STRETCHES[1:] if weight.size <= SMALL and weight.shape[2] <= WIDE else ()
    lowest = -limit
    if max(choices.bits[p.name] for p in into) < CLIPPED_BITS:
        factors, lowest = (*CLIPS, *STRETCHES[1:]), -limit - 1.0
    rows = weight.shape[:2]
    finest, beside = _others(lowered, choices, population, key, into, rows)
    rounded, stretch = _best(weight, covariance, limit.astype(np.float64), lowest.astype(np.float64), factors, finest)
    largest = np.concatenate(
        [np.full(w.shape[-1], _largest(lowered, choices, p)) for p, w in zip(into, real, strict=True)]
    )
    # the unit was chosen for the weights as they are: a row whose sum could now outgrow its state stays at nearest
    beside = beside + _bias_reach(choices, population, key, rows)
    mean = (moments.mean * steps)[:, :, None]
    error = ((weight - rounded * stretch[:, :, None]) @ mean)[:, :, 0]
    before = np.abs(weight) @ largest + beside
    after = np.abs(rounded) @ largest + (beside + np.abs(error)) / stretch
    wide = (after > GROWTH * before) & (after > GROWTH * REACH)
    rounded = np.where(wide[..., None], np.clip(np.rint(weight), -limit, limit), rounded)
    stretch = np.where(wide, 1.0, stretch)
    error = ((weight - rounded * stretch[:, :, None]) @ mean)[:, :, 0]
    mantissas: dict[str, npt.NDArray[np.int16]] = {}
    first = 0
    for p, w in zip(into, real, strict=True):
        part = rounded[:, :, first : first + w.shape[2]]
        mantissas[p.name] = part.reshape(p.synapses.weight.shape).astype(np.int16)
        first += w.shape[2]
    unit = np.broadcast_to(choices.unit[key], population.shape).reshape(-1)
    per_neuron = size // (error.size)
    return (
        mantissas,
        np.repeat(stretch.reshape(-1), per_neuron),
        np.repeat(error.reshape(-1), per_neuron) * unit,
    )


def _largest(lowered: Lowered, choices: Choices, p: RealProjection) -> float:
    """The largest message of the projection's source, in units of the port's sum for a mantissa of one."""
    _, most = source_coding(lowered, p.source, choices.message, choices.inputs)
    return float(most * 2.0 ** choices.own_exponent.get(p.name, 0))


def _in_steps(
    lowered: Lowered, choices: Choices, population: RealPopulation, key: str, p: RealProjection
) -> FloatArray:
    """Weights in units of their mantissas, (groups, rows, columns)."""
    scale = _source_scale(choices, p.source)
    weight = p.synapses.weight * columns(p.synapses, scale, lowered.population(p.source).shape)
    step = np.asarray(choices.unit[key] * 2.0 ** choices.own_exponent.get(p.name, 0))
    weight = weight / by_row(p.synapses, step, population.shape)
    groups = p.synapses.groups if isinstance(p.synapses, RealConv) else 1
    return np.asarray(weight.reshape(groups, weight.shape[0] // groups, -1))


def _source_scale(choices: Choices, name: str) -> FloatArray:
    if name in choices.message:
        return choices.message[name].scale
    return np.asarray(choices.inputs[name].scale if name in choices.inputs else 1.0)


def _message_steps(lowered: Lowered, choices: Choices, p: RealProjection, groups: int) -> FloatArray:
    """What turns a real value into messages times 2^exponent, what a mantissa of one makes of it: (groups, columns)."""
    shape = lowered.population(p.source).shape
    scale = np.broadcast_to(_source_scale(choices, p.source), shape).reshape(-1)
    step = 2.0 ** choices.own_exponent.get(p.name, 0) / scale
    if isinstance(p.synapses, RealConv):  # neurons of a channel share their message's scale
        step = np.repeat(step.reshape(p.synapses.in_shape[0], -1)[:, 0], math.prod(p.synapses.weight.shape[2:]))
    return np.asarray(step.reshape(groups, -1))


def _others(
    lowered: Lowered,
    choices: Choices,
    population: RealPopulation,
    key: str,
    into: list[RealProjection],
    rows: tuple[int, ...],
) -> tuple[FloatArray, FloatArray]:
    """Of the weights that end on the port and are not rounded together: by row, the least stretch at which they fit
    their bits, and what they can add to the sum, in units."""
    finest, reach = np.zeros(rows), np.zeros(rows)
    for p in weighed(lowered, population.name, key.removeprefix(population.name).removeprefix(".") or "in"):
        if any(p.name == q.name for q in into):
            continue
        source = lowered.population(p.source)
        step = np.asarray(choices.unit[key] * 2.0 ** choices.own_exponent.get(p.name, 0))
        size = np.abs(p.synapses.weight) * columns(p.synapses, _source_scale(choices, p.source), source.shape)
        size = size / by_row(p.synapses, step, population.shape)
        widest = np.broadcast_to(largest_by_row(p.synapses, size, population.shape), population.shape)
        together = np.broadcast_to(sum_by_row(p.synapses, size, population.shape), population.shape)
        finest = np.maximum(finest, _by_rows(widest, rows) / top(choices.bits[p.name], True))
        reach = reach + _by_rows(together, rows) * _largest(lowered, choices, p)
    return finest, reach


def _by_rows(value: FloatArray, rows: tuple[int, ...]) -> FloatArray:
    """The largest of the neurons that share a row of weights."""
    return np.asarray(value.reshape(math.prod(rows), -1).max(axis=1).reshape(rows))


def _bias_reach(choices: Choices, population: RealPopulation, key: str, rows: tuple[int, ...]) -> FloatArray:
    """The largest |bias| of every row, in units of the port: (groups, rows)."""
    bias = population.bias if key == population.name else population.biases.get(key.rpartition(".")[2])
    if bias is None:
        return np.zeros(rows)
    return _by_rows(np.abs(np.broadcast_to(bias / choices.unit[key], population.shape)), rows)


def _best(
    weight: FloatArray,
    covariance: FloatArray,
    limit: FloatArray,
    lowest: FloatArray,
    factors: tuple[float, ...],
    finest: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Mantissas and stretch of every row, of the stretches tried, from `finest` up, the one that loses least."""
    cost = metric(covariance)
    best, stretch = round_together(weight, cost, limit, lowest), np.ones(weight.shape[:2])
    if not factors:
        return best, stretch
    least = mean_square(weight - best, cost.c)
    other, chosen, lost = best, stretch, np.full(least.shape, np.inf)
    for factor in factors:
        tried = by_column(weight / factor, cost, limit, lowest)
        error = mean_square(weight - tried * factor, cost.c)
        better = (error < lost) & (factor >= finest * (1 - 1e-9))
        other = np.where(better[..., None], tried, other)
        chosen, lost = np.where(better, factor, chosen), np.minimum(error, lost)
    other = refined(weight / chosen[..., None], other, cost.c, limit, lowest)
    better = np.isfinite(lost) & (mean_square(weight - other * chosen[..., None], cost.c) < least)
    return np.where(better[..., None], other, best), np.where(better, chosen, stretch)
