"""Budgets as texts: what they mean, what is refused, and that the nearest feasible one can be typed as it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndeploy import budget
from ndeploy.budget import Budget, infeasible, shown
from ndeploy.errors import RefusedError, UsageError

PARSERS: dict[str, Callable[[str], float]] = {
    "bits": budget.mean_bits,
    "bytes": budget.memory,
    "joules": budget.energy,
    "operations": budget.operations,
    "points": budget.points,
}


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        ("bits", "3.5", 3.5),
        ("bits", " 4 ", 4.0),
        ("bytes", "65536", 65536),
        ("bytes", "64KiB", 65536),
        ("bytes", "64kB", 64000),
        ("bytes", "64 KB", 64000),
        ("bytes", "1.5MiB", 1572864),
        ("bytes", "0.3kB", 300),
        ("bytes", "10.9B", 10),
        ("joules", "20uJ", 20e-6),
        ("joules", "20\u00b5J", 20e-6),
        ("joules", "20\u03bcJ", 20e-6),
        ("joules", "1.5 mJ", 1.5e-3),
        ("joules", "2e-5", 2e-5),
        ("joules", "7nJ", 7e-9),
        ("joules", "250pJ", 250e-12),
        ("joules", ".5 J", 0.5),
        ("operations", "40M", 40e6),
        ("operations", "4e7", 4e7),
        ("operations", "1.5G", 1.5e9),
        ("operations", "12k", 12000.0),
        ("points", "1.0", 1.0),
        ("points", "0", 0.0),
    ],
)
def test_texts(quantity: str, text: str, value: float) -> None:
    found = PARSERS[quantity](text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("quantity", PARSERS)
@pytest.mark.parametrize(
    "text",
    ["", "nan", "NaN", "inf", "-inf", "-1", "-0.5", "four", "1 2", "0x10", "1,5", "5 furlongs", "1e400", "e5"],
)
def test_nonsense_is_refused(quantity: str, text: str) -> None:
    with pytest.raises(UsageError) as error:
        PARSERS[quantity](text)
    assert error.value.code == "ND307"
    assert repr(text)[1:-1] in error.value.message
    assert budget.EXAMPLES[quantity] in error.value.help


@pytest.mark.parametrize("quantity", [q for q in PARSERS if q != "points"])
@pytest.mark.parametrize("text", ["0", "0.0", "-0", "0e5"])
def test_nothing_is_no_budget(quantity: str, text: str) -> None:
    with pytest.raises(UsageError, match="not more than zero") as error:
        PARSERS[quantity](text)
    assert error.value.code == "ND307"


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        ("bytes", "64kb"),
        ("bytes", "64k"),
        ("bytes", "64Kib"),
        ("joules", "3kWh"),
        ("operations", "4m"),
        ("bits", "4bit"),
    ],
)
def test_unknown_units_are_named(quantity: str, text: str) -> None:
    with pytest.raises(UsageError, match="unknown unit"):
        PARSERS[quantity](text)


def test_less_than_a_byte_and_more_than_all_points() -> None:
    with pytest.raises(UsageError, match="less than a byte"):
        budget.memory("0.4B")
    with pytest.raises(UsageError, match="more than 100"):
        budget.points("101")


def test_the_option_is_named() -> None:
    with pytest.raises(UsageError, match=r"--spike-bits 'x': not a number"):
        budget.mean_bits("x", "--spike-bits")


@given(st.sampled_from(sorted(PARSERS)), st.floats(1e-11, 1e12), st.floats(1e-11, 1e12))
def test_what_is_shown_can_be_typed_and_is_enough(quantity: str, value: float, like: float) -> None:
    if quantity == "bytes":
        value, like = float(max(1, int(value))), float(max(1, int(like)))
    if quantity == "points":
        value = math.fmod(value, 100)
    text = shown(value, quantity, like)
    parsed = PARSERS[quantity](text)
    assert parsed >= value * (1 - 1e-15)  # two roundings of a float apart at most
    assert parsed <= value * 1.002 + (1 if quantity == "bytes" else 0)


@pytest.mark.parametrize(
    ("value", "quantity", "like", "text"),
    [
        (65536, "bytes", None, "64KiB"),
        (64000, "bytes", None, "64kB"),
        (36999, "bytes", 65536, "36.14KiB"),
        (36999, "bytes", 64000, "37kB"),
        (1920728, "bytes", 2**20, "1.832MiB"),
        (3.9696e-5, "joules", 20e-6, "39.7uJ"),
        (3.9696e-5, "joules", 1e-3, "0.0397mJ"),
        (35.87e6, "operations", 20e6, "35.87M"),
        (2.00001, "bits", None, "2.001"),
        (0.0, "points", 1.0, "0"),
        (300.125, "bytes", None, "301B"),  # a part of a byte takes a whole one
    ],
)
def test_shown(value: float, quantity: str, like: float | None, text: str) -> None:
    assert shown(value, quantity, like) == text


def test_infeasible_names_both_in_the_users_unit() -> None:
    error = infeasible("memory budget", 4096, 37000, "bytes", "use --attention streamed")
    assert isinstance(error, RefusedError)
    assert error.code == "ND306"
    assert error.message == "memory budget of 4KiB cannot be met; the nearest that can is 36.14KiB"
    assert error.help == "use --attention streamed"
    assert "of 2 bits" in infeasible("mean weight bits", 2, 2.31, "bits", "x").message
    assert "is 35.87M bit operations" in infeasible("operations budget", 2e7, 35.868e6, "operations", "x").message


def test_given() -> None:
    assert Budget().empty
    assert Budget().given == {}
    asked = Budget(mean_bits=3.5, accuracy_points=0.0)
    assert not asked.empty
    assert asked.given == {"mean_bits": 3.5, "accuracy_points": 0.0}
