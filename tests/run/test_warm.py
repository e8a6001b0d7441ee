"""The next run waits in an interpreter of its own: it finds what a plain start finds, and nothing of any other run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from autoresearchd.experiment import Device, Ending, Measurement, TreeOid
from autoresearchd.limits import Mode
from autoresearchd.program import parse
from autoresearchd.run import LocalExecutor, proc, sandbox
from autoresearchd.run.warm import SLOW, applies, modules_ahead
from tests.run.room import HANG, Room, alive, finish, program, spec, until

UNTIL_TOLD = """
print("under way", flush=True)
while not (OUT / "end").exists():
    pass
say(loss=1)
"""
"""A training that goes on until the test lets it end."""
SELF = """
import sys
main = sys.modules["__main__"]
names = ("__name__", "__file__", "__package__", "__doc__")
told = {name: str(getattr(main, name, None)).replace(os.getcwd(), "") for name in names}
told |= {"names": sorted(vars(main).keys() - {"main", "names", "told"}), "is us": main.say is say}
told |= {"path": [part.replace(os.getcwd(), "cwd") for part in sys.path], "original": sys.orig_argv}
told |= {"environment": {key: text for key, text in os.environ.items() if text.startswith(("7", "8", "run-"))}}
told |= {"spec": getattr(main.__spec__, "name", None), "input": sys.stdin.read(), "arguments": sys.argv}
told |= {"flags": str(sys.flags)}
print("told", json.dumps(told).replace(os.getcwd(), "cwd"))
say(loss=1)
"""


def waiting(room: Room) -> list[Path]:
    """The sites on which an interpreter waits for a run."""
    return [path.parent for path in room.work.glob("next-*/pid-*")]


def pid_of(site: Path) -> int:
    return int(next(site.glob("pid-*")).name.removeprefix("pid-"))


def train_first(room: Room, executor: LocalExecutor) -> tuple[Path, int]:
    """One run to its end, so that the next is waited for: its site, and the process that waits."""
    executor.start(spec(room.tree(UNTIL_TOLD), run="first", seed=8))
    until(executor, lambda: waiting(room))
    (site,) = waiting(room)
    pid = pid_of(site)
    end(room, "first")
    assert finish(executor).ending is Ending.FINISHED
    return site, pid


def end(room: Room, run: str) -> None:
    (room.work / run / "train" / "out" / "end").touch()


def told(done: Measurement) -> dict[str, Any]:
    assert done.ending is Ending.FINISHED, done
    found: dict[str, Any] = json.loads(done.log_tail.partition("told ")[2])
    return found


@pytest.mark.parametrize("command", ["python train.py --fast", "python -m train --fast"])
def test_a_warm_run_finds_itself_as_a_plainly_started_one_does(room: Room, command: str) -> None:
    with room.executor(program(command=command), ahead=("email.message",)) as executor:
        train_first(room, executor)
        executor.start(spec(room.tree(SELF)))
        warm = told(finish(executor))
    with room.executor(program(command=command, more="[devices]\nwarm = false")) as executor:
        executor.start(spec(room.tree(SELF)))
        plain = told(finish(executor))
    assert warm == plain


@pytest.mark.parametrize("mode", ["none", "landlock", "bubblewrap"])
def test_the_next_run_becomes_the_process_that_waited_in_its_sandbox(room: Room, mode: Mode) -> None:
    if why := sandbox.broken(mode):
        pytest.skip(why)
    with room.executor(program(mode=mode)) as executor:
        site, pid = train_first(room, executor)
        executor.start(spec(room.tree("print(OUT)\nsay(loss=2)")))
        done = finish(executor)
    assert done.ending is Ending.FINISHED
    assert done.metrics["loss"] == 2.0
    assert done.log_tail == str(site / "train" / "out")
    assert not alive(pid)
    assert list(room.work.iterdir()) == []


def test_nothing_of_a_tree_is_imported_ahead(room: Room) -> None:
    trap = "raise SystemExit('imported')"
    with room.executor(program(), ahead=("trap",)) as executor:
        executor.start(spec(room.tree("say(loss=1)", trap=trap)))
        assert finish(executor).ending is Ending.FINISHED


def test_a_module_of_the_tree_wins_over_one_of_the_same_name_that_was_imported_ahead(room: Room) -> None:
    with room.executor(program(), ahead=("colorsys",)) as executor:
        train_first(room, executor)
        executor.start(spec(room.tree("import colorsys\nsay(loss=colorsys.OURS)", colorsys="OURS = 5.0")))
        done = finish(executor)
    assert (done.why, done.metrics) == ("", {"loss": 5.0})


def test_an_interpreter_that_died_while_it_waited_is_nobodys_fault(room: Room) -> None:
    with room.executor(program()) as executor:
        site, pid = train_first(room, executor)
        os.kill(pid, signal.SIGKILL)
        until(executor, lambda: not alive(pid))
        executor.start(spec(room.tree("say(loss=2)")))
        done = finish(executor)
        until(executor, lambda: not site.exists())
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0})


def test_one_that_dies_as_it_is_told_is_started_again(room: Room) -> None:
    with room.executor(program()) as executor:
        _, pid = train_first(room, executor)
        os.kill(pid, signal.SIGSTOP)  # it has not read the order yet when it dies
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        executor.start(spec(room.tree("say(loss=2)")))
        done = finish(executor)
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0})


def test_the_evaluation_waits_beside_its_training_and_sees_what_that_left(room: Room) -> None:
    evaluate = "model = Path(os.environ['AUTORESEARCH_MODEL'], 'end')\nsay(loss=float(model.exists()))"
    with room.executor(program(metric="evaluate = 'python evaluate.py'")) as executor:
        executor.start(spec(room.tree(UNTIL_TOLD, evaluate=evaluate), run="first"))
        until(executor, lambda: len(list(room.work.glob("first/pid-*"))) == 2)
        assert not list(room.work.glob("first/evaluate-*/code/*")), "its files are checked out after the training"
        end(room, "first")
        done = finish(executor)
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 1.0})


def test_an_evaluation_that_could_not_be_made_ready_is_started_plainly(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    with room.executor(program(metric="evaluate = 'python evaluate.py'")) as executor:
        executor.start(spec(room.tree(UNTIL_TOLD, evaluate="say(loss=2)"), run="first"))
        with monkeypatch.context() as failing, capture_logs() as logs:
            failing.setattr(tempfile, "tempdir", str(room.folder / "nowhere"))
            until(executor, lambda: any(line["event"] == "nothing_prepared" for line in logs))
        end(room, "first")
        done = finish(executor)
    assert (done.ending, done.why, done.metrics) == (Ending.FINISHED, "", {"loss": 2.0})


def test_a_training_that_takes_away_where_its_evaluation_waits_is_a_crash(room: Room) -> None:
    destroy = UNTIL_TOLD.replace("say(loss=1)", "import shutil; shutil.rmtree(OUT.parents[1])")

    def as_git_does(tree: TreeOid, folder: Path) -> None:
        if not folder.is_dir():
            raise OSError("git cannot write: failed to make directory")
        room.checkout(tree, folder)

    wanted = program(metric="evaluate = 'python evaluate.py'")
    with contextlib.closing(LocalExecutor(room.bench(wanted, as_git_does))) as executor:
        executor.start(spec(room.tree(destroy, evaluate="say(loss=1)"), run="first"))
        until(executor, lambda: len(list(room.work.glob("first/pid-*"))) == 2)
        end(room, "first")
        done = finish(executor)
    assert (done.ending, done.metrics) == (Ending.CRASH, {})
    assert "its folder is unusable" in done.why


def test_what_waits_ends_with_the_executor_and_with_a_training_that_fails(room: Room) -> None:
    fails = UNTIL_TOLD.replace("say(loss=1)", "raise ValueError('no')")
    with room.executor(program(metric="evaluate = 'python evaluate.py'")) as executor:
        executor.start(spec(room.tree(fails, evaluate=""), run="first"))
        until(executor, lambda: len(list(room.work.glob("first/pid-*"))) == 2 and waiting(room))
        pids = [int(path.name.removeprefix("pid-")) for path in room.work.glob("*/pid-*")]
        end(room, "first")
        assert finish(executor).ending is Ending.CRASH
        until(executor, lambda: sum(map(alive, pids)) == 1)
    assert not any(map(alive, pids))
    assert [pid for pid in proc.children() if proc.is_confined(pid, 2**30)] == []
    assert list(room.work.iterdir()) == []


def test_a_run_that_is_killed_leaves_the_next_one_waiting(room: Room) -> None:
    with room.executor(program()) as executor:
        executor.start(spec(room.tree("print('under way', flush=True)" + HANG), run="first"))
        until(executor, lambda: waiting(room))
        executor.kill("first")
        (site,) = waiting(room)
        executor.start(spec(room.tree("print(OUT)\nsay(loss=2)")))
        assert finish(executor).log_tail == str(site / "train" / "out")


def test_the_deadline_of_a_warm_run_counts_from_its_order(room: Room) -> None:
    with room.executor(program("deadline_seconds = 100.0")) as executor:
        train_first(room, executor)
        executor.start(spec(room.tree(HANG)))
        done = finish(executor, now=time.time() + 101)
    assert (done.ending, done.why) == (Ending.TIMEOUT, "still running after 100 s")


@pytest.mark.parametrize(
    ("words", "warm"),
    [
        ("python train.py", True),
        ("python3 src/train.py --depth 3", True),
        ("python -m nanogpt.train", True),
        ("python -m", False),
        ("python -u train.py", False),
        ("python -c pass", False),
        ("python train", False),
        ("python", False),
        ("uv run train.py", False),
        ("/usr/bin/python3 train.py", False),
        ("torchrun train.py", False),
    ],
)
def test_only_plain_commands_of_our_own_python_start_warm(words: str, warm: bool) -> None:
    assert applies(tuple(words.split())) is warm


def test_torch_is_imported_ahead_only_where_it_is_used_and_takes_no_time_from_anybody() -> None:
    text = '[program]\nname="x"\neditable=["*"]\n[train]\ncommand="true"\n{}\n[metric]\nname="loss"\n[devices]\nwarm={}'
    steps, timed = parse(text.format("cpu_steps = 9", "true")), parse(text.format("", "true"))
    off, files = parse(text.format("cpu_steps = 9", "false")), [b"import os\nfrom torch import nn\n"]
    cpu, cuda = Device(name="cpu:0"), Device(name="cuda:0")
    assert modules_ahead(steps, cpu, files) == modules_ahead(timed, cuda, files) == SLOW
    assert modules_ahead(timed, cpu, files) == modules_ahead(off, cpu, files) == ()
    assert modules_ahead(steps, cpu, [b"import torchless\n# torch\n"]) == ()


def test_what_waits_serves_a_run_on_any_rung(room: Room) -> None:
    more = '[[scale]]\nname = "large"\nargs = "--depth 12"\ncpu_steps = 40'
    steps = "import sys\nsay(loss=float(sys.argv[2]) + float(os.environ['AUTORESEARCH_STEPS']))"
    with room.executor(program("cpu_steps = 20", more=more)) as executor:
        train_first(room, executor)
        executor.start(replace(spec(room.tree(steps)), scale="large"))
        assert not (room.work / "run-1").exists(), "it was started plainly"
        assert finish(executor).metrics["loss"] == 52
