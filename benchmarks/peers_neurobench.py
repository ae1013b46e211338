"""NeuroBench's figures beside ours, and the goldens of tests/neurobench_goldens.json.

    pip install --no-deps neurobench==2.3.0 tqdm
    python benchmarks/peers_neurobench.py [--record] [ARTIFACT.ndp DATA.npz]...

Without arguments: the networks of tests/neurobench_networks.py. An artifact is run on the first 16 samples of its data.
The package asks for torchaudio and tonic, which these metrics do not use: hence --no-deps, in a private environment.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import neurobench  # noqa: E402
import neurobench_networks as networks  # noqa: E402
import snntorch  # noqa: E402
import torch  # noqa: E402
from neurobench_mirror import measure  # noqa: E402

from ndeploy import artifact, sim  # noqa: E402
from ndeploy.decode import encode, for_data  # noqa: E402
from ndeploy.energy.neurobench import metrics  # noqa: E402
from ndeploy.ir.program import Program  # noqa: E402

GOLDENS = TESTS / "neurobench_goldens.json"
BATCH = 3
SAMPLES = 16


def _row(name: str, ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            _row(f"{name}.{key}", ours[key], value)
        return
    verdict = "equal" if ours == theirs else f"differs by {abs(ours - theirs) / max(abs(theirs), 1e-300):.1e}"
    print(f"  {name:45} {ours:22.12g} {theirs:22.12g}  {verdict}")


def _compare(name: str, program: Program, traces: dict[str, Any], footprint: bool) -> dict[str, Any]:
    theirs = measure(program, traces, BATCH)
    ours = metrics(program, networks.activity_of(program, traces), traces)
    print(f"{name}\n  {'':45} {'ndeploy':>22} {'neurobench':>22}")
    for key, value in theirs.items():
        if key != "Footprint" or footprint:
            _row(key, ours[key], value)
    return theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {GOLDENS.name}")
    parser.add_argument("pairs", nargs="*", type=Path)
    asked = parser.parse_args()
    found = {}
    for name, make in networks.NETWORKS.items():
        program = make()
        found[name] = _compare(name, program, networks.record(program)[0], True)
    for model, data in zip(asked.pairs[::2], asked.pairs[1::2], strict=True):
        held = np.load(data)
        x = (held if isinstance(held, np.ndarray) else held["x"])[:SAMPLES]
        program = for_data(artifact.load(model).program, x)
        traces = dict(sim.run(program, encode(program, x), trace=True, counts=False).traces)
        _compare(model.stem, program, traces, False)
    if asked.record:
        versions = {"neurobench": neurobench.__version__, "snntorch": snntorch.__version__, "torch": torch.__version__}
        made = {
            "how": "benchmarks/peers_neurobench.py --record",
            "versions": versions,
            "batch": BATCH,
            "metrics": found,
        }
        GOLDENS.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
