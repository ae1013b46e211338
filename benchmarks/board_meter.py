"""How often are lies of a board's meter found out? Seeded lies over the networks of examples/, judged by suite checks.

    python benchmarks/board_meter.py [--seeds 20] [--samples 64]

The board is software, its meter a model (ndeploy/board/meter.py). A lie multiplies or divides what the meter counts of
a stream of 8 samples by a factor: of every stream in one direction ("all"), or of each with probability 0.3 in either
("some": a run without any lie is among them). "by the baseline": the check against what was measured for the baseline,
tolerance 10 %; "by the estimate": that against the estimate's bounds, which needs no baseline.
"""

from __future__ import annotations

import argparse
import random
import secrets
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ndeploy import plugins
from ndeploy.board.desk import Terms
from ndeploy.board.faults import FaultyBoard, Plan
from ndeploy.board.meter import ModelMeter
from ndeploy.board.runner import BoardRunner
from ndeploy.board.server import Server
from ndeploy.board.software import SoftwareBoard
from ndeploy.data import Data, load
from ndeploy.energy.estimate import estimate
from ndeploy.energy.measure import Options, counted
from ndeploy.energy.result import EnergyReport
from ndeploy.evaluate import evaluate
from ndeploy.ir.program import Program
from ndeploy.ir.result import PowerReading
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.runners import BUILT_IN, RunnerOptions
from ndeploy.suite import metered, toml_file
from ndeploy.suite.case import Case
from ndeploy.suite.measured import Known, Measured
from ndeploy.suite.verdict import FAILED

FACTORS = (1.0, 1.05, 1.2, 1.5, 10.0)
BATCH = 8


class OneWay(FaultyBoard):
    """Lies about every stream in the direction that its seed gives."""

    def __init__(self, board: SoftwareBoard, seed: int, factor: float) -> None:
        super().__init__(board, Plan({}, seed))
        self._by = factor if random.Random(seed).random() < 0.5 else 1 / factor

    def _meter(self, true: Mapping[str, float]) -> dict[str, float]:
        return {**true, "joules": true["joules"] * self._by}


def read(device: Any, program: Program, data: Data) -> PowerReading:
    """What the board's meter shows for the data."""
    token = secrets.token_hex(16)
    with Server(device, "127.0.0.1", 0, token, Terms()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with BoardRunner(server.url, token) as board:
            found = evaluate(program, data, board, RunnerOptions(), batch=BATCH).result.power
        server.close()
        thread.join()
    if found is None:
        raise SystemExit("the board has no meter")
    return found


def failed(case: Case, power: PowerReading, report: EnergyReport, honest: Measured) -> set[str]:
    """The checks that find something wrong."""
    found = replace(honest, numbers=metered.numbers(power, report))
    known = Known(identity=honest.identity, numbers=honest.numbers)
    return {check.name for check in metered.checks(case, found, known, ()) if check.outcome == FAILED}


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--seeds", type=int, default=20)
    asked.add_argument("--samples", type=int, default=64)
    told = asked.parse_args()
    tally: dict[tuple[float, str, str], int] = {}
    runs: dict[tuple[float, str], int] = {}
    for case in toml_file.load(toml_file.default_suite()).cases:
        if case.target != "loihi2" or case.model is None:
            continue
        options = CompileOptions(
            target=case.target, steps=case.steps, bits=case.bits, settings=case.settings, calibration=case.calibration
        )
        deployed = compile_model(Path(case.model), options)
        data = load(case.data, told.samples)
        program, _, activity = counted(deployed.program, data, Options())
        report = estimate(program, deployed.placed, deployed.target, activity, None, allow_unpriced=True)
        case = replace(case, runner="board")

        def board() -> SoftwareBoard:
            return SoftwareBoard(BUILT_IN["sim"], "sim", meter=ModelMeter(plugins.target("loihi2")))

        truth = read(board(), program, data)
        identity = {"program": "", "meter": truth.meter}
        honest = Measured(identity, {}, metered.numbers(truth, report), {}, {}, {}, (), 1)
        for factor in FACTORS:
            for seed in range(told.seeds if factor > 1 else 1):
                for kind in ("all", "some"):
                    some = FaultyBoard(board(), Plan({"scale": 0.3 if factor > 1 else 0.0}, seed, max(factor, 1.01)))
                    device = OneWay(board(), seed, factor) if kind == "all" else some
                    wrong = failed(case, read(device, program, data), report, honest)
                    runs[factor, kind] = runs.get((factor, kind), 0) + 1
                    for name in wrong:
                        tally[factor, kind, name] = tally.get((factor, kind, name), 0) + 1
        bounds = (
            f"{report.energy.low / report.energy.nominal:.2f} to {report.energy.high / report.energy.nominal:.2f}"
            if report.energy
            else "none"
        )
        print(f"{case.name}: bounds of the estimate {bounds} of nominal", flush=True)
    print("factor  streams  lies  by the baseline  by the estimate")
    for (factor, kind), n in sorted(runs.items()):
        caught = [tally.get((factor, kind, name), 0) for name in (metered.BASELINE, metered.ESTIMATE)]
        print(f"{factor:6g}  {kind:7}  {n:4}  {caught[0]:15}  {caught[1]:15}")


if __name__ == "__main__":
    main()
