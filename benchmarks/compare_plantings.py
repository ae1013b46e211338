"""How often `ndeploy compare` names the cause that was planted: every kind in every layer of compiled artifacts.

    python benchmarks/compare_plantings.py ARTIFACT.ndp DATA.npz [--samples N] [--json F]

A planting without any effect on the samples' messages explains nothing and is not counted; how many there were is said.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from compared_networks import plantings

from ndeploy import artifact, data
from ndeploy.decode import for_data
from ndeploy.divergence import exact
from ndeploy.divergence.compare import Comparison, compare
from ndeploy.divergence.engines import FloatEngine, ProgramEngine
from ndeploy.divergence.sides import Mended, plain_simulator


def named(found: Comparison) -> str | None:
    """The cause, None where there is none."""
    cause = None if found.ablation is None else found.ablation.named
    return None if cause is None else cause.cause


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("artifact", type=Path)
    asked.add_argument("data", type=Path)
    asked.add_argument("--samples", type=int, default=8)
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    loaded, samples = artifact.load(given.artifact), data.load(given.data, given.samples)
    clean = for_data(loaded.program, samples.x)
    network = exact.read(loaded.network)
    rows, silent, began = [], 0, time.perf_counter()
    for cause, where, program in plantings(clean):
        own = plain_simulator(program, 1)
        beside = compare(
            program, samples, own, plain_simulator(clean, 1), against="clean", engine=ProgramEngine(program, clean, 1)
        )
        if beside.equal:
            silent += 1
            continue
        numbers, why = exact.beside(network, program, loaded.meta)
        if numbers is None:
            sys.exit(why)
        engine = FloatEngine(program, numbers)
        apart = compare(program, samples, own, Mended(engine), against="float", engine=engine)
        rows.append({"cause": cause, "where": where, "program": named(beside), "float": named(apart)})
    right = {side: sum(row[side] == row["cause"] for row in rows) for side in ("program", "float")}
    result = {
        "artifact": given.artifact.name,
        "samples": len(samples),
        "plantings": len(rows),
        "without_effect": silent,
        "named_against_program": right["program"],
        "named_against_float": right["float"],
        "seconds": round(time.perf_counter() - began, 1),
        "wrong": [row for row in rows if {row["program"], row["float"]} != {row["cause"]}],
    }
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
