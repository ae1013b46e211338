"""What each source framework means by a NIR file: data, with the source of every value.

NIR states differential equations. How a framework steps through them is not in the file, so `--set source=NAME` fills
it in from here. Values were read from the frameworks' own NIR export and import code and from their neuron models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """values: by setting; sources: where each value is stated; caveats: what the framework does and NIR cannot say."""

    name: str
    values: Mapping[str, Any]
    sources: Mapping[str, str]
    caveats: tuple[str, ...] = ()


def _preset(name: str, table: Mapping[str, tuple[Any, str]], *caveats: str) -> Preset:
    return Preset(name, {k: v for k, (v, _) in table.items()}, {k: s for k, (_, s) in table.items()}, caveats)


SNNTORCH = _preset(
    "snntorch",
    {
        "dt": (1e-4, "snntorch 1.0 export_nir.py: dt = 1e-4, fixed"),
        "integrator": ("euler", "snntorch 1.0 export_nir.py: tau = dt / (1 - beta), so beta = 1 - dt / tau"),
        "reset": (
            "zero",
            "snntorch 1.0 import_nir.py: reset_mechanism='zero', reset_delay=False, whatever was trained",
        ),
        "compare": ("gt", "snntorch surrogate.py: spike where mem - threshold > 0"),
        "recurrent_delay": (1, "snntorch rleaky.py, rsynaptic.py: the recurrent input is the previous step's spike"),
        "synapse_first": (True, "snntorch synaptic.py: mem = beta mem + (alpha syn + input)"),
        "synapse_gain": ("ode", "snntorch 1.0 export_nir.py: w_in = tau_syn / dt, so w_in dt / tau_syn = 1"),
        "membrane_gain": ("ode", "snntorch 1.0 export_nir.py: r = tau_mem / dt, so r dt / tau = 1"),
        "if_gain": ("unit", "snntorch 1.0 import_nir.py: IF becomes Leaky(beta = 1), which adds its input each step"),
    },
    "snnTorch's default reset is 'subtract', one step late; NIR cannot say so. If the network was trained that way, "
    "set reset=delayed-subtract. With reset_delay=False snnTorch subtracts at once, but takes the threshold off before "
    "the next comparison where the membrane was above twice the threshold; reset=subtract does not.",
    "A late reset to zero clears Leaky before its update (reset=zero gives the same spikes) and Synaptic after it "
    "(reset=delayed-zero).",
)

NORSE = _preset(
    "norse",
    {
        "dt": (1e-3, "norse 1.1 utils/import_nir.py, export_nir.py: dt = 0.001 by default"),
        "integrator": ("euler", "norse 1.1 functional/lif_box.py: v + dt tau_mem_inv (i + v_leak - v)"),
        "reset": ("zero", "norse 1.1 utils/import_nir.py: reset_method = reset_value"),
        "compare": ("gt", "norse 1.1 functional/heaviside.py: torch.gt(data, 0)"),
        "recurrent_delay": (1, "nirtorch from_nir.py: a loop sees the previous step's value"),
        "synapse_first": (True, "norse 1.1 utils/import_nir.py: the synapse's new value enters the membrane"),
        "synapse_gain": ("ode", "norse 1.1 functional/leaky_integrator_box.py: i + dt tau_syn_inv (w_in x - i)"),
        "membrane_gain": ("ode", "norse 1.1 functional/lif_box.py"),
        "if_gain": ("unit", "norse 1.1 functional/iaf.py: v + input, dt unused"),
    },
    "norse 1.1 exports time constants multiplied by dt (norse issue 411): a tau of 0.01 s is written as 1e-5. "
    "Setting the square of the time step (dt=1e-6 for 1e-3) puts dt / tau right.",
)

SPIKINGJELLY = _preset(
    "spikingjelly",
    {
        "dt": (1e-4, "spikingjelly nir_exchange/to_nir.py: dt = 1e-4 by default"),
        "integrator": (
            "euler",
            "spikingjelly neuron.py LIFNode: v + (x - (v - v_reset)) / tau; to_nir: tau_nir = tau dt",
        ),
        "reset": ("zero", "spikingjelly nir_exchange/to_nir.py: soft reset is written as hard reset"),
        "compare": ("ge", "spikingjelly surrogate.py heaviside: x >= 0"),
        "recurrent_delay": (1, "nirtorch: a loop sees the previous step's value"),
        "synapse_first": (True, "no CUBA neurons in spikingjelly's exchange; NIR's order"),
        "synapse_gain": ("ode", "no CUBA neurons in spikingjelly's exchange; NIR's equation"),
        "membrane_gain": ("ode", "spikingjelly nir_exchange/to_nir.py: r = 1 (decay_input) or tau"),
        "if_gain": ("ode", "spikingjelly nir_exchange/to_nir.py: r = 1 / dt, so r dt = 1"),
    },
    "spikingjelly before 2.0 writes v_reset=None (soft reset) as a hard reset; set reset=subtract if that was trained.",
    "Its membranes start at v_reset; here they start at 0, which is the same for v_reset=0 only.",
)

ROCKPOOL = _preset(
    "rockpool",
    {
        # dt is not here: Rockpool's export leaves it in r only (graph/read.py takes it from there)
        "integrator": ("exponential", "rockpool lif_torch.py: alpha = exp(-dt / tau_mem), beta = exp(-dt / tau_syn)"),
        "reset": ("subtract", "rockpool lif_torch.py: vmem = vmem - spikes * threshold"),
        "compare": ("ge", "rockpool lif_torch.py StepPWL: floor(vmem / threshold) where vmem > 0"),
        "recurrent_delay": (1, "rockpool lif_torch.py: rec_inp uses the previous step's spikes"),
        "synapse_first": (True, "rockpool lif_torch.py: vmem + isyn after isyn's decay"),
        "synapse_gain": ("decayed", "rockpool lif_torch.py: isyn = beta (isyn + input)"),
        "membrane_gain": ("unit", "rockpool lif_torch.py: vmem = alpha vmem + isyn; r is not read back"),
        "if_gain": ("unit", "no IF neurons in rockpool's exchange; one step adds r"),
    },
    "rockpool does not export biases of neurons.",
    "rockpool's neurons send several spikes in one step when vmem passes a multiple of the threshold; here it is one.",
)

SPINNAKER2 = _preset(
    "spinnaker2",
    {
        "dt": (
            1e-4,
            "NIR paper, braille_inference on SpiNNaker2: ConversionConfig(dt=0.0001); the library's default is 1.0",
        ),
        "integrator": ("euler", "NIR paper: IntegratorMethod.FORWARD; the library's default is EXPONENTIAL"),
        "reset": ("zero", "NIR paper: ResetMethod.ZERO for the *_zero models; the library's default is SUBTRACT"),
        "compare": ("gt", "NIR's definition: 1 where v > v_threshold"),
        "recurrent_delay": (1, "py-spinnaker2 s2_nir.py: conn_delay = 0 arrives in the next step"),
        "synapse_first": (True, "py-spinnaker2 lif_curr_exp_no_delay: input enters before the membrane update"),
        "synapse_gain": ("ode", "py-spinnaker2 s2_nir.py: w_in_factor = dt / tau_syn w_in"),
        "membrane_gain": ("ode", "py-spinnaker2 s2_nir.py: r_factor = dt / tau_mem r"),
        "if_gain": ("unit", "py-spinnaker2 s2_nir.py convert_IF: threshold / r, no dt"),
    },
    "SpiNNaker2 rounds weights to int8.",
)

LAVA = _preset(
    "lava",
    {
        "dt": (1e-4, "NIR paper nir_to_lava.py: ImportConfig.dt = 1e-4"),
        "integrator": ("euler", "NIR paper nir_to_lava.py: dv = dt / tau_mem, weights times dt / tau"),
        "reset": ("zero", "lava-nc 0.10.0 lava/proc/lif/models.py: v = 0 on a spike"),
        "compare": ("gt", "lava-nc 0.10.0 lava/proc/lif/models.py: v > vth"),
        "recurrent_delay": (1, "lava-nc: a connection takes one time step"),
        "synapse_first": (True, "lava-nc 0.10.0 lava/proc/lif/models.py: u is updated, then v adds u"),
        "synapse_gain": ("ode", "NIR's equation; nir_to_lava.py has no CUBA node"),
        "membrane_gain": ("ode", "NIR paper nir_to_lava.py: weights times dt / tau"),
        "if_gain": ("unit", "NIR paper nir_to_lava.py (lava-dl): IF ignores dt"),
    },
    "the script scales IF thresholds by r, where NIR scales the input by r; here r scales the input.",
)

PRESETS: Mapping[str, Preset] = {p.name: p for p in (SNNTORCH, NORSE, SPIKINGJELLY, ROCKPOOL, SPINNAKER2, LAVA)}
