"""What `ndeploy test` catches: regressions planted in the compiler, the simulator, the prices and the placement while
they work on the trained networks of the fixtures, and clean runs that must raise no alarm.

    python benchmarks/suite_plantings.py [--seeds 2] [--clean 50] [--workers 2] [--case NAME ...] [--kind TEXT ...]

The files stay as they are. A planting is caught where the case fails, and named where the toolchain is blamed and a
check that had to fail names the part and the parameter that was changed (`suite_plantings_kind.named`). One that fails
nothing is left out of the count where it changes no message and no answer of any sample of the case.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import suite_plantings_clean as clean_runs
import suite_plantings_compiler as compiler
import suite_plantings_running as running
from suite_plantings_cases import written
from suite_plantings_kind import Outcome, Plant, Site, known, named, told

from ndeploy import sim
from ndeploy.data import load as load_data
from ndeploy.decode import encode, for_data
from ndeploy.suite import measure
from ndeploy.suite.case import Case
from ndeploy.suite.checks import judge
from ndeploy.suite.measured import Measured
from ndeploy.suite.toml_file import load

UNTIMED: dict[str, Plant] = {
    "one weight bit": compiler.weight_bit,
    **{kind: compiler.parameter(kind) for kind in compiler.PARAMETERS},
    "dropped skip delay": compiler.skip_delay,
    "delay a model step late": compiler.late,
    "another rounding mode": compiler.rounding_mode,
    "simulator: weight bit": running.links("weight bit"),
    "simulator: delay": running.links("delay"),
    **{f"simulator: {kind}": running.parameter(kind) for kind in compiler.PARAMETERS},
    "simulator: sigmoid table": running.sigmoid,
    "5 % energy: all prices": running.prices,
    "5 % energy: one price": running.one_price,
    "5 % energy: counting": running.counted,
    "5 % latency: all times": running.durations,
    "more cores: layers": running.cores,
    "more cores: memory": running.small_cores,
}
TIMED: dict[str, Plant] = {
    **{f"kernel {f:g} x slower": running.slow_kernel(f) for f in (1.5, 2.0, 3.0, 4.0)},
    **{f"compiler {f:g} x slower": running.slow_compiler(f) for f in (2.0, 4.0, 6.0)},
    "compiled kernels lost": running.lost_kernels,
    "fast paths lost": running.lost_path,
}
KINDS = UNTIMED | TIMED
RARE = {"dropped skip delay": 2, "gate or synchronisation table": 2, "simulator: sigmoid table": 2}
"""Kinds of few networks: so many times the seeds."""
DEAR = ("ctm-digits", "spikformer", "pilotnet-sdnn", "pilotnet-lif", "ctm-parity")
SHARE = 0.9
"""Of the plantings of a kind that must be caught, and named."""
REQUIRED = (
    "one weight bit",
    "decay",
    "threshold",
    "reset mode",
    "dropped skip delay",
    "5 % energy: all prices",
    "5 % energy: one price",
    "5 % energy: counting",
    "kernel 4 x slower",
)
"""The kinds that the suite is held to."""


def measured(case: Case, timed: bool, lost: float | None) -> Any:
    """The case, compiled and run anew; the float network, which no planting touches, is not run again."""
    with mock.patch.object(measure, "_float_accuracy", return_value=lost):
        if timed:
            return measure.measure(measure.Context(), case)
        with mock.patch.object(measure, "QUICK", 0.0):
            return measure.measure(measure.Context(timed=False), case)


def everything(site: Site) -> list[bytes]:
    """Every message and every answer of every sample, by the simulator as it stands, of a program never run before."""
    data = load_data(site.case.data, site.case.limit)
    program = replace(for_data(site.deployed.program, data.x))
    found = sim.run(program, encode(program, data.x, data.x_scale), trace=True)
    kept = {key: value for key, value in found.traces.items() if key.startswith("spikes/")} | found.outputs
    return [np.ascontiguousarray(kept[key]).tobytes() for key in sorted(kept)]


def rng_of(case: Case, seed: int) -> np.random.Generator:
    """A seed of its own for every network: else all would be hit in the same place."""
    return np.random.default_rng([seed, zlib.crc32(case.name.encode())])


def planted(site: Site, plant: Plant, seed: int) -> Outcome | None:
    """None where the network has nothing of the kind, or nothing came of it."""
    planting = plant(site, rng_of(site.case, seed))
    if planting is None:
        return None
    clean = everything(site) if planting.checks == ("spikes",) else []
    with planting.patch():
        found = measured(site.case, planting.timed, site.lost)
        result = judge(site.case, found, known(site.clean))
        if not result.failed and clean and everything(site) == clean:
            return None
    factor = None
    if planting.timed and isinstance(found, Measured):
        now, then = found.numbers[planting.checks[0]], site.clean.numbers[planting.checks[0]]
        factor = None if now is None or then is None else now / then
    caught = any(check.name in (*planting.checks, "run") for check in result.failed)
    return Outcome(site.case.name, planting.kind, planting.what, caught, *named(result, planting), told(result), factor)


def site_of(case: Case, timed: bool = True) -> Site:
    """The case compiled and measured without plantings. timed: so that what is slower can be planted."""
    with mock.patch.object(measure, "QUICK", 0.0):
        deployed = measure._deployed(case)
    lost = measure._float_accuracy(deployed.network, load_data(case.data, case.limit))
    clean = measured(case, timed, lost)
    if not isinstance(clean, Measured):
        raise RuntimeError(f"{case.name}: {clean}")
    return Site(case, deployed, clean, lost)


def all_of(case: Case, kinds: tuple[str, ...], seeds: int) -> list[Outcome]:
    """Every planting in a case's network, in a process of its own. Of what has no choice of place there is one seed."""
    began = time.monotonic()
    site = site_of(case)
    tries = [(kind, s) for kind in kinds for s in range(1 if kind in TIMED else seeds * RARE.get(kind, 1))]
    found = [outcome for kind, seed in tries if (outcome := planted(site, KINDS[kind], seed)) is not None]
    print(f"# {case.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def _dear(case: Case) -> int:
    """The longest first."""
    return DEAR.index(case.name) if case.name in DEAR else len(DEAR)


def table(found: list[Outcome]) -> tuple[str, bool]:
    """A line a kind, and whether every kind that is required reaches the share."""
    lines = [f"{'planted':36} {'caught':>9} {'named':>9} {'first':>9}   measured factor"]
    good = True
    for kind in dict.fromkeys(outcome.kind for outcome in found):
        of = [outcome for outcome in found if outcome.kind == kind]
        caught, right, first = (sum(getattr(o, name) for o in of) for name in ("caught", "named", "first"))
        factors = sorted(o.factor for o in of if o.factor is not None)
        spread = f"   {factors[0]:.2f} .. {factors[-1]:.2f}" if factors else ""
        lines.append(f"{kind:36} {caught:>4}/{len(of):<4} {right:>4}/{len(of):<4} {first:>4}/{len(of):<4}{spread}")
        good = good and (kind not in REQUIRED or min(caught, right) >= SHARE * len(of))
    return "\n".join(lines), good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--case", nargs="*")
    parser.add_argument("--kind", nargs="*", help="kinds whose name holds one of these")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    began = time.monotonic()
    kinds = [kind for kind in KINDS if not asked.kind or any(text in kind for text in asked.kind)]
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        suite = load(written(Path(folder)))
        cases = sorted((c for c in suite.cases if not asked.case or c.name in asked.case), key=_dear)
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.workers, mp_context=spawned) as pool:
            for done in as_completed([pool.submit(all_of, case, tuple(kinds), asked.seeds) for case in cases]):
                for outcome in done.result():
                    found.append(outcome)
                    if not outcome.named:
                        word = "not named" if outcome.caught else "missed"
                        print(
                            f"{word}: {outcome.kind} in {outcome.case}, {outcome.what}: {outcome.told[:400]}",
                            flush=True,
                        )
        text, good = table(found)
        print(text, flush=True)
        if asked.json is not None:
            asked.json.write_text(json.dumps([asdict(outcome) for outcome in found], indent=1))
        alarms = clean_runs.run(Path(folder), asked.clean) if asked.clean else 0
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if good and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
