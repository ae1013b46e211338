"""The network that an artifact of a NetX file keeps is read back, with parameters that its convolutions share."""

from __future__ import annotations

from ndeploy.graph.read import read_nir
from ndeploy.graph.write import nir_bytes

from .fixtures_path import ROOT
from .tiny_netx import load


def test_the_kept_network_of_a_convolutional_netx_file_is_read_back() -> None:
    network = load(ROOT / "examples" / "netx" / "pilotnet-lif" / "network.net")
    back = read_nir(nir_bytes(network))
    assert back.nodes.keys() == network.nodes.keys()
