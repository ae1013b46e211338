"""Explanations as tables: what they show, and that nothing a stranger writes into an artifact breaks them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small_artifact import PROGRAM

from ndeploy import artifact
from ndeploy.budget import Budget
from ndeploy.report import artifact as artifact_report
from ndeploy.report.layers import BUDGETS, budgets, headline, kept, report
from ndeploy.search.explanation import Explanation, LayerReason, SignalReason

LAYERS = (
    LayerReason(
        "conv", 3, 7200, "per channel", 3686, 0.75, 0.012, 0.959, "with 2 bits the answers would lose 0.4 nats"
    ),
    LayerReason("readout", 6, 3840, "per neuron", 3072, 0.25, 0.004, None, "wide because the budget allows it"),
)
FOUND = Explanation(
    "bit-budget",
    LAYERS,
    (SignalReason("conv.lif", 1, 17, "proved", "its membrane stays within 17 bits"),),
    float_accuracy=0.961,
    accuracy=0.957,
    loss=0.0703,
    mean_bits=3.78,
    memory_bytes=7066,
    evaluations=29,
    costs={"bb": 22.7, "s_ace": 16.7e6, "ns_ace": 4.08e6},
    budget={"mean_bits": 4.0, "memory_bytes": 65536.0, "operations": 40e6, "energy_joules": 2e-5},
    limits="bit budget 94.6% used",
    notes=("journal 'a' was of other work",),
)


def text(parts: list[Any]) -> str:
    console = Console(width=200, color_system=None, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()


def row(shown: str, name: str) -> str:
    return next(line for line in shown.splitlines() if line.strip().startswith(f"{name} "))


def test_every_layer_has_its_reasons() -> None:
    shown = text(report(kept(FOUND), FOUND.notes))
    conv, readout = row(shown, "conv"), row(shown, "readout")
    for word in ("3", "7.2 k", "per channel", "3.6 KiB", "75.0 %", "95.90 %", "with 2 bits"):
        assert word in conv
    for word in ("6", "3.84 k", "per neuron", "3.0 KiB", "25.0 %", "wide because"):
        assert word in readout
    assert conv.count("█") > readout.count("█") > 0
    assert "proved" in row(shown, "conv.lif")
    assert "journal 'a' was of other work" in shown


def test_the_headline_says_what_was_asked_found_and_spent() -> None:
    facts = headline(FOUND.to_json())
    assert facts["weights"] == "3.78 bits on average, 6.9 KiB as packed"
    assert facts["calibration accuracy"] == "95.70 % (float 96.10 %)"
    assert facts["bit operations"] == "BB 22.7, S-ACE 16.7 M, NS-ACE 4.08 M"
    assert facts["programs measured"] == "29"
    assert facts["what limits it"] == "bit budget 94.6% used"
    assert facts["budget"] == (
        "4 weight bits on average, 64.0 KiB of synaptic memory, 40 M bit operations a sample (S-ACE), 20 uJ a sample"
    )


def test_agreement_is_not_called_accuracy() -> None:
    facts = headline(replace(FOUND, labels="float model").to_json())
    assert facts["agreement with the float network"] == "95.70 %"
    assert "calibration accuracy" not in facts


def test_every_budget_has_words() -> None:
    whole = Budget(3.5, 4096, 6.0, 4e7, 2e-5, 1.0)
    assert set(whole.given) == set(BUDGETS)
    assert len(budgets(whole.given)) == len(BUDGETS)


def test_no_explanation_no_table() -> None:
    assert kept(None) is None
    assert report(None) == []
    assert report({}) == []


def test_what_is_kept_is_json_even_where_a_loss_is_not_finite() -> None:
    odd = replace(FOUND, loss=math.inf, layers=(replace(LAYERS[0], loss_alone=math.nan),))
    found = kept(odd)
    assert found is not None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "notes" not in found
    assert found["loss"] is None
    assert found["layers"][0]["loss_alone"] is None
    assert found["layers"][0]["bits"] == 3
    assert "calibration loss" not in headline(found)


@pytest.mark.parametrize(
    "found",
    [
        "bold",
        [1, 2],
        {"layers": 3, "signals": {"a": 1}, "notes": 7, "costs": [], "budget": "4"},
        {"layers": [None, 3, {"name": 5, "bits": "x", "bytes": -1, "loss_share": "all", "parameters": True}]},
        {"method": 1, "accuracy": True, "mean_bits": math.nan, "memory_bytes": math.inf, "evaluations": []},
    ],
)
def test_what_is_of_another_type_is_a_dash(found: Any) -> None:
    shown = text(report(found))
    assert "x" not in shown.split("why")[-1]
    assert "nan" not in shown
    assert "inf" not in shown


def test_names_are_neither_markup_nor_terminal_control() -> None:
    odd = kept(replace(FOUND, method="[red]m", layers=(replace(LAYERS[0], name="[bold]x\x1b[2J", why="\x1b]0;t\x07"),)))
    shown = text(report(odd))
    assert "\x1b" not in shown
    assert "[red]m" in shown
    assert "[bold]x\\x1b[2J" in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*FOUND.to_json(), "other"])
ROWS = st.lists(
    st.dictionaries(st.sampled_from([*vars(LAYERS[0]), *vars(FOUND.signals[0])]), JSON, max_size=9), max_size=2
)


@given(st.dictionaries(KEYS, JSON | ROWS, max_size=12))
def test_nothing_breaks_the_report(found: dict[str, Any]) -> None:
    text(report(found))


def test_inspect_shows_what_the_artifact_keeps() -> None:
    with_it = artifact.Artifact(PROGRAM, {}, None, {"quantisation": kept(FOUND)})
    assert "with 2 bits the answers would lose" in text(artifact_report.report(with_it))
    without = artifact.Artifact(PROGRAM, {}, None, {"quantisation": None})
    assert "quantisation" not in text(artifact_report.report(without))
