"""Continuous Thought Machines: our simulator beside PyTorch eager and ONNX Runtime, one thread, in one run.

    python benchmarks/ctm.py [FIXTURES] [--models parity digits sort] [--json]

FIXTURES holds a folder for each model with checkpoint.pt, calibration.npz, eval.npz and reference.npz. The float model
is checked against the reference before it is timed. Times are the shortest of several, the runners taken in turns so
that all of them meet the same machine; ratios of one run mean more than times of several.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ctm_float import FloatCtm  # noqa: E402

from ndeploy import checkpoint, sim  # noqa: E402
from ndeploy.decode import encode  # noqa: E402
from ndeploy.pipeline import CompileOptions, compile_model  # noqa: E402

BATCHES = (1, 64)
TOLERANCE = 2e-3
"""Of the float model's logits against reference.npz."""
Work = Callable[[], object]


def load(folder: Path) -> FloatCtm:
    """The float model of a checkpoint, read as any checkpoint is: nothing is unpickled beyond the allow-list."""
    loaded = checkpoint.load(folder / "checkpoint.pt")
    reshaper = tuple(loaded.args.get("prediction_reshaper", (-1,)))
    state = {name: torch.from_numpy(np.array(value)) for name, value in loaded.state.items()}
    return FloatCtm(state, loaded.args["iterations"], loaded.args["heads"], reshaper)


def error(model: FloatCtm, folder: Path) -> float:
    """Largest difference from the reference's logits."""
    with np.load(folder / "reference.npz") as npz:
        x, logits = npz["x"], npz["logits"]
    found = model(torch.from_numpy(x).float())[0].numpy()
    return float(np.abs(found - logits).max())


def onnx_session(model: FloatCtm, x: torch.Tensor) -> Any:
    """The float model in ONNX Runtime with one thread."""
    import onnxruntime

    buffer = io.BytesIO()
    torch.onnx.export(model, (x,), buffer, input_names=["x"], dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])


def in_turns(work: Mapping[str, Work], budget: float) -> dict[str, float]:
    """The shortest of as many runs of each as fit the budget of seconds, after one that does not count."""
    for one in work.values():
        one()
    best = dict.fromkeys(work, float("inf"))
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < 5 or time.perf_counter() < end:
        for name, one in work.items():
            began = time.perf_counter()
            one()
            best[name] = min(best[name], time.perf_counter() - began)
        rounds += 1
    return best


def benchmark(folder: Path, budget: float) -> dict[str, Any]:
    """ms a sample by runner and batch, and what the answers agree in."""
    model = load(folder)
    program = compile_model(folder / "checkpoint.pt", CompileOptions(calibration=folder / "calibration.npz")).program
    with np.load(folder / "eval.npz") as npz:
        x = np.concatenate([npz["x"]] * -(-BATCHES[-1] // len(npz["x"])))[: BATCHES[-1]]
    row: dict[str, Any] = {"model": folder.name, "float_error": error(model, folder), "ms": {}, "absent": []}
    if row["float_error"] > TOLERANCE:
        raise SystemExit(f"{folder.name}: the float model is {row['float_error']:g} from reference.npz")
    with_onnx = importlib.util.find_spec("onnxruntime") is not None and importlib.util.find_spec("onnx") is not None
    if not with_onnx:
        row["absent"].append("ONNX Runtime: pip install onnxruntime onnx")
    for batch in BATCHES:
        messages, samples = encode(program, x[:batch]), torch.from_numpy(x[:batch]).float()
        work: dict[str, Work] = {
            "ndeploy": lambda m=messages: sim.run(program, m, threads=1, kernels="compiled"),  # type: ignore[misc]
            "PyTorch eager": lambda s=samples: model(s),  # type: ignore[misc]
        }
        if with_onnx:
            session = onnx_session(model, samples)
            floats = x[:batch].astype(np.float32)
            work["ONNX Runtime"] = lambda s=session, a=floats: s.run(None, {"x": a})  # type: ignore[misc]
        for name, seconds in in_turns(work, budget).items():
            row["ms"].setdefault(name, {})[batch] = seconds / batch * 1e3
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """The table, on stdout."""
    print(
        f"{'model':<10}{'runner':<16}{'samples/s, batch 1':>20}{'batch 64':>10}{'ours is, batch 1':>18}{'batch 64':>10}"
    )
    for row in rows:
        mine = row["ms"]["ndeploy"]
        for name, ms in row["ms"].items():
            one, many = (1e3 / ms[batch] for batch in BATCHES)
            ratios = [ms[batch] / mine[batch] for batch in BATCHES]
            print(f"{row['model']:<10}{name:<16}{one:>20.0f}{many:>10.0f}{ratios[0]:>17.2f}x{ratios[1]:>9.2f}x")
        for absent in row["absent"]:
            print(f"{row['model']:<10}absent: {absent}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "fixtures", type=Path, nargs="?", default=Path(__file__).resolve().parents[2] / "shared/fixtures/ctm"
    )
    parser.add_argument("--models", nargs="+", default=["parity", "digits", "sort"])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each batch size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with torch.inference_mode():
        for name in options.models:
            print(f"model {name} ...", file=sys.stderr)
            rows.append(benchmark(options.fixtures / name, options.seconds))
    if options.json:
        print(json.dumps({"schema": 1, "models": rows}))
    else:
        show(rows)


if __name__ == "__main__":
    main()
