"""The arguments lava-nc 0.10.0's own processes take for our neurons and synapses, or the reason why they do not fit.

Each function returns keyword arguments under which Lava's fixed-point CPU model computes exactly what docs/program.md
defines, or raises `NotNative`. Sources: lava-nc 0.10.0 `lava/proc/*/models.py`. numpy only: `ndeploy verify` lists the
mapping without Lava.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ndeploy.fixed import STATE_SHIFT, IntArray
from ndeploy.ir.program import Population, Projection
from ndeploy.neurons import (
    Compare,
    CubaLi,
    CubaLif,
    Delta,
    Message,
    Parameter,
    ProductNeuron,
    Relay,
    Sigma,
    SigmaDelta,
    TernaryLif,
)
from ndeploy.synapses import Conv, Dense, Sparse, Synapses

Arguments = dict[str, Any]

INT32 = 2**31 - 1
UNREACHABLE = 1 << 17
"""A threshold mantissa the membrane cannot exceed: 2^17 << 6 = 2^23, one more than the largest membrane potential."""
LARGEST_DELAY = 63
CONV_CALLS = 2048
"""Lava's Conv makes one scipy call a pair of channels, about 20 us each; beyond this Sparse is quicker."""
SPARSE_SYNAPSES = 4_000_000
"""Beyond this many synapses Lava's Sparse (and dense delay) matrices cost gigabytes."""
CONV_WIDTH = 2**23
"""Lava's Conv wraps its sum to 24 bits."""


class NotNative(Exception):  # noqa: N818 - a decision, not an error
    """Lava's own process would not compute this; the message says why."""


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise NotNative(reason)


def _flat(value: Parameter, population: Population) -> int | IntArray:
    """A scalar as int, an array broadcast to the population and flattened."""
    array = np.asarray(value)
    if array.size == 1:
        return int(array.reshape(-1)[0])
    return np.broadcast_to(array, population.shape).reshape(-1).astype(np.int64)


def _scalar(value: Parameter, name: str) -> int:
    array = np.asarray(value)
    _need(array.size == 1 or bool((array == array.flat[0]).all()), f"Lava takes one {name} a population")
    return int(array.flat[0])


def _mantissa(value: Parameter, population: Population, name: str) -> int | IntArray:
    flat = _flat(value, population)
    unit = 1 << STATE_SHIFT
    _need(bool(np.all(np.asarray(flat) % unit == 0)), f"{name} is not a multiple of {unit}")
    _need(bool(np.all(np.abs(np.asarray(flat)) <= INT32)), f"{name} does not fit 32 bits")
    return flat // unit


def bias_parts(value: Parameter, population: Population) -> tuple[IntArray, IntArray]:
    """bias = mantissa << exponent with int16 mantissas, each (neurons,)."""
    bias = np.broadcast_to(np.asarray(value, dtype=np.int64), population.shape).reshape(-1)
    exponent = np.zeros_like(bias)
    for _ in range(16):
        wide = (bias >> exponent > 32767) | (bias >> exponent < -32768)
        if not wide.any():
            break
        exponent = exponent + wide
    mantissa = bias >> exponent
    exact = (mantissa << exponent == bias) & (mantissa >= -32768) & (mantissa <= 32767)
    _need(bool(exact.all()), "a bias is no 16-bit mantissa times a power of two")
    return mantissa, exponent


def _decays(neuron: CubaLif | CubaLi | TernaryLif, population: Population) -> Arguments:
    _need(neuron.shift == STATE_SHIFT, f"synaptic input is shifted by {neuron.shift}, Lava shifts by {STATE_SHIFT}")
    mantissa, exponent = bias_parts(neuron.bias, population)
    return {
        "du": _flat(neuron.du, population),
        "dv": _flat(neuron.dv, population),
        "bias_mant": mantissa,
        "bias_exp": exponent,
    }


def lif(population: Population) -> Arguments:
    """Lava's LIF and LIFReset for CubaLif, CubaLi."""
    neuron = population.neuron
    if isinstance(neuron, CubaLi):
        _need(not neuron.emit_bits, "Lava has no integrator that sends its membrane")
        return {**_decays(neuron, population), "vth": UNREACHABLE}
    assert isinstance(neuron, CubaLif)
    _need(neuron.reset == "zero", f"reset '{neuron.reset}', Lava resets to zero")
    _need(not np.any(neuron.reset_value), "its reset value is not zero, Lava's is")
    _need(not neuron.refractory, "Lava's fixed point has no refractory period")
    return {**_decays(neuron, population), "vth": _mantissa(neuron.vth, population, "vth")}


def ternary(population: Population) -> Arguments:
    """Lava's TernaryLIF."""
    neuron = population.neuron
    assert isinstance(neuron, TernaryLif)
    low = _scalar(_mantissa(neuron.vth_low, population, "vth_low"), "vth_low")
    high = _scalar(_mantissa(neuron.vth_high, population, "vth_high"), "vth_high")
    _need(low <= high, "vth_low lies above vth_high")
    return {**_decays(neuron, population), "vth_lo": low, "vth_hi": high}


def compare(population: Population, input_range: tuple[int, int] | None) -> Arguments:
    """Lava's LIF with full decays, where what it leaves in the membrane decays to nothing within one step."""
    neuron = population.neuron
    assert isinstance(neuron, Compare)
    _need(input_range is not None, "the range of its input is not known")
    assert input_range is not None
    level = np.asarray(_flat(neuron.vth, population)) - np.asarray(_flat(neuron.bias, population))
    unit = 1 << STATE_SHIFT
    # dv = 4095 leaves tz(v / 4096), which is zero only for |v| < 4096; a spike clears v
    stays_small = input_range[0] * unit > -4096 and int(level.max()) * unit < 4096
    _need(stays_small, "what stays below its threshold would not decay within one step")
    _need(max(map(abs, input_range)) * unit < 2**23 - 4096, "its input may wrap")
    return {"du": 4095, "dv": 4095, "vth": level.astype(np.int64) if level.ndim else int(level)}


def relay(population: Population) -> Arguments:
    """Lava's GradedVec."""
    neuron = population.neuron
    assert isinstance(neuron, Relay)
    return {"vth": neuron.vth}


def product_neuron(population: Population, in1: tuple[int, int] | None, in2: tuple[int, int] | None) -> Arguments:
    """Lava's ProdNeuron, which multiplies in 32 bits."""
    neuron = population.neuron
    assert isinstance(neuron, ProductNeuron)
    _need(in1 is not None and in2 is not None, "the range of its inputs is not known")
    assert in1 is not None
    assert in2 is not None
    _need(max(map(abs, in1)) * max(map(abs, in2)) <= INT32, "its product may exceed 32 bits")
    _need(neuron.exponent >= 0, "its exponent is negative")
    return {"vth": neuron.vth, "exp": neuron.exponent}


def sigma(population: Population) -> Arguments:
    """Lava's Sigma."""
    assert isinstance(population.neuron, Sigma)
    return {}


def delta(population: Population) -> Arguments:
    """Lava's Delta and SigmaDelta, whose constructors scale thresholds and biases by 2^(spike_exp + state_exp)."""
    neuron = population.neuron
    assert isinstance(neuron, Delta | SigmaDelta)
    unit = 1 << (neuron.spike_exp + neuron.state_exp)
    vth = _scalar(neuron.vth, "vth")
    _need(vth % unit == 0, f"vth is not a multiple of {unit}")
    arguments: Arguments = {
        "vth": vth // unit,
        "cum_error": bool(neuron.cum_error),
        "spike_exp": neuron.spike_exp,
        "state_exp": neuron.state_exp,
    }
    if isinstance(neuron, SigmaDelta):
        bias = np.asarray(_flat(neuron.bias, population))
        _need(bool((bias % unit == 0).all()), f"a bias is not a multiple of {unit}")
        arguments["bias"] = bias // unit
        arguments["relu"] = neuron.relu
    return arguments


# -- synapses ---------------------------------------------------------------------------------------------------------


def largest_sums(synapses: Synapses) -> tuple[int, int]:
    """Upper bound of the positive, lower bound of the negative weights' sum over all target neurons."""
    if isinstance(synapses, Sparse):
        positive, negative = synapses.sums()
        return int(positive.max(initial=0)), int(negative.min(initial=0))
    rows = synapses.weight.reshape(synapses.weight.shape[0], -1).astype(np.int64)
    if not rows.size:
        return 0, 0
    return int(np.maximum(rows, 0).sum(axis=1).max()), int(np.minimum(rows, 0).sum(axis=1).min())


def output_range(projection: Projection, message: Message) -> tuple[int, int]:
    """Bounds of what the projection adds to a target neuron in one chip step."""
    positive, negative = largest_sums(projection.synapses)
    high = positive * message.high + negative * message.low
    low = negative * message.high + positive * message.low
    if projection.delays is not None:  # any part of the sum may arrive alone
        low, high = min(low, 0), max(high, 0)
    if projection.exponent >= 0:
        return low << projection.exponent, high << projection.exponent
    parts = 1 if projection.delays is None else LARGEST_DELAY + 1  # each delay's sum is rounded down apart
    return (low >> -projection.exponent) - parts, high >> -projection.exponent


def _aligned(projection: Projection) -> tuple[int, Arguments]:
    """Left shift that survives Lava's clip and truncation, and the arguments that undo it."""
    mixed = projection.sign == "mixed"
    up = (9 if mixed else 8) - projection.weight_bits
    _need(up >= 0, f"weights of {projection.weight_bits} bits, Lava keeps 8")
    mode = {"mixed": "MIXED", "excitatory": "EXCITATORY", "inhibitory": "INHIBITORY"}[projection.sign]
    arguments: Arguments = {
        "num_weight_bits": projection.weight_bits,
        "weight_exp": projection.exponent - up,
        "sign_mode": mode,
    }
    return up, arguments


def _fits_int32(projection: Projection, message: Message, up: int) -> None:
    positive, negative = largest_sums(projection.synapses)
    worst = max(abs(message.low), abs(message.high)) * max(positive, -negative)
    _need((worst << up) << max(projection.exponent - up, 0) <= INT32, "its sum may exceed 32 bits")


def connection(projection: Projection, message: Message) -> tuple[str, Arguments]:
    """Lava's process for a projection: ("Dense" | "Sparse" | "Conv" | "DelayDense" | "DelaySparse", arguments).

    `up` in the arguments is the left shift of the weights. Binary messages travel with num_message_bits = 0, by which
    Lava tells a spike from a payload.
    """
    synapses = projection.synapses
    graded = 0 if (message.bits == 1 and not message.signed) else max(message.bits, 1)
    delayed = projection.delay > 1 or projection.delays is not None
    if delayed:
        extra = 0 if projection.delays is None or not projection.delays.size else int(projection.delays.max())
        _need(projection.delay - 1 + extra <= LARGEST_DELAY, f"a delay beyond Lava's {LARGEST_DELAY + 1}")
        _need(bool(synapses.weight.size), "it has no synapses")
        up, arguments = _aligned(projection)
        _fits_int32(projection, message, up)
        spread = synapses.n_in * synapses.n_out if isinstance(synapses, Dense) else synapse_count(synapses)
        _need(spread * (projection.delay + extra) <= SPARSE_SYNAPSES, "Lava's delay matrix would be too large")
        arguments |= {"up": up, "num_message_bits": graded}
        # one delay for all: a zero in DelaySparse's matrix of delays means "no extra delay", so both forms hold it
        return ("DelayDense" if isinstance(synapses, Dense) else "DelaySparse"), arguments
    _need(bool(synapses.weight.size), "it has no synapses")
    if isinstance(synapses, Dense):
        up, arguments = _aligned(projection)
        _fits_int32(projection, message, up)
        return "Dense", {**arguments, "up": up, "num_message_bits": graded}
    if isinstance(synapses, Conv):
        try:
            return "Conv", {"up": _conv_shift(projection, synapses, message), "num_message_bits": graded}
        except NotNative:
            pass
    return "Sparse", sparse(projection, message)


def sparse(projection: Projection, message: Message) -> Arguments:
    """Lava's Sparse for any synapses without delays of their own. Raises NotNative."""
    up, arguments = _aligned(projection)
    _fits_int32(projection, message, up)
    count = synapse_count(projection.synapses)
    _need(count <= SPARSE_SYNAPSES, f"{count} synapses are too many for Lava's Sparse")
    # Sparse selects columns for binary spikes, which is slow; a one-bit payload is the same sum by a matrix product
    return {**arguments, "up": up, "num_message_bits": max(message.bits, 1)}


def _conv_shift(projection: Projection, synapses: Conv, message: Message) -> int:
    """Lava's Conv knows no exponent: a positive one goes into the weights."""
    _need(projection.exponent >= 0, "Lava's Conv ignores a negative exponent")
    low, high = output_range(projection, message)
    _need(low >= -CONV_WIDTH and high < CONV_WIDTH, "its sum may exceed Lava's 24 bits")
    small = (*synapses.stride, *synapses.padding, *synapses.dilation, *synapses.weight.shape[2:], synapses.groups)
    _need(max(small) <= 127, "a stride, padding, dilation or kernel beyond Lava's 8 bits")
    _need(synapses.weight.shape[0] * synapses.weight.shape[1] <= CONV_CALLS, "too many channel pairs for Lava's Conv")
    return projection.exponent


def synapse_count(synapses: Synapses) -> int:
    """Stored weights at every place they are used; for a convolution an upper bound (as if nothing were padding)."""
    if isinstance(synapses, Conv):
        _, height, width = synapses.out_shape
        return int(synapses.weight.size) * height * width
    return int(synapses.weight.size)
