"""Intel Loihi 2 (2021), one chip of 128 programmable neuromorphic cores.

Intel publishes few limits and no energy per operation: what is unknown here says so, and a program that fits is
feasible for this model of the chip; its physical fit is for Intel's own compiler to say.
"""

from __future__ import annotations

from ndeploy.targets._loihi_prices import COVERED, loihi2_energy, loihi2_time

from ndeploy.target import CoreLimits, Limit, Mesh, Packing, Price, Support, System, Target, Widths

BRIEF = "Intel, Taking Neuromorphic Computing to the Next Level with Loihi 2 (technology brief, 2021)"
PAPER = "arXiv 2601.10035"
LAVA = "lava-nc 0.10.0"
SILENT = "not published: not checked"


def _unknown(unit: str) -> Limit:
    return Limit(None, unit, "none found", "unverified", SILENT)


TARGET = Target(
    name="loihi2",
    title="Intel Loihi 2: 128 programmable cores of up to 8,192 neurons",
    placed=True,
    core=CoreLimits(
        neurons=Limit(8192, "neurons", BRIEF, "quoted", "fewer where a neuron's state is large: see state_memory"),
        synaptic_memory=Limit(131072, "bytes", f"{BRIEF}; {PAPER}", "quoted", "128 KB of the core's 192 KB"),
        in_axons=_unknown("axons"),
        out_axons=_unknown("axons"),
        neuron_configurations=_unknown("configurations"),
        threshold_configurations=_unknown("configurations"),
        state_memory=_unknown("bytes"),
    ),
    widths=Widths(
        weight=Limit(8, "bits", BRIEF, "quoted"),
        weight_exponent_low=Limit(-8, "exponent", f"{LAVA}, lava/proc/dense", "unverified", "assumed as NxSDK's range"),
        weight_exponent_high=Limit(7, "exponent", f"{LAVA}, lava/proc/dense", "unverified", "assumed as NxSDK's range"),
        delay=Limit(63, "chip steps", f"{LAVA}, lava/proc/dense (DelayDense)", "unverified", "assumed as Loihi 1's"),
        decay=Limit(12, "bits", f"{LAVA}, lava/proc/lif/models.py", "code"),
        state=Limit(24, "bits", f"{LAVA}, lava/proc/lif/models.py", "code"),
        threshold_mantissa=Limit(None, "bits", BRIEF, "quoted", "neurons are programs: any value of the state's width"),
        threshold_shift=Limit(None, "exponent", BRIEF, "quoted", "neurons are programs"),
        bias_mantissa=Limit(None, "bits", BRIEF, "quoted", "neurons are programs: any value of the state's width"),
        bias_exponent=Limit(None, "exponent", BRIEF, "quoted", "neurons are programs"),
        refractory=Limit(None, "chip steps", BRIEF, "quoted", "neurons are programs: a counter in the state"),
        payload=Limit(32, "bits", BRIEF, "quoted", "graded spikes"),
    ),
    packing=Packing(
        allocation_unit=Limit(64, "bits", "nengo-loihi 1.0, block.py (Loihi 1)", "unverified", "assumed as Loihi 1's"),
        header=Limit(10, "bits", "nengo-loihi 1.0, block.py (Loihi 1)", "unverified", "assumed as Loihi 1's"),
        block_synapses=Limit(
            64, "synapses", "nengo-loihi 1.0, block.py (Loihi 1)", "unverified", "assumed as Loihi 1's"
        ),
        tag=Limit(0, "bits", "nengo-loihi 1.0, block.py (Loihi 1)", "unverified", "assumed: no learning, no tag"),
        weight_widths=(),
        index_widths=(),
        conv_weight_sharing=True,
        source=f"{BRIEF}: convolutional connectivity; format of Loihi 1",
        status="unverified",
        note="Loihi 2's own format is not published: bytes are an estimate",
    ),
    cores_per_chip=Limit(128, "cores", BRIEF, "quoted", "Hala Point's totals make 122 a chip usable there"),
    systems=(
        System("Oheo Gulch", Limit(1, "chips", BRIEF, "quoted")),
        System("Kapoho Point", Limit(8, "chips", BRIEF, "quoted")),
        System("Hala Point", Limit(1152, "chips", "Intel, Hala Point announcement, April 2024", "quoted")),
    ),
    neuron_kinds=Support(
        (
            "input",
            "cuba-lif",
            "cuba-li",
            "ternary-lif",
            "relay",
            "compare",
            "product",
            "sigma",
            "delta",
            "sigma-delta",
            "affine",
            "gate",
            "silu",
            "register",
            "synchrony",
            "layer-norm",
            "softmax",
        ),
        f"{BRIEF}: microcode neurons; {LAVA} has models of the first ten, of compare and cuba-li as cases of LIF",
        "quoted",
        "estimate: nobody has published affine, gate, silu, register or synchrony as microcode; what they need (two "
        "ports, a 16-bit multiplier, a shift, a table) is what the brief says neurons are programmed from. Of "
        "layer-norm and softmax cores only gather the sums; the rest is the embedded processor's",
    ),
    resets=Support(("zero", "subtract", "zero-next", "subtract-next", "none"), BRIEF, "quoted", "neurons are programs"),
    features=Support(
        (
            "input-bias",
            "any-input-shift",
            "any-threshold",
            "any-bias",
            "reset-value",
            "coincidence",
            "graded-product",
            "hold-and-release",
            "stop",
            "embedded-processor",
        ),
        f"{BRIEF}: microcode neurons, graded spikes, six embedded processors",
        "quoted",
    ),
    energy=loihi2_energy(),
    time=loihi2_time(),
    static_power=Price(
        "static",
        0.232,
        0.232,
        0.232,
        "W",
        "static",
        "lava-dl, tutorials/lava/lib/dl/netx/pilotnet_snn, PilotNet-LIF notebook: 0.679 W total, 0.447 W dynamic",
        "code",
        "one Oheo Gulch board with one chip",
    ),
    covered=COVERED,
    mesh=Mesh(
        width=Limit(8, "routers", f"{PAPER}: 8 x 4 routers, XY routing", "quoted"),
        height=Limit(4, "routers", f"{PAPER}: 8 x 4 routers, XY routing", "quoted"),
        cores_per_router=Limit(4, "cores", f"{PAPER}: four cores a router", "quoted"),
        chips_wide=Limit(
            4, "chips", BRIEF, "unverified", "assumed: rows of four chips (Kapoho Point: two); no third dimension"
        ),
    ),
    notes=(
        "model-feasible; physical fit unverified: the compiler behind the real chip is closed",
        "sanity anchor: Hala Point at both of its published maxima, all in, is about 6.8 pJ a synaptic operation",
    ),
)
"""What a Loihi 2 chip holds and does as far as the public knows, and stand-ins for what it costs."""
