"""From a measurement and its baseline to checks: each with its tolerance, a reason where it fails, and a cause."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ndeploy.suite import metered, parts
from ndeploy.suite.bench import BOARDS
from ndeploy.suite.case import Case
from ndeploy.suite.measured import FILES, TIME_OF, Failure, Known, Measured
from ndeploy.suite.trails import ANSWERS, SENT, differing, first_divergence
from ndeploy.suite.verdict import FAILED, PASSED, SKIPPED, CaseResult, Check

UNITS = {"energy": "J", "latency": "s"}
RELATIVE = ("accuracy", "program", "spikes", "synaptic_ops", "energy", "latency", "cores", "compile_time", "speed")
"""Checks against the baseline."""
BY_MACHINE = tuple(name for name in RELATIVE if name != "accuracy")
"""Of those, what another processor or another version of a library may change without a fault of anyone."""
CHIPS = (*BOARDS, "loihi")
"""Runners whose values come from a chip."""
OF_CHIPS = ("ND677", "ND678", "ND690", "ND691")
"""Errors that are the chip's where the runner is one."""
OF_RUNNERS = (*OF_CHIPS, "ND602", "ND603", "ND604", "ND605", "ND606", "ND607", "ND613", "ND667", "ND671", "ND675")
"""Errors of what runs a case, whatever the case is."""
NO_BASELINE = "no baseline of this case"
POINTS = 1e-9
"""Points of accuracy below which a difference is rounding."""


def judge(case: Case, found: Measured | Failure, known: Known | None) -> CaseResult:
    """The verdict over one case. known: None where the baseline does not hold it."""
    if isinstance(found, Failure):
        return _errored(case, found, known)
    changed = changed_files(found, known)
    checks = (
        *_baseline(case, found, known, changed),
        *_absolute(case, found),
        *_relative(case, found, known, changed),
        *_budgets(case, found),
        *_injected(case, found),
        *metered.checks(case, found, known, changed),
    )
    failed = [check for check in checks if check.outcome == FAILED]
    stale = known is not None and bool(changed)
    outcome = "stale" if stale else FAILED if failed else PASSED
    blame = _blame(case, found, known, changed, {check.name for check in failed}) if stale or failed else ""
    moved = () if known is None else metered.changed_meter(case, found, known)
    remarks = (*found.remarks, *_toolchain_remarks(found, known), *moved)
    same = known is None or known.toolchain == found.toolchain
    return CaseResult(
        case.name,
        outcome,
        checks,
        blame,
        found.numbers,
        remarks,
        found.curve,
        same_toolchain=same,
        retried=found.retried,
    )


def _errored(case: Case, found: Failure, known: Known | None) -> CaseResult:
    """A fault of a board, or of what else runs the case, is never one of the model; what the same files could do before
    is the toolchain's."""
    if found.board or (case.runner in CHIPS and found.code in OF_CHIPS):
        blame = "board"
    elif found.exit_code in (3, 70) or found.code in OF_RUNNERS or _measured_before(case, known):
        blame = "toolchain"
    else:
        blame = "model"
    check = Check("run", FAILED, reason=f"error[{found.code}]: {found.message}", cause=found.help)
    return CaseResult(case.name, "error", (check,), blame, code=found.code, exit_code=found.exit_code)


def _measured_before(case: Case, known: Known | None) -> bool:
    """Whether these very files and options are in the baseline."""
    if known is None:
        return False
    from ndeploy.suite.measure import digests

    try:
        now = digests(case) | {"options": case.options_digest()}
    except OSError:
        return False
    return all(known.identity.get(name) == digest for name, digest in now.items())


def changed_files(found: Measured, known: Known | None) -> tuple[str, ...]:
    """Which files, or "options", are not those of the baseline."""
    if known is None:
        return ()
    names = (*FILES, "options")
    return tuple(name for name in names if found.identity.get(name) != known.identity.get(name))


def _blame(case: Case, found: Measured, known: Known | None, changed: tuple[str, ...], failed: Collection[str]) -> str:
    """What fails beside a baseline of the same files is the toolchain's; what already fell short then, the model's. A
    meter alone is the board's."""
    if found.mismatch:
        return "board" if case.runner in CHIPS else "toolchain"
    if failed and set(failed) <= set(metered.CHECKS):
        return "board"
    if known is None or changed:
        return "model"
    return "toolchain" if set(failed) & (set(RELATIVE) | _held_then(case, known)) else "model"


def _held_then(case: Case, known: Known) -> set[str]:
    """Of the checks that no baseline takes part in, those that its numbers pass: if they fail now, something moved."""
    accuracy, real = known.numbers.get("accuracy"), known.numbers.get("float_accuracy")
    held = set()
    if accuracy is not None and real is not None and 100 * (real - accuracy) <= case.tolerances.float_points + POINTS:
        held.add("float")
    for name, bound in _bounds(case).items():
        then = known.numbers.get(name)
        if bound is not None and then is not None and (then >= bound if name == "accuracy" else then <= bound):
            held.add(_label(name))
    return held


def _toolchain_remarks(found: Measured, known: Known | None) -> Iterator[str]:
    if known is None:
        yield f"{NO_BASELINE}: write one with --update-baseline"
        return
    moved = [
        f"{name} {known.toolchain.get(name, 'none')} -> {found.toolchain.get(name, 'none')}"
        for name in dict.fromkeys((*known.toolchain, *found.toolchain))
        if known.toolchain.get(name) != found.toolchain.get(name)
    ]
    if moved:
        yield f"the baseline is of another toolchain: {', '.join(moved)}"
    if found.identity.get("target") != known.identity.get("target"):
        yield "the baseline is of another description of the target"
    if found.identity.get("runner") != known.identity.get("runner"):
        yield f"the baseline is of runner {known.identity.get('runner', 'none')}"


# -- checks ------------------------------------------------------------------------------------------------------------


def _baseline(case: Case, found: Measured, known: Known | None, changed: tuple[str, ...]) -> Iterator[Check]:
    if known is None:
        yield Check("baseline", SKIPPED, reason=NO_BASELINE)
    elif changed:
        digests = "; ".join(
            f"{name} {known.identity.get(name, 'none')[:12]} -> {found.identity.get(name, 'none')[:12]}"
            for name in changed
        )
        why = f"stale: {', '.join(changed)} changed since it was written ({digests}); review, then --update-baseline"
        yield Check("baseline", FAILED, reason=why, cause=_program_changes(found, known))
    else:
        yield Check("baseline", PASSED)


def _absolute(case: Case, found: Measured) -> Iterator[Check]:
    accuracy, real = found.numbers["accuracy"], found.numbers["float_accuracy"]
    allowed = case.tolerances.float_points
    if accuracy is None or real is None:
        why = "no labels, or no float network in the artifact"
        yield Check("float", SKIPPED, reason=why)
    else:
        lost = 100 * (real - accuracy)
        wanted = f"at least {_percent(real)} less {allowed:g} points"
        why = f"{lost:.2f} points below the float network, {allowed:g} are allowed"
        yield _check("float", lost <= allowed + POINTS, _percent(accuracy), wanted, why)
    if case.runner != "sim":
        why = f"{case.runner} is not the simulator: {found.mismatch}"
        yield _check("agreement", not found.mismatch, "", "the simulator's values, bit for bit", why)


def _relative(case: Case, found: Measured, known: Known | None, changed: tuple[str, ...]) -> Iterator[Check]:
    if known is None or "data" in changed:
        why = NO_BASELINE if known is None else "other data than the baseline's"
        yield from (Check(name, SKIPPED, reason=why) for name in RELATIVE)
        return
    changes = _program_changes(found, known)
    yield _accuracy(case, found, known, changes)
    yield _program(case, found, known, changes)
    yield _spikes(case, found, known, changes)
    for name in ("synaptic_ops", "energy", "latency"):
        yield _drift(case, name, found, known, changes)
    yield _cores(case, found, known, changes)
    for name in ("compile_time", "speed"):
        yield _slower(case, name, found, known, changes)


def _program_changes(found: Measured, known: Known) -> str:
    return parts.sentence(parts.changes(known.parts, found.parts))


def _accuracy(case: Case, found: Measured, known: Known, changes: str) -> Check:
    now, then = found.numbers["accuracy"], known.numbers.get("accuracy")
    if now is None or then is None:
        return Check("accuracy", SKIPPED, reason="no labels")
    lost, allowed = 100 * (then - now), case.tolerances.accuracy_points
    wanted = f"at least {_percent(then)} less {allowed:g} points"
    why = f"{lost:.2f} points below the baseline, {allowed:g} are allowed"
    return _check("accuracy", lost <= allowed + POINTS, _percent(now), wanted, why, changes)


def _program(case: Case, found: Measured, known: Known, changes: str) -> Check:
    """Bits that no sample shows may decide the next one."""
    if not case.exact:
        return Check("program", SKIPPED, reason="exact = false")
    now, then = found.identity["program"], known.identity.get("program", "none")
    why = f"the program is not the baseline's: {changes}"
    return _check("program", now == then, now[:12], then[:12], why, changes)


def _spikes(case: Case, found: Measured, known: Known, changes: str) -> Check:
    if not case.exact:
        return Check("spikes", SKIPPED, reason="exact = false")
    count = len(found.timing)
    differ = {name.removesuffix(SENT).removesuffix(ANSWERS) for name in differing(known.trails, found.trails)}
    if not differ:
        return Check("spikes", PASSED, f"{count} populations", "the baseline's messages, bit for bit")
    first = first_divergence(known.trails, found.trails, found.timing, found.period)
    why = f"messages of {len(differ)} of {count} populations differ from the baseline's"
    why += f": {first}" if first is not None else ""
    cause = changes or "the program is the baseline's: what runs it computes something else"
    return Check("spikes", FAILED, f"{len(differ)} differ", "the baseline's messages, bit for bit", why, cause)


def _drift(case: Case, name: str, found: Measured, known: Known, changes: str) -> Check:
    """A relative change in either direction: what falls without a reason may have lost work."""
    now, then = found.numbers[name], known.numbers.get(name)
    if now is None or then is None:
        if now is not then:
            what = "no number any more" if now is None else "a number that the baseline has not"
            return Check(name, FAILED, reason=f"{what}; review, then --update-baseline", cause=changes)
        return Check(name, SKIPPED, reason="not known for this target")
    allowed: float = getattr(case.tolerances, name)
    share = abs(now - then) / abs(then) if then else float(now != then)
    unit = UNITS.get(name, "")
    wanted = f"{_si(then, unit)} within {100 * allowed:g} %"
    why = f"{'above' if now > then else 'below'} the baseline by {100 * share:.2f} %, {100 * allowed:g} % are allowed"
    cause = _join(_moved(name, found, known), changes)
    return _check(name, share <= allowed + 1e-12, _si(now, unit), wanted, why, cause)


def _costs(now: Mapping[str, tuple[float, float]], then: Mapping[str, tuple[float, float]]) -> str:
    """Which event's count or price moved the energy most; "" where none did."""
    moves: list[tuple[float, str]] = []
    for name in dict.fromkeys((*then, *now)):
        (count, price), (count_then, price_then) = now.get(name, (0.0, 0.0)), then.get(name, (0.0, 0.0))
        if price != price_then:
            moved = abs(price - price_then) * max(count, count_then)
            what, unit = (name, "s") if name.startswith(TIME_OF) else (f"price of {name}", "J")
            moves.append((moved, f"{what} {_si(price_then, unit)} -> {_si(price, unit)}"))
        if count != count_then:
            moved = abs(count - count_then) * max(price, price_then)
            moves.append((moved, f"{name} {_si(count_then)} -> {_si(count)} a sample"))
    return "; ".join(text for _, text in sorted(moves, key=lambda entry: -entry[0])[:2])


def _moved(name: str, found: Measured, known: Known) -> str:
    """Prices and counts, or times, that moved a quantity."""
    time = {"energy": False, "latency": True}.get(name)
    if time is None:
        return ""
    then = _of_time(known.costs, time)
    return _costs(_of_time(found.costs, time), then) if then else ""


def _of_time(costs: Mapping[str, tuple[float, float]], time: bool) -> dict[str, tuple[float, float]]:
    """Events' times, or events' energies; a baseline that was written without times has none to compare."""
    return {name: pair for name, pair in costs.items() if name.startswith(TIME_OF) == time}


def _cores(case: Case, found: Measured, known: Known, changes: str) -> Check:
    now, then = found.numbers["cores"], known.numbers.get("cores")
    if now is None or then is None:
        return Check("cores", SKIPPED, reason="the target has no cores")
    allowed = case.tolerances.cores
    why = f"{now - then:.0f} cores more than the baseline, {allowed:g} are allowed"
    cause = changes or "the program is the baseline's: it is placed otherwise"
    return _check("cores", now - then <= allowed, f"{now:.0f}", f"at most {then + allowed:.0f}", why, cause)


def _slower(case: Case, name: str, found: Measured, known: Known, changes: str) -> Check:
    now, then = found.numbers[name], known.numbers.get(name)
    if now is None or then is None or then <= 0:
        return Check(name, SKIPPED, reason="not measured")
    allowed: float = getattr(case.tolerances, name)
    what = "compiling" if name == "compile_time" else "the simulator"
    why = f"{what} takes {now / then:.2f} times the baseline's time, {allowed:g} times are allowed"
    cause = changes or f"the program is the baseline's: {what} itself is slower"
    wanted = f"at most {allowed:g} x {then:.3g} yardsticks"
    return _check(name, now <= allowed * then, f"{now:.3g} yardsticks", wanted, why, cause)


def _bounds(case: Case) -> dict[str, float | None]:
    """The case's budgets, by the number that they bound."""
    budgets = case.budgets
    return {
        "accuracy": budgets.accuracy,
        "energy": budgets.energy_joules,
        "latency": budgets.latency_seconds,
        "synaptic_ops": budgets.synaptic_ops,
        "cores": budgets.cores,
    }


def _label(name: str) -> str:
    return f"budget of {name.replace('_', ' ')}"


def _budgets(case: Case, found: Measured) -> Iterator[Check]:
    for name, bound in _bounds(case).items():
        if bound is None:
            continue
        label, now = _label(name), found.numbers[name]
        if now is None:
            why = "a budget is set, and there is no number to hold against it"
            yield Check(label, FAILED, "unknown", _quantity(name, bound), why)
            continue
        least = name == "accuracy"
        wanted = f"at {'least' if least else 'most'} {_quantity(name, bound)}"
        shown = _quantity(name, now)
        yield _check(label, now >= bound if least else now <= bound, shown, wanted, f"{shown}, not {wanted}")


def _injected(case: Case, found: Measured) -> Iterator[Check]:
    if found.curve is None:
        return
    base = found.curve.points[0][1][0]
    faults, accuracies = found.curve.points[-1]
    mean = sum(accuracies) / len(accuracies)
    lost, allowed = 100 * (base - mean), case.tolerances.injected_points
    what = "flipped bits" if found.curve.kind == "bits" else "stuck neurons"
    why = f"{faults} {what} cost {lost:.2f} points on {found.curve.samples} samples, {allowed:g} are allowed"
    yield _check("injected faults", lost <= allowed + POINTS, _percent(mean), f"within {allowed:g} points", why)


def _check(name: str, good: bool, found: str, wanted: str, why: str, cause: str = "") -> Check:
    return Check(name, PASSED, found, wanted) if good else Check(name, FAILED, found, wanted, why, cause)


def _quantity(name: str, value: float) -> str:
    return _percent(value) if name == "accuracy" else _si(value, UNITS.get(name, ""))


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _si(value: float, unit: str = "") -> str:
    from ndeploy.report.style import si

    return si(value, unit)


def _join(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
