"""Published measurements: values, where they stand, and how far each source can be trusted. No estimate is here."""

from __future__ import annotations

from ndeploy.validation.rows import Measurement

LIF = "PilotNet-LIF on Loihi 2"
SDNN = "PilotNet-SDNN on Loihi 2"
KEYWORDS = "keyword spotting 390-256-256-29 on Loihi 1"
HALA = "Hala Point, both published maxima at once"
NXTF = "NxTF MobileNet on Loihi 1"
CLP = "CLP-SNN on Loihi 2"
LANGUAGE = "MatMul-free language model, 370 M parameters, on Loihi 2"

_NETX = "lava-dl, tutorials/lava/lib/dl/netx"
LIF_NOTEBOOK = f"{_NETX}/pilotnet_snn/benchmark.ipynb, printed results at dad9dfad (partition oheogulch)"
LIF_SHAPES = f"arithmetic on shapes printed in {_NETX}/pilotnet_snn/benchmark.ipynb"
LIF_OLDER = f"{_NETX}/pilotnet_snn/benchmark.ipynb, printed results at 12f04021 (partition kp_build)"
SDNN_NOTEBOOK = f"{_NETX}/pilotnet_sdnn/benchmark.ipynb, printed results"
SDNN_OLDER = f"{SDNN_NOTEBOOK} at 1878d6d4 (partition oheogulch)"
BLOUW = "Blouw et al. 2019, arXiv 1812.01739, table 1, as quoted by tomesphere.com/paper/1812.01739"
INTEL = "Intel, Hala Point announcement, April 2024: 2,600 W and 380 T synaptic operations a second"
NXTF_PAPER = "Rueckauer et al. 2022, NxTF, arXiv 2101.04261, abstract (28 layers, 4 M parameters, 128x128)"
MATMUL_FREE = "Abreu et al. 2025, arXiv 2503.18002, figures as remembered"

PUBLISHED = (
    Measurement("pilotnet-lif/neurons", LIF, "neurons", 158.5e3, "neurons", LIF_SHAPES, "derived", 0.001),
    Measurement("pilotnet-lif/macs", LIF, "dense MACs a step", 14.55e6, "MACs", LIF_SHAPES, "derived", 0.001),
    Measurement("pilotnet-lif/cores", LIF, "cores", 74, "cores", LIF_NOTEBOOK, "code", 0.15),
    Measurement("pilotnet-lif/energy", LIF, "dynamic energy a frame", 1.094e-3, "J", LIF_NOTEBOOK, "code"),
    Measurement("pilotnet-lif/frames", LIF, "frames a second", 408.91, "1/s", LIF_NOTEBOOK, "code"),
    Measurement("pilotnet-lif/frames-older", LIF, "frames a second, other run", 342.29, "1/s", LIF_OLDER, "code"),
    Measurement("pilotnet-lif/static", LIF, "static energy a frame", 0.567e-3, "J", LIF_NOTEBOOK, "derived"),
    Measurement("pilotnet-lif/total", LIF, "total energy a frame", 1.661e-3, "J", LIF_NOTEBOOK, "code"),
    Measurement("pilotnet-sdnn/cores", SDNN, "cores", 61, "cores", SDNN_OLDER, "code", 0.15),
    Measurement("pilotnet-sdnn/frames", SDNN, "frames a second", 16.87, "1/s", SDNN_NOTEBOOK, "code"),
    Measurement("pilotnet-sdnn/frames-older", SDNN, "frames a second, other run", 11.18, "1/s", SDNN_OLDER, "code"),
    Measurement("pilotnet-sdnn/total", SDNN, "total energy a frame", 16.34e-3, "J", SDNN_NOTEBOOK, "code"),
    Measurement(
        "pilotnet-sdnn/total-at-time", SDNN, "total energy, frame time given", 16.34e-3, "J", SDNN_NOTEBOOK, "code"
    ),
    Measurement("keyword-spotting/energy", KEYWORDS, "dynamic energy an inference", 0.27e-3, "J", BLOUW, "quoted"),
    Measurement("keyword-spotting/inferences", KEYWORDS, "inferences a second", 296, "1/s", BLOUW, "quoted"),
    Measurement("hala-point/operation", HALA, "all-in energy a synaptic operation", 6.84e-12, "J", INTEL, "derived"),
    Measurement("nxtf-mobilenet/chips", NXTF, "chips", 16, "chips", NXTF_PAPER, "abstract", 0.15),
    Measurement("nxtf-mobilenet/share", NXTF, "share of 16 chips in use", 0.8, "", NXTF_PAPER, "abstract", 0.05),
    Measurement("clp-snn/energy", CLP, "energy an inference", 0.05e-3, "J", "arXiv 2511.01553, abstract", "abstract"),
    Measurement("clp-snn/time", CLP, "time an inference", 0.33e-3, "s", "arXiv 2511.01553, abstract", "abstract"),
    Measurement("matmul-free-lm/prefill", LANGUAGE, "energy a token, prefill", 3.7e-3, "J", MATMUL_FREE, "unverified"),
    Measurement(
        "matmul-free-lm/generation", LANGUAGE, "energy a token, generation", 0.405, "J", MATMUL_FREE, "unverified"
    ),
)
"""Every measurement, in the order of the table."""

FRAME_SECONDS_SDNN = 1.0 / 16.87
"""Measured time of a PilotNet-SDNN frame, bound by the host (`SDNN_NOTEBOOK`)."""


def measured(name: str) -> Measurement:
    """The measurement of that name; KeyError if there is none."""
    for measurement in PUBLISHED:
        if measurement.name == name:
            return measurement
    raise KeyError(name)
