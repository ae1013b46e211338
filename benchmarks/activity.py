"""What watching activity costs the simulator: runs in pairs, without counts and with activity, one thread.

    python benchmarks/activity.py ARTIFACT.ndp[:DATA.npz|IMAGE.npy] ... [--batch 64] [--pairs 9] [--json]

Samples of the data are repeated to fill the batch (an image's axes are x, y, channels); without data, inputs are random
and one in ten sends something. Shown are medians over pairs of the processor time with counts, with activity and with
both over that with neither, less 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch are imported

import numpy as np  # noqa: E402

from ndeploy import artifact, sim  # noqa: E402
from ndeploy.data import Data, load  # noqa: E402
from ndeploy.decode import encode, for_data  # noqa: E402
from ndeploy.ir.program import Program  # noqa: E402

DENSITY = 0.1


def prepared(path: Path, data: Path | None, batch: int) -> tuple[Program, dict[str, Any]]:
    """The program and a batch of messages."""
    program = artifact.load(path).program
    if data is None:
        rng = np.random.default_rng(0)
        found = {}
        for port in program.inputs:
            population = program.population(port.population)
            shape = (batch, program.steps, *population.shape)
            high = population.neuron.message.high
            found[port.population] = np.where(rng.random(shape) < DENSITY, rng.integers(1, high + 1, shape), 0)
        return program, found
    loaded = load(data, batch) if data.suffix == ".npz" else Data(np.load(data, allow_pickle=False).T[None])
    x = loaded.x[np.arange(batch) % len(loaded)]
    fitted = for_data(program, x)
    return fitted, dict(encode(fitted, x, loaded.x_scale))


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one run: others use this machine too."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compared(program: Program, messages: dict[str, Any], pairs: int) -> dict[str, float]:
    """Medians of pairs, each in the other order than the one before."""

    def run(counts: bool, activity: bool) -> Callable[[], object]:
        return lambda: sim.run(program, messages, threads=1, kernels="compiled", counts=counts, activity=activity)

    ways = {
        "bare": run(False, False),
        "counts": run(True, False),
        "activity": run(False, True),
        "both": run(True, True),
    }
    for work in ways.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for pair in range(pairs):
        for name in sorted(ways, reverse=bool(pair % 2)):
            taken[name].append(seconds(ways[name]))
    bare = taken["bare"]
    samples = len(next(iter(messages.values())))
    found = {"ms_a_sample": statistics.median(bare) / samples * 1e3}
    for name in ("counts", "activity", "both"):
        found[name] = statistics.median(t / b for t, b in zip(taken[name], bare, strict=True)) - 1
    return found


def main() -> None:
    """Print a row for each artifact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    for item in arguments.artifacts:
        path, _, data = item.partition(":")
        program, messages = prepared(Path(path), Path(data) if data else None, arguments.batch)
        row = rows[Path(path).stem] = compared(program, messages, arguments.pairs)
        if not arguments.json:
            shown = "  ".join(f"{name} {row[name]:+.1%}" for name in ("counts", "activity", "both"))
            print(f"{Path(path).stem:14} {row['ms_a_sample']:8.3f} ms a sample  {shown}", flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
