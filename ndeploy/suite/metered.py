"""What a board's meter showed: the numbers that a case keeps of it, and the checks that it must pass.

A meter that contradicts the estimate, or what it showed when the baseline was written, says nothing about the model:
the messages are those of the simulator (check "agreement"), so the board is to blame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ndeploy.board.beside import Beside, estimate_of, verdict
from ndeploy.energy.result import EnergyReport
from ndeploy.ir.result import PowerReading
from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case
from ndeploy.suite.measured import Known, Measured
from ndeploy.suite.verdict import FAILED, PASSED, SKIPPED, Check

ESTIMATE, BASELINE = "measured energy", "measured energy, baseline"
CHECKS = (ESTIMATE, BASELINE)
KEPT = ("measured_energy", "measured_low", "measured_high")
"""The numbers of a meter."""


def numbers(power: PowerReading | None, report: EnergyReport) -> dict[str, float | None]:
    """Those of `KEPT`; none without a meter."""
    if power is None:
        return {}
    bounds = estimate_of(report, power)
    low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
    return dict(zip(KEPT, (power.joules_per_sample, low, high), strict=True))


def remarks(power: PowerReading | None, report: EnergyReport) -> Iterator[str]:
    """What the meter showed, and who says so."""
    if power is not None:
        yield f"energy by the board's meter: {verdict(Beside(power, estimate_of(report, power)))}; {power.meter}"


def changed_meter(case: Case, found: Measured, known: Known) -> Iterator[str]:
    """A remark where the baseline's measured energy is compared with nothing."""
    then, now = known.identity.get("meter"), found.identity.get("meter")
    if case.runner in BOARDS and then is not None and now != then:
        yield f"the baseline's energy was measured by another meter: {then}"


def checks(case: Case, found: Measured, known: Known | None, changed: tuple[str, ...]) -> Iterator[Check]:
    """Of a case on a board: the meter beside the estimate, and beside what it showed for the baseline."""
    if case.runner not in BOARDS:
        return
    now = found.numbers.get("measured_energy")
    if now is None:
        why = "the board has no energy meter"
        yield from (Check(name, SKIPPED, reason=why) for name in CHECKS)
        return
    yield _beside_estimate(case, found, now)
    yield _beside_baseline(case, found, known, changed, now)


def _beside_estimate(case: Case, found: Measured, now: float) -> Check:
    low, high = found.numbers.get("measured_low"), found.numbers.get("measured_high")
    if low is None or high is None:
        return Check(ESTIMATE, SKIPPED, _joules(now), reason=f"no estimate of such a chip: {_who(found)}")
    wanted = f"{_joules(low)} to {_joules(high)}, the estimate"
    if low * (1 - ROUNDING) <= now <= high * (1 + ROUNDING):
        return Check(ESTIMATE, PASSED, _joules(now), wanted)
    share, where = (now / high - 1, "above the high") if now > high else (1 - now / low, "below the low")
    why = f"{_joules(now)} a sample, {100 * share:.3g} % {where} bound of the estimate, {wanted}"
    return Check(ESTIMATE, FAILED, _joules(now), wanted, why, _meter(found))


def _beside_baseline(case: Case, found: Measured, known: Known | None, changed: tuple[str, ...], now: float) -> Check:
    then = None if known is None else known.numbers.get("measured_energy")
    if known is None or then is None:
        why = "no baseline of this case" if known is None else "the baseline holds no measured energy"
        return Check(BASELINE, SKIPPED, _joules(now), reason=f"{why}: write one with --update-baseline")
    if changed or found.identity.get("program") != known.identity.get("program"):
        what = (
            f"other {' and '.join(changed)} than the baseline's" if changed else "another program than the baseline's"
        )
        return Check(BASELINE, SKIPPED, _joules(now), reason=what)
    before = known.identity.get("meter", "none")
    if found.identity.get("meter") != before:
        return Check(BASELINE, SKIPPED, _joules(now), reason=f"the baseline is of another meter: {before}")
    allowed = case.tolerances.measured_energy
    share = abs(now - then) / then if then else float(now != then)
    wanted = f"{_joules(then)} within {100 * allowed:g} %"
    if share <= allowed + ROUNDING:
        return Check(BASELINE, PASSED, _joules(now), wanted)
    side = "above" if now > then else "below"
    why = f"{_joules(now)} a sample, {100 * share:.3g} % {side} what was measured for the baseline, {wanted}"
    return Check(BASELINE, FAILED, _joules(now), wanted, why, _meter(found))


def doubt(case: Case, found: Measured, known: Known | None, changed: tuple[str, ...]) -> str:
    """Why another board is asked, "" where the meter passes its checks: without digits, which differ from board to
    board."""
    failed = [check for check in checks(case, found, known, changed) if check.outcome == FAILED]
    sides = {"more" if " above " in check.reason else "less" for check in failed}
    names = " and ".join(check.name for check in failed)
    return f"its meter shows {' and '.join(sorted(sides))} than it should ({names})" if failed else ""


def carried(entry: Mapping[str, object], old: Mapping[str, object]) -> bool:
    """Whether an update without a meter leaves what was measured for the very same program, data and options alone."""
    now, then = entry.get("identity"), old.get("identity")
    if not isinstance(now, dict) or not isinstance(then, dict) or "meter" in now or "meter" not in then:
        return False
    return {**now, "runner": "", "meter": ""} == {**then, "runner": "", "meter": ""}


def _meter(found: Measured) -> str:
    return f"the board's meter, {_who(found)}: the program and its messages are as they should be"


def _who(found: Measured) -> str:
    return found.identity.get("meter", "?")


def _joules(value: float) -> str:
    from ndeploy.report.style import si

    return si(value, "J")


ROUNDING = 1e-9
"""A meter counts upwards: differences of large numbers have lost digits."""
