"""How the host's samples become messages: the scale and width of each input's payload."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.quantizer import InputCoding

DEFAULT_BITS = 8


def input_coding(name: str, data: Data | None, settings: Mapping[str, float], payload: int | None) -> InputCoding:
    """Payload of an input from --set input_bits / input_scale / input_signed, then from calibration data.

    Integers that fit are sent as they are; anything else is scaled so that the largest value seen uses the payload.
    payload: the target's widest message in bits, None for no limit. Raises UsageError ND305 where nothing tells.
    """
    bits = int(settings.get("input_bits", DEFAULT_BITS))
    if payload is not None:
        bits = min(bits, payload)
    if bits < 1 or bits > 24:
        raise UsageError("ND205", f"input_bits = {bits}", help="give 1 to 24 bits")
    if settings.get("input_scale", 1.0) <= 0:
        raise UsageError("ND205", f"input_scale = {settings['input_scale']:g}", help="give a positive number")
    if "input_scale" in settings:
        signed = bool(settings.get("input_signed", 0))
        return InputCoding(float(settings["input_scale"]), bits + signed, signed)
    if data is None:
        raise UsageError(
            "ND305",
            f"the range of input '{name}' is not known",
            help="give --calibration DATA.npz, or --set input_scale=... (the value of one unit) with input_bits=...",
        )
    low, high = float(data.x.min()), float(data.x.max())
    signed = low < 0
    magnitude = max(high, -low)
    whole = data.x.dtype.kind in "biu" or bool((data.x == np.rint(data.x)).all())
    top = (1 << bits) - 1
    if whole and magnitude <= top:
        return InputCoding(data.x_scale, max(1, int(magnitude).bit_length()) + signed, signed)
    scale = magnitude * data.x_scale / top
    if whole:  # a whole multiple keeps what can be kept
        scale = float(np.ceil(magnitude / top)) * data.x_scale
    return InputCoding(scale, bits + signed, signed)
