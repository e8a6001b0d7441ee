"""Runs on a GPU that a stand-in of NVIDIA's library tells of; a program, because a process loads one library only.

`python -m tests.run.nights FOLDER`: prints, by situation, how the run ended and what was seen on its device.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from autoresearchd.experiment import Device, Measurement
from autoresearchd.run import company, proc, sandbox
from tests.run.room import Room, finish, program, spec, until
from tests.support import patience

NOBODY = 2**22 + 7
"""A process id that no kernel gives."""
GO_ON = "\nimport time\nwhile not (OUT / 'go').exists():\n    time.sleep(0.02)\nsay(loss=1)"
FAIL = GO_ON.replace("say(loss=1)", "raise MemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')")


def main(folder: Path) -> None:
    company.LOOK_SECONDS = 0.02
    # A slow machine shall not make the stand-in look like a driver that hangs.
    company.PATIENCE_SECONDS = 60.0
    modes = [mode for mode in ("none", "bubblewrap") if not sandbox.broken(mode)]
    stranger = f"process {os.getppid()} 1024\n"
    found = {f"its own processes in {mode}": night(folder, during=ours, mode=mode) for mode in modes}
    found |= {
        "a stranger": night(folder, during=lambda: stranger),
        "a stranger beside a part of a GPU": night(folder, during=lambda: f"mig\n{stranger}", shown="MIG-0a-1"),
        "a stranger beside a GPU by its name": night(folder, during=lambda: stranger, shown="GPU-aa"),
        "a number of another namespace": night(folder, during=lambda: f"process {NOBODY} 1024\n"),
        "the same before the first run": night(
            folder, before=f"process {NOBODY} 9\n", during=lambda: f"process {NOBODY} 9\n"
        ),
        "heat": night(folder, during=lambda: "slowed 68\n"),
        "a full load": night(folder, during=lambda: "slowed 4\n"),
        "a GPU that is lost": night(folder, FAIL, during=lambda: "lost\n"),
        "memory held, and too little": night(folder, FAIL, before="used 50000\n", during=lambda: "used 50000\n"),
        "memory held, and enough": night(folder, before="used 50000\n", during=lambda: "used 50000\n"),
        "its own memory": night(folder, FAIL, during=lambda: "used 140000\n"),
    }
    shared = idle(folder, stranger)
    print(json.dumps({name: told(run) for name, run in found.items()} | {"nobody trains": shared}))


def night(
    folder: Path,
    train: str = GO_ON,
    *,
    before: str = "",
    during: Callable[[], str],
    mode: str = "none",
    shown: str | None = None,
) -> Measurement:
    """One training in a room of its own, with what is on the device before it begins and while it goes on."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if shown is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = shown
    (room := Room(folder / f"room-{len(list(folder.iterdir()))}")).folder.mkdir()
    state = Path(os.environ["NVML_STATE"])
    say(state, before)
    with room.executor(program(mode=mode)) as executor:
        executor.start(spec(room.tree("(OUT / 'here').touch()" + train), device="cuda:0"))
        out = room.work / "run-1" / "train" / "out"
        until(executor, (out / "here").exists)
        say(state, during())
        looked: list[object] = []

        def seen_often() -> bool:
            sight = executor._lookout._watch.last(spec(room.tree(""), device="cuda:0").device)
            if sight is not None and not any(sight is each for each in looked):
                looked.append(sight)
            return len(looked) > 4

        until(executor, seen_often)
        (out / "go").touch()
        return finish(executor)


def idle(folder: Path, stranger: str) -> list[str]:
    """Who is said to be on a device that nothing has trained on so far, once somebody is seen there."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    say(Path(os.environ["NVML_STATE"]), stranger)
    with Room(folder).executor(program()) as executor:
        gpu, cpu = (Device(name=name, index=0) for name in ("cuda:0", "cpu:0"))
        patience.until(lambda: executor.residents(gpu))
        return [*executor.residents(gpu), *executor.residents(cpu)]


def ours() -> str:
    """Everything that descends from this process, as this process sees it."""
    own = [pid for pid in proc.everybody() if proc.whose(pid) is proc.Whose.OURS and pid != os.getpid()]
    assert own
    return "".join(f"process {pid} 512\n" for pid in own)


def say(state: Path, text: str) -> None:
    fresh = state.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(state)


def told(run: Measurement) -> list[object]:
    return [run.ending.value, *({"kind": found.kind.value, "what": found.what} for found in run.incidents)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
