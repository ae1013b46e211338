"""How often `ndeploy compare` catches what was planted in a compiled network, and names its cause.

    python benchmarks/compare_plantings.py FOLDER [NAME ...] [--fixtures DIR] [--most N] [--seed N] [--json F]
    python benchmarks/compare_plantings.py FOLDER [NAME ...] --clean 50

FOLDER holds the fixtures' artifacts, NAME.ndp, compiled for loihi2 with 8 bits; two networks are made here: with delays
by synapse ("delays") and with a skip that waits ("skip"). A planting that changes no message on the samples is not
counted, how many there were is said; one that no valid program can have is refused by the artifact's reader and counted
apart.

program: against the clean artifact. float: against the float network, beside a compile of today. alone: the same where
the calibration data are missing, so that nothing but the float network's numbers tells a mistake from rounding.

--clean N: nothing is planted, N runs over the networks in turn, each on other samples. An alarm is any difference from
a compile of today or from the trace of another run, and any cause beyond rounding, or mistake, beside the float
network, with a compile of today and without.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from compared_networks import META, RECORD, compiled, delayed, skipping
from compared_plantings import Planting, every

from ndeploy import artifact, sim
from ndeploy import data as samples_of
from ndeploy.artifact import Artifact
from ndeploy.data import Data
from ndeploy.decode import encode, for_data
from ndeploy.divergence import exact
from ndeploy.divergence.compare import Comparison, compare
from ndeploy.divergence.engines import FloatEngine
from ndeploy.divergence.references import COMPILE, FLOAT, Asked, find
from ndeploy.divergence.sides import plain_simulator
from ndeploy.divergence.signals import carriers, from_traces, shown
from ndeploy.graph.write import nir_bytes
from ndeploy.ir.program import Program
from ndeploy.runners import RunnerOptions

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("program", "float", "alone")
FIXTURES = {
    "mnist-conv": ("nir/mnist-conv", 4),
    "braille": ("nir/braille", 2),
    "tinynet": ("netx/tinynet", 1),
    "oxford": ("netx/oxford", 1),
    "parity": ("ctm/parity", 4),
    "sort": ("ctm/sort", 4),
    "digits": ("ctm/digits", 2),
    "spikformer": ("spikformer", 2),
    "pilotnet-lif": ("netx/pilotnet-lif", 1),
    "pilotnet-sdnn": ("netx/pilotnet-sdnn", 1),
}
"""By network its folder and how many samples are run."""
MADE = {"delays": delayed, "skip": skipping}
"""Networks that are made here."""


@dataclass(frozen=True)
class Row:
    """A planting and what was named on each side, "" for nothing; silent: it changed nothing."""

    network: str
    kind: str
    cause: str
    where: str
    refused: str
    silent: bool
    program: str = ""
    float: str = ""
    alone: str = ""
    seconds: float = 0.0


def samples(name: str, folder: Path, count: int) -> Data:
    """The fixture's samples."""
    if (folder / "eval.npz").is_file():
        given = samples_of.load(folder / "eval.npz", count)
        return replace(given, x=given.x[:, :96]) if name == "braille" else given
    if name == "oxford":
        events, steps = np.load(folder / "input.npy"), 200
        x = np.zeros((1, steps, 200), dtype=np.uint8)
        at = np.rint(events[:, 2]).astype(np.int64)
        x[0, at[at < steps], events[at < steps, 0].astype(np.int64)] = 1
        return Data(x)
    # lava-dl keeps images as (W, H, C)
    path = folder / "input_bias.npy" if name == "tinynet" else folder.parent / "pilotnet-lif" / "image.npy"
    return Data(np.ascontiguousarray(np.load(path).transpose(2, 1, 0))[None].astype(np.int64))


@dataclass(frozen=True, eq=False)
class Network:
    """clean: the artifact's file; held: what is in it; data, steps: what is run; beside: where its calibration data
    lie."""

    name: str
    clean: Path
    held: Artifact
    data: Data
    beside: Path

    @property
    def program(self) -> Program:
        """As it runs on the samples."""
        return for_data(self.held.program, self.data.x)


def networks(folder: Path, fixtures: Path, names: list[str]) -> Iterator[Network]:
    """Those that are named, all if none is."""
    for name, (where, count) in FIXTURES.items():
        if not names or name in names:
            path = folder / f"{name}.ndp"
            yield Network(name, path, artifact.load(path), samples(name, fixtures / where, count), fixtures / where)
    for name, make in MADE.items():
        if names and name not in names:
            continue
        made, data = make()
        held = Artifact(compiled(made), {}, nir_bytes(made), META | RECORD)
        with tempfile.TemporaryDirectory() as kept:
            path = Path(kept) / f"{name}.ndp"
            artifact.save(held, path)
            yield Network(name, path, held, data, Path(kept))


def compared(network: Network, held: Artifact, program: Program, against: str) -> Comparison:
    """As the command compares."""
    asked = Asked(against, network.clean, network.beside / "eval.npz", None, RunnerOptions(threads=1))
    reference = find(asked, held, program, network.data, None)
    return compare(
        program,
        network.data,
        plain_simulator(program, 1),
        reference.side,
        against=reference.name,
        engine=reference.engine,
        no_engine=reference.why,
        today=reference.today,
        told=reference.told,
        other=reference.other,
        one_unit=reference.one_unit,
    )


def measured(network: Network, planting: Planting) -> Row:
    """What each side names."""
    begun = time.perf_counter()
    row = Row(network.name, planting.kind, planting.cause, planting.where, planting.refused, False)
    if planting.program is None:
        return row
    program = for_data(planting.program, network.data.x)
    messages = encode(program, network.data.x, network.data.x_scale)
    clean, own = (
        from_traces(p, sim.run(p, messages, trace=True, counts=False, threads=1).traces)
        for p in (network.program, program)
    )
    if all(np.array_equal(shown(clean, name), shown(own, name)) for name in carriers(program)):
        return replace(row, silent=True)
    held = replace(network.held, program=planting.program)
    beside = compared(network, held, program, str(network.clean))
    apart = compared(network, held, program, "float")
    assert apart.ablation is not None
    numbers, _ = exact.beside(exact.read(held.network), program, held.meta)
    assert numbers is not None
    by_size = FloatEngine(program, numbers).beyond_rounding(network.data)
    alone = replace(apart.ablation, shares=tuple(replace(s, beyond=s.cause in by_size) for s in apart.ablation.shares))
    told = {"program": beside.named, "float": apart.named, "alone": alone.named}
    names = {side: "" if share is None else share.cause for side, share in told.items()}
    return replace(row, **names, seconds=round(time.perf_counter() - begun, 1))


def alarms(network: Network, data: Data, run: int) -> list[str]:
    """Of one clean run."""
    now = replace(network, data=data)
    found = []
    if not compared(now, network.held, now.program, COMPILE).equal:
        found.append("differs from a compile of today")
    messages = encode(now.program, data.x, data.x_scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.npz"
        np.savez(path, **sim.run(now.program, messages, trace=True, counts=False, threads=2).traces)
        if not compared(now, network.held, now.program, str(path)).equal:
            found.append("differs from the trace of another run")
    apart = compared(now, network.held, now.program, FLOAT)
    numbers, _ = exact.beside(exact.read(network.held.network), now.program, network.held.meta)
    assert numbers is not None
    assert apart.ablation is not None
    if apart.mistakes is not None:
        found.append(f"a mistake: {apart.today}")
    beyond = [share.cause for share in apart.ablation.shares if share.beyond]
    alone = FloatEngine(now.program, numbers).beyond_rounding(data)
    found += [f"beyond rounding: {cause}" for cause in beyond] + [f"beyond rounding, alone: {cause}" for cause in alone]
    sys.stderr.write(f"{run} {network.name}: {'; '.join(found) or 'nothing'}\n")
    return found


def others(network: Network, run: int) -> Data:
    """Samples of this run: the next ones of the fixture's, or its one sample shifted."""
    count = len(network.data)
    path = network.beside / "eval.npz"
    if not path.is_file():
        return replace(network.data, x=np.roll(network.data.x, run, axis=1 if network.data.x.ndim == 3 else -1), y=None)
    given = samples_of.load(path)
    start = run * count % (len(given) - count)
    part = given.slice(start, start + count)
    return replace(part, x=part.x[:, :96]) if network.name == "braille" else part


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("names", nargs="*")
    asked.add_argument(
        "--fixtures", type=Path, default=os.environ.get("NDEPLOY_FIXTURES", ROOT.parent / "shared/fixtures")
    )
    asked.add_argument("--most", type=int, default=3, help="plantings of a kind in a network")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--json", type=Path)
    asked.add_argument("--clean", type=int, default=0, metavar="N")
    given = asked.parse_args()
    if given.clean:
        known = list(networks(given.folder, Path(given.fixtures), given.names))
        raised = [alarms(known[i % len(known)], others(known[i % len(known)], i), i) for i in range(given.clean)]
        sys.stdout.write(f"{given.clean} clean runs, {sum(bool(r) for r in raised)} with an alarm\n")
        return
    rows: list[Row] = []
    for network in networks(given.folder, Path(given.fixtures), given.names):
        messages = encode(network.program, network.data.x, network.data.x_scale)
        clean = sim.run(network.program, messages, trace=True, counts=False)
        numbers, why = exact.beside(exact.read(network.held.network), network.program, network.held.meta)
        if numbers is None:
            sys.exit(why)
        for planting in every(network.program, clean, numbers.integer, given.seed, given.most):
            rows.append(measured(network, planting))
            sys.stderr.write(f"{rows[-1]}\n")
        if given.json is not None:
            given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    sys.stdout.write(table(rows, "kind") + "\n" + table(rows, "network"))


def table(rows: list[Row], by: str) -> str:
    """Of the plantings with an effect, how often each side named the cause."""
    lines = [f"| {by} | planted | " + " | ".join(SIDES) + " | without effect | refused |", "| --- " * 7 + "|"]
    keys = list(dict.fromkeys(getattr(row, by) for row in rows))
    for key in [*keys, None]:
        own = [row for row in rows if key is None or getattr(row, by) == key]
        told = [row for row in own if not row.silent and not row.refused]
        right = [f"{sum(getattr(row, side) == row.cause for row in told)}" for side in SIDES]
        silent, refused = sum(row.silent for row in own), sum(bool(row.refused) for row in own)
        lines.append(f"| {key or 'all'} | {len(told)} | {' | '.join(right)} | {silent} | {refused} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
