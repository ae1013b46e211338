"""`ndeploy energy` as an engineer meets it: totals and their bounds, price tables, placements, pages, and refusals."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
from cli_runner import Done, call, spawn

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small artifact for Loihi 2, and data."""
    folder = tmp_path_factory.mktemp("energy")
    model, calibration, data = small_model.write(folder)
    done = spawn("compile", model, "-t", "loihi2", "--calibration", calibration, "-o", folder / "a.ndp", cwd=folder)
    assert done.code == 0, done.err
    return folder / "a.ndp", data


def energy(capsys: Capsys, made: tuple[Path, Path], *more: object) -> Done:
    return call(capsys, "energy", made[0], "--data", made[1], *more)


def fields(capsys: Capsys, made: tuple[Path, Path], *more: object) -> dict[str, Any]:
    done = energy(capsys, made, "--json", *more)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_the_total_is_the_sum_of_the_chips_terms(capsys: Capsys, made: tuple[Path, Path]) -> None:
    found = fields(capsys, made)
    assert found["schema"] == "ndeploy.energy/1"
    for bound in ("low", "nominal", "high"):
        chip = sum(term[bound] for term in found["terms"] if term["group"] == "chip")
        assert found["energy_joules"][bound] == pytest.approx(chip)
        whole = sum(found[f"{part}_joules"][bound] for part in ("energy", "static", "host"))
        assert found["total_joules"][bound] == pytest.approx(whole)
    assert found["unpriced"] == []
    assert found["throughput_per_second"]["nominal"] == pytest.approx(1 / found["interval_seconds"]["nominal"])
    assert found["provenance"]["artifact"]["name"] == "a.ndp"
    assert len(found["provenance"]["data"]["sha256"]) == 64
    assert found["samples"] == 48


def test_counts_are_those_of_run(capsys: Capsys, made: tuple[Path, Path]) -> None:
    run = json.loads(call(capsys, "run", made[0], "--data", made[1], "--json").out)
    found = fields(capsys, made)
    of = {term["name"]: term["count"] for term in found["terms"]}
    assert sum(n for name, n in of.items() if name.startswith("synaptic-op")) == pytest.approx(run["synaptic_ops"])
    updates = sum(n for name, n in of.items() if name.startswith("neuron-update"))
    assert updates == pytest.approx(run["neuron_updates"])
    neurons = sum(core["neurons"] for core in found["cores"])
    assert updates + of.get("neuron-rest", 0) == pytest.approx(neurons * found["chip_steps"])
    assert found["accuracy"] == run["accuracy"]


def test_a_published_table_that_lacks_a_price_gives_no_total(capsys: Capsys, made: tuple[Path, Path]) -> None:
    found = fields(capsys, made, "--model", "kerasspiking-loihi")
    assert found["model"] == "kerasspiking-loihi"
    own = fields(capsys, made)
    assert found["energy_joules"] != own["energy_joules"]
    davies = fields(capsys, made, "--model", "davies2018")
    assert any(line.startswith("axon-in: ") for line in davies["unpriced"])
    assert davies["energy_joules"] == {"low": None, "nominal": None, "high": None}


def test_own_prices(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    """One price only: no total, a bound on request."""
    prices = tmp_path / "mine.toml"
    prices.write_text(ONE_PRICE)
    done = energy(capsys, made, "--model", prices, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["energy_joules"]["nominal"] is None
    assert any(line.startswith("neuron-update.") for line in found["unpriced"])
    bounded = fields(capsys, made, "--model", prices, "--allow-unpriced")
    dense = next(term for term in bounded["terms"] if term["name"] == "synaptic-op.dense")
    assert bounded["bound_joules"]["nominal"] == pytest.approx(dense["count"] * 2e-12)
    assert bounded["energy_joules"]["nominal"] is None


def test_a_report_says_what_reproduces_it(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    prices = tmp_path / "my prices.toml"
    prices.write_text(ONE_PRICE)
    found = fields(capsys, made, "--model", prices, "--allow-unpriced", "--limit", 4)["provenance"]
    data = made[1].name
    assert found["command"] == f"ndeploy energy a.ndp --data {data} --limit 4 --model 'my prices.toml' --allow-unpriced"
    assert found["prices"] == {"name": prices.name, "sha256": hashlib.sha256(prices.read_bytes()).hexdigest()}
    assert "prices" not in fields(capsys, made, "--model", "sanafe")["provenance"]


def test_a_frontier_that_is_no_file_is_refused(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    """A pipe never ends and has no size to be judged by."""
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    done = energy(capsys, made, "--frontier", pipe)
    assert (done.code, done.error) == (2, "ND435")
    assert "no ordinary file" in done.err


ONE_PRICE = """
schema = "ndeploy.prices/1"
name = "mine"
title = "one price"
[energy."synaptic-op"]
low = "1 pJ"
nominal = "2 pJ"
high = "3 pJ"
scope = "incremental"
status = "unverified"
source = "a test"
note = "made up"
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('nominal = "2 pJ"', 'nominal = "-2 pJ"'),
        ('nominal = "2 pJ"', 'nominal = "2 parsecs"'),
        ('nominal = "2 pJ"\n', ""),
        ('source = "a test"', 'source = ""'),
        ('"synaptic-op"', '"synaptic-oops"'),
        ('low = "1 pJ"', 'low = "9 pJ"'),
        ('title = "one price"', "title = ["),
    ],
)
def test_a_bad_price_file_is_refused_by_name(
    capsys: Capsys, made: tuple[Path, Path], tmp_path: Path, old: str, new: str
) -> None:
    assert old in ONE_PRICE
    prices = tmp_path / "mine.toml"
    prices.write_text(ONE_PRICE.replace(old, new))
    done = energy(capsys, made, "--model", prices)
    assert done.code == 2
    assert done.error.startswith("ND43")
    assert "mine.toml" in done.err


def test_an_unknown_table_names_those_there_are(capsys: Capsys, made: tuple[Path, Path]) -> None:
    done = energy(capsys, made, "--model", "nobody2030")
    assert (done.code, done.error[:4]) == (2, "ND43")
    assert "davies2018" in done.err


@pytest.mark.parametrize("place", ["cores", "traffic", "latency", "layers"])
def test_placements(capsys: Capsys, made: tuple[Path, Path], place: str) -> None:
    found = fields(capsys, made, "--place", place)
    assert found["placement"]["objective"] == place
    assert found["placement"]["cores"] >= found["placement"]["cores_lower_bound"]


def test_a_placement_by_rates_at_compile_time_is_the_one_reported(capsys: Capsys, tmp_path: Path) -> None:
    model, calibration, data = small_model.write(tmp_path)
    out = tmp_path / "m.ndp"
    done = call(capsys, "compile", model, "-t", "loihi2", "--calibration", calibration, "--place", "layers", "-o", out)
    assert done.code == 0, done.err
    found = fields(capsys, (out, data))
    assert found["placement"]["objective"] == "layers"
    assert len(found["cores"]) == 2


def test_files_of_the_report(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    page, table = tmp_path / "r.html", tmp_path / "r.csv"
    done = energy(capsys, made, "--html", page, "--csv", table)
    assert done.code == 0, done.err
    assert "r.html" in done.out
    html = page.read_text()
    assert html.lstrip().lower().startswith("<!doctype html>")
    for fetched in ('src="http', 'href="http', "<script", "<link", "@import", "url(http"):
        assert fetched not in html
    assert "<svg" in html
    rows = list(csv.DictReader(table.open()))
    assert {row["layer"] for row in rows} >= {"hidden", "answer"}


def test_two_artifacts_side_by_side(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    done = call(capsys, "energy", made[0], made[0], "--data", made[1], "--json", "--html", tmp_path / "c.html")
    assert done.code == 0, done.err
    assert json.loads(done.out)["schema"] == "ndeploy.energy-comparison/1"
    assert (tmp_path / "c.html").stat().st_size > 1000


def test_silent_data_are_refused(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    zeros = tmp_path / "zeros.npz"
    np.savez(zeros, x=np.zeros((3, 6, small_model.INPUTS), dtype=np.uint8))
    done = call(capsys, "energy", made[0], "--data", zeros)
    assert (done.code, done.error) == (2, "ND434")
    assert "rates are zero" in done.err


def test_an_artifact_of_a_newer_version_is_refused(capsys: Capsys, made: tuple[Path, Path], tmp_path: Path) -> None:
    newer = tmp_path / "newer.ndp"
    with zipfile.ZipFile(made[0]) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "manifest.json":
                manifest = json.loads(data) | {"format": 999}
                data = json.dumps(manifest).encode()
            new.writestr(name, data)
    done = call(capsys, "energy", newer, "--data", made[1])
    assert done.code == 2
    assert "999" in done.err


def test_outputs_do_not_overwrite_inputs(capsys: Capsys, made: tuple[Path, Path]) -> None:
    done = energy(capsys, made, "--csv", made[0])
    assert done.code == 2
    assert made[0].stat().st_size > 1000
