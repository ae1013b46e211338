"""Counts and energy beside SANA-FE's model of Loihi: the same dense network, spikes and placement, core by core.

    python -m venv build/sanafe && build/sanafe/bin/pip install sanafe==2.2.9 numpy
    python benchmarks/peers_sanafe.py [--python build/sanafe/bin/python] [--record]

SANA-FE is GPL: it runs in its own interpreter, in a process of its own, and nothing of ndeploy imports it. ndeploy runs
the network on its simulator, places it on loihi1, tallies events and prices them with the table `sanafe`; the other
process builds the same network in SANA-FE, puts every neuron on the core that ndeploy chose, feeds it the same input
spikes from the router where ndeploy lets messages of the host enter, and says what it counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 100
SIZES = (200, 900, 600, 10)
LAYERS = ("in", "a", "b", "c")
DECAY = 512
"""Of 4096: the membrane keeps 7/8 a step."""
VTH = (900, 2600, 2600)
ACCESS, UPDATE = 51.2e-12, 21.6e-12
"""J, of a neuron in SANA-FE's loihi.yaml."""
CASES = {"busy": (0.1, False), "busy, scattered": (0.1, True), "quiet, scattered": (0.003, True)}
"""Rate of the inputs, and whether cores are put far from each other."""
LABELS = {
    "fired": "spikes, inputs too",
    "synaptic_ops": "synaptic operations",
    "packets": "packets",
    "east_west": "hops east-west",
    "north_south": "hops north-south",
    "active": "updates that change a neuron",
    "active_or_remembered": "  with those of a membrane alone",
    "synapse": "synapse energy, J",
    "soma": "soma energy, J",
    "soma_with_differences": "  with the two differences, J",
    "network": "network energy, J",
    "total": "total, J",
}
GOLDENS = Path(__file__).resolve().parent.parent / "tests" / "sanafe_goldens.json"


def worker(given: Path, told: Path) -> None:
    """In SANA-FE's interpreter: build, map, simulate, count."""
    import sanafe

    held = np.load(given)
    arch = sanafe.load_loihi()
    height = 4
    net = sanafe.Network()
    groups = []
    for i, size in enumerate(SIZES):
        if i == 0:
            group = net.create_neuron_group("in", size, soma_hw_name="loihi_inputs[0]")
        else:
            attributes = {
                "threshold": float(VTH[i - 1]),
                "reset": 0.0,
                "leak_decay": 1.0 - DECAY / 4096,
                "input_decay": 0.0,
                "reset_mode": "hard",
            }
            hardware = {
                "default_synapse_hw_name": "loihi_dense_synapse",
                "default_dendrite_hw_name": "loihi_dendrites",
                "soma_hw_name": "loihi_lif",
            }
            group = net.create_neuron_group(LAYERS[i], size, attributes, **hardware)
        groups.append(group)
        cores = held[f"core{i}"]
        for neuron, core in enumerate(cores.tolist()):
            router, offset = divmod(core, 4)
            x, y = router % 8, router // 8
            group[neuron].map_to_core(arch.tiles[x * height + y].cores[offset])
    for neuron in range(SIZES[0]):
        spikes = held["spikes"][:, neuron].astype(bool).tolist()
        groups[0][neuron].set_attributes(soma_hw_name=f"loihi_inputs[{neuron}]", model_attributes={"spikes": spikes})
    for i in (1, 2, 3):
        weight = held[f"weight{i}"]
        target, source = np.indices(weight.shape)
        pairs = list(zip(source.ravel().tolist(), target.ravel().tolist(), strict=True))
        groups[i - 1].connect_neurons_sparse(groups[i], {"weight": weight.ravel().astype(float).tolist()}, pairs)
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    result = chip.sim(int(held["steps"]), message_trace=True, perf_trace=False, spike_trace=True)
    told.write_text(json.dumps(_said(result)), encoding="utf-8")


def _said(result: dict[str, Any]) -> dict[str, Any]:
    messages = [m for step in result["message_trace"] for m in (step if isinstance(step, list) else [step])]
    messages = [m for m in messages if not m["placeholder"]]
    return {
        "energy": result["energy"],
        "fired": result["neurons_fired"],
        "updated": result["neurons_updated"],
        "synaptic_ops": result["spikes"],
        "packets": result["packets_sent"],
        "east_west": sum(abs(m["src_x"] - m["dest_x"]) for m in messages),
        "north_south": sum(abs(m["src_y"] - m["dest_y"]) for m in messages),
    }


def _network(seed: int) -> Any:
    from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
    from ndeploy.neurons import CubaLif, Input
    from ndeploy.synapses import Dense

    rng = np.random.default_rng(seed)
    populations = [Population("in", (SIZES[0],), Input())]
    projections = []
    for i in (1, 2, 3):
        neuron = CubaLif(du=4095, dv=DECAY, vth=64 * VTH[i - 1])
        populations.append(Population(LAYERS[i], (SIZES[i],), neuron, i))
        weight = rng.integers(-100, 128, (SIZES[i], SIZES[i - 1])).astype(np.int16)
        projections.append(Projection(LAYERS[i], LAYERS[i - 1], LAYERS[i], Dense(weight)))
    return Program("peer", tuple(populations), tuple(projections), (InputPort("in"),), (OutputPort("c"),), STEPS)


def _scattered(placed: Any) -> Any:
    """The same slices on cores far from each other."""
    from dataclasses import replace

    return replace(placed, slices=tuple(replace(s, core=(s.core * 37 + 21) % 128) for s in placed.slices))


def ours(rate: float, scatter: bool, slices: list[Any] | None = None) -> tuple[dict[str, float], Any, Any]:
    """What ndeploy counts and prices, the run, and the placement. slices: (unit, grid, box, core) as recorded, None to
    place the network."""
    from dataclasses import replace

    from ndeploy import sim
    from ndeploy.energy.ledger import tally
    from ndeploy.energy.tables import find
    from ndeploy.place import Slice, place
    from ndeploy.plugins import targets

    program = _network(1)
    x = (np.random.default_rng(2).random((1, STEPS, SIZES[0])) < rate).astype(np.int64)
    run = sim.run(program, {"in": x}, trace=True, activity=True)
    target = targets()["loihi1"]
    placed = place(program, target)
    if slices is not None:
        held = [(unit, tuple(grid), tuple((a, b) for a, b in box), core) for unit, grid, box, core in slices]
        made = [Slice(u, u, g, box, core, int(np.prod([b - a for a, b in box]))) for u, g, box, core in held]
        placed = replace(placed, slices=tuple(made))
    elif scatter:
        placed = _scattered(placed)
    ledger = tally(program, placed, target, run.activity)
    table = find("sanafe", target)
    events = {event: int(each.sum()) for event, each in ledger.events.items()}
    priced = {event: n * (p.nominal if (p := table.price(event)) else 0.0) for event, n in events.items()}
    soma = sum(priced[event] for event in ("neuron-update.active", "neuron-update.idle", "spike"))
    network = sum(priced[event] for event in ("message", "hop.east-west", "hop.north-south", "axon-in"))
    remembered, late = _remembered(program, run), 3 * sum(SIZES[1:])
    found = {
        "fired": sum(int(run.counts.spikes[layer].sum()) for layer in LAYERS),
        "synaptic_ops": events["synaptic-op.dense"],
        "packets": events["message"],
        "east_west": events["hop.east-west"],
        "north_south": events["hop.north-south"],
        "active": events["neuron-update.active"],
        "active_or_remembered": events["neuron-update.active"] + remembered,
        "synapse": priced["synaptic-op.dense"],
        "soma": soma,
        "soma_with_differences": soma + late * ACCESS + remembered * UPDATE,
        "network": network,
        "total": priced["synaptic-op.dense"] + soma + network,
    }
    return found, run, placed


def theirs(run: Any, placed: Any, python: str) -> dict[str, float]:
    """What SANA-FE counts on the same spikes and cores."""
    program = _network(1)
    with tempfile.TemporaryDirectory() as folder:
        given, told = Path(folder) / "given.npz", Path(folder) / "told.json"
        held = {f"weight{i}": program.projections[i - 1].synapses.weight for i in (1, 2, 3)}
        held |= {f"core{i}": cores for i, cores in _cores(placed).items()}
        spikes = run.traces["spikes/in"][0]
        np.savez(given, spikes=spikes, steps=STEPS + 3, **held)
        said = subprocess.run([python, __file__, "--worker", str(given), str(told)], capture_output=True, text=True)
        if said.returncode:
            raise SystemExit(said.stdout[-2000:] + said.stderr[-4000:])
        result = json.loads(told.read_text(encoding="utf-8"))
    updated = result["updated"] - int(spikes.sum())  # an input that fires counts as an update, at no price
    energy = result["energy"]
    same = {name: result[name] for name in ("fired", "synaptic_ops", "packets", "east_west", "north_south")}
    joules = {"synapse": energy["synapse"], "soma": energy["soma"], "soma_with_differences": energy["soma"]}
    updates = {"active": updated, "active_or_remembered": updated}
    return same | updates | joules | {"network": energy["network"], "total": energy["total"]}


def _cores(placed: Any) -> dict[int, np.ndarray[Any, Any]]:
    """Core by neuron of each layer; the inputs are at the router (0, 0), on its emptiest core: they have no price."""
    held = [sum(s.size for s in placed.slices if s.core == core) for core in range(4)]
    found = {0: np.full(SIZES[0], int(np.argmin(held)))}
    for i in (1, 2, 3):
        found[i] = np.full(SIZES[i], -1)
        for piece in placed.slices:
            if piece.owner == LAYERS[i]:
                found[i][piece.neurons()] = piece.core
    return found


def _remembered(program: Any, run: Any) -> int:
    """Updates without an arrival of a membrane that is not zero: SANA-FE updates those, we call them idle. SANA-FE runs
    all layers until the last has made its last update, the others beyond the sample's window too."""
    count = 0
    for i in (1, 2, 3):
        v = run.traces[f"state/{LAYERS[i]}/v"][0]
        before = np.concatenate([np.zeros_like(v[:1]), v[:-1]])
        arrived = run.traces[f"spikes/{LAYERS[i - 1]}"][0].any(axis=1)[:, None]
        count += int((~arrived & (before != 0)).sum())
        still = v[-1]
        for _ in range(3 - i):
            count += int((still != 0).sum())
            still = np.sign(still) * ((np.abs(still) * (4096 - DECAY)) >> 12)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="build/sanafe/bin/python")
    parser.add_argument("--record", action="store_true", help=f"write {GOLDENS.name}")
    parser.add_argument("--worker", nargs=2, type=Path)
    asked = parser.parse_args()
    if asked.worker:
        worker(*asked.worker)
        return
    kept = {}
    for name, (rate, scatter) in CASES.items():
        mine, run, placed = ours(rate, scatter)
        other = theirs(run, placed, asked.python)
        cores = len({s.core for s in placed.slices})
        print(f"{name}, {cores} cores\n  {'':34} {'ndeploy':>16} {'SANA-FE':>16}  difference")
        for what, label in LABELS.items():
            a, b = mine[what], other[what]
            print(f"  {label:34} {a:16.9g} {b:16.9g}  {(a - b) / max(abs(b), 1e-300):+.2%}")
        slices = [[s.unit, list(s.grid), [list(axis) for axis in s.box], s.core] for s in placed.slices]
        kept[name] = {"rate": rate, "slices": slices, "said": other}
    if asked.record:
        told = {"how": "benchmarks/peers_sanafe.py --record", "sanafe": "2.2.9", "arch": "loihi.yaml", "cases": kept}
        GOLDENS.write_text(json.dumps(told) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
