"""Checkpoints of trained proxies: weights and their description in an .npz, never pickles.

A checkpoint holds one proxy, whatever stack it was trained in, and goes by the hash of everything that decided it: what
is there is never trained twice, and a file that another study wrote is the same file.
"""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxies.files import replacing
from proxies.gpt import Shape, StackedGPT

ABOUT = "about"  # the entry that describes the numbers
FORMAT = 1
# What zipfile, NumPy, json and torch raise for files that aren't as they were written.
DAMAGED = (
    *(
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
        EOFError,
    ),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError),
)


@dataclass(frozen=True)
class Checkpoint:
    """One trained proxy. weights: name -> float32 array, without the proxy dimension; about: JSON-able facts."""

    shape: Shape
    weights: dict[str, np.ndarray]
    about: dict[str, Any]


def take(model: StackedGPT, k: int, about: Mapping[str, Any]) -> Checkpoint:
    """Proxy k of a stack."""
    # a copy: on a CPU the array would otherwise go on sharing memory with the model
    weights = {name: value[k].detach().float().cpu().numpy().copy() for name, value in model.state_dict().items()}
    return Checkpoint(model.shape, weights, dict(about))


@torch.no_grad()
def put(model: StackedGPT, checkpoints: Sequence[Checkpoint]) -> None:
    """Sets every proxy of a stack to its checkpoint. Raises ValueError where one is of another shape."""
    for k, checkpoint in enumerate(checkpoints):
        if checkpoint.shape != model.shape:
            raise ValueError(f"a checkpoint of {checkpoint.shape} can't be continued as {model.shape}")
        for name, value in model.state_dict().items():
            value[k].copy_(torch.from_numpy(checkpoint.weights[name]))


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes path whole or not at all."""
    about = {"format": FORMAT, "shape": asdict(checkpoint.shape), "about": checkpoint.about}
    text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), dtype=np.uint8)
    with replacing(path) as half, half.open("wb") as file:
        np.savez(file, allow_pickle=False, **{ABOUT: text}, **checkpoint.weights)


def load_checkpoint(path: Path, *, run_id: str | None = None) -> Checkpoint:
    """What `save_checkpoint` wrote. Raises ValueError, with the file's name, for anything else.

    run_id: of the run that it must hold, which would be trained again without it; None: any, of the user's choice.
    """
    remedy = ": delete it and it is trained again" if run_id else ""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop(ABOUT).tobytes())
        shape, form, facts = Shape(**about["shape"]), about["format"], dict(about["about"])
        if form != FORMAT:
            raise ValueError(f"it is of format {form}, not {FORMAT}")
        found = {name: (value.shape, value.dtype) for name, value in arrays.items()}
        whole = shape.layers <= len(arrays) and found == _entries(shape)  # before a model of any size is made
        if not whole or not all(np.isfinite(value).all() for value in arrays.values()):
            raise ValueError(f"its numbers don't make up a proxy of {shape}")
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a checkpoint of a proxy ({reason}){remedy}") from None
    if run_id not in (None, facts.get("run_id")):
        raise ValueError(f"{path}: holds run {facts.get('run_id')}{remedy}")
    return Checkpoint(shape, arrays, facts)


def _entries(shape: Shape) -> dict[str, tuple[tuple[int, ...], type]]:
    """The shape and the type of every array."""
    with torch.device("meta"):
        return {name: (value.shape[1:], np.float32) for name, value in StackedGPT(shape, []).state_dict().items()}
