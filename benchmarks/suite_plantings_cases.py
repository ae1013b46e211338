"""A suite of all trained networks of the fixtures: its TOML, and data where a network came without.

python benchmarks/suite_plantings_cases.py FOLDER     # writes FOLDER/fixtures.toml and the data that it names
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

FIXTURES = Path(os.environ.get("NDEPLOY_FIXTURES", Path(__file__).resolve().parents[2] / "shared" / "fixtures"))
SUITE = """# The trained networks of the fixtures. Few samples where they are dear; more traced than by default.
schema = "ndeploy.suite/1"

[defaults]
traced = 16
tolerances = {{ float_points = 8 }} # one of 64 samples is 1.6 points

[[case]]
name = "mnist-conv"
model = "{F}/nir/mnist-conv/model.nir"
data = "{F}/nir/mnist-conv/eval.npz"
calibration = "{F}/nir/mnist-conv/calibration.npz"
steps = 6
settings = {{ source = "snntorch" }}
limit = 64

[[case]]
name = "mnist-conv-loihi1"
model = "{F}/nir/mnist-conv/model.nir"
data = "{F}/nir/mnist-conv/eval.npz"
calibration = "{F}/nir/mnist-conv/calibration.npz"
target = "loihi1"
steps = 6
settings = {{ source = "snntorch" }}
limit = 64

[[case]]
name = "braille"
model = "{F}/nir/braille/model.nir"
data = "{F}/nir/braille/eval.npz"
calibration = "{F}/nir/braille/calibration.npz"
settings = {{ source = "snntorch" }}
limit = 48

[[case]]
name = "oxford"
model = "{F}/netx/oxford/network.net"
data = "{here}/oxford.npz"
steps = 200

[[case]]
name = "tinynet"
model = "{F}/netx/tinynet/tiny.net"
data = "{here}/tinynet.npz"
steps = 16

[[case]]
name = "pilotnet-lif"
model = "{F}/netx/pilotnet-lif/network.net"
data = "{here}/pilotnet.npz"
limit = 2

[[case]]
name = "pilotnet-sdnn"
model = "{F}/netx/pilotnet-sdnn/network.net"
data = "{here}/pilotnet.npz"
steps = 16
limit = 2

[[case]]
name = "spikformer"
model = "{F}/spikformer/checkpoint.pth.tar"
data = "{F}/spikformer/eval.npz"
calibration = "{F}/spikformer/calibration.npz"
limit = 16

[[case]]
name = "ctm-parity"
traced = 32
model = "{F}/ctm/parity/checkpoint.pt"
data = "{F}/ctm/parity/eval.npz"
calibration = "{F}/ctm/parity/calibration.npz"
limit = 32

[[case]]
name = "ctm-digits"
traced = 32
model = "{F}/ctm/digits/checkpoint.pt"
data = "{F}/ctm/digits/eval.npz"
calibration = "{F}/ctm/digits/calibration.npz"
limit = 32

[[case]]
name = "ctm-sort"
traced = 32
model = "{F}/ctm/sort/checkpoint.pt"
data = "{F}/ctm/sort/eval.npz"
calibration = "{F}/ctm/sort/calibration.npz"
limit = 32
"""


def oxford(steps: int = 200, samples: int = 4) -> npt.NDArray[np.uint8]:
    """lava-dl's input events (neuron, polarity, time in ms) cut into sequences of so many steps."""
    neuron, _, time = np.load(FIXTURES / "netx/oxford/input.npy").T
    found = np.zeros((samples * steps, 200), dtype=np.uint8)
    at = np.rint(time).astype(int)
    found[at[at < len(found)], neuron[at < len(found)].astype(int)] = 1
    return found.reshape(samples, steps, 200)


def written(folder: Path) -> Path:
    """The suite's file in `folder`, and beside it data of networks that came without."""
    # lava-dl keeps images as (W, H, C)
    tiny = np.load(FIXTURES / "netx/tinynet/input_bias.npy").transpose(2, 1, 0)
    image = np.load(FIXTURES / "netx/pilotnet-lif/image.npy").transpose(2, 1, 0)
    np.savez(folder / "oxford.npz", x=oxford())
    np.savez(folder / "tinynet.npz", x=np.stack([tiny, tiny[:, ::-1], tiny[:, :, ::-1], tiny[:, ::-1, ::-1]]))
    np.savez(folder / "pilotnet.npz", x=np.stack([image, image[:, :, ::-1]]))
    path = folder / "fixtures.toml"
    path.write_text(SUITE.format(F=FIXTURES.resolve(), here=folder.resolve()))
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{written(Path(sys.argv[1]))}\n")
