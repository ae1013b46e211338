"""Positional embeddings of the public CTM code at a fixed size of the feature map: constants, folded into a bias."""

from __future__ import annotations

import numpy as np

from ndeploy.errors import RefusedError, UsageError

from ._ctm_graph import LAYER_NORM_EPSILON
from ._weights import FloatArray, Weights

ROOT = "positional_embedding"


def kind(weights: Weights) -> str:
    """The type's name in the public code, told by its keys; "none" where there is no key."""
    if f"{ROOT}.combination" in weights:
        return "multi-learnable-fourier"
    if f"{ROOT}.Wr.weight" in weights:
        return "learnable-fourier"
    if f"{ROOT}.start_vector" in weights:
        return "custom-rotational"
    if f"{ROOT}.projection.weight" in weights:
        return "custom-rotational-1d"
    unknown = [name for name in weights.names() if name.startswith(f"{ROOT}.")]
    if unknown:
        raise RefusedError(
            "ND201",
            f"'{weights.path}': the positional embedding with tensor '{unknown[0]}' is not one of the public code's",
            help="learnable-fourier, multi-learnable-fourier, custom-rotational and custom-rotational-1d are known",
        )
    return "none"


def embedding(weights: Weights, channels: int, spatial: tuple[int, ...]) -> FloatArray | None:
    """What is added to a feature map (channels, *spatial), of that shape; None for no embedding.

    Raises UsageError ND205 for a feature map on which the public code's embedding is not defined.
    """
    name = kind(weights)
    if name == "none":
        return None
    flat = name == "custom-rotational-1d"
    fits = len(spatial) == (1 if flat else 2)
    if name == "custom-rotational":
        fits = fits and spatial[0] == spatial[1]
    elif not flat:
        fits = fits and min(spatial) > 1  # coordinates are divided by size - 1
    if not fits:
        needs = {"custom-rotational-1d": "a sequence", "custom-rotational": "as many rows as columns"}
        raise UsageError(
            "ND205",
            f"positional embedding {name} on a feature map of {'x'.join(map(str, spatial))}: it needs "
            f"{needs.get(name, 'two rows and two columns at least')}",
            help="give the size of the images that the model was trained on: --set image_size=HEIGHTxWIDTH",
        )
    if flat:
        weight, bias = weights.take(f"{ROOT}.projection.weight", channels, 2), _bias(weights, "projection", channels)
        return weight @ _turned(spatial[0], np.array([0.0, 1.0])) + bias[:, None]
    if name == "custom-rotational":
        return _rotational(weights, channels, spatial[0])
    if name == "learnable-fourier":
        return _fourier(weights, ROOT, channels, spatial)
    combination = weights.take(f"{ROOT}.combination", None)
    share = np.exp(combination - combination.max())
    share /= share.sum()
    parts = [_fourier(weights, f"{ROOT}.embedders.{i}", channels, spatial) for i in range(share.size)]
    return np.asarray(np.tensordot(share, np.stack(parts), 1))


def _bias(weights: Weights, name: str, channels: int) -> FloatArray:
    return weights.take(f"{ROOT}.{name}.bias", channels)


def _turned(size: int, start: FloatArray) -> FloatArray:
    """(2, size): the start vector turned by 0 to 180 degrees in equal steps."""
    angle = np.deg2rad(np.linspace(0.0, 180.0, size))
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * start[0] - s * start[1], s * start[0] + c * start[1]])


def _rotational(weights: Weights, channels: int, size: int) -> FloatArray:
    turned = _turned(size, weights.take(f"{ROOT}.start_vector", 2))
    weight = weights.take(f"{ROOT}.projection.0.weight", channels, 4)
    rows, columns = weight[:, :2] @ turned, weight[:, 2:] @ turned
    return rows[:, :, None] + columns[:, None, :] + _bias(weights, "projection.0", channels)[:, None, None]


def _fourier(weights: Weights, root: str, channels: int, spatial: tuple[int, ...]) -> FloatArray:
    """Learnable Fourier features (arXiv 2106.02795, algorithm 1) of coordinates (x, y) scaled to 0..1."""
    height, width = spatial
    y, x = np.meshgrid(np.arange(height) / (height - 1), np.arange(width) / (width - 1), indexing="ij")
    angle = np.stack([x, y], -1) @ weights.take(f"{root}.Wr.weight", None, 2).T
    features = np.concatenate([np.cos(angle), np.sin(angle)], -1) / np.sqrt(2 * angle.shape[-1])
    first = weights.take(f"{root}.mlp.0.weight", None, features.shape[-1])
    hidden = features @ first.T + weights.take(f"{root}.mlp.0.bias", first.shape[0])
    value, gate = np.split(hidden, 2, axis=-1)
    second = weights.take(f"{root}.mlp.2.weight", channels, value.shape[-1])
    out = value / (1 + np.exp(-gate)) @ second.T + weights.take(f"{root}.mlp.2.bias", channels)
    centred = out - out.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)
    gain, offset = weights.take(f"{root}.mlp.3.weight", channels), weights.take(f"{root}.mlp.3.bias", channels)
    return np.asarray(np.moveaxis(normed * gain + offset, -1, 0))
