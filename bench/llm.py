"""The language model's side of the house: `python -m bench.llm`.

Size of the prompt at 10, 1 000 and 10 000 experiments; share of the input that the cache serves over 50 proposals; and
what a latency of 60 s costs the device at a budget of 300 s, on a clock 60 times as fast. The server is ours, on
loopback; it counts a token as four characters and computes cache hits from equal heads, as the API documents them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from autoresearchd.experiment import Outcome
from autoresearchd.propose.llm import Key, Llm, prompt
from autoresearchd.propose.llm.digest import digest
from autoresearchd.propose.llm.modes import Mode, Task
from tests.propose.fakes import FakeLab
from tests.support.messages import MessagesServer, Say, edit, submit, tool

ROOT = Path(__file__).resolve().parent.parent
FILES = {f"nanogpt/{name}": (ROOT / "nanogpt" / name).read_text() for name in ("model.py", "optim.py", "train.py")}
SCALE = 60.0
"""So much faster than real is the clock of the last part."""
TARGET = """import random, time
RATE = 0.01
DECAY = 0.1
DEPTH = 8
def mark():
    return 0
time.sleep({seconds})
print("loss:", 1 + abs(RATE - 0.02) + random.gauss(0, 0.001))
"""
PROGRAM = """
[program]
name = "bench"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "loss"
pattern = '^loss: (\\S+)'
[accept]
max_repeats = 1
[devices]
use = "cpu"
[propose.llm]
base_url = "{url}"
steer_share = 1.0
"""
OTHERS = ("space", "patterns", "refine", "retest", "combine")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.llm", description=__doc__)
    parser.add_argument("--experiments", type=int, default=12, help="of each of the daemon's runs")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    sizes()
    cache()
    with tempfile.TemporaryDirectory() as name:
        for latency, alone in ((0.0, False), (60.0, False), (60.0, True)):
            idle(Path(name) / f"{latency:g}-{alone}", latency=latency, alone=alone, experiments=options.experiments)


def sizes() -> None:
    """The prompt with nanogpt's three files, as the history grows."""
    lab, text = FakeLab(FILES), FILES["nanogpt/train.py"]
    for count in range(10_001):
        if count in (10, 1_000, 10_000):
            began = time.perf_counter()
            page = digest(lab.context())
            took = time.perf_counter() - began
            blocks = [*prompt.system(lab.context()), *prompt.opening(lab.context(), Task(mode=Mode.EXPLOIT))]
            whole = len(json.dumps(prompt.tools())) + sum(len(block["text"]) for block in blocks)
            print(
                f"{count:>6} experiments: prompt {whole:>7} characters (about {whole // 4:>6} tokens), "
                f"history {len(page):>6} of it, made in {1000 * took:.0f} ms",
                flush=True,
            )
        outcome = (Outcome.DISCARD, Outcome.CRASH, Outcome.INCONCLUSIVE, Outcome.DISCARD)[count % 4]
        outcome = Outcome.KEEP if count % 50 == 49 else outcome
        changed = {**FILES, "nanogpt/train.py": f"{text}\n# try {count}\n" + f"VALUE_{count} = {count}\n" * 12}
        value = None if outcome is Outcome.CRASH else 1.0 - count / 1e6
        title = f"Try the mechanism that is number {count}, with some words"
        lab.try_files(changed, outcome, value, title=title, category=f"category {count % 20}", std_error=0.001)


def cache() -> None:
    """Fifty proposals of four calls each; one experiment in ten is kept, which changes the files of best."""
    lab = FakeLab(FILES)
    with MessagesServer(_scripted()) as server:
        lab.program = lab.program.model_copy(
            update={
                "propose": lab.program.propose.model_copy(
                    update={"llm": lab.program.propose.llm.model_copy(update={"base_url": server.url})}
                )
            }
        )
        llm = Llm(lab.program, key=Key("bench-key"))
        costs = asyncio.run(_fifty(lab, llm))
        status = llm.status
    print(
        f"{len(costs)} proposals, {status.calls} calls: {status.cached_tokens / status.input_tokens:.1%} of "
        f"{status.input_tokens} input tokens came from the cache; ${statistics.mean(costs):.4f} a proposal "
        f"with {status.model}",
        flush=True,
    )


def _scripted() -> Any:
    numbers = itertools.count()

    def answer(body: dict[str, Any]) -> Say:
        turn = len(body["messages"]) // 2
        if turn == 0:
            return tool("read_file", path="nanogpt/optim.py", first_line=1, last_line=80)
        if turn == 1:
            return tool("list_experiments", limit=20)
        if turn == 2:
            text = "CONTEXT = 32"
            return Say(tools=(edit(text, f"TRY_{next(numbers)} = 1\n{text}", "nanogpt/train.py"),), output_tokens=600)
        return Say(tools=(("check", {}), submit("Try a mechanism that is new here")), output_tokens=300)

    return answer


async def _fifty(lab: FakeLab, llm: Llm) -> list[float]:
    costs = []
    for number in range(50):
        found = await llm.propose(lab.context())
        while found is None:
            await llm.wait()
            await asyncio.sleep(0)
            found = llm.finished(lab.context())
        costs.append(found.cost_usd or 0.0)
        outcome = Outcome.KEEP if number % 10 == 9 else Outcome.DISCARD
        lab.try_proposal(found, outcome, 1.0 - number / 1e4, std_error=0.001)
    await llm.close()
    return costs


def idle(folder: Path, *, latency: float, alone: bool, experiments: int) -> None:
    """The real daemon with trainings of 300 s and conversations of `latency` seconds, both divided by SCALE."""
    wait, numbers = latency / SCALE, itertools.count()

    def answer(body: dict[str, Any]) -> Say:
        number, head = next(numbers), body["messages"][0]["content"][0]["text"]
        old = re.findall(r"    return \d+\n", head)[-1]  # another number where chance has kept one
        return Say(tools=(edit(old, f"    return {number + 1}\n"), submit(f"Mark {number}")), wait=wait)

    with MessagesServer(answer) as server:
        project = _project(folder, server.url, alone=alone)
        _run(project, "init")
        log = _run(project, "run", "--experiments", str(experiments))
    starts, ends = _moments(log, "run_started"), _moments(log, "run_finished")
    gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
    ready = [line for line in log if line["event"] == "conversation_ended" and line["ending"] == "proposed"]
    opened = [line["proposer"] for line in log if line["event"] == "experiment_opened"]
    who = "the model alone" if alone else "with the numeric sampler"
    print(
        f"latency {latency:.0f} s, {who}: {len(starts)} runs, {opened.count('llm')} of {len(opened)} experiments the "
        f"model's; device idle {1000 * statistics.median(gaps):.0f} ms between two runs "
        f"(longest {1000 * max(gaps):.0f} ms, as the clock has it), "
        f"{sum(gaps) / (ends[-1] - starts[0]):.1%} of the time; {_ahead(log):.0%} of the model's ideas were there "
        f"before a device was free, of {len(ready)}",
        flush=True,
    )


def _ahead(log: Sequence[dict[str, Any]]) -> float:
    """Share of the model's experiments whose conversation ended before the run in front of them did."""
    ended, early, count = -1, 0, 0
    thought: list[int] = []
    for position, line in enumerate(log):
        if line["event"] == "run_finished":
            ended = position
        elif line["event"] == "conversation_ended" and line["ending"] == "proposed":
            thought.append(position)
        elif line["event"] == "experiment_opened" and line["proposer"] == "llm" and thought:
            count += 1
            early += thought.pop(0) < ended
    return early / count if count else 0.0


def _project(folder: Path, url: str, *, alone: bool) -> Path:
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(TARGET.format(seconds=300.0 / SCALE))
    off = OTHERS if alone else OTHERS[1:]
    switches = "".join(f"[propose.{name}]\nenabled = false\n" for name in off)
    (folder / "program.toml").write_text(PROGRAM.replace("{url}", url) + switches)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def _run(project: Path, *arguments: str) -> list[dict[str, Any]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ANTHROPIC_API_KEY": "bench-key"}
    command = [sys.executable, "-m", "autoresearchd", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def _moments(log: Sequence[dict[str, Any]], event: str) -> list[float]:
    return [datetime.fromisoformat(line["timestamp"]).timestamp() for line in log if line["event"] == event]


if __name__ == "__main__":
    main()
