"""The integer neuron that lava-dl's netx/hdf5.py builds in Lava for a layer's `neuron` group.

LOIHI and CUBA become LIF with du = iDecay - 1, dv = vDecay, threshold and bias mantissas << 6. SDNN becomes Delta at
the input, Sigma where `sigma_output` stands, SigmaDelta elsewhere, with spike_exp = state_exp = 6.

Two things follow the trainer, since Lava alone does not reproduce what the network was trained to do:
- SLAYER's CUBA neuron spikes on v >= threshold, its LOIHI neuron and Lava's LIF on v > threshold (measured: oxford's
  golden spikes need >=, tinynet's need >). --set compare=gt runs a CUBA network as Lava does.
- A threshold mantissa of 2^17 - 1 cannot be passed by a 24-bit membrane: such a layer is a readout of its membrane.
"""

from __future__ import annotations

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import DECAY_ONE, STATE_SHIFT
from ndeploy.neurons import CubaLi, CubaLif, Delta, Neuron, Parameter, Sigma, SigmaDelta

from ._netx_file import Layer

SPIKING = ("LOIHI", "CUBA")
COMPARE = {"LOIHI": "gt", "CUBA": "ge"}
"""What the trainer's neuron of that type compares with."""
SDN_EXP = 6
"""spike_exp and state_exp of sigma-delta neurons (netx/hdf5.py)."""
SDN_BITS = 16
"""num_message_bits of sigma-delta neurons where the file states no messageBits (netx/hdf5.py)."""
UNREACHABLE = (1 << 17) - 1
"""A threshold mantissa that no membrane passes."""


def neuron_type(layer: Layer) -> str:
    """LOIHI, CUBA, SDNN, or "" for a dense layer without neuron. Raises RefusedError ND132 for any other."""
    if not layer.has_neuron:
        return ""
    kind = layer.texts.get("neuron/type", "CUBA")
    if kind not in (*SPIKING, "SDNN"):
        raise RefusedError(
            "ND132",
            f"'{layer.path}': layer {layer.index} has neurons of type '{kind}'",
            help="netx networks of LOIHI, CUBA and SDNN neurons are supported",
        )
    return kind


def build(layer: Layer, shape: tuple[int, ...], compare: str) -> Neuron:
    """The neuron of a dense, conv or pool layer. shape: its population's, (C, H, W) or (N,)."""
    kind = neuron_type(layer)
    bias = _bias(layer, shape)
    if kind == "SDNN":
        return _sigma_delta(layer, bias)
    if not kind:
        # netx builds a LIF that only integrates: u keeps, v = u. A membrane that keeps sums the same values.
        return CubaLi(du=DECAY_ONE - 1, dv=0, bias=_shifted(bias, STATE_SHIFT))
    du, dv, mantissa = _dynamics(layer)
    if mantissa >= UNREACHABLE:
        return CubaLi(du=du, dv=dv, bias=_shifted(bias, STATE_SHIFT))
    return CubaLif(du=du, dv=dv, vth=_threshold(mantissa, compare), bias=_shifted(bias, STATE_SHIFT))


def build_input(layer: Layer, compare: str, offset: int) -> Neuron:
    """The neuron of an input layer, driven by whole numbers at its input (Lava drives its bias; v is the same).

    offset: added to every input.
    """
    if neuron_type(layer) == "SDNN":
        mantissa = layer.integer("neuron/vThMant")
        return Delta(vth=mantissa << 2 * SDN_EXP, spike_exp=SDN_EXP, state_exp=SDN_EXP, bits=_message_bits(layer))
    _, dv, mantissa = _dynamics(layer)
    # the bias reaches v past the current: without a memory in u, an input does the same
    return CubaLif(du=DECAY_ONE - 1, dv=dv, vth=_threshold(mantissa, compare), input_bias=offset)


def _dynamics(layer: Layer) -> tuple[int, int, int]:
    """(du, dv, threshold mantissa)."""
    i_decay, v_decay = layer.integer("neuron/iDecay"), layer.integer("neuron/vDecay")
    mantissa = layer.integer("neuron/vThMant")
    if layer.integer("neuron/wgtExp", 0):
        raise RefusedError(
            "ND132",
            f"'{layer.path}': layer {layer.index} has a weight exponent wgtExp, which lava-dl's netx ignores",
            help="export with wgtExp 0 and scaled weights",
        )
    if not (1 <= i_decay <= DECAY_ONE and 0 <= v_decay < DECAY_ONE):
        raise layer.error(f"iDecay {i_decay} must be 1..4096, vDecay {v_decay} 0..4095")
    if not 0 <= mantissa <= UNREACHABLE + 1:
        raise layer.error(f"vThMant {mantissa} must be 0..{UNREACHABLE + 1}")
    return i_decay - 1, v_decay, mantissa


def _threshold(mantissa: int, compare: str) -> int:
    # the membrane is an integer: v >= theta is v > theta - 1
    return (mantissa << STATE_SHIFT) - (compare == "ge")


def _sigma_delta(layer: Layer, bias: Parameter) -> Neuron:
    if "neuron/sigma_output" in layer.numbers:
        if np.any(bias):
            raise RefusedError(
                "ND132",
                f"'{layer.path}': layer {layer.index} is a sigma output with a bias, which Lava's Sigma lacks",
                help="export the output layer without bias",
            )
        return Sigma()
    activation = layer.texts.get("neuron/activation", "relu")
    if activation not in ("relu", "unit", "identity"):
        raise RefusedError(
            "ND132",
            f"'{layer.path}': layer {layer.index} has the activation '{activation}'",
            help="Lava's sigma-delta neurons know relu and unit",
        )
    return SigmaDelta(
        vth=layer.integer("neuron/vThMant") << 2 * SDN_EXP,
        bias=_shifted(bias, 2 * SDN_EXP),
        relu=activation == "relu",
        spike_exp=SDN_EXP,
        state_exp=SDN_EXP,
        bits=_message_bits(layer),
    )


def _message_bits(layer: Layer) -> int:
    bits = layer.integer("neuron/messageBits", SDN_BITS)
    if not 1 <= bits <= 32:
        raise layer.error(f"messageBits {bits} must be 1..32")
    return bits


def _bias(layer: Layer, shape: tuple[int, ...]) -> Parameter:
    """Per neuron, broadcasting to `shape`: one number, one a channel, or one a neuron."""
    if "bias" not in layer.numbers:
        return 0
    bias = layer.integers("bias").reshape(-1)
    if not bias.any():
        return 0
    if bias.size == 1:
        return int(bias[0])
    if bias.size == shape[0]:
        return bias.reshape(-1, *(1,) * (len(shape) - 1))
    if bias.size == int(np.prod(shape)):
        return bias.reshape(shape)
    raise layer.error(f"bias of {bias.size} values for neurons of shape {shape}")


def _shifted(value: Parameter, bits: int) -> Parameter:
    return value << bits
