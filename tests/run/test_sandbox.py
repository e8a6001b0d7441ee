"""Which sandbox is taken, that none is ever dropped in silence, and that an honest trainer notices nothing."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.errors import UserError
from autoresearchd.experiment import Ending
from autoresearchd.limits import Mode
from autoresearchd.run import landlock, sandbox, seccomp
from autoresearchd.run.sandbox import Box, wrap
from tests.run.room import Room, finish, program, spec

HONEST = """
import tempfile, getpass
data = Path(os.environ["AUTORESEARCH_DATA"], "tokens").read_text()
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
print(getpass.getuser(), Path.home())
(OUT / "model.pt").write_text(data)
say(x=1)
"""
WORKERS = """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    say(loss=sum(pool.map(abs, range(4))))
"""
READS_MODEL = """
model = Path(os.environ["AUTORESEARCH_MODEL"], "model.pt")
try:
    model.write_text("changed")
except OSError:
    say(loss=float(model.read_text() + Path(os.environ["AUTORESEARCH_DATA"], "answers").read_text()))
"""


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    sandbox.choose.cache_clear()
    sandbox.broken.cache_clear()


def skip_without(mode: Mode) -> None:
    if why := sandbox.broken(mode):
        pytest.skip(f"{mode} does not work here: {why}")


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock", "none"])
def test_an_honest_training_and_its_evaluation_work_as_without(room: Room, mode: Mode) -> None:
    skip_without(mode)
    for name, text in {"train/tokens": "4", "val/answers": "2"}.items():
        (room.folder / name).parent.mkdir()
        (room.folder / name).write_text(text)
    wanted = program("data = 'train'", "evaluate = 'python evaluate.py'\ndata = 'val'", mode=mode)
    with room.executor(wanted) as executor:
        executor.start(spec(room.tree(HONEST, evaluate=READS_MODEL if mode != "none" else "say(loss=42)")))
        done = finish(executor)
    assert (done.ending, done.why, done.metrics["loss"]) == (Ending.FINISHED, "", 42.0)


LOOKS_FOR_ANSWERS = """
data = Path(os.environ["AUTORESEARCH_DATA"])
def count(folder):
    try:
        return len(os.listdir(data / folder) and (data / folder / "answers").read_text())
    except OSError:
        return 0
say(seen=float((data / "tokens").read_text()), x=1.0 * count("val"), y=1.0 * count("audit"))
(OUT / "model.pt").write_text("4")
"""


@pytest.mark.parametrize(("mode", "finds"), [("bubblewrap", 0.0), ("landlock", 0.0), ("none", 2.0)])
def test_what_is_held_out_is_hidden_from_training_even_within_its_own_data(
    room: Room, mode: Mode, finds: float
) -> None:
    """Without a sandbox it is found: nothing but the sandbox hides it."""
    skip_without(mode)
    for name, text in {"data/tokens": "4", "data/val/answers": "42", "data/audit/answers": "77"}.items():
        (room.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (room.folder / name).write_text(text)
    metric = "evaluate = 'python evaluate.py'\ndata = 'data/val'\naudit = 'data/audit'"
    evaluate = "say(loss=float(Path(os.environ['AUTORESEARCH_DATA'], 'answers').read_text()))"
    done = room.measure(LOOKS_FOR_ANSWERS, program("data = 'data'", metric, mode=mode), evaluate=evaluate)
    assert done.metrics == {"seen": 4.0, "x": finds, "y": finds, "loss": 42.0}, done.why


@pytest.mark.parametrize(("data", "audit"), [("val", "val/audit"), ("audit/val", "audit")])
@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_of_held_out_folders_in_each_other_an_evaluation_sees_its_own(
    room: Room, mode: Mode, data: str, audit: str
) -> None:
    skip_without(mode)
    for name, text in {data: "1", audit: "10"}.items():
        (room.folder / name).mkdir(parents=True, exist_ok=True)
        (room.folder / name / "answers").write_text(text)
    evaluate = """
def answer(path):
    try:
        return float(path.read_text())
    except OSError:
        return 0.0
data = Path(os.environ["AUTORESEARCH_DATA"])
say(loss=sum(answer(data / folder / "answers") for folder in (".", "val", "audit")))
"""
    metric = f"evaluate = 'python evaluate.py'\ndata = '{data}'\naudit = '{audit}'"
    with room.executor(program(metric=metric, mode=mode)) as executor:
        executor.start(replace(spec(room.tree("", evaluate=evaluate)), audit=True))
        done = finish(executor)
    assert done.metrics == {"loss": 1.0, "audit_loss": 10.0}, done.why


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_what_is_held_out_is_hidden_below_a_link_that_may_be_read(tmp_path: Path, mode: Mode) -> None:
    skip_without(mode)
    disk, link = tmp_path / "disk", tmp_path / "data"
    (disk / "val").mkdir(parents=True)
    (disk / "words").write_text("may be read")
    (disk / "val" / "answer").write_text("held out")
    link.symlink_to(disk)
    box = Box(cwd=link, readable=(link,), hidden=(disk / "val",))
    assert read(mode, box, link / "words", link / "val" / "answer") == "may be read"


def read(mode: Mode, box: Box, *files: Path) -> str:
    """What a program in its box can read of these files."""
    command = wrap(mode, ("cat", *map(str, files)), box)
    with command.opened() as (words, descriptors):
        done = subprocess.run(words, pass_fds=descriptors, input="\n", capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_no_link_beside_what_is_held_out_leads_to_it(tmp_path: Path, mode: Mode) -> None:
    skip_without(mode)
    data = tmp_path / "data"
    (data / "val").mkdir(parents=True)
    (data / "words").write_text("may be read")
    (data / "val" / "answer").write_text("held out")
    (data / "way").symlink_to("val")
    (data / "file").symlink_to(data / "val" / "answer")
    box = Box(cwd=data, readable=(data,), hidden=(data / "val",))
    found = read(mode, box, data / "words", data / "way" / "answer", data / "file", data / "val" / "answer")
    assert found == "may be read"


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_what_is_held_out_is_hidden_below_a_folder_that_is_named_by_dots(tmp_path: Path, mode: Mode) -> None:
    skip_without(mode)
    (tmp_path / "disk" / "val").mkdir(parents=True)
    (tmp_path / "lab").mkdir()
    (tmp_path / "disk" / "words").write_text("may be read")
    (tmp_path / "disk" / "val" / "answer").write_text("held out")
    seen = tmp_path / "lab" / ".." / "disk"
    box = Box(cwd=Path("/usr"), readable=(seen,), hidden=(tmp_path / "lab", tmp_path / "disk" / "val"))
    assert read(mode, box, seen / "words", seen / "val" / "answer") == "may be read"


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_what_is_held_out_is_hidden_in_the_folders_of_libraries_and_the_system_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """As of a lab in /usr/local, or below an /opt that is a link to a disk."""
    skip_without(mode)
    for name in ("lib", "disk"):
        (tmp_path / name / "val").mkdir(parents=True)
        (tmp_path / name / "val" / "answer").write_text("held out")
    (tmp_path / "lib" / "words").write_text("may be read")
    (tmp_path / "opt").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
    monkeypatch.setattr(sandbox, "SYSTEM", (*sandbox.SYSTEM, str(tmp_path / "opt")))
    box = Box(cwd=Path("/usr"), hidden=(tmp_path / "lib" / "val", tmp_path / "disk" / "val"))
    names = (tmp_path / "lib" / "words", *(tmp_path / name / "val" / "answer" for name in ("lib", "disk", "opt")))
    assert read(mode, box, *names) == "may be read"


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_the_lab_is_hidden_even_where_its_folder_may_be_read(room: Room, mode: Mode) -> None:
    skip_without(mode)
    (room.folder / "notes").write_text("7")
    (room.folder / "experiments.git" / "refs").mkdir(parents=True)
    (room.folder / "experiments.git" / "refs" / "best").write_text("secret")
    train = f"""
folder = Path({str(room.folder)!r})
try:
    lab = len((folder / "experiments.git" / "refs" / "best").read_text())
except OSError:
    lab = 0
say(loss=lab, x=float((folder / "notes").read_text()))
"""
    found = room.measure(train, program(mode=mode, more="readable = ['.']"))
    assert found.metrics == {"loss": 0.0, "x": 7.0}, found.log_tail


STATUS = """
said = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
rights = [int(said[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
say(loss=sum(rights), privileges=int(said["NoNewPrivs"]), filter=int(said["Seccomp"]),
    cores=len(os.sched_getaffinity(0)))
"""


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_a_run_has_no_rights_gains_none_and_keeps_to_its_cores(room: Room, mode: Mode) -> None:
    skip_without(mode)
    found = room.measure(STATUS, program(mode=mode, more="cpus = 1")).metrics
    assert found == {"loss": 0.0, "privileges": 1.0, "filter": 2.0, "cores": 1.0}


def test_data_loader_workers_work_in_bubblewrap(room: Room) -> None:
    """They need semaphores in /dev/shm; Landlock has no private one."""
    skip_without("bubblewrap")
    assert room.measure(WORKERS, program(mode="bubblewrap")).metrics == {"loss": 6.0}


@pytest.mark.parametrize(("mode", "works"), [("bubblewrap", 1.0), ("landlock", 0.0)])
def test_torch_compiles_without_workers_where_it_could_have_none(room: Room, mode: Mode, works: float) -> None:
    """It waits for ever for one that cannot make a semaphore."""
    skip_without(mode)
    train = """
import multiprocessing
threads = float(os.environ.get("TORCHINDUCTOR_COMPILE_THREADS", 0))
try:
    multiprocessing.Semaphore()
    say(loss=1, threads=threads)
except OSError:
    say(loss=0, threads=threads)
"""
    assert room.measure(train, program(mode=mode)).metrics == {"loss": works, "threads": 1.0 - works}


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_signals_exit_codes_and_timeouts_read_the_same(room: Room, mode: Mode) -> None:
    skip_without(mode)
    with room.executor(program(mode=mode)) as executor:
        for number, (code, ending, why) in enumerate(
            (
                ("os.kill(os.getpid(), 11)", Ending.CRASH, "killed by SIGSEGV"),
                ("raise SystemExit(3)", Ending.UNSTABLE, "exit code 3"),
                ("raise ValueError('no')", Ending.CRASH, "ValueError: no"),
            )
        ):
            executor.start(spec(room.tree(code), run=f"run-{number}"))
            done = finish(executor)
            assert done.ending is ending
            assert why in done.why


def test_a_folder_that_program_toml_names_is_there_and_cannot_be_written(room: Room) -> None:
    skip_without("bubblewrap")
    (room.folder / "more").mkdir()
    (room.folder / "more" / "x").write_text("7")
    train = f"""
path = Path({str(room.folder / "more" / "x")!r})
try:
    path.write_text("8")
except OSError:
    say(loss=float(path.read_text()))
"""
    wanted = program(mode="bubblewrap", more="readable = ['more']")
    assert room.measure(train, wanted).metrics == {"loss": 7.0}


def test_where_nothing_works_it_refuses_in_one_sentence_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(UserError, match="no sandbox works here") as caught:
        sandbox.choose("auto")
    assert 'mode = "none"' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sandbox.choose("none") == "none"


def test_without_bubblewrap_it_takes_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without("landlock")
    sandbox.broken.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert sandbox.choose("auto") == "landlock"
    with pytest.raises(UserError, match="bwrap is not installed"):
        sandbox.choose("bubblewrap")


def test_a_folder_with_something_hidden_in_it_is_given_without_it(tmp_path: Path) -> None:
    for name in ("a/keep", "a/hide/deep", "b"):
        (tmp_path / name).mkdir(parents=True)
    parts = set(sandbox.without(tmp_path, (tmp_path / "a" / "hide",)))
    assert parts == {tmp_path / "b", tmp_path / "a" / "keep"}
    assert list(sandbox.without(tmp_path / "b", (tmp_path / "a",))) == [tmp_path / "b"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_of_whole_instructions_that_always_ends(machine: str) -> None:
    content = seccomp.build(families=(seccomp.AF_UNIX,), attributes=False, machine=machine)
    assert content is not None
    assert len(content) % 8 == 0
    assert len(content) // 8 < 4096
    assert content[-8:] == bytes([6, 0, 0, 0]) + seccomp.ALLOW.to_bytes(4, "little")
    assert seccomp.build(families=(), machine="vax") is None


def test_the_project_and_the_lab_are_never_among_what_a_run_sees(tmp_path: Path) -> None:
    skip_without("bubblewrap")
    box = Box(cwd=tmp_path / "code", hidden=(Path("/opt/project"),))
    words = wrap("bubblewrap", ("true",), box).words
    assert words[words.index("/opt/project") - 1] == "--tmpfs"
    assert "/home" not in words
    assert "/" in words[words.index("--remount-ro") :]


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock", "none"])
def test_kernels_of_one_experiment_never_reach_another_but_the_baselines_do(room: Room, mode: Mode) -> None:
    skip_without(mode)
    code = """
cache = Path(os.environ["AUTORESEARCH_CACHE"])
found = sorted(path.name for path in cache.iterdir())
(cache / os.environ["AUTORESEARCH_RUN"]).write_text("kernel")
say(loss=1, **{name: 1 for name in found})
"""
    baseline, other = room.tree(code), room.tree(code + "#")
    with room.executor(program(mode=mode)) as executor:
        seen = []
        for number, tree in enumerate((baseline, other, other, baseline)):
            executor.start(spec(tree, run=f"run_{number}"))
            seen.append(set(finish(executor).metrics) - {"loss"})
    assert seen == [set(), {"run_0"}, {"run_0"}, {"run_0"}]
