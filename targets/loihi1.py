"""Intel Loihi (2018), one chip of 128 neuromorphic cores."""

from __future__ import annotations

from ndeploy.targets._loihi_prices import COVERED, loihi1_energy, loihi1_time

from ndeploy.target import CoreLimits, Limit, Mesh, Packing, Price, Support, System, Target, Widths

DAVIES = "Davies et al., IEEE Micro 38(1), 2018"
FRADY = "Frady et al., NICE 2020, section 5.2: 3.34 W static over 32 chips"
NENGO = "nengo-loihi 1.0"
BLOCK = f"{NENGO}, block.py"
DISCRETIZE = f"{NENGO}, builder/discretize.py"
VALIDATE = f"{NENGO}, builder/validate.py"
OBJECTS = f"{NENGO}, hardware/nxsdk_objects.py"
LAVA = "lava-nc 0.10.0, lava/proc/lif/models.py"

TARGET = Target(
    name="loihi1",
    title="Intel Loihi: 128 cores of 1,024 compartments",
    placed=True,
    core=CoreLimits(
        neurons=Limit(1024, "neurons", BLOCK, "code"),
        synaptic_memory=Limit(131072, "bytes", f"{BLOCK}: 16,384 words of 64 bits", "code"),
        in_axons=Limit(4096, "axons", BLOCK, "code"),
        out_axons=Limit(4096, "axons", BLOCK, "code"),
        neuron_configurations=Limit(
            32, "configurations", OBJECTS, "code", "distinct (current decay, voltage decay, refractory) on a core"
        ),
        threshold_configurations=Limit(
            8, "configurations", OBJECTS, "code", "distinct thresholds on a core; hardware/validate.py would allow 16"
        ),
        state_memory=Limit(None, "bytes", BLOCK, "code", "every compartment has its own state registers"),
    ),
    widths=Widths(
        weight=Limit(8, "bits", f"{BLOCK}: WEIGHT_BITS_MAP", "code"),
        weight_exponent_low=Limit(-7, "exponent", VALIDATE, "code"),
        weight_exponent_high=Limit(7, "exponent", VALIDATE, "code"),
        delay=Limit(63, "chip steps", f"{DAVIES}, Table 1: 6-bit unsigned delay field", "quoted"),
        decay=Limit(12, "bits", OBJECTS, "code"),
        state=Limit(24, "bits", f"{DISCRETIZE}: 23 bits and sign", "code"),
        threshold_mantissa=Limit(17, "bits", DISCRETIZE, "code"),
        threshold_shift=Limit(6, "exponent", DISCRETIZE, "code"),
        bias_mantissa=Limit(12, "bits", DISCRETIZE, "code", "and sign"),
        bias_exponent=Limit(7, "exponent", DISCRETIZE, "code"),
        refractory=Limit(
            62, "chip steps", OBJECTS, "derived", "the register holds 1 to 63 and counts the step of the spike"
        ),
        payload=Limit(1, "bits", DAVIES, "quoted", "binary spikes only"),
    ),
    packing=Packing(
        allocation_unit=Limit(64, "bits", f"{BLOCK}: bits_per_axon", "code"),
        header=Limit(10, "bits", f"{BLOCK}: 4 bits of format index, 6 bits of count", "code"),
        block_synapses=Limit(64, "synapses", BLOCK, "code"),
        tag=Limit(0, "bits", BLOCK, "code", "tags are for learning, which no program uses"),
        weight_widths=(1, 2, 3, 4, 5, 6, 8),
        index_widths=(6, 7, 8, 9, 10, 11, 12),
        conv_weight_sharing=False,
        source=BLOCK,
        status="code",
        note="population axons can share weights: not modelled, so convolutions cost more here than need be",
    ),
    cores_per_chip=Limit(128, "cores", DAVIES, "quoted"),
    systems=(
        System("Kapoho Bay", Limit(2, "chips", "Davies et al., Proc. IEEE 109(5), 2021", "unverified", "from memory")),
        System("Nahuku", Limit(32, "chips", "Frady et al., NICE 2020, section 5.2", "quoted")),
        System("Pohoiki Springs", Limit(768, "chips", "Frady et al., NICE 2020, section 4.3", "quoted")),
    ),
    neuron_kinds=Support(
        ("input", "cuba-lif", "cuba-li", "compare"),
        f"{DAVIES}; {LAVA}",
        "quoted",
        "a cuba-li readout is a compartment whose threshold the membrane does not reach",
    ),
    resets=Support(("zero",), LAVA, "code", "subtraction takes two compartments a neuron; not modelled"),
    features=Support(
        ("coincidence", "embedded-processor"),
        f"{DAVIES}: three embedded x86 cores",
        "quoted",
        "a coincidence neuron is a compartment with two unit inputs and a threshold between one and two units",
    ),
    energy=loihi1_energy(),
    time=loihi1_time(),
    covered={**COVERED, "payload-bit": "message"},
    static_power=Price("static", 104e-3, 104e-3, 104e-3, "W", "static", FRADY, "derived", "a chip; 3.34 W / 32"),
    mesh=Mesh(
        width=Limit(8, "routers", f"{DAVIES}: 32 tiles of four cores", "quoted"),
        height=Limit(4, "routers", f"{DAVIES}: 32 tiles of four cores", "quoted"),
        cores_per_router=Limit(4, "cores", f"{DAVIES}: 32 tiles of four cores", "quoted"),
        chips_wide=Limit(8, "chips", DAVIES, "unverified", "assumed: Nahuku's 32 chips in four rows of eight"),
    ),
    notes=(
        "equality is with lava-nc 0.10.0's fixed-point models, which round negative weight exponents after the sum; "
        "the chip shifts each weight before it",
    ),
)
"""What a Loihi chip holds, does and costs."""
