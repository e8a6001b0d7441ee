"""Small token files made by the real `prepare`, and trainings of seconds."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import nanogpt
from nanogpt import prepare, train

PACKAGE = Path(nanogpt.__file__).parent
WORDS = ("def", "return", "import", "self", "class", "for", "while", "if", "else", "None", "print", "open", "value")


def write_texts(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """A folder of small texts that a model can learn something from."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        words = [chance.choice(WORDS) for _ in range(chance.randrange(40, 160))]
        (folder / f"{number:03d}.txt").write_text(" ".join(words) + f"\n# {number}\n")
    return folder


def make_data(folder: Path) -> Path:
    """data/train, data/val and data/audit of small texts."""
    out = folder / "data"
    prepare.prepare([str(write_texts(folder / "texts")), "--out", str(out), "--held-out", "0.2"])
    return out


class Bench:
    """Runs the two commands as an executor would, but in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.data, self._patch = folder, make_data(folder), monkeypatch

    def train(self, name: str = "run-1", *, seed: int = 0, steps: int = 6, arguments: tuple[str, ...] = ()) -> int:
        self.set(RUN=name, SEED=seed, STEPS=steps, DEVICE="cpu:0", OUT=self.out(name), DATA=self.data / "train")
        self._patch.setattr("sys.argv", ["train", "--depth", "1", *arguments])
        return train.main()

    def evaluate(self, name: str = "run-1", *, model: str = "", before: str = "", device: str = "cpu:0") -> int:
        """The evaluation in a process of its own; `model` is what its model.py ends with, `before` runs first."""
        out = self.folder / "evaluation" / name
        self.set(RUN=name, OUT=out, MODEL=self.out(name), DATA=self.data / "val", DEVICE=device)
        code = self.folder / "code"
        shutil.rmtree(code, ignore_errors=True)
        shutil.copytree(PACKAGE, code / "nanogpt", ignore=shutil.ignore_patterns("__pycache__"))
        with (code / "nanogpt" / "model.py").open("a") as file:
            file.write(textwrap.dedent(model))
        main = f"import sys; from nanogpt import evaluate; {before or 'pass'}; sys.exit(evaluate.main())"
        command = ["-c", main] if before else ["-m", "nanogpt.evaluate"]
        done = subprocess.run([sys.executable, *command], cwd=code, capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        return done.returncode

    def set(self, **values: object) -> None:
        for name, value in values.items():
            self._patch.setenv(f"AUTORESEARCH_{name}", str(value))

    def out(self, name: str) -> Path:
        return self.folder / "runs" / name

    def said(self, name: str = "run-1") -> dict[str, object]:
        found: dict[str, object] = json.loads((self.out(name) / "result.json").read_text())
        return found

    def score(self, name: str = "run-1") -> dict[str, float]:
        found: dict[str, float] = json.loads((self.folder / "evaluation" / name / "result.json").read_text())["metrics"]
        return found
