"""Clean runs of the fixtures' suite, each in processes of its own, alone and beside busy loops."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite_plantings_cases import written

BUSY = "while True: pass"
LIMIT = 900.0
"""Seconds of one run."""
WAYS: tuple[tuple[str, float, int, int, tuple[str, ...]], ...] = (
    ("two suites at a time", 0.6, 2, 0, ()),
    ("two at a time beside two busy loops", 0.2, 2, 2, ()),
    ("with --workers 2", 0.2, 1, 0, ("--workers", "2")),
)
"""Name, share of the runs, runs at a time, busy loops, options."""


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that do nothing but take processor time."""
    going = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in going:
            process.kill()
            process.wait()


def tested(suite: Path, *more: str) -> dict[str, Any]:
    """`ndeploy test` on the suite, its answer as JSON."""
    command = [sys.executable, "-m", "ndeploy", "test", "--suite", str(suite), "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if not done.stdout.strip():
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def alarms(found: dict[str, Any]) -> list[str]:
    """What failed where nothing was planted."""
    wrong = []
    for case in found["cases"]:
        if case["outcome"] != "passed":
            checks = [f"{c['name']}: {c['reason']} -- {c['cause']}" for c in case["checks"] if c["outcome"] == "failed"]
            wrong.append(f"{case['name']} {case['outcome']}: {'; '.join(checks)}")
    return wrong


def ratios(found: dict[str, Any], base: dict[str, Any], name: str) -> list[float]:
    """Times of a run over those of its baseline, a case each."""
    pairs = ((case["numbers"].get(name), base["cases"][case["name"]]["numbers"][name]) for case in found["cases"])
    return [now / then for now, then in pairs if now and then]


def run(folder: Path, runs: int) -> int:
    """Runs with alarms, of so many: two at a time, two at a time beside two busy loops, and with two workers.

    Each of `WAYS` has the baseline that a run alone has written.
    """
    suite = written(folder)
    tested(suite, "--update-baseline")
    base = json.loads(suite.with_suffix(".baseline.json").read_text())
    total = 0
    for name, share, together, loops, more in WAYS:
        count = round(runs * share)
        began = time.monotonic()
        with busy(loops), ThreadPoolExecutor(together) as pool:
            found = list(pool.map(lambda _, more=more: tested(suite, *more), range(count)))
        wrong = [lines for one in found if (lines := alarms(one))]
        for line in (line for lines in wrong for line in lines):
            print(f"alarm, {name}: {line}", flush=True)
        print(
            f"clean, {name:34} {len(wrong)} of {count} runs with alarms, {time.monotonic() - began:.0f} s", flush=True
        )
        for what in ("speed", "compile_time"):
            told = sorted(ratio for one in found for ratio in ratios(one, base, what))
            if told:
                print(
                    f"    {what}: {told[0]:.2f} .. {told[len(told) // 2]:.2f} .. {told[-1]:.2f} of the baseline's",
                    flush=True,
                )
        total += len(wrong)
    return total
