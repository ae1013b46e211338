"""Target data: every shipped number has a source, and a broken target is refused by field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ndeploy.errors import UsageError
from ndeploy.neurons import KINDS
from ndeploy.neurons.cuba_lif import RESETS
from ndeploy.plugins import targets
from ndeploy.target import (
    CHIP_EVENTS,
    EVENTS,
    STATUSES,
    Limit,
    Price,
    Target,
    describe,
    limits,
    unknown_limits,
    validate,
)

NAMES = ("lava", "loihi1", "loihi2")
UNKNOWN_TO_BOTH = ("chip-link", "embedded-op")
"""Assumed alike for both chips."""


@pytest.mark.parametrize("name", NAMES)
def test_shipped_targets_are_whole(name: str) -> None:
    target = targets()[name]
    validate(target)
    assert target.name == name
    found = dict(limits(target))
    assert {"core.neurons", "core.synaptic_memory", "widths.weight", "packing.header", "cores_per_chip"} <= set(found)
    for path, limit in found.items():
        assert limit.source.strip(), path
        assert limit.status in STATUSES, path
    assert set(target.neuron_kinds.values) <= set(KINDS)
    assert set(target.resets.values) <= set(RESETS)


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_of_a_chip_has_an_energy_and_a_source_or_is_in_another_price(name: str, event: str) -> None:
    table = targets()[name].table
    price = table.price(event)
    if event in table.covered:
        assert price is None
        assert any(p.name.partition(".")[0] == table.covered[event].partition(".")[0] for p in table.energy)
    else:
        assert price is not None
        assert 0 <= price.low <= price.nominal <= price.high < 1e-8
        assert price.source


def test_loihi2_spends_at_most_what_loihi1_does_on_the_same_event() -> None:
    first, second = targets()["loihi1"].table, targets()["loihi2"].table
    for event in CHIP_EVENTS:
        one, two = first.price(event), second.price(event)
        if one is not None and two is not None and event not in UNKNOWN_TO_BOTH:
            assert (two.low <= one.low, two.nominal <= one.nominal, two.high) == (True, True, one.high)
            assert two.status == "unverified"
            assert one.low <= one.nominal <= one.high


def test_loihi2_prices_hold_hala_points_quotient() -> None:
    """2.6 kW at most, less static power, over 380e12 synaptic operations a second: 6.1 pJ."""
    for kind in ("dense", "sparse", "conv"):
        price = targets()["loihi2"].table.price(f"synaptic-op.{kind}")
        assert price is not None
        assert price.low == pytest.approx((2600 - 1152 * 0.232) / 380e12)
        assert price.low < price.nominal < price.high


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("core.neurons", 1024),
        ("core.synaptic_memory", 16384 * 8),
        ("core.in_axons", 4096),
        ("core.out_axons", 4096),
        ("widths.delay", 63),
        ("widths.threshold_mantissa", 17),
        ("widths.threshold_shift", 6),
        ("widths.bias_mantissa", 12),
        ("widths.bias_exponent", 7),
        ("widths.weight_exponent_low", -7),
        ("widths.payload", 1),
        ("cores_per_chip", 128),
    ],
)
def test_loihi1_says_what_nengo_loihi_and_davies_say(path: str, value: int) -> None:
    assert dict(limits(targets()["loihi1"]))[path].value == value


def test_what_intel_does_not_publish_is_unknown_not_unlimited() -> None:
    assert {"core.in_axons", "core.out_axons"} <= set(unknown_limits(targets()["loihi2"]))
    assert unknown_limits(targets()["loihi1"]) == ()
    assert unknown_limits(targets()["lava"]) == ()


def test_lava_has_no_chip_limits() -> None:
    target = targets()["lava"]
    assert not target.placed
    bounded = {path for path, limit in limits(target) if limit.value}
    assert bounded == {"widths.decay", "widths.state", "packing.allocation_unit"}
    assert set(target.neuron_kinds.values) == set(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_json_with_every_limit(name: str) -> None:
    target = targets()[name]
    described = json.loads(json.dumps(describe(target)))
    assert described["limits"].keys() == dict(limits(target)).keys()
    assert described["unknown_limits"] == list(unknown_limits(target))
    for limit in described["limits"].values():
        assert limit.keys() == {"value", "unit", "source", "status", "note"}


def changed(**parts: Any) -> Target:
    """loihi1 with fields of its limits replaced: core__neurons=... and the like."""
    target = targets()["loihi1"]
    for name, value in parts.items():
        group, _, item = name.partition("__")
        target = replace(target, **{group: replace(getattr(target, group), **{item: value}) if item else value})
    return target


STATIC = Price("static", 0.1, 0.1, 0.1, "W", "static", "a paper", "quoted")
GOOD = Price("spike", 1e-12, 2e-12, 3e-12, "J", "incremental", "a paper", "quoted")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"core__neurons": None}, ("core.neurons", "missing")),
        ({"core__in_axons": 4096}, ("core.in_axons", "missing")),
        ({"widths__weight": Limit(-8, "bits", "s", "code")}, ("widths.weight", "negative", "-8")),
        ({"widths__weight": Limit(8, "furlongs", "s", "code")}, ("widths.weight", "unknown unit", "furlongs")),
        ({"packing__header": Limit(10, "bits", " ", "code")}, ("packing.header", "no source")),
        ({"widths__delay": Limit(63, "chip steps", "s", "rumour")}, ("widths.delay", "rumour")),
        ({"cores_per_chip": Limit(128, "cores", "s", "unverified")}, ("cores_per_chip", "note")),
        ({"energy": (replace(GOOD, nominal=9e-12),)}, ("energy.spike", "order")),
        ({"energy": (replace(GOOD, low=-1e-12),)}, ("energy.spike", ">= 0")),
        ({"energy": (replace(GOOD, high=float("nan")),)}, ("energy.spike", "finite")),
        ({"energy": (replace(GOOD, unit="pJ"),)}, ("energy.spike", "pJ")),
        ({"energy": (replace(GOOD, name="spark"),)}, ("energy.spark", "unknown event")),
        ({"energy": (GOOD, replace(GOOD, name="message", scope="all-in"))}, ("energy", "all-in")),
        ({"time": (replace(GOOD, unit="s", scope="once"),)}, ("time.spike", "once")),
        ({"energy": (GOOD, GOOD), "covered": {}}, ("energy.spike", "twice")),
        ({"energy": (replace(GOOD, scope="static"),)}, ("energy.spike", "static")),
        ({"covered": {"spark": "spike"}}, ("covered.spark", "unknown event")),
        ({"covered": {"axon-in": "barrier"}}, ("covered.axon-in", "'barrier'")),
        ({"covered": {"spike": "message"}}, ("covered.spike", "price of its own")),
        ({"covered": {"static": "message"}}, ("covered.static", "price of its own")),
        ({"static_power": replace(GOOD, name="static", unit="W")}, ("static_power", "incremental")),
        ({"static_power": replace(STATIC, unit="J")}, ("static_power", "'J'")),
        ({"energy": (replace(GOOD, scope="all-in"),), "covered": {}}, ("static_power", "all-in")),
        ({"mesh__width": Limit(0, "routers", "s", "code")}, ("mesh.width", "0")),
        ({"mesh__height": Limit(None, "routers", "s", "code")}, ("mesh.height", "None")),
        ({"mesh__cores_per_router": Limit(3, "cores", "s", "code")}, ("mesh", "96", "128")),
        ({"mesh__height": None}, ("mesh.height", "missing")),
        ({"features__values": ("telepathy",)}, ("features", "telepathy")),
        ({"resets__source": ""}, ("resets", "no source")),
    ],
)
def test_broken_data_are_refused_by_field(parts: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        validate(changed(**parts))
    assert refused.value.code == "ND410"
    for word in ("loihi1", *words):
        assert word in refused.value.message


def test_the_numbers_of_the_mesh_are_limits_with_sources() -> None:
    for name in ("loihi1", "loihi2"):
        found = dict(limits(targets()[name]))
        assert (found["mesh.width"].value, found["mesh.height"].value, found["mesh.cores_per_router"].value) == (
            8,
            4,
            4,
        )
    assert not any(path.startswith("mesh") for path in dict(limits(targets()["lava"])))


def test_a_whole_target_with_other_numbers_is_accepted() -> None:
    validate(changed(core__neurons=Limit(7, "neurons", "s", "code"), energy=(GOOD,), covered={"axon-in": "spike"}))
