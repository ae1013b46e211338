"""What an event costs on Loihi 1, and by which reasoning that is carried over to Loihi 2.

Loihi 1 has two public accounts. Davies et al. 2018, Table 2, comes from simulation before there was silicon; SANA-FE's
constants were fitted to a Nahuku board, with a stated error of a run's total of 12 % in energy and 25 % in time.
Nominal is SANA-FE's constant; low and high are that error, widened where Davies' constant lies outside.

Loihi 2 has none. high: Loihi 1's high, since a later process of the same maker spends no more on the same event. low:
Loihi 1's low times the whole gain that Intel claims for its processes between the two chips; for a synaptic operation
Hala Point's quotient where that is less. nominal: Loihi 1's nominal times the geometric mean of no gain and the whole
gain. Nothing here is fitted to a measured workload: docs/energy.md works it out,
docs/validation.md compares it with such.
"""

from __future__ import annotations

import math

from ndeploy.target import Price

DAVIES = "Davies et al., IEEE Micro 38(1), 2018, Table 2 (pre-silicon SDF and SPICE simulation at 0.75 V)"
SANA = "SANA-FE 2.2.9, examples/loihi.yaml (fitted on Nahuku; dynamic energy)"
FITTED = f"{SANA}; {DAVIES}"
HOROWITZ = "Horowitz, ISSCC 2014, 45 nm"
KERAS = "KerasSpiking, keras_spiking/model_energy.py"
BRIEF = "Intel, Taking Neuromorphic Computing to the Next Level with Loihi 2 (technology brief, 2021)"
PROCESS = (
    "Intel: 10 nm takes 45 % less power than 14 nm (Technology and Manufacturing Day 2017), Intel 4 takes 40 % less "
    "than Intel 7 at the same frequency (VLSI 2022)"
)
PACKET = "Davies et al., Proc. IEEE 109(5), 2021: spike messages of 32 bits"
HALA = "Hala Point: 2.6 kW at most, less 1,152 chips x 0.232 W static, over 380e12 synaptic operations a second"

ENERGY_ERROR = 0.12
"""Of a run's total, over three applications, by SANA-FE's own account."""
TIME_ERROR = 0.25
GAIN = 0.55 * 0.60
"""Power of Intel 4 over power of 14 nm at the same frequency, if all that Intel claims is had."""
BEST_SYNAPTIC_OP = (2600 - 1152 * 0.232) / 380e12
"""J of dynamic energy a synaptic operation at both of Hala Point's maxima, everything included."""

ENERGY = {
    "synaptic-op.dense": (35.5, 23.6, "Davies states a minimum"),
    "synaptic-op.sparse": (33.6, 23.6, "Davies states a minimum"),
    "synaptic-op.conv": (24.0, 23.6, "Davies states a minimum"),
    "neuron-update.active": (72.8, 81.0, "SANA-FE: 51.2 access + 21.6 update"),
    "neuron-update.idle": (
        51.2,
        52.0,
        "SANA-FE: access; high: an active update's, where a membrane is not 0",
    ),
    "spike": (69.3, 0.0, "Davies counts spike generation in the active update"),
    "message": (111.0, 1.7, "SANA-FE: a packet leaving a core; Davies: a spike within its tile"),
    "hop.east-west": (3.0, 3.0, ""),
    "hop.north-south": (4.2, 4.0, ""),
}
"""By event, pJ: SANA-FE's constant, Davies' constant, note."""

TIME: dict[str, tuple[float, float | None, int, str]] = {
    "synaptic-op.dense": (3.8, 3.5, 5, "Davies states a maximum"),
    "synaptic-op.sparse": (4.7, 3.5, 5, "Davies states a maximum"),
    "synaptic-op.conv": (3.1, 3.5, 5, "Davies states a maximum"),
    "neuron-update.active": (9.7, 8.4, 2, "SANA-FE: 6.0 access + 3.7 update"),
    "neuron-update.idle": (6.0, 5.3, 2, "SANA-FE: access"),
    "spike": (30.0, 0.0, 10, "Davies counts spike generation in the active update"),
    "message": (5.1, None, 10, "time a packet occupies the sending core"),
    "axon-in": (16.0, None, 5, "time a packet occupies the receiving core"),
}
"""By event, ns: SANA-FE's constant, Davies' (None: none), Loihi 2's speed-up by Intel's brief, note.

A packet that leaves is taken as part of spike generation, one that comes as part of the synaptic operations."""

HOP_TIME = {"hop.east-west": 4.1e-9, "hop.north-south": 6.5e-9}
"""Transit of a router in s, alike in both sources: no time of a core unless senders wait for it."""

COVERED = {
    "axon-in": "message",  # SANA-FE fits a message out at 111 pJ with a message in at 0
    "memory-read": "synaptic-op",  # both sources price the operation with the words that it fetches
    "memory-write": "neuron-update",
    "barrier": "neuron-update",  # SANA-FE's constants explain measured totals without a term of its own
}
"""Events that both chips' constants hold already."""


def _note(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _bounds(fitted: float, published: float | None, error: float) -> tuple[float, float]:
    """An estimate within `error` of what was measured means that the measured is within these."""
    low, high = fitted / (1 + error), fitted / (1 - error)
    return (low, high) if published is None else (min(low, published), max(high, published))


def _energy_bounds(event: str) -> tuple[float, float]:
    """Bounds of an energy on Loihi 1 in pJ. An idle update may cost as much as an active one: SANA-FE makes an update
    of every neuron whose membrane is not zero, and nobody counts those."""
    fitted, published, _ = ENERGY[event]
    low, high = _bounds(fitted, published, ENERGY_ERROR)
    return (low, _energy_bounds("neuron-update.active")[1]) if event == "neuron-update.idle" else (low, high)


def _davies(published: float | None, unit: str) -> str:
    return "" if published is None else f"Davies: {published:g} {unit}"


def loihi1_energy() -> tuple[Price, ...]:
    """Prices of Loihi 1 in J, incremental."""
    found = []
    for event, (fitted, published, note) in ENERGY.items():
        low, high = _energy_bounds(event)
        text = _note(f"nominal: SANA-FE's {fitted:g} pJ", _davies(published, "pJ"), note)
        found.append(
            Price(event, low * 1e-12, fitted * 1e-12, high * 1e-12, "J", "incremental", FITTED, "derived", text)
        )
    return tuple(found) + board()


def loihi1_time() -> tuple[Price, ...]:
    """Times on Loihi 1 in s."""
    found = []
    for event, (fitted, published, _, note) in TIME.items():
        low, high = _bounds(fitted, published, TIME_ERROR)
        text = _note(f"nominal: SANA-FE's {fitted:g} ns", _davies(published, "ns"), note)
        values = (low * 1e-9, fitted * 1e-9, high * 1e-9)
        found.append(Price(event, *values, "s", "incremental", FITTED, "derived", text))
    barrier = Price(
        "barrier",
        113e-9,
        1.0e-6,
        1.8e-6,
        "s",
        "incremental",
        FITTED,
        "derived",
        "once a chip step. low: Davies, one tile (465 ns for 32); SANA-FE by tiles in use: 0.6 us for 1, 1.0 for 2, "
        "1.4 for 4, 1.8 for 29. One chip: 768 of them took 16.2 us (Frady et al., NICE 2020)",
    )
    return (*found, barrier, *beside_time())


def loihi2_energy() -> tuple[Price, ...]:
    """Stand-ins for Loihi 2 in J, incremental: Loihi 1's, carried over."""
    found = []
    for event, (fitted, _, note) in ENERGY.items():
        low, high = _energy_bounds(event)
        least, text = low * GAIN * 1e-12, f"low: {GAIN:.2f} x Loihi 1's low"
        if event.startswith("synaptic-op") and least > BEST_SYNAPTIC_OP:
            least, text = BEST_SYNAPTIC_OP, f"low: {HALA}"
        text = _note(text, f"nominal: {math.sqrt(GAIN):.2f} x Loihi 1's {fitted:g} pJ; high: Loihi 1's high", note)
        nominal = fitted * math.sqrt(GAIN) * 1e-12
        source = f"{FITTED}; {PROCESS}"
        found.append(Price(event, least, nominal, high * 1e-12, "J", "incremental", source, "unverified", text))
    packet = ENERGY["message"][0] * 1e-12 / 32
    payload = Price(
        "payload-bit",
        0.0,
        packet * math.sqrt(GAIN) / 2,
        packet,
        "J",
        "incremental",
        f"{FITTED}; {PACKET}",
        "unverified",
        "no figure is public. low: packets are of one size; high: 32 bits of payload cost as much as a second packet "
        "on Loihi 1; nominal: half of one here",
    )
    return (*found, payload, *board())


def loihi2_time() -> tuple[Price, ...]:
    """Times on Loihi 2 in s: Loihi 1's, divided by the speed-ups that Intel states."""
    found = []
    for event, (fitted, published, faster, note) in TIME.items():
        low, high = _bounds(fitted, published, TIME_ERROR)
        text = _note(
            f"nominal: SANA-FE's {fitted:g} ns / {faster}; low: Loihi 1's low / {faster}; high: Loihi 1's high", note
        )
        source = f"{FITTED}; {BRIEF}: neuron updates 2x, synaptic operations 5x, spike generation 10x faster"
        values = (low * 1e-9 / faster, fitted * 1e-9 / faster, high * 1e-9)
        found.append(Price(event, *values, "s", "incremental", source, "derived", text))
    barrier = Price(
        "barrier",
        0.0,
        200e-9,
        1.8e-6,
        "s",
        "incremental",
        f"{BRIEF}: a chip-wide step below 200 ns; high: {SANA}",
        "quoted",
        "once a chip step; high: Loihi 1 with 29 tiles in use",
    )
    return (*found, barrier, *beside_time())


def board() -> tuple[Price, ...]:
    """What happens beside the neurocores, in J: nobody has published any of it for either chip."""
    return (
        Price(
            "chip-link",
            32e-12,
            320e-12,
            1.3e-9,
            "J",
            "incremental",
            f"{HOROWITZ}; {PACKET}",
            "unverified",
            "no figure is public. low: 32 bits at 1 pJ, nominal: 64 bits at 5 pJ, assumed for pins on one board; high: "
            "64 bits to or from DRAM, 1.3 nJ",
        ),
        Price(
            "embedded-op",
            0.07e-9,
            0.9e-9,
            8.6e-9,
            "J",
            "incremental",
            f"{KERAS}; {HOROWITZ}",
            "unverified",
            "no figure is public for the chip's x86 cores. low: one instruction of an in-order core, 70 pJ (Horowitz); "
            "nominal: an ARM's synaptic operation; high: a desktop CPU's",
        ),
        *(
            Price(
                event,
                0.16e-9,
                0.65e-9,
                6.5e-9,
                "J",
                "incremental",
                HOROWITZ,
                "unverified",
                "no figure is public. low: one access of DRAM, 1.3 nJ for 8 bytes; nominal: a write and a read at 2.6 "
                "nJ; high: ten times that for the link and its protocol, assumed",
            )
            for event in ("host-byte.in", "host-byte.out", "configuration-byte")
        ),
    )


def beside_time() -> tuple[Price, ...]:
    """Time, in s, of hops and of the embedded x86 cores."""
    hops = tuple(
        Price(
            event,
            0.0,
            0.0,
            seconds,
            "s",
            "incremental",
            FITTED,
            "derived",
            "time taken from the core that sends. low and nominal: cores work while packets travel; high: they wait "
            "for the whole transit, Loihi 1's",
        )
        for event, seconds in HOP_TIME.items()
    )
    processor = Price(
        "embedded-op",
        2.5e-9,
        12.5e-9,
        50e-9,
        "s",
        "incremental",
        "Intel Quark X1000 datasheet: a core of the same line at 400 MHz",
        "unverified",
        "from memory; the chip's own clock is not public. low: one cycle, nominal: 5, high: 20",
    )
    return (*hops, processor)
