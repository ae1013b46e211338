"""Our simulator beside Lava, snnTorch, Norse and SpikingJelly on the same networks, one thread, in one run.

    python benchmarks/simulator.py [--networks abc] [--lava] [--spikformer CHECKPOINT --data EVAL.npz] [--json]

Times are the shortest of several, in ms a sample of 100 steps. Ratios of one run mean more than times of several.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from limits import Limits, floors, macs, measure  # noqa: E402
from networks import inputs, network  # noqa: E402
from peers_float import PEERS, Peer, float_network  # noqa: E402

from ndeploy import sim  # noqa: E402
from ndeploy.ir.program import Program  # noqa: E402
from ndeploy.neurons import CubaLif  # noqa: E402
from ndeploy.synapses import Conv  # noqa: E402

HERE = Path(__file__).resolve().parent
BATCHES = (1, 64)
LAVA_SECONDS = 240


def shortest(work: Callable[[], object], budget: float = 2.5, least: int = 3) -> float:
    """The shortest of as many runs as fit the budget of seconds, after one that does not count."""
    work()
    best, spent, runs = float("inf"), 0.0, 0
    while runs < least or spent < budget:
        began = time.perf_counter()
        work()
        took = time.perf_counter() - began
        best, spent, runs = min(best, took), spent + took, runs + 1
    return best


def ours(program: Program, name: str) -> dict[str, Any]:
    """ms a sample by batch, and exact synaptic operations and updates a sample."""
    row: dict[str, Any] = {"ms": {}}
    for batch in BATCHES:
        x = {"in": inputs(name, batch)}
        seconds = shortest(lambda x=x: sim.run(program, x, threads=1, kernels="compiled"))  # type: ignore[misc]
        row["ms"][batch] = seconds / batch * 1e3
    counts = sim.run(program, x, threads=1, kernels="compiled").counts
    row["synaptic_ops"] = float(sum(v.mean() for v in counts.synaptic_ops.values()))
    row["neuron_updates"] = float(sum(v.mean() for v in counts.neuron_updates.values()))
    return row


def theirs(program: Program, name: str, peer: Peer) -> dict[str, Any]:
    """ms a sample by batch, or how to install the peer."""
    if not peer.present():
        return {"absent": peer.install}
    forward = float_network(program, peer)
    row: dict[str, Any] = {"ms": {}}
    for batch in BATCHES:
        x = torch.from_numpy(inputs(name, batch)).transpose(0, 1).contiguous().float()
        row["ms"][batch] = shortest(lambda x=x: forward(x)) / batch * 1e3  # type: ignore[misc]
    row["rate"] = forward(x)[1]
    return row


def lava(program: Program, name: str) -> dict[str, Any]:
    """ms a sample of lava-nc's own processes, and whether its output spikes are ours."""
    x = inputs(name, 1)
    arrays: dict[str, Any] = {"input": x[0], "layers": len(program.projections)}
    for i, projection in enumerate(program.projections):
        arrays[f"weight{i}"] = projection.synapses.weight
        if isinstance(projection.synapses, Conv):
            arrays[f"geometry{i}"] = (projection.synapses.stride, projection.synapses.padding)
            arrays[f"in_shape{i}"] = projection.synapses.in_shape
        neuron = program.population(projection.target).neuron
        if not isinstance(neuron, CubaLif):
            raise TypeError(f"the benchmark's layers are cuba-lif, not {neuron.kind}")
        arrays[f"neuron{i}"] = (neuron.vth, neuron.dv)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.npz"
        np.savez(path, **arrays)
        script = [sys.executable, str(HERE / "peer_lava.py"), str(path)]
        try:
            done = subprocess.run(script, capture_output=True, text=True, timeout=LAVA_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return {"absent": f"Lava did not answer in {LAVA_SECONDS} s"}
    if done.returncode or not done.stdout.strip():
        return {"absent": "Lava failed: " + (done.stderr.strip().splitlines() or ["no message"])[-1]}
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    expected = sim.run(program, {"in": x}, kernels="compiled").outputs[program.populations[-1].name][0]
    equal = bool(np.array_equal(np.array(answer["output"]).reshape(expected.shape), expected))
    return {"ms": {1: answer["seconds"] * 1e3, 64: answer["seconds"] * 1e3}, "equal": equal}


def benchmark(name: str, limits: Limits, with_lava: bool) -> dict[str, Any]:
    """Everything about one network."""
    print(f"network {name} ...", file=sys.stderr)
    program = network(name)
    rows: dict[str, Any] = {"ndeploy": ours(program, name)}
    for peer in PEERS:
        rows[peer.name] = theirs(program, name, peer)
    if with_lava:
        rows["Lava"] = lava(program, name)
    found = rows["ndeploy"]
    event, dense = floors(program, found["synaptic_ops"], limits)
    return {
        "network": name,
        "simulators": rows,
        "synaptic_ops": found["synaptic_ops"],
        "neuron_updates": found["neuron_updates"],
        "dense_macs": macs(program),
        "floor_ms": {"events": event * 1e3, "matrix": dense * 1e3},
    }


def show(results: list[dict[str, Any]], limits: Limits) -> None:
    """The table, on stdout."""
    print(
        f"machine, one thread: sgemm {limits.sgemm / 1e9:.0f} GFLOP/s, int8 {limits.int8_matmul / 1e9:.0f} GOP/s, "
        f"read {limits.read / 1e9:.1f} GB/s, int8 row-add {limits.row_add / 1e9:.1f} G synapses/s"
    )
    for r in results:
        print(
            f"\nnetwork {r['network']}: {r['synaptic_ops'] / 1e6:.2f} M synaptic operations and "
            f"{r['neuron_updates'] / 1e3:.0f} k updates a sample; floor of the synapses alone "
            f"{r['floor_ms']['events']:.2f} ms event by event, {r['floor_ms']['matrix']:.2f} ms as matrices"
        )
        print(f"{'simulator':<14}{'ms, batch 1':>12}{'ms, batch 64':>14}{'G synops/s':>12}{'ours is':>12}")
        mine = r["simulators"]["ndeploy"]["ms"][64]
        for name, row in r["simulators"].items():
            if "absent" in row:
                print(f"{name:<14}  absent: {row['absent']}")
                continue
            one, many = row["ms"][1], row["ms"][64]
            note = "" if "equal" not in row else "  output equal" if row["equal"] else "  OUTPUT DIFFERS"
            print(
                f"{name:<14}{one:>12.3f}{many:>14.3f}{r['synaptic_ops'] / many / 1e6:>12.2f}{many / mine:>11.1f}x{note}"
            )
        floor = r["floor_ms"]
        events, matrix = mine / floor["events"], mine / floor["matrix"]
        print(f"ours is {events:.1f} x the event floor and {matrix:.1f} x the matrix floor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="abc", help="which of a, b, c")
    parser.add_argument("--lava", action="store_true", help="also run lava-nc (minutes)")
    example = HERE.parent / "examples" / "spikformer"
    parser.add_argument("--spikformer", type=Path, default=example / "checkpoint.pth.tar", help="against PyTorch eager")
    parser.add_argument("--data", type=Path, default=example / "eval.npz", help="its evaluation data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    limits = measure()
    results = [benchmark(name, limits, options.lava) for name in options.networks]
    if not options.json:
        show(results, limits)
    transformer = None
    if options.spikformer.exists():
        from spikformer import against_pytorch

        transformer = against_pytorch(options.spikformer, options.data, shortest)
        if not options.json:
            times = ", ".join(f"{name} {ms:.2f}" for name, ms in transformer["ms"].items())
            print(f"\nspikformer, ms a sample: {times}; same prediction on {transformer['agreement']:.1%} of 64")
    if options.json:
        print(json.dumps({"schema": 1, "machine": asdict(limits), "networks": results, "spikformer": transformer}))


if __name__ == "__main__":
    main()
