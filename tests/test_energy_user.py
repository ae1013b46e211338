"""What an engineer, and then an adversary, met at `ndeploy energy` and `ndeploy sweep`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_model
from cli_runner import call, spawn
from energy_page_reports import made
from small_targets import small
from test_place_packing import chain

from ndeploy.energy.ranges import Range
from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.place import place
from ndeploy.place.record import record, restore
from ndeploy.report.energy import headline
from ndeploy.report.energy_page import page
from ndeploy.report.energy_page.verdict import verdict
from ndeploy.report.placement import picture

Capsys = pytest.CaptureFixture[str]
PRICES = """schema = "ndeploy.prices/1"
name = "mine"
scope = "incremental"
source = "lab"
status = "derived"
[energy]
synaptic-op = "3 pJ"
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A small model, its artifact for Loihi 2, and data."""
    folder = tmp_path_factory.mktemp("user")
    model, calibration, data = small_model.write(folder)
    done = spawn("compile", model, "-t", "loihi2", "--calibration", calibration, "-o", folder / "a.ndp", cwd=folder)
    assert done.code == 0, done.err
    return model, folder / "a.ndp", data


@pytest.mark.parametrize("command", ["energy", "sweep"])
@pytest.mark.parametrize("output", ["--csv", "--html"])
def test_a_report_does_not_replace_the_prices_it_was_made_with(
    capsys: Capsys, tmp_path: Path, deployed: tuple[Path, Path, Path], command: str, output: str
) -> None:
    model, artifact, data = deployed
    mine = tmp_path / "mine.toml"
    mine.write_text(PRICES)
    what = (artifact,) if command == "energy" else (model, "--targets", "loihi2")
    done = call(capsys, command, *what, "--data", data, "--model", mine, output, mine)
    assert done.code == 2
    assert "already" in done.err
    assert mine.read_text() == PRICES


def test_all_in_prices_are_not_called_dynamic_energy(capsys: Capsys, deployed: tuple[Path, Path, Path]) -> None:
    done = call(capsys, "energy", deployed[1], "--data", deployed[2], "--model", "truenorth")
    assert done.code == 0
    said = " ".join(done.out.split("energy by term")[0].split())
    assert "of energy, static power included by all-in prices" in said
    assert "static energy in it already" in said
    assert "energy, all in" in said
    found = made()
    terms = tuple(replace(t, scope="all-in") if t.group == "chip" else t for t in found.terms)
    whole = replace(found, terms=terms, static=Range(0.0, 0.0, 0.0))
    assert "of dynamic energy" not in verdict(whole)
    assert headline(whole)["static energy"] == "in it already"
    shown = page(whole, None, picture(whole))
    assert "energy, all in" in shown
    assert "in it already" in shown


def test_an_event_in_another_price_has_no_status_of_its_own() -> None:
    found = made()
    terms = tuple(replace(t, status="", source=f"held by {t.covered}") if t.covered else t for t in found.terms)
    assert any(t.covered for t in terms)
    shown = page(replace(found, terms=terms), None, picture(found))
    assert re.search(r'<span class="tag [^>]*>unverified</span>|<span class="tag [^>]*>quoted</span>', shown)
    assert not re.search(r'<span class="tag [^>]*></span>', shown)


def program_on_two_chips() -> tuple[Program, dict[str, Any], Any]:
    program, target = chain(20, 9, 3), small(6, 10**6, 10**6, 10**6, 8, shared=False)
    kept: dict[str, Any] = json.loads(json.dumps(record(place(program, target))))
    return program, kept, target


def test_a_core_on_a_chip_that_is_not_needed_is_refused() -> None:
    program, kept, target = program_on_two_chips()
    restore(program, target, kept)
    per_chip = target.cores_per_chip.value
    lost = kept["chips"] * per_chip
    kept["slices"][0][1] = lost
    with pytest.raises(UsageError, match=rf"core {lost} is on chip {kept['chips']}") as refused:
        restore(program, target, kept)
    assert refused.value.code == "ND415"
