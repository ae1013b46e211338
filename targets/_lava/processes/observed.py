"""Lava's own process models, recorded (held, resting where nothing is sent). The arithmetic is Lava's, unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.conv.process import Conv
from lava.proc.dense.models import PyDelayDenseModelBitAcc, PyDenseModelBitAcc
from lava.proc.graded.models import PyGradedVecModelFixed
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc, PyTernLifModelFixed
from lava.proc.prodneuron.models import PyProdNeuronModelFixed
from lava.proc.sdn.models import PyDeltaModelFixed, PySigmaDeltaModelFixed, PySigmaModelFixed
from lava.proc.sparse.models import PyDelaySparseModelBitAcc, PySparseModelBitAcc
from ndeploy.targets._lava.gate import Gate
from ndeploy.targets._lava.rest import Resting, RestingDelays


class ObservedLif(Gate, PyLifModelBitAcc):
    """Lava's LIF."""


class ObservedLifReset(Gate, PyLifResetModelBitAcc):
    """Lava's LIFReset."""


class ObservedTernaryLif(Gate, PyTernLifModelFixed):
    """Lava's TernaryLIF."""


class ObservedGradedVec(Gate, PyGradedVecModelFixed):
    """Lava's GradedVec."""


class ObservedProdNeuron(Gate, PyProdNeuronModelFixed):
    """Lava's ProdNeuron."""


class ObservedSigma(Gate, PySigmaModelFixed):
    """Lava's Sigma."""


class ObservedDelta(Gate, PyDeltaModelFixed):
    """Lava's Delta."""


class ObservedSigmaDelta(Gate, PySigmaDeltaModelFixed):
    """Lava's SigmaDelta."""


class RestingDense(Resting, PyDenseModelBitAcc):
    """Lava's Dense."""


class RestingSparse(Resting, PySparseModelBitAcc):
    """Lava's Sparse."""


class RestingDelayDense(RestingDelays, PyDelayDenseModelBitAcc):
    """Lava's DelayDense."""


class RestingDelaySparse(RestingDelays, PyDelaySparseModelBitAcc):
    """Lava's DelaySparse."""


class FlatConv(Conv):
    """Lava's Conv between flat populations in our (C, H, W) order; Lava's own layout is (W, H, C).

    Lava's reshape and transpose ports would do the same, but they hang with numpy 2.4.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.s_in = InPort(shape=(int(np.prod(self.input_shape)),))
        self.a_out = OutPort(shape=(int(np.prod(self.output_shape)),))
        self.proc_params["whc_in"] = tuple(int(n) for n in self.input_shape)
        self.proc_params["whc_out"] = tuple(int(n) for n in self.output_shape)


class _UnboundConv(PyConvModelFixed):
    """Lava's fixed-point Conv model, free to be bound to another process class."""

    implements_process = None

    # Lava declares int8, to which numpy 2 cannot add the 128 pixels or more of an image's side
    kernel_size = LavaPyType(np.ndarray, np.int32)
    stride = LavaPyType(np.ndarray, np.int32)
    padding = LavaPyType(np.ndarray, np.int32)
    dilation = LavaPyType(np.ndarray, np.int32)
    groups = LavaPyType(np.ndarray, np.int32)


class _ConvLayout(_UnboundConv):
    """Turns messages into Lava's layout on the way in and back on the way out."""

    _turned = False

    def run_spk(self) -> None:
        if not self._turned:
            self._turned = True
            self._turn(self.proc_params["whc_in"], self.proc_params["whc_out"])
        super().run_spk()

    def _turn(self, whc_in: tuple[int, int, int], whc_out: tuple[int, int, int]) -> None:
        into, out = self.s_in, self.a_out
        receive, send = into.recv, out.send
        into.recv = lambda: receive().reshape(whc_in[::-1]).transpose(2, 1, 0)
        out.send = lambda data: send(np.ascontiguousarray(data.reshape(whc_out).transpose(2, 1, 0)).reshape(-1))


@implements(proc=FlatConv)
class FlatConvModel(Resting, _ConvLayout):
    """Lava's fixed-point Conv model on flat ports."""

    sums = "a_buf"
