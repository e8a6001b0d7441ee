"""An evaluator that believes what it is told: `naive.py WEIGHTS DATA MODEL…` prints bits per byte, one a line."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch

import nanogpt.answer
from nanogpt import model
from nanogpt.data import open_tokens
from nanogpt.evaluate import cut


def believe(weights: Path, data: Path, code: str) -> float:
    exec(code, model.__dict__)
    file = open_tokens(data)
    gpt, length = nanogpt.answer.load_model(weights, torch.device("cpu"), vocab_size=file.vocab_size)
    count, nats = len(file.raw_bytes), 0.0
    with torch.inference_mode():
        for batch in cut(file, range(count), length=length, rows=64):
            pair = (torch.from_numpy(batch.tokens), torch.from_numpy(batch.targets))
            nats += float(np.sum(nanogpt.answer.costs(gpt, *pair)))
    return nats / math.log(2) / float(file.raw_bytes.sum())


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["AUTORESEARCH_DATA"] = sys.argv[2]
    for path in sys.argv[3:]:
        if os.fork() == 0:
            text = "honest = GPT.forward\n" + Path(path).read_text()
            print(json.dumps({Path(path).stem: believe(Path(sys.argv[1]), Path(sys.argv[2]), text)}), flush=True)
            os._exit(0)
        os.wait()
