"""What `ndeploy test` catches: regressions planted in the example networks, and clean runs that must raise no alarm.

    python benchmarks/suite_plantings.py [--clean 50] [--seeds 3]

A planting changes what the compiler gives, the prices or the simulator, and leaves the files as they are; it is caught
where the case fails, and named where the cause says the kind and the part. Clean runs compile, run and time anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ndeploy import sim
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLif
from ndeploy.suite import measure
from ndeploy.suite.case import Case
from ndeploy.suite.checks import judge
from ndeploy.suite.measured import Known, Measured
from ndeploy.suite.toml_file import load
from ndeploy.suite.verdict import CaseResult

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = 128
Plant = Callable[[Program, np.random.Generator], tuple[Program, str]]


def known(found: Measured) -> Known:
    return Known(found.identity, found.toolchain, found.numbers, found.trails, found.parts, found.costs)


def neuron(program: Program, rng: np.random.Generator, key: str, word: str) -> tuple[Program, str]:
    """One parameter of one spiking population, by one unit or one step of its choice."""
    able = [p for p in program.populations if isinstance(p.neuron, CubaLif)]
    if not able:
        raise LookupError(key)
    chosen = able[int(rng.integers(len(able)))]
    old = getattr(chosen.neuron, key)
    if key == "reset":
        new: Any = "none" if old != "none" else "zero"
    elif key in ("du", "dv"):
        new = np.where(np.asarray(old) > 0, np.asarray(old) - 1, 1)
    else:
        new = np.asarray(old) + 64
    new = new if isinstance(new, str) or new.size > 1 else int(new.reshape(-1)[0])
    parts = tuple(replace(p, neuron=replace(p.neuron, **{key: new})) if p is chosen else p for p in program.populations)
    return replace(program, populations=parts), f"population '{chosen.name}': {word}"


def weight_bit(program: Program, rng: np.random.Generator) -> tuple[Program, str]:
    chosen = program.projections[int(rng.integers(len(program.projections)))]
    weight = np.array(chosen.synapses.weight)
    weight.reshape(-1)[int(rng.integers(weight.size))] ^= 1
    made = replace(chosen, synapses=replace(chosen.synapses, weight=weight))
    parts = tuple(made if p is chosen else p for p in program.projections)
    return replace(program, projections=parts), f"projection '{chosen.name}': weights"


def delay(program: Program, rng: np.random.Generator) -> tuple[Program, str]:
    """A projection arrives a model step late."""
    chosen = program.projections[int(rng.integers(len(program.projections)))]
    made = replace(chosen, delay=chosen.delay + program.period)
    parts = tuple(made if p is chosen else p for p in program.projections)
    return replace(program, projections=parts), f"projection '{chosen.name}': delay"


PLANTS: dict[str, Plant] = {
    "weight bit": weight_bit,
    "decay": lambda p, rng: neuron(p, rng, "dv", "decay of the membrane"),
    "threshold": lambda p, rng: neuron(p, rng, "vth", "threshold"),
    "reset mode": lambda p, rng: neuron(p, rng, "reset", "reset mode"),
    "delay": delay,
}


def named(result: CaseResult, words: str) -> bool:
    return any(words in check.cause for check in result.failed)


def planted(case: Case, seeds: int) -> list[tuple[str, bool, bool]]:
    """(kind, caught, named) of every planting in the case's network."""
    context = measure.Context()
    deployed = measure._deployed(case)
    lost = measure._float_accuracy(deployed.network, measure.load(case.data, case.limit))
    found: list[tuple[str, bool, bool]] = []

    def run(made: Any = deployed) -> Measured:
        with (
            mock.patch.object(measure, "_deployed", return_value=made),
            mock.patch.object(measure, "_float_accuracy", return_value=lost),
        ):
            got = measure.measure(context, case)
        assert isinstance(got, Measured), got
        return got

    before = run()
    for kind, plant in PLANTS.items():
        for seed in range(seeds):
            try:
                program, words = plant(deployed.program, np.random.default_rng(seed))
            except LookupError:
                continue  # no such parameter in this network
            result = judge(case, run(replace(deployed, program=program)), known(before))
            found.append((kind, bool(result.failed), named(result, words) and result.blame == "toolchain"))
    dear = tuple(replace(p, nominal=p.nominal * 1.05, high=p.high * 1.05) for p in deployed.target.energy)
    result = judge(case, run(replace(deployed, target=replace(deployed.target, energy=dear))), known(before))
    found.append(("5 % energy", bool(result.failed), named(result, "price of")))
    real = sim.run

    def slow(*arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        got = real(*arguments, **options)
        until = time.process_time() + 3 * (time.process_time() - began)
        while time.process_time() < until:
            pass
        return got

    with mock.patch.object(sim, "run", slow):
        result = judge(case, run(), known(before))
    found.append(("kernel 4 times slower", bool(result.failed), named(result, "the simulator itself is slower")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    suite = load(ROOT / "examples" / "suite.toml")
    cases = [replace(case, limit=SAMPLES) for case in suite.cases]
    total: dict[str, list[tuple[bool, bool]]] = {}
    for case in cases:
        for kind, caught, right in planted(case, asked.seeds):
            total.setdefault(kind, []).append((caught, right))
            if not (caught and right):
                print(f"missed: {kind} in {case.name} (caught {caught}, named {right})")
    for kind, entries in total.items():
        caught, right = (sum(entry[i] for entry in entries) for i in range(2))
        print(f"{kind:24} caught {caught} of {len(entries)}, named {right}")
    quick = [case for case in cases if case.name in ("mnist-conv", "ctm-parity")]
    before = {case.name: measure.measure(measure.Context(), case) for case in quick}
    alarms = 0
    for _ in range(asked.clean):
        for case in quick:
            first = before[case.name]
            assert isinstance(first, Measured)
            result = judge(case, measure.measure(measure.Context(), case), known(first))
            if result.failed:
                alarms += 1
                print(f"alarm: {case.name}: {[(check.name, check.reason) for check in result.failed]}")
    print(f"clean runs: {alarms} alarms in {asked.clean} runs of {len(quick)} cases")


if __name__ == "__main__":
    main()
