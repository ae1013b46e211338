"""How a neuron's differential equation becomes a step: the one place where dt, integrator and reset enter.

The float reference and the quantiser both take their factors from `discretise`, so they cannot disagree.
Equations: NIR (Pedersen et al. 2024, Nature Communications 15:8122), `tau v' = v_leak - v + R I` and
`tau_syn I' = -I + w_in S`; forward Euler replaces v' by (v[t+1] - v[t]) / dt, the exponential integrator solves the
equation exactly for an input that is constant over the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.network import (
    IF,
    LI,
    LIF,
    CubaLI,
    CubaLIF,
    Delay,
    FloatArray,
    Integrator,
    Node,
    Semantics,
    Threshold,
)

SPIKING_NODES = (IF, LIF, CubaLIF, Threshold)
NEURON_NODES = (Threshold, Integrator, IF, LI, LIF, CubaLI, CubaLIF)


@dataclass(frozen=True, eq=False)
class DiscreteNeuron:
    """One step of a neuron. x is the summed input of the step; every array has the neuron's (or broadcast) shape.

        i <- alpha i + input_gain x                    (alpha = 0, input_gain = 1 where the neuron has no current)
        v <- beta v + gain i + bias                    (i of before this step where synapse_first is False)
        v <- v_reset, or v - reset_amount, where the last step spiked and the reset is delayed
        v <- v_reset                                   (for `refractory` steps after a spike, which also send nothing)
        spike where v > threshold ("gt") or v >= threshold ("ge"); then the immediate reset

    States start at 0. A neuron that does not spike puts out v. has_current: i is a state of its own.
    A Threshold node is the case alpha = 0, beta = 0, gain = 1 without reset.
    """

    alpha: FloatArray
    input_gain: FloatArray
    beta: FloatArray
    gain: FloatArray
    bias: FloatArray
    spiking: bool = False
    threshold: FloatArray | None = None
    v_reset: FloatArray | None = None
    reset_amount: FloatArray | None = None
    reset: str = "none"
    compare: str = "gt"
    refractory: int = 0
    synapse_first: bool = True
    has_current: bool = False


def discretise(node: Node, semantics: Semantics, name: str = "") -> DiscreteNeuron:
    """The step of a neuron node. A node's own `semantics` wins over the network's.

    Raises UsageError ND207 where the discretisation makes no sense (dt or a time constant not positive, or a time
    constant below dt with forward Euler, whose membrane would then oscillate), TypeError for a node without a step.
    """
    s = getattr(node, "semantics", None) or semantics
    if s.dt <= 0 or not np.isfinite(s.dt):
        raise UsageError("ND207", f"dt is {s.dt} s", help="give a positive time step: --set dt=1e-4")
    one = np.ones(())
    zero = np.zeros(())
    if isinstance(node, Threshold):
        return DiscreteNeuron(zero, one, zero, one, zero, True, node.threshold, compare=s.compare)
    if isinstance(node, Integrator):
        return DiscreteNeuron(zero, one, one, _if_gain(node, s), zero)
    if isinstance(node, IF):
        return _spiking(node, s, name, zero, one, one, _if_gain(node, s), zero)
    if isinstance(node, LI | LIF):
        beta, share = _factor(node.tau, s, name, "tau")
        parts = (zero, one, beta, *_membrane(node, beta, share, s))
        return DiscreteNeuron(*parts) if isinstance(node, LI) else _spiking(node, s, name, *parts)
    if isinstance(node, CubaLI | CubaLIF):
        alpha, syn_share = _factor(node.tau_syn, s, name, "tau_syn")
        beta, share = _factor(node.tau_mem, s, name, "tau_mem")
        jump = {"ode": syn_share, "impulse": one, "decayed": alpha}[s.synapse_gain]
        parts = (alpha, node.w_in * jump, beta, *_membrane(node, beta, share, s))
        if isinstance(node, CubaLI):
            return DiscreteNeuron(*parts, synapse_first=s.synapse_first, has_current=True)
        return _spiking(node, s, name, *parts, has_current=True)
    raise TypeError(f"a {type(node).__name__} has no step of its own")


def delay_steps(node: Delay, semantics: Semantics, name: str = "") -> IntArray:
    """The delay of every element in model steps. Raises UsageError ND207 if negative or no whole number of dt."""
    steps = np.asarray(node.delay, dtype=np.float64) / semantics.dt
    whole = np.rint(steps)
    # files store float32: a delay counts as whole within its rounding error
    if (steps < 0).any() or (np.abs(steps - whole) > 1e-3 + 1e-6 * np.abs(whole)).any():
        worst = float(np.asarray(node.delay).flat[int(np.argmax(np.abs(steps - whole)))])
        raise UsageError(
            "ND207",
            f"delay node '{name}': {worst} s is no whole number of steps of {semantics.dt} s",
            help="choose a dt that divides every delay: --set dt=...",
        )
    return np.asarray(whole, dtype=np.int64)


def _if_gain(node: Integrator | IF, s: Semantics) -> FloatArray:
    return np.asarray(node.r * s.dt if s.if_gain == "ode" else node.r, dtype=np.float64)


def _membrane(
    node: LI | LIF | CubaLI | CubaLIF, stays: FloatArray, share: FloatArray, s: Semantics
) -> tuple[FloatArray, FloatArray]:
    """(gain of the current, what the leak adds a step)."""
    if s.membrane_gain == "ode":
        return np.asarray(node.r * share, dtype=np.float64), np.asarray(node.v_leak * share, dtype=np.float64)
    # an LI node is what Rockpool makes of a synapse: its input jumps, then decays with the rest
    synapse = isinstance(node, LI) and s.synapse_gain == "decayed"
    return (stays if synapse else np.ones_like(share)), np.asarray(node.v_leak, dtype=np.float64)


def _factor(tau: FloatArray, s: Semantics, name: str, parameter: str) -> tuple[FloatArray, FloatArray]:
    """(what stays of the state, what comes in) over a step of dt for a time constant tau."""
    tau = np.asarray(tau, dtype=np.float64)
    if (tau <= 0).any():
        raise UsageError(
            "ND207", f"node '{name}': {parameter} is {float(tau.min())} s", help="time constants must be positive"
        )
    if s.integrator == "exponential":
        stays = np.exp(-s.dt / tau)
        return stays, 1.0 - stays
    share = s.dt / tau
    # tau = dt is a neuron that forgets at once; files store float32, so allow its rounding
    if (share > 1.0 + 1e-5).any():
        raise UsageError(
            "ND207",
            f"node '{name}': {parameter} = {float(tau.min())} s is shorter than dt = {s.dt} s, and forward Euler "
            "would make the state change its sign at every step",
            help="set the dt the network was trained with (--set dt=...), or --set integrator=exponential",
        )
    share = np.minimum(share, 1.0)
    return 1.0 - share, share


def _spiking(
    node: IF | LIF | CubaLIF,
    s: Semantics,
    name: str,
    alpha: FloatArray,
    input_gain: FloatArray,
    beta: FloatArray,
    gain: FloatArray,
    bias: FloatArray,
    has_current: bool = False,
) -> DiscreteNeuron:
    refractory = 0.0 if isinstance(node, IF) else node.refractory / s.dt
    if refractory < 0 or abs(refractory - round(refractory)) > 1e-3:
        raise UsageError(
            "ND207",
            f"node '{name}': its refractory time is {refractory} steps of {s.dt} s",
            help="choose a dt that divides the refractory time: --set dt=...",
        )
    return DiscreteNeuron(
        alpha=alpha,
        input_gain=input_gain,
        beta=beta,
        gain=gain,
        bias=bias,
        spiking=True,
        threshold=node.v_threshold,
        v_reset=node.v_reset,
        reset_amount=node.v_threshold,
        reset=s.reset,
        compare=s.compare,
        refractory=round(refractory),
        synapse_first=s.synapse_first,
        has_current=has_current,
    )
