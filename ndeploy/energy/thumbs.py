"""Published rules of thumb: when a spiking network can cost less than the same network with numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ndeploy.energy.workload import Workload

DAMPFHOFFER = (0.15, 1.38)
"""Spikes a synapse an inference."""
YAN_STEPS, YAN_RATE = 5, 0.057
"""Spikes a neuron a time step, at so many time steps."""


@dataclass(frozen=True)
class Thumb:
    """name: what is measured; value: of this program on these samples; low, high: the rule's thresholds (below low
    spiking can pay, above high it does not); verdict: what the rule says, or why it says nothing."""

    name: str
    value: float
    low: float
    high: float
    verdict: str
    source: str
    status: str


def thumbs(work: Workload) -> tuple[Thumb, ...]:
    """Both rules applied to a measured workload; none where nothing but the inputs sends spikes."""
    if not work.spiking:
        return ()
    return tuple(thumb for thumb in (_spikes_a_synapse(work), _spike_rate(work)) if thumb is not None)


def _spikes_a_synapse(work: Workload) -> Thumb | None:
    layers = [layer for layer in work.layers if layer.macs and layer.spikes]
    synapses = sum(layer.macs for layer in layers)
    if not synapses:
        return None
    value = sum(layer.visits for layer in layers) / synapses
    low, high = DAMPFHOFFER
    if value < low:
        verdict = f"below {low:g}: fewer spikes than any threshold of the study"
    elif value > high:
        verdict = f"above {high:g}: more spikes than any threshold of the study"
    else:
        verdict = f"between {low:g} and {high:g}: it depends on the memory and the reuse of data that are assumed"
    return Thumb(
        "spikes a synapse an inference",
        value,
        low,
        high,
        verdict,
        "Dampfhoffer et al., thresholds over several assumptions on memory, for integrate-and-fire neurons",
        "quoted",
    )


def _spike_rate(work: Workload) -> Thumb | None:
    senders = [node for node in work.nodes if node.spikes]
    updates = sum(node.size * node.updates for node in senders)
    if not updates:
        return None
    value = sum(node.sent for node in senders) / updates
    if work.steps != YAN_STEPS:
        verdict = f"published for {YAN_STEPS} time steps; this program has {work.steps}, so it says nothing"
    elif value < YAN_RATE:
        verdict = f"below {YAN_RATE:.1%}: less than a bit-matched quantised ANN"
    else:
        verdict = f"not below {YAN_RATE:.1%}: no less than a bit-matched quantised ANN"
    return Thumb(
        "spikes a neuron a time step",
        value,
        YAN_RATE,
        YAN_RATE,
        verdict,
        f"Yan et al., against a bit-matched quantised ANN at {YAN_STEPS} time steps",
        "quoted",
    )
