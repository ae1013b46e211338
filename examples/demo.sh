#!/usr/bin/env bash
# Compile three trained networks for Loihi 2 and run them on the simulator.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${NDEPLOY_DEMO_OUT:-$(dirname "$here")/build/demo}"
mkdir -p "$out"

say() { printf '\n$ %s\n' "$*"; "$@"; }
# the first lines of a long answer; sed reads to the end, so that the command is not cut off
top() { local lines="$1"; shift; printf '\n$ %s | head -n %s\n' "$*" "$lines"; "$@" | sed -n "1,${lines}p"; }

cd "$here"
printf 'A spiking transformer (examples/spikformer) and a convolutional NIR network (examples/mnist-conv).\n'
say ndeploy compile spikformer/checkpoint.pth.tar --target loihi2 --calibration spikformer/calibration.npz \
    --output "$out/spikformer.ndp"
say ndeploy run "$out/spikformer.ndp" --data spikformer/eval.npz
say ndeploy compile mnist-conv/model.nir --target loihi2 --steps 6 --set source=snntorch \
    --calibration mnist-conv/calibration.npz --output "$out/mnist-conv.ndp"
say ndeploy run "$out/mnist-conv.ndp" --data mnist-conv/eval.npz

printf '\nA Continuous Thought Machine (examples/ctm): parity of 8 numbers, counted in up to 12 ticks of thought.\n'
parity="$out/parity.ndp"
say ndeploy compile ctm/parity.pt --target loihi2 --calibration ctm/parity-calibration.npz --output "$parity"
top 30 ndeploy inspect "$parity"
say ndeploy run "$parity" --data ctm/parity-eval.npz
printf '\nThe same, but a sample ends as soon as the machine is sure.\n'
top 12 ndeploy run "$parity" --data ctm/parity-eval.npz --stop-certainty 0.9
printf '\nIs what the simulator computes what Lava computes? And how far is it from the float network, tick by tick?\n'
say ndeploy verify "$parity" --data ctm/parity-eval.npz --against lava --limit 2
say ndeploy verify "$parity" --data ctm/parity-eval.npz --against float
top 40 ndeploy energy "$parity" --data ctm/parity-eval.npz
printf '\nDigits, seen by a Continuous Thought Machine: sure after half of its ticks.\n'
say ndeploy compile ctm/digits.pt --target loihi2 --calibration ctm/digits-calibration.npz --output "$out/digits.ndp"
top 12 ndeploy run "$out/digits.ndp" --data ctm/digits-eval.npz --stop-certainty 0.9
printf '\nThe artifacts are in %s. Next: `ndeploy inspect`, `ndeploy verify --against lava --limit 4`, `ndeploy energy`.\n' "$out"
