"""Faults of the chip's memory and neurons, planted in a program by a seed: how much a network bears."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program, Projection
from ndeploy.suite.inject_stuck import Held, held, places_of

KINDS = ("bits", "stuck")
MOST = 1 << 30
DRAWS = 5
"""Draws of the same number of faults: one says little."""
LEVELS = 6
"""Numbers of faults at most, none not counted: a curve, at a bounded cost."""


@dataclass(frozen=True)
class Injection:
    """kind: "bits" flips bits of stored weights and delays, "stuck" holds neurons silent or at a value; faults: how
    many at most; seed: of the first draw."""

    kind: str
    faults: int
    seed: int = 0

    def levels(self) -> tuple[int, ...]:
        """1, 2, 4, ... and `faults`; 1, 4, 16, ... and so on where that would be more than `LEVELS`."""
        step = 1
        while True:
            powers = [1 << i for i in range(0, self.faults.bit_length(), step) if 1 << i < self.faults]
            if len(powers) < LEVELS:
                return (*powers, self.faults)
            step += 1


def parse(text: str) -> Injection:
    """ "bits=64", "stuck=8,seed=3". Raises UsageError ND664."""
    found = re.fullmatch(r"(bits|stuck)=([0-9]{1,10})(?:,seed=([0-9]{1,9}))?", text.replace(" ", ""))
    if not found or not 1 <= int(found[2]) <= MOST:
        raise UsageError(
            "ND664",
            f"'{text}' says no faults to inject, 1 to {MOST}",
            help="give --inject bits=N for bits of weights, or stuck=N for neurons; add ,seed=S for other draws",
        )
    return Injection(found[1], int(found[2]), int(found[3] or 0))


def faulty(program: Program, kind: str, faults: int, seed: int) -> Program:
    """The program with that many faults; those of fewer faults and the same seed are among them.

    Raises RefusedError ND664 where the program has fewer places than faults.
    """
    found = draw(program, kind, faults, seed)
    if kind == "stuck":
        return held(program, found)
    parts = tuple(_flipped(p, own.places) for p, own in zip(program.projections, found, strict=True))
    return replace(program, projections=parts)


def draw(program: Program, kind: str, faults: int, seed: int) -> list[Held]:
    """Where the faults are, by projection ("bits"), or by population and then by product ("stuck").

    Raises RefusedError ND664 where the program has fewer places than faults.
    """
    sizes = [_bits_of(p) for p in program.projections] if kind == "bits" else places_of(program)
    places = np.cumsum(np.array(sizes, dtype=np.int64))
    total = int(places[-1]) if len(places) else 0
    if faults > total:
        raise RefusedError(
            "ND664",
            f"'{program.name}' has {total} {_what(program, kind)}, {faults} were to be faulty",
            help="inject fewer faults",
        )
    chosen = _choose(total, faults, seed)
    owners = np.searchsorted(places, chosen, side="right")
    within = chosen - np.concatenate([[0], places])[owners]
    drawn = np.random.default_rng([seed, 1]).random((faults, 2))
    return [Held(within[owners == i], drawn[owners == i]) for i in range(len(sizes))]


def _what(program: Program, kind: str) -> str:
    if kind == "bits":
        return "bits of weights"
    return "spiking neurons" if all(p.neuron.message.bits == 1 for p in program.populations) else "neurons"


def _choose(total: int, faults: int, seed: int) -> IntArray:
    """Distinct numbers below `total`; the first n do not depend on how many follow."""
    rng = np.random.default_rng([seed, 0])
    if total <= 1 << 22:
        return np.asarray(rng.permutation(total)[:faults], dtype=np.int64)
    found: dict[int, None] = {}
    while len(found) < faults:
        found.update(dict.fromkeys(rng.integers(0, total, size=1024).tolist()))
    return np.array(list(found)[:faults], dtype=np.int64)


def _bits_of(projection: Projection) -> int:
    """Stored bits: of every weight, shared ones once, and of every synapse's own delay."""
    size = projection.synapses.weight.size
    return size * (projection.weight_bits + _delay_bits(projection))


def _delay_bits(projection: Projection) -> int:
    """As many as the largest delay of a synapse needs; 0 where synapses have none of their own."""
    return 0 if projection.delays is None else int(projection.delays.max(initial=0)).bit_length()


def _flipped(projection: Projection, places: IntArray) -> Projection:
    """Bits flipped: first those of the weights, then those of the delays."""
    own = projection.synapses.weight.size * projection.weight_bits
    changed = _weights_flipped(projection, places[places < own])
    late = places[places >= own] - own
    if projection.delays is None or not len(late):
        return changed
    bits = _delay_bits(projection)
    delays = np.array(projection.delays, dtype=np.int64)
    np.bitwise_xor.at(delays.reshape(-1), late // bits, np.int64(1) << (late % bits))
    return replace(changed, delays=delays)


def _weights_flipped(projection: Projection, places: IntArray) -> Projection:
    """Bits of the stored mantissas flipped: two's complement where weights are mixed, a magnitude elsewhere."""
    if not len(places):
        return projection
    bits = projection.weight_bits
    weight: Any = projection.synapses.weight
    flat = weight.reshape(-1).astype(np.int64)
    negative = projection.sign == "inhibitory"
    stored = (np.abs(flat) if projection.sign != "mixed" else flat) & ((1 << bits) - 1)
    np.bitwise_xor.at(stored, places // bits, np.int64(1) << (places % bits))
    if projection.sign == "mixed":
        stored = np.where(stored >= 1 << (bits - 1), stored - (1 << bits), stored)
    changed = (-stored if negative else stored).astype(weight.dtype).reshape(weight.shape)
    return replace(projection, synapses=replace(projection.synapses, weight=changed))
