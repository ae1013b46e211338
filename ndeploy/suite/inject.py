"""Faults of the chip's memory and neurons, planted in a program by a seed: how much a network bears."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.neurons import CubaLif

KINDS = ("bits", "stuck")
MOST = 1 << 30
DRAWS = 3
"""Draws of the same number of faults: one says little."""


@dataclass(frozen=True)
class Injection:
    """kind: "bits" flips bits of stored weights, "stuck" holds spiking neurons silent or firing; faults: how many at
    most; seed: of the first draw."""

    kind: str
    faults: int
    seed: int = 0

    def levels(self) -> tuple[int, ...]:
        """1, 2, 4, ... and `faults`."""
        powers = [1 << i for i in range(self.faults.bit_length()) if 1 << i < self.faults]
        return (*powers, self.faults)


def parse(text: str) -> Injection:
    """ "bits=64", "stuck=8,seed=3". Raises UsageError ND664."""
    found = re.fullmatch(r"(bits|stuck)=([0-9]{1,10})(?:,seed=([0-9]{1,9}))?", text.replace(" ", ""))
    if not found or not 1 <= int(found[2]) <= MOST:
        raise UsageError(
            "ND664",
            f"'{text}' says no faults to inject",
            help="give --inject bits=N for bits of weights, or stuck=N for neurons; add ,seed=S for other draws",
        )
    return Injection(found[1], int(found[2]), int(found[3] or 0))


def faulty(program: Program, kind: str, faults: int, seed: int) -> Program:
    """The program with that many faults; those of fewer faults and the same seed are among them.

    Raises RefusedError ND664 where the program has fewer places than faults.
    """
    places = _places(program, kind)
    total = int(places[-1]) if len(places) else 0
    if faults > total:
        what = "bits of weights" if kind == "bits" else "spiking neurons"
        raise RefusedError(
            "ND664",
            f"'{program.name}' has {total} {what}, {faults} were to be faulty",
            help="inject fewer faults; neurons can be stuck where they are leaky integrate-and-fire",
        )
    chosen = _choose(total, faults, seed)
    owners = np.searchsorted(places, chosen, side="right")
    within = chosen - np.concatenate([[0], places])[owners]
    if kind == "bits":
        parts = tuple(_flipped(projection, within[owners == i]) for i, projection in enumerate(program.projections))
        return replace(program, projections=parts)
    rng = np.random.default_rng([seed, 1])
    firing = rng.random(faults) < 0.5
    populations = tuple(
        _stuck(population, within[owners == i], firing[owners == i]) for i, population in enumerate(program.populations)
    )
    return replace(program, populations=populations)


def _choose(total: int, faults: int, seed: int) -> IntArray:
    """Distinct numbers below `total`; the first n do not depend on how many follow."""
    rng = np.random.default_rng([seed, 0])
    if total <= 1 << 22:
        return np.asarray(rng.permutation(total)[:faults], dtype=np.int64)
    found: dict[int, None] = {}
    while len(found) < faults:
        found.update(dict.fromkeys(rng.integers(0, total, size=1024).tolist()))
    return np.array(list(found)[:faults], dtype=np.int64)


def _places(program: Program, kind: str) -> IntArray:
    """Running total of the places where a fault can be, by projection or population."""
    if kind == "bits":
        sizes = [p.synapses.weight.size * p.weight_bits for p in program.projections]
    else:
        sizes = [p.size if isinstance(p.neuron, CubaLif) else 0 for p in program.populations]
    return np.cumsum(np.array(sizes, dtype=np.int64))


def _flipped(projection: Projection, places: IntArray) -> Projection:
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


def _stuck(population: Population, places: IntArray, firing: Any) -> Population:
    """Neurons whose threshold no membrane reaches, or that every membrane but the lowest exceeds."""
    if not len(places) or not isinstance(population.neuron, CubaLif):
        return population
    threshold = np.broadcast_to(np.asarray(population.neuron.vth, dtype=np.int64), population.shape).copy()
    threshold.reshape(-1)[places] = np.where(firing, -STATE_MAX, STATE_MAX)
    return replace(population, neuron=replace(population.neuron, vth=threshold))
