"""What calibration data show of the float network before anything is quantised: ranges, and what varies together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.histograms import CALIBRATIONS, Histogram
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.lowered import GRADED, Lowered
from ndeploy.ir.network import Network
from ndeploy.moments import Moments
from ndeploy.quantizer import Observed
from ndeploy.settings import Settings
from ndeploy.torch_threads import one_thread

ROUNDINGS = ("second-order", "nearest")
"""How weights of graded networks are rounded (--set rounding=...)."""
OBSERVED_STEPS = 1 << 17
"""Model steps, over all samples, for which the float network is observed: more samples than that are thinned out."""
LEAST_OBSERVED = 16
TYPICAL_SAMPLES = 512
"""Calibration samples that are made up where the family says what its inputs look like."""


@dataclass(frozen=True)
class Asked:
    """activation_bits: as `CompileOptions`; given: keys of --set; narrow: whether payloads may become narrow, so that
    messages are better clipped than coarse."""

    activation_bits: int | None = None
    given: frozenset[str] = frozenset()
    narrow: bool = False


@dataclass(frozen=True, eq=False)
class Seen:
    """calibration: the data given, or made up where the family says what its inputs look like. observed, moments: empty
    for networks without graded messages. told: remarks on the data. histograms, clip: as `Request`."""

    calibration: Data | None
    observed: Mapping[str, Observed] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)
    told: tuple[Diagnostic, ...] = ()
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    clip: str = "range"


def observation(
    network: Network,
    lowered: Lowered,
    calibration: Data | None,
    asked: Asked,
    settings: Settings,
    progress: Callable[[str], None],
) -> Seen:
    """Run the float network on the calibration data, if it has graded messages.

    Raises UsageError ND305 where there are no data and the family says nothing of its inputs.
    """
    from ndeploy.calibration import remarks
    from ndeploy.moments import port_moments
    from ndeploy.observe import histograms, observe, typical
    from ndeploy.passes.graded import check_accumulators
    from ndeploy.passes.graded_choices import ACTIVATION_BITS
    from ndeploy.passes.graded_form import graded_form
    from ndeploy.search.assignment import messages

    if not any(isinstance(p.model, GRADED) for p in lowered.populations):
        return Seen(calibration)
    data = calibration if calibration is not None else typical(network, TYPICAL_SAMPLES, 0)
    if data is None:
        raise UsageError(
            "ND305",
            "the ranges of this network's graded messages are not known",
            help="give --calibration DATA.npz with samples like those it will see",
        )
    told = remarks(network, calibration, data)
    check_accumulators(lowered, asked.activation_bits or ACTIVATION_BITS)
    form = graded_form(network)
    how = str(settings.get("rounding", ROUNDINGS)) if "rounding" in asked.given else ROUNDINGS[0]
    clip = "percentile" if asked.narrow else "range"
    if "calibration" in asked.given:
        clip = str(settings.get("calibration", CALIBRATIONS))
    seen = data.spread(max(LEAST_OBSERVED, OBSERVED_STEPS // lowered.steps))
    with one_thread():
        progress("observing the float network")
        observed = observe(form, seen, steps=lowered.steps)
        found: Mapping[str, Histogram] = {}
        if clip != "range":
            progress("observing how often")
            free = {name: observed[name] for name in messages(lowered) if name in observed}
            found = histograms(form, seen, free, steps=lowered.steps)
        if how == "nearest":
            return Seen(data, observed, {}, told, found, clip)
        progress("observing what varies together")
        return Seen(data, observed, port_moments(form, lowered, seen), told, found, clip)
