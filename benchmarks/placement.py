"""How long placing takes and how near the lower bound it comes.

    python benchmarks/placement.py [ARTIFACT.ndp ...] [--target loihi2] [--objectives cores,traffic,latency] [--json]

Without artifacts: a synthetic network of about 1,000 Loihi 2 cores and 120 million dense synapses: 29 layers of 2,048
neurons behind five convolutions over a 256 x 256 image, whose weights are shared. Without measured rates every neuron
is taken to send once a sample.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ndeploy import artifact
from ndeploy.energy.latency import timing
from ndeploy.energy.ledger import tally
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.place import place
from ndeploy.place.traffic import even_activity
from ndeploy.plugins import target as find_target
from ndeploy.synapses import Conv, Dense, Synapses
from ndeploy.target import Target

WIDTH, DEPTH, IMAGE = 2048, 29, 256
CHANNELS = (2, 6, 8, 8, 16)


@dataclass(frozen=True)
class Row:
    """One placement. packets: from core to core, a sample; interval: seconds a sample, nominal; seconds: to place."""

    program: str
    objective: str
    synapses: int
    neurons: int
    cores: int
    bound: int
    chips: int
    slices: int
    packets: int
    hops: int
    crossings: int
    interval: float
    seconds: float


def synthetic() -> Program:
    """Convolutions, then dense layers."""
    rng = np.random.default_rng(0)
    populations = [Population("image", (CHANNELS[0], IMAGE, IMAGE), Input())]
    synapses: list[Synapses] = []
    for before, after in pairwise(CHANNELS):
        weight = rng.integers(-128, 128, size=(after, before, 3, 3)).astype(np.int16)
        synapses.append(Conv(weight, (before, IMAGE, IMAGE), padding=(1, 1)))
        populations.append(Population(f"conv{len(synapses)}", synapses[-1].out_shape, lif()))
    pool = Conv(np.ones((1, CHANNELS[-1], 8, 8), dtype=np.int16), (CHANNELS[-1], IMAGE, IMAGE), stride=(8, 8))
    synapses.append(pool)
    populations.append(Population("pool", pool.out_shape, lif()))
    width = populations[-1].size
    for layer in range(DEPTH):
        weight = rng.integers(-128, 128, size=(WIDTH, width), dtype=np.int16)
        synapses.append(Dense(weight))
        populations.append(Population(f"dense{layer}", (WIDTH,), lif()))
        width = WIDTH
    projections = tuple(
        Projection(f"to-{b.name}", a.name, b.name, s) for (a, b), s in zip(pairwise(populations), synapses, strict=True)
    )
    ports = (InputPort("image"),), (OutputPort(populations[-1].name),)
    return Program("synthetic", tuple(populations), projections, *ports, steps=16)


def lif() -> CubaLif:
    """Any neuron: its parameters take no room."""
    return CubaLif(du=4095, dv=410, vth=6400)


def row(program: Program, target: Target, objective: str) -> Row:
    """Place once and count what the placement would send."""
    began = time.perf_counter()
    placed = place(program, target, objective)
    seconds = time.perf_counter() - began
    ledger = tally(program, placed, target, even_activity(program))
    times = timing(program, ledger, target.table)
    cores = [piece.core for piece in placed.slices]
    flows = ledger.flows
    packets = sum(
        int(n.sum())
        for a, b, n in zip(flows.source.tolist(), flows.target.tolist(), flows.packets, strict=True)
        if a >= 0 and b >= 0 and cores[a] != cores[b]
    )
    events = {name: int(values.sum()) for name, values in ledger.events.items()}
    return Row(
        program.name,
        objective,
        sum(j.synapses.count() for j in program.projections),
        sum(p.size for p in program.populations),
        placed.cores,
        placed.cores_lower_bound,
        placed.chips,
        len(placed.slices),
        packets,
        events.get("hop.east-west", 0) + events.get("hop.north-south", 0),
        events.get("chip-link", 0),
        0.0 if times is None else times.interval.nominal,
        seconds,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--target", default="loihi2")
    parser.add_argument("--objectives", default="cores,traffic,latency,layers")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    target = find_target(asked.target)
    programs = [artifact.load(path).program for path in asked.artifacts] or [synthetic()]
    rows: list[Row] = []
    for program in programs:
        for objective in asked.objectives.split(","):
            rows.append(row(program, target, objective))
            if not asked.json:
                sys.stdout.write("  ".join(f"{name} {show(value)}" for name, value in asdict(rows[-1]).items()) + "\n")
                sys.stdout.flush()
    if asked.json:
        sys.stdout.write(json.dumps([asdict(each) for each in rows], indent=2) + "\n")


def show(value: object) -> str:
    """A number of at most four digits, or as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
