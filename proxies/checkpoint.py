"""Checkpoints of trained proxies: weights and their description in an .npz, never pickles.

A checkpoint holds one proxy, whatever stack it was trained in, and goes by the hash of everything that decided it: what
is there is never trained twice, and a file that another study wrote is the same file.
"""

import json
import zipfile
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


def load_checkpoint(path: Path) -> Checkpoint:
    """What `save_checkpoint` wrote. Raises ValueError, with the file's name, for anything else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop(ABOUT).tobytes())
        shape, form, facts = Shape(**about["shape"]), about["format"], about["about"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a checkpoint of a proxy ({error}): delete it and it is trained again") from None
    if form != FORMAT:
        raise ValueError(f"{path}: a checkpoint of format {form}, not {FORMAT}: train it again")
    expected = {name: tuple(value.shape[1:]) for name, value in StackedGPT(shape, [0]).state_dict().items()}
    found = {name: value.shape for name, value in arrays.items()}
    if found != expected or not all(np.isfinite(value).all() for value in arrays.values()):
        raise ValueError(f"{path}: its numbers don't make up a proxy of {shape}: delete it and it is trained again")
    return Checkpoint(shape, arrays, facts)
