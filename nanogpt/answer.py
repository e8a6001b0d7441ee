"""What runs beside the experiment's model: loads the weights, gives logits, or what each window costs.

It shares a process with code nobody has read, so nothing that it says is believed: `evaluate` has it say the same
twice. Not for experiments to change.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, log_softmax

from nanogpt import apart
from nanogpt.contract import Dishonest

LONGEST_CONTEXT = 2**13
"""A model may say that it can read longer sequences; it is not given them."""
MOST_WEIGHTS = 64 * 2**30
ZIP = b"PK\x03\x04"

Logits = Callable[[Tensor], Tensor]
Array = np.ndarray[Any, Any]


class Answerer:
    """Answers the evaluator's requests; `load` comes first."""

    def __init__(self) -> None:
        self._device = torch.device("cpu")
        self._logits: Logits | None = None

    def __call__(self, request: apart.Request, arrays: list[Array]) -> tuple[apart.Request, list[Array]]:
        """`load`, `costs` of tokens and targets (B,), or `logits` of tokens (B, T, V)."""
        if request["do"] == "load":
            return {}, [np.array([self._load(request)], np.int64)]
        assert self._logits is not None
        tokens = torch.from_numpy(arrays[0].copy()).to(self._device)
        if request["do"] == "logits":
            return {}, [self._logits(tokens).cpu().numpy()]
        targets = torch.from_numpy(arrays[1].copy()).to(self._device)
        return {}, [costs(self._logits, tokens, targets)]

    def _load(self, request: apart.Request) -> int:
        if request["threads"]:
            torch.set_num_threads(request["threads"])
        os.environ.update(request["scratch"])
        if request["hidden"]:
            readable, hidden = ([Path(text) for text in request[name]] for name in ("readable", "hidden"))
            apart.confine(readable, hidden, [Path(text).resolve() for text in request["scratch"].values()])
        self._device = torch.device(request["device"])
        model, length = load_model(Path(request["model"]), self._device, vocab_size=request["vocab_size"])
        self._logits = checked(model, self._device, request["vocab_size"])
        return length


def load_model(path: Path, device: torch.device, *, vocab_size: int) -> tuple[torch.nn.Module, int]:
    """The experiment's model with the weights that its training left, and the context that it reads.

    Raises: Dishonest when the weights are not what model.py wants, or not what torch.save writes.
    """
    check_weights(path)
    from nanogpt.model import GPT, Config  # the experiment's code: nothing of it runs before this line

    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # an unpickler of rubbish raises whatever it stumbles over
        raise Dishonest(f"{path.name} does not fit the model: {type(error).__name__}") from error
    try:
        model = GPT(Config(**saved["config"]))
        model.load_state_dict(saved["weights"])
        length, said = int(saved["config"]["sequence_length"]), saved["config"]["vocab_size"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Dishonest(f"{path.name} does not fit the model: {(str(error).splitlines() or ['?'])[0]}") from error
    if said != vocab_size:
        raise Dishonest(f"{path.name} is for {said} tokens, the data has {vocab_size}")
    return model.to(device).eval(), max(1, min(length, LONGEST_CONTEXT))


def check_weights(path: Path) -> None:
    """Raises: Dishonest for a file that is larger inside than outside, or larger than any honest one."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:  # else torch would try its formats of old, and zipfile look for an end
                raise Dishonest(f"{path.name} is not what torch.save writes: no zip file")
        with zipfile.ZipFile(path) as parts:
            inside = sum(part.file_size for part in parts.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Dishonest(f"{path.name} is not what torch.save writes: {error}") from error
    if inside > MOST_WEIGHTS or inside > path.stat().st_size:
        raise Dishonest(f"{path.name} unpacks to {inside} bytes")


def checked(model: torch.nn.Module, device: torch.device, vocab_size: int) -> Logits:
    """The model as a function of tokens that gives finite float32 logits of the right shape, or raises Dishonest."""

    @torch.inference_mode()
    def logits(tokens: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
            found = model(tokens.clone())
        if not isinstance(found, Tensor) or found.shape != (*tokens.shape, vocab_size):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Dishonest(f"the logits are {shape}, not {(*tokens.shape, vocab_size)}")
        found = found.float()
        if not bool(torch.isfinite(found).all()):
            raise Dishonest("the logits are not all finite numbers")
        return found

    return logits


def costs(logits: Logits, tokens: Tensor, targets: Tensor) -> Array:
    """Nats that each row (B,) costs, summed in float64; targets of -1 cost nothing."""
    said = log_softmax(logits(tokens), dim=-1)
    cost = -said.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
    found: Array = cost.double().sum(dim=1).cpu().numpy()
    return found
