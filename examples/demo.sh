#!/usr/bin/env bash
# Compile two trained networks for Loihi 2 and run them on the simulator.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${NDEPLOY_DEMO_OUT:-$(dirname "$here")/build/demo}"
mkdir -p "$out"

say() { printf '\n$ %s\n' "$*"; "$@"; }

cd "$here"
printf 'A spiking transformer (examples/spikformer) and a convolutional NIR network (examples/mnist-conv).\n'
say ndeploy compile spikformer/checkpoint.pth.tar --target loihi2 --calibration spikformer/calibration.npz \
    --output "$out/spikformer.ndp"
say ndeploy run "$out/spikformer.ndp" --data spikformer/eval.npz
say ndeploy compile mnist-conv/model.nir --target loihi2 --steps 6 --set source=snntorch \
    --calibration mnist-conv/calibration.npz --output "$out/mnist-conv.ndp"
say ndeploy run "$out/mnist-conv.ndp" --data mnist-conv/eval.npz
printf '\nThe artifacts are in %s. Next: `ndeploy inspect`, `ndeploy verify --against lava --limit 4`, `ndeploy energy`.\n' "$out"
