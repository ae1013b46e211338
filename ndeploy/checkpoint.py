"""Checkpoints from strangers: tensors and plain values out, never code in.

Formats: torch zip (since 1.6) and legacy pickle files, safetensors, npz. A pickle is read by torch's weights-only
unpickler, which builds no object outside torch's own list and the one below; whatever else a pickle names is refused
by that name.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.contents import Contents, too_large, unreadable
from ndeploy.errors import UsageError

MAX_BYTES = 8 * 2**30
"""The largest checkpoint that is loaded."""
# tensors lie uncompressed in a torch zip: what unpacks to much more than its own size is no checkpoint
_MAX_UNPACK = 1.5
_SLACK = 16 * 2**20

STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Where wrappers put the state dict (timm, Continuous Thought Machines, torchvision, ...), in order of preference."""
ARGS_KEYS = ("args", "config", "cfg", "hparams", "hyper_parameters")
_PREFIXES = ("module.", "_orig_mod.")

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """state: tensors by name, without "module." prefixes; args: the training options the file carries; extra: the
    other plain values (epoch, metric, ...), tensors and containers left out."""

    path: Path
    state: Mapping[str, Array]
    args: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def load(path: Path, contents: Contents | None = None) -> Checkpoint:
    """Read a checkpoint without running anything it holds.

    Raises UsageError ND102 (no checkpoint format), ND121 (truncated or damaged), ND122 (a pickle names an object
    outside the allow-list), ND123 (too large), ND124 (no state dict), ND304 (a weight is NaN or infinite).
    """
    contents = contents or Contents(path)
    kind = contents.kind
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise too_large(path, f"{size} bytes, more than {MAX_BYTES}")
    if kind in ("zip-checkpoint", "pickle"):
        raw = _torch_load(path, size)
    elif kind == "safetensors":
        raw = _safetensors(path)
    elif kind == "npz":
        raw = _npz(path, size)
    else:
        raise UsageError(
            "ND102", f"'{path}' is no checkpoint ({kind})", help="give a .pt, .pth, .safetensors or .npz file"
        )
    state, rest = _split(path, raw)
    return Checkpoint(path, _arrays(path, state, size), _args(rest), _plain(rest))


# -- reading -----------------------------------------------------------------------------------------------------------


def _allowed() -> list[Any]:
    """Objects that real training scripts leave in checkpoints besides tensors (facts: timm's args; the Continuous
    Thought Machines' numpy values and random-number states, under numpy 1 and numpy 2 names). All are inert."""
    import argparse

    from numpy._core import multiarray

    found: list[Any] = [argparse.Namespace, np.ndarray, np.dtype]
    for name in ("_reconstruct", "scalar"):
        function = getattr(multiarray, name)
        found += [(function, f"numpy._core.multiarray.{name}"), (function, f"numpy.core.multiarray.{name}")]
    for name in ("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"):
        found.append(getattr(np.dtypes, f"{name}DType"))
    found += [np.dtypes.Float16DType, np.dtypes.Float32DType, np.dtypes.Float64DType]
    return found


def _torch_load(path: Path, size: int) -> Any:
    import torch

    if zipfile.is_zipfile(path):
        _bounded_zip(path, size)
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on pickle protocols of damaged files
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        refused = re.search(r"(?:GLOBAL|class|function)\s+[`']?([A-Za-z_][\w]*(?:\.[\w]+)+)", str(error))
        if refused is None:
            # torch's own text begins with advice to load the file without a check
            _, _, why = str(error).partition("WeightsUnpickler error:")
            raise unreadable(path, _first_line(ValueError(why.strip() or "no checkpoint that torch wrote"))) from error
        raise UsageError(
            "ND122",
            f"'{path}' holds a pickled '{refused[1]}', which is not on the list of inert objects; nothing was run",
            help="save the weights alone: torch.save(model.state_dict(), ...), where you trust the file",
        ) from error
    except MemoryError as error:
        raise too_large(path, "needs more memory than there is") from error
    except Exception as error:  # damaged bytes make torch's readers raise nearly anything
        raise unreadable(path, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _bounded_zip(path: Path, size: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise unreadable(path, str(error)) from error
    if unpacked > _MAX_UNPACK * size + _SLACK:
        raise too_large(path, f"its {size} bytes unpack to {unpacked}")


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise unreadable(path, _first_line(error)) from error


def _npz(path: Path, size: int) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_BYTES or unpacked > 1100 * size + _SLACK:  # deflate's best ratio is 1032
            raise too_large(path, f"its {size} bytes unpack to {unpacked}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise unreadable(path, _first_line(error)) from error


# -- what was read -----------------------------------------------------------------------------------------------------


def _is_tensor(value: object) -> bool:
    # by name: torch is not imported for files that do not need it
    return isinstance(value, np.ndarray) or (type(value).__module__.startswith("torch") and hasattr(value, "numel"))


def _is_state(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    named = all(isinstance(k, str) for k in value)
    return named and sum(_is_tensor(v) for v in value.values()) * 2 > len(value)


def _split(path: Path, raw: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The state dict and everything beside it."""
    if isinstance(raw, Mapping):
        for key in STATE_KEYS:
            if key in raw and _is_state(raw[key]):
                return raw[key], {str(k): v for k, v in raw.items() if k != key}
        if _is_state(raw):
            return raw, {}
    found = ", ".join(map(str, list(raw)[:8])) if isinstance(raw, Mapping) else type(raw).__name__
    raise UsageError(
        "ND124",
        f"'{path}' holds no state dict; it holds: {found}",
        help=f"save the weights under one of {', '.join(STATE_KEYS[:4])}, or as a bare state dict",
    )


def _arrays(path: Path, state: Mapping[str, Any], size: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for key, value in state.items():
        if not _is_tensor(value):
            continue
        name = key
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        array = _array(path, name, value, size)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise UsageError(
                "ND304",
                f"'{path}': tensor '{name}' holds {bad} of {array.size} values that are NaN or infinite",
                help="train or save the network again: there is no meaning to compile",
            )
        arrays[name] = array
    return arrays


def _array(path: Path, name: str, value: Any, size: int) -> Array:
    if isinstance(value, np.ndarray):
        return value
    import torch

    tensor = value.detach()
    if tensor.numel() * tensor.element_size() > _MAX_UNPACK * size + _SLACK:
        # a view of stride 0 claims any size: making it an array would allocate it
        raise too_large(path, f"tensor '{name}' claims {tensor.numel()} values")
    if tensor.is_sparse or tensor.is_quantized:
        raise UsageError(
            "ND125", f"'{path}': tensor '{name}' is sparse or quantised", help="save plain dense float tensors"
        )
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    result: Array = tensor.contiguous().numpy()
    return result


def _args(rest: Mapping[str, Any]) -> dict[str, Any]:
    """Training options: the attributes of a Namespace or the entries of a dict, plain values only."""
    import argparse

    for key in ARGS_KEYS:
        value = rest.get(key)
        if isinstance(value, argparse.Namespace):
            return _plain(vars(value))
        if isinstance(value, Mapping):
            return _plain(value)
    return {}


def _plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries that are numbers, strings, None, or short lists of them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, np.generic):
            value = value.item()
        short = isinstance(value, list | tuple) and len(value) <= 64
        if isinstance(value, bool | int | float | str | None) or (
            short and all(isinstance(v, bool | int | float | str | None) for v in value)
        ):
            found[str(key)] = list(value) if short else value
    return found
