"""One run on whatever machine a parcel comes to, and what is left there afterwards."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd import node
from autoresearchd.equipment import parcel_for
from autoresearchd.experiment import Ending, Environment, Measurement, TreeOid
from autoresearchd.ledger import Ledger
from autoresearchd.ledger.packs import pack
from autoresearchd.program import load
from autoresearchd.run import berth, parcel, sandbox
from autoresearchd.run.berth import Berth
from autoresearchd.run.parcel import Parcel
from tests.run.room import RESULT, gone, written
from tests.support.patience import PATIENCE, until
from tests.support.projects import git, project

PROGRAM = """
[program]
name = "far"
editable = ["train.py"]
protected = ["evaluate.py"]
[train]
command = "python train.py"
cpu_steps = 5
data = "{seen}"
[metric]
name = "loss"
evaluate = "python evaluate.py"
data = "{held}"
[devices]
use = "cpu"
executor = "slurm"
[sandbox]
mode = "{mode}"
readable = {readable}
"""
EVALUATE = RESULT + 'say(loss=float(Path(os.environ["AUTORESEARCH_DATA"], "answer").read_text()))\n'
READ = """
data = Path(os.environ["AUTORESEARCH_DATA"])
assert (data / "tokens").read_text() == "0.125"
try:
    assert not (data / {held!r} / "answer").read_text(), "it was read"
except OSError:
    pass
"""
HANG = """
import time
Path({pid!r}).write_text(str(os.getpid()))
time.sleep(600)
"""


class Far:
    """A lab, and a machine that its parcels come to."""

    def __init__(
        self,
        folder: Path,
        mode: str = "auto",
        seen: str = "data/train",
        held: str = "data/held-out",
        readable: Sequence[str] = (),
    ) -> None:
        self.folder, self.cache = folder / "lab", folder / "node"
        files = {"train.py": RESULT, "evaluate.py": EVALUATE}
        said = PROGRAM.format(mode=mode, seen=seen, held=held, readable=json.dumps(readable))
        project(self.folder, files, program=said)
        for name, file in ((seen, "tokens"), (held, "answer")):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name / file).write_text("0.125")
        self.ledger = Ledger.init(self.folder / "experiments.git", project_path=self.folder)
        self.template = self.parcel_of_now()

    def parcel_of_now(self) -> Parcel:
        """What is sent for a probe, with the data as it is."""
        program = load(self.folder / "program.toml")
        return parcel_for(program, self.folder, self.ledger, self.ledger.best().tree, threads=1)

    def tree(self, train: str) -> TreeOid:
        """The lab's project with another train.py."""
        blob = git(self.ledger.path, "hash-object", "-w", "--stdin", given=RESULT + train).strip()
        listed = git(self.ledger.path, "ls-tree", self.ledger.best().tree).splitlines()
        rows = (f"100644 blob {blob}\ttrain.py" if row.endswith("\ttrain.py") else row for row in listed)
        return TreeOid(git(self.ledger.path, "mktree", given="".join(f"{row}\n" for row in rows)).strip())

    def send(self, sent: Parcel) -> Path:
        place = self.folder / "sent" / sent.spec.run
        place.mkdir(parents=True)
        (place / parcel.PARCEL_FILE).write_bytes(parcel.dump(sent))
        (place / parcel.PACK_FILE).write_bytes(pack(self.ledger.path, sent.spec.tree))
        return place

    def asked(self) -> Environment:
        """What the machine says it is."""
        place = self.send(self.template)
        node.serve(place, self.cache, probe=True)
        return parcel.probed((place / parcel.PROBED_FILE).read_bytes()).environments[""]

    def parcel(self, run: str, train: str, environment: Environment) -> Parcel:
        spec = dataclasses.replace(self.template.spec, run=run, tree=self.tree(train), environment=environment)
        return dataclasses.replace(self.template, spec=spec)

    def measure(self, run: str, train: str, environment: Environment) -> Measurement:
        sent = self.parcel(run, train, environment)
        place = self.send(sent)
        node.serve(place, self.cache)
        return parcel.measurement((place / parcel.MEASUREMENT_FILE).read_bytes(), sent.spec)

    def left(self) -> list[str]:
        """What stays on the machine of its runs."""
        return [path.name for path in self.cache.glob("labs/*/*") if path.name not in ("cache", "locks")] + [
            path.name for path in self.cache.glob("labs/*/locks/*")
        ]


def start(place: Path, cache: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "autoresearchd.node", "--cache", str(cache), *options, str(place)])


@pytest.mark.skipif(sandbox.broken("bubblewrap") != "", reason="without bubblewrap names can be seen")
def test_a_training_on_a_node_sees_its_own_data_and_nothing_that_is_held_out(tmp_path: Path) -> None:
    far = Far(tmp_path)
    environment = far.asked()
    look = f"""
assert Path(os.environ["AUTORESEARCH_DATA"], "tokens").read_text() == "0.125"
for place in ({str(far.cache / "data")!r}, {str(far.folder)!r}):
    for folder, _, files in os.walk(place):
        assert "answer" not in files and "parcel.json" not in files, folder
"""
    measured = far.measure("run-1", look, environment)
    assert (measured.ending, measured.why) == (Ending.FINISHED, "")
    assert measured.metrics["loss"] == 0.125
    assert far.left() == []


WALLS = [
    pytest.param(mode, marks=pytest.mark.skipif(sandbox.broken(mode) != "", reason=f"{mode} does not work here"))
    for mode in ("bubblewrap", "landlock")
]


@pytest.mark.parametrize("mode", WALLS)
def test_what_is_held_out_of_the_training_data_is_held_out_of_its_copy_on_a_node(tmp_path: Path, mode: str) -> None:
    far = Far(tmp_path, mode, seen="data", held="data/held-out")
    measured = far.measure("run-1", READ.format(held="held-out"), far.asked())
    assert (measured.ending, measured.why) == (Ending.FINISHED, "")
    assert measured.metrics["loss"] == 0.125


@pytest.mark.parametrize("mode", WALLS)
def test_held_out_data_in_a_folder_that_may_be_read_is_hidden_on_a_node_too(tmp_path: Path, mode: str) -> None:
    disk = tmp_path / "disk"
    far = Far(tmp_path, mode, held=str(disk / "held-out"), readable=[str(disk)])
    (disk / "words").write_text("a")
    look = f"assert Path({str(disk / 'words')!r}).read_text() == 'a'\n" + READ.format(held=str(disk / "held-out"))
    measured = far.measure("run-1", look, far.asked())
    assert (measured.ending, measured.why) == (Ending.FINISHED, "")
    assert measured.metrics["loss"] == 0.125


def refused(far: Far) -> str:
    """Why the machine will not do a run."""
    sent = far.parcel("run-1", "", Environment("any"))
    place = far.send(sent)
    node.serve(place, far.cache)
    return parcel.refused((place / parcel.REFUSED_FILE).read_bytes(), sent.spec).why


def test_a_node_refuses_to_train_on_a_copy_of_what_is_held_out(tmp_path: Path) -> None:
    """By another name, which is no name there: data lies under the hash of what it holds."""
    far = Far(tmp_path, seen="first/set", held="second/set")
    (far.folder / "first/set/tokens").rename(far.folder / "first/set/answer")
    far.template = far.parcel_of_now()
    assert "`train.data` leads into `metric.data`, which no training may see" in refused(far)


def test_a_node_refuses_where_a_link_of_its_own_leads_to_what_is_held_out(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    far = Far(tmp_path, held=str(disk / "held-out"), readable=[str(tmp_path / "notes")])
    (tmp_path / "notes").symlink_to(disk / "held-out")
    assert "`sandbox.readable` leads into what is held out, which no training may see" in refused(far)


def test_whichever_experiment_comes_to_a_node_first_leaves_no_kernels_to_others(tmp_path: Path) -> None:
    far = Far(tmp_path)
    environment = far.asked()
    plant = 'Path(os.environ["AUTORESEARCH_CACHE"], "planted").touch()\n'
    look = 'assert not Path(os.environ["AUTORESEARCH_CACHE"], "planted").exists()\n'
    assert far.measure("run-1", plant, environment).ending is Ending.FINISHED
    assert far.measure("run-2", look, environment).why == ""


def test_every_slot_of_a_machine_may_ask_what_it_is_at_the_same_time(tmp_path: Path) -> None:
    far = Far(tmp_path)
    far.asked()
    places = [tmp_path / "sent" / name for name in ("first", "second")]
    with (far.cache / "data" / f"{far.template.data[0].digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so neither can have answered before the other asks
        for place in places:
            shutil.copytree(far.folder / "sent" / "probe", place, ignore=shutil.ignore_patterns(parcel.PROBED_FILE))
        asked = [start(place, far.cache, "--probe") for place in places]
        until(lambda: len(far.left()) == 4 or any((place / parcel.REFUSED_FILE).exists() for place in places))
    assert [process.wait(PATIENCE) for process in asked] == [0, 0]
    assert [path.name for place in places for path in place.glob("*ed.json")] == 2 * [parcel.PROBED_FILE]


def test_a_slot_has_the_time_that_its_data_takes_beside_that_for_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far(tmp_path)
    monkeypatch.setattr(berth, "PROBE_SECONDS", 0.0)
    data = tuple(dataclasses.replace(some, size=2**34) for some in far.template.data)
    sent = dataclasses.replace(far.template, data=data)
    name, said = Berth(str(far.cache)).probe(parcel.dump(sent), pack(far.ledger.path, sent.spec.tree))
    assert name == parcel.PROBED_FILE, said


def test_whoever_waits_for_the_data_to_be_read_is_told_that_it_goes_on(tmp_path: Path) -> None:
    far = Far(tmp_path)
    told: list[None] = []
    program, tree = far.template.program, far.template.spec.tree
    parcel_for(program, far.folder, far.ledger, tree, threads=1, waits=lambda: told.append(None))
    assert len(told) == 2


def test_a_node_that_is_another_environment_measures_nothing(tmp_path: Path) -> None:
    far = Far(tmp_path)
    sent = far.parcel("run-1", "raise SystemExit('it was trained')", Environment("h200/torch9/300s/12345678"))
    place = far.send(sent)
    node.serve(place, far.cache)
    refused = parcel.refused((place / parcel.REFUSED_FILE).read_bytes(), sent.spec)
    assert "and the run is for h200/torch9/300s/12345678" in refused.why
    assert not (place / parcel.MEASUREMENT_FILE).exists()
    assert far.left() == []


def test_a_job_that_is_requeued_after_its_answer_gives_the_same_answer(tmp_path: Path) -> None:
    far = Far(tmp_path)
    place = far.send(far.parcel("run-1", "", Environment("any")))
    (place / parcel.MEASUREMENT_FILE).write_text("the answer")
    assert node.serve(place, far.cache) == 0
    assert (place / parcel.MEASUREMENT_FILE).read_text() == "the answer"
    assert not (place / parcel.REFUSED_FILE).exists()


def test_a_node_that_cannot_say_how_far_it_is_trains_on(tmp_path: Path) -> None:
    far = Far(tmp_path, mode="none")
    sent = far.parcel("quiet", "", far.asked())
    place = far.send(sent)
    (place / parcel.PROGRESS_FILE).mkdir()
    with capture_logs() as said:
        node.serve(place, far.cache)
    measured = parcel.measurement((place / parcel.MEASUREMENT_FILE).read_bytes(), sent.spec)
    assert measured.metrics["loss"] == 0.125
    assert "progress_not_written" in [entry["event"] for entry in said]


def test_an_answer_that_its_folder_does_not_take_is_handed_over_once_it_does(tmp_path: Path) -> None:
    far = Far(tmp_path, mode="none")
    place = far.send(far.parcel("late", "", Environment("another machine")))
    in_the_way = place / parcel.REFUSED_FILE
    in_the_way.mkdir()
    with capture_logs() as said:
        serving = threading.Thread(target=node.serve, args=(place, far.cache))
        serving.start()
        until(lambda: "answer_not_written" in [entry["event"] for entry in said])
        in_the_way.rmdir()
        serving.join(PATIENCE)
    assert "the run is for another machine" in in_the_way.read_text()


def test_an_answer_that_nobody_waits_for_is_given_up(tmp_path: Path) -> None:
    far = Far(tmp_path, mode="none")
    taken_back = f"import shutil; shutil.rmtree({str(far.folder / 'sent/gone')!r})"
    place = far.send(far.parcel("gone", taken_back, far.asked()))
    with pytest.raises(FileNotFoundError):
        node.serve(place, far.cache)


def test_a_damaged_pack_is_refused_in_one_sentence(tmp_path: Path) -> None:
    far = Far(tmp_path)
    sent = far.parcel("run-1", "", Environment("any"))
    place = far.send(sent)
    (place / parcel.PACK_FILE).write_bytes((place / parcel.PACK_FILE).read_bytes()[:-30])
    node.serve(place, far.cache)
    assert "the pack of tree" in parcel.refused((place / parcel.REFUSED_FILE).read_bytes(), sent.spec).why


def test_a_folder_without_a_parcel_is_said_and_not_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autoresearchd.node", "--cache", str(tmp_path / "node"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "parcel.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_that_is_asked_to_end_leaves_nothing_and_one_that_is_killed_is_cleared_by_the_next(
    tmp_path: Path,
) -> None:
    far = Far(tmp_path, mode="none")
    environment = far.asked()
    pid, pids = tmp_path / "pid", []
    for number, ending in enumerate((signal.SIGTERM, signal.SIGKILL)):
        place = far.send(far.parcel(f"run-{number}", HANG.format(pid=str(pid)), environment))
        process = start(place, far.cache)
        until(lambda: written(pid) and (place / parcel.PROGRESS_FILE).exists())  # noqa: B023
        pids.append(int(written(pid)))
        pid.unlink()
        assert json.loads((place / parcel.PROGRESS_FILE).read_text())["progress"]["spec"]["run"] == f"run-{number}"
        process.send_signal(ending)
        process.wait(PATIENCE)
        assert not (place / parcel.MEASUREMENT_FILE).exists()
        if ending is signal.SIGTERM:
            assert process.returncode == 128 + signal.SIGTERM
            assert far.left() == []
            assert gone(pids[0])
    assert "run-1" in far.left()
    far_again = far.parcel("run-2", "", environment)
    node.serve(far.send(far_again), far.cache)
    assert gone(pids[1])
    assert far.left() == []


def test_a_folder_of_somebody_else_is_not_used_for_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far(tmp_path)
    far.cache.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    sent = far.parcel("run-1", "", Environment("any"))
    place = far.send(sent)
    node.serve(place, far.cache)
    assert "belongs to somebody else" in parcel.refused((place / parcel.REFUSED_FILE).read_bytes(), sent.spec).why
