"""Trainable forms of graded neurons."""

from __future__ import annotations

from ndeploy.neurons import (
    Affine,
    Delta,
    Gate,
    LayerNorm,
    Neuron,
    Register,
    Sigma,
    SigmaDelta,
    Silu,
    Softmax,
    Synchrony,
)
from ndeploy.train.graded_gates import affine, gate, silu
from ndeploy.train.graded_groups import layer_norm, softmax
from ndeploy.train.graded_memory import delta, register, sigma, sigma_delta, synchrony
from ndeploy.train.neuron import Form

FORMS: dict[type[Neuron], Form] = {
    Affine: affine,
    Gate: gate,
    Silu: silu,
    LayerNorm: layer_norm,
    Softmax: softmax,
    Synchrony: synchrony,
    Register: register,
    Sigma: sigma,
    Delta: delta,
    SigmaDelta: sigma_delta,
}
"""By type of the integer neuron."""
