"""`autoresearchd doctor`: a real project, a real lab, a machine with and without the parts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearchd import doctor, inventory, machine
from autoresearchd.doctor import Finding, examine, is_ready, text
from autoresearchd.experiment import Outcome
from autoresearchd.ledger import Ledger
from autoresearchd.limits import Mode
from autoresearchd.run import proof, sandbox
from tests.ledger.lab import discarded, with_baseline
from tests.report.lab import Lab, project
from tests.report.nouns import EVIL
from tests.support.projects import git

PROGRAM = """
[program]
name = "toy"
project = "project"
editable = ["train.py"]
{program}
[train]
command = "{command}"
data = "data"
[metric]
name = "val_bpb"
pattern = '^val_bpb: (\\S+)'
[devices]
use = {use}
"""


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A program file beside its project, its data and its lab."""
    Lab(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tokens.bin").write_bytes(b"1")
    return _write(tmp_path)


def _write(folder: Path, *, program: str = "", command: str = "git --version", use: str = '"cpu"') -> Path:
    path = folder / "program.toml"
    path.write_text(PROGRAM.format(program=program, command=command, use=use))
    return path


def _found(program: Path, name: str) -> list[Finding]:
    return [finding for finding in examine(program) if finding.name == name]


def _machine(folder: Path, monkeypatch: pytest.MonkeyPatch, *cards: str) -> None:
    """A machine whose nvidia-smi reports these cards."""
    tools = folder / "tools"
    tools.mkdir()
    tool = tools / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{card}'\n" for card in cards))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")


def test_a_machine_that_has_everything_is_ready(ready: Path) -> None:
    with_baseline(Ledger(ready.parent / "experiments.git"))
    findings = examine(ready)
    assert is_ready(findings)
    assert any("0 experiments with a verdict, best is " in finding.what for finding in findings)
    assert {finding.name for finding in findings} >= {"git", "program", "project", "command", "data", "lab", "kernel"}
    assert text(findings).splitlines()[-1] == "ready: autoresearchd run"
    assert doctor.as_json(findings)["ready"] is True
    assert len(json.loads(json.dumps(doctor.as_json(findings)))["findings"]) == len(findings)


def test_a_mistake_in_the_program_is_named_and_nothing_that_depends_on_it(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text('[program]\nname = "x"\neditable = ["a.py"]\n[train]\ncomand = "a"\n[metric]\nname = "m"\n')
    (finding,) = _found(path, "program")
    assert finding.state == "missing"
    assert "train.comand" in finding.what
    assert _found(path, "lab") == []
    assert not is_ready(examine(path))


def test_no_program_file_is_one_finding(tmp_path: Path) -> None:
    (finding,) = _found(tmp_path / "program.toml", "program")
    assert "does not exist" in finding.what


def test_a_lab_that_was_not_made_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path / "project")
    _write(tmp_path)
    monkeypatch.chdir(tmp_path)
    (here,) = _found(Path("program.toml"), "lab")
    assert (here.state, here.mend) == ("missing", "autoresearchd init")
    (elsewhere,) = _found(tmp_path / "program.toml", "lab")
    assert elsewhere.mend == f"autoresearchd init --program {tmp_path}/program.toml"


def test_a_folder_that_is_no_lab_is_not_one(ready: Path) -> None:
    lab = ready.parent / "experiments.git"
    lab.rename(ready.parent / "moved.git")
    lab.mkdir()
    (finding,) = _found(ready, "lab")
    assert finding.state == "missing"
    assert "move" in finding.mend


def test_a_lab_that_a_newer_program_wrote_is_not_to_be_moved_away(ready: Path) -> None:
    lab = ready.parent / "experiments.git"
    newer = git(lab, "hash-object", "-w", "--stdin", given=b"2\n").strip()
    git(lab, "update-ref", "refs/autoresearch/format", newer)
    (found,) = _found(ready, "lab")
    assert found.state == "missing"
    assert "install the newer autoresearchd" in found.what
    assert "move" not in found.mend


def test_a_lab_whose_best_nothing_kept_leads_to_is_not_ready(ready: Path) -> None:
    ledger = Ledger(ready.parent / "experiments.git")
    with_baseline(ledger)
    worse = discarded(ledger, "RATE = 9\n", path="train.py")
    git(ledger.path, "update-ref", "refs/heads/best", worse.experiment.commit)
    (found,) = _found(ready, "lab")
    assert (found.state, found.what) == ("missing", Ledger(ledger.path).unbacked())
    git(ledger.path, "update-ref", "-d", "refs/heads/best")
    (found,) = _found(ready, "lab")
    assert (found.state, found.mend) == ("missing", "autoresearchd fsck")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a lab to somebody else")
def test_a_lab_of_another_user_names_the_user(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    lab = ready.parent / "experiments.git"
    for user, name in ((1, "daemon"), (54321, "#54321")):
        os.chown(lab, user, -1)
        (found,) = _found(ready, "lab")
        assert found.what == f"{lab} belongs to {name}: do it as that user, `sudo -u {name} …`"
        assert found.mend == ""


def test_a_project_without_git_is_told_how(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (finding,) = _found(_write(tmp_path), "project")
    assert finding.state == "missing"
    assert "git -C" in finding.mend


def test_files_that_are_not_committed_cannot_be_edited(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    git(folder, "mv", "train.py", "other.py")
    git(folder, "commit", "-q", "-m", "Rename")
    (folder / "train.py").write_text("RATE = 0.1\n")
    (finding,) = _found(_write(tmp_path), "project")
    assert finding.state == "missing"
    assert "no committed file matches program.editable (train.py)" in finding.what


def test_uncommitted_changes_are_a_note(ready: Path) -> None:
    (ready.parent / "project" / "train.py").write_text("RATE = 9\n")
    assert [finding.state for finding in _found(ready, "project")] == ["ok", "note"]
    assert is_ready(examine(ready))


def test_a_protected_glob_that_protects_nothing_is_a_note(ready: Path) -> None:
    findings = _found(_write(ready.parent, program='protected = ["evalute.py"]'), "project")
    assert "matches no committed file" in findings[-1].what


@pytest.mark.parametrize("state", ["absent", "empty", "a file"])
def test_data_that_is_not_there_is_missing(ready: Path, state: str) -> None:
    data = ready.parent / "data"
    (data / "tokens.bin").unlink()
    if state != "empty":
        data.rmdir()
    if state == "a file":
        data.write_text("x")
    (finding,) = _found(ready, "data")
    assert finding.state == "missing"
    assert str(data) in finding.mend


def test_a_key_that_shows_the_lab_to_trainings_is_to_be_changed_where_no_link_leads_there(ready: Path) -> None:
    path = _write(ready.parent, program='[sandbox]\nreadable = ["experiments.git/refs"]')
    _, finding = _found(path, "data")
    assert finding.state == "missing"
    assert "`sandbox.readable` leads into `program.experiments`" in finding.what
    assert finding.mend.startswith("keep them apart: name another folder")


def test_held_out_data_that_is_committed_would_be_in_every_checkout(tmp_path: Path) -> None:
    project(tmp_path / "project")
    folder = tmp_path / "project"
    (folder / "data" / "val").mkdir(parents=True)
    (folder / "data" / "val" / "answers").write_text("42")
    path = _write(folder)
    path.write_text(
        path.read_text().replace('project = "project"', "").replace("[metric]", "[metric]\ndata = 'data/val'")
    )
    assert {finding.state for finding in _found(path, "project")} <= {"ok", "note"}
    git(folder, "add", "-f", "data")
    git(folder, "commit", "-q", "-m", "Add the answers")
    found = _found(path, "project")[-1]
    assert found.state == "missing"
    assert found.what.startswith("data/val is held out and committed")
    assert found.mend == "git rm -r --cached data/val"


def _sandboxed(program: Path, mode: str) -> Finding:
    program.write_text(program.read_text() + f'[sandbox]\nmode = "{mode}"\n')
    (found,) = _found(program, "sandbox")
    return found


@pytest.mark.parametrize("mode", ["bubblewrap", "landlock"])
def test_the_sandbox_in_force_is_named_and_was_tried(ready: Path, mode: Mode) -> None:
    if why := sandbox.broken(mode):
        pytest.skip(f"{mode} does not work here: {why}")
    found = _sandboxed(ready, mode)
    assert found.what.startswith(f"{mode}; from inside, a write, a connection and a read of the home folder were tried")
    assert found.state == ("ok" if mode == "bubblewrap" else "note")


def test_no_sandbox_is_said_in_so_many_words(ready: Path) -> None:
    found = _sandboxed(ready, "none")
    assert (found.state, found.mend) == ("note", '[sandbox] mode = "auto"')
    assert "has all your rights" in found.what


def test_where_no_sandbox_works_the_remedy_is_a_command(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "broken", lambda mode: "setting up uid map: Permission denied")
    sandbox.choose.cache_clear()
    (found,) = _found(ready, "sandbox")
    sandbox.choose.cache_clear()
    assert found.state == "missing"
    assert "bubblewrap: setting up uid map: Permission denied; landlock:" in found.what
    assert "apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict" in found.mend
    assert not is_ready([found])


def test_a_number_that_the_training_says_itself_is_named(ready: Path) -> None:
    (found,) = _found(ready, "trust")
    assert (found.state, found.mend) == ("note", "give metric.evaluate and metric.data")
    assert "Trust: self-reported" in found.what


def test_nanogpts_data_has_a_command(tmp_path: Path) -> None:
    project(tmp_path / "project")
    (finding,) = _found(_write(tmp_path, command="python -m nanogpt.train"), "data")
    assert finding.mend == "python -m nanogpt.prepare"


def test_a_train_command_that_is_not_there_is_missing(ready: Path) -> None:
    (finding,) = _found(_write(ready.parent, command="no-such-trainer --fast"), "command")
    assert finding.state == "missing"
    assert "'no-such-trainer'" in finding.what


def test_python_is_there_even_where_the_environment_is_not_activated(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (finding,) = _found(_write(ready.parent, command="python train.py"), "command")
    assert finding.state == "ok"


def test_a_script_of_the_project_is_found_there(ready: Path) -> None:
    (finding,) = _found(_write(ready.parent, command="./train.py"), "command")
    assert finding.state == "ok"


def test_a_script_that_is_not_committed_is_named_before_a_run_misses_it(ready: Path) -> None:
    (finding,) = _found(_write(ready.parent, command="python tain.py"), "command")
    assert finding.state == "missing"
    assert "tain.py, which is not committed" in finding.what


def test_what_a_script_imports_and_this_python_does_not_have_is_named(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    (folder / "train.py").write_text("import json, helpers\nimport nobodys_package.layers\nfrom . import beside\n")
    (folder / "helpers.py").touch()
    git(folder, "add", "helpers.py")
    git(folder, "commit", "-q", "-a", "-m", "Import")
    (finding,) = _found(_write(tmp_path, command="python train.py"), "command")
    assert finding.state == "missing"
    assert finding.what == f"train.py imports nobodys_package, which {sys.executable} does not have"


def test_a_script_that_imports_what_runs_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as in the process of a console script
    folder = project(tmp_path / "project")
    (folder / "train.py").write_text("import __main__\nimport nobodys_package\n")
    git(folder, "commit", "-q", "-a", "-m", "Import")
    (finding,) = _found(_write(tmp_path, command="python train.py"), "command")
    assert finding.what.startswith("train.py imports nobodys_package, which")


def test_a_clone_without_its_files_is_looked_at_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    blob = git(folder, "rev-parse", "HEAD:train.py").strip()
    (folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert [finding.state for finding in _found(_write(tmp_path, command="python train.py"), "command")] == ["ok"]


@pytest.mark.parametrize(("line", "said"), [("speed = 0.1\n", True), ("rate = 0.1\n", False), ("SPEED = 0.1\n", False)])
def test_code_without_constants_to_search_over_is_named(tmp_path: Path, line: str, *, said: bool) -> None:
    folder = project(tmp_path / "project")
    (folder / "train.py").write_text(line)
    git(folder, "commit", "-q", "-a", "--allow-empty", "-m", "Name it")
    assert [finding.state for finding in _found(_write(tmp_path), "constants")] == ["note"] * said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("torch.manual_seed(42)\n", True),
        ("import random; random.seed(1)\n", True),
        ('torch.manual_seed(int(os.environ["AUTORESEARCH_SEED"]))\n', False),
        ("RATE = 0.1\n", False),
    ],
)
def test_a_script_whose_repeats_all_have_the_same_luck_is_named(tmp_path: Path, line: str, *, said: bool) -> None:
    folder = project(tmp_path / "project")
    (folder / "train.py").write_text(line)
    (folder / "test_train.py").write_text("torch.manual_seed(1)\n")
    git(folder, "add", "test_train.py")
    git(folder, "commit", "-q", "-a", "--allow-empty", "-m", "Seed")
    found = _found(_write(tmp_path), "seed")
    assert [finding.what.partition(" has ")[0] for finding in found] == ["train.py"] * said
    assert is_ready(found)


def test_no_gpu_is_a_note(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch)
    (finding,) = _found(_write(ready.parent, use='"auto"'), "devices")
    assert (finding.state, "1 CPU slot on " in finding.what) == ("note", True)


def test_gpus_are_named(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, "0, GPU-aa, 143771, NVIDIA H200", "1, GPU-bb, 143771, NVIDIA H200")
    (finding,) = _found(_write(ready.parent, use='"auto"'), "devices")
    assert (finding.state, finding.what) == ("ok", "2 CUDA devices: cuda:0 NVIDIA H200, cuda:1 NVIDIA H200")


@pytest.mark.parametrize(
    ("does", "state", "said"),
    [
        ("print('it starts'); print('it compiles')", "ok", "torch computes and compiles on cuda:0"),
        ("print('it starts'); raise RuntimeError('no gcc')", "note", "torch.compile does not .*: RuntimeError: no gcc"),
        ("raise RuntimeError('no node')", "missing", "torch cannot use cuda:0 from within .*: RuntimeError: no node"),
    ],
)
def test_whether_cuda_starts_in_the_sandbox_is_tried_in_earnest(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, state: str, said: str
) -> None:
    _machine(tmp_path, monkeypatch, "0, GPU-aa, 143771, NVIDIA H200")
    monkeypatch.setattr(proof, "CUDA", does)
    monkeypatch.setattr(inventory, "_version", lambda package: "2.13.0")
    (finding,) = _found(_write(ready.parent, use='"auto"'), "cuda")
    assert finding.state == state
    assert re.search(said, finding.what)


def test_nobody_tries_cuda_beside_a_daemon(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, "0, GPU-aa, 143771, NVIDIA H200")
    monkeypatch.setattr(inventory, "_version", lambda package: "2.13.0")
    with Ledger(tmp_path / "experiments.git").hold():
        assert _found(_write(ready.parent, use='"auto"'), "cuda") == []


def test_a_gpu_that_is_asked_for_and_not_there_is_missing(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(tmp_path, monkeypatch, "0, GPU-aa, 143771, NVIDIA H200")
    (finding,) = _found(_write(ready.parent, use='["cuda:0", "cuda:3"]'), "devices")
    assert finding.state == "missing"
    assert "cuda:3 is not there (devices.use); this machine has: cuda:0" in finding.what


def test_a_machine_without_git_is_told_how(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = _found(ready, "git")
    assert (finding.state, finding.mend) == ("missing", "apt-get install git")


def test_a_daemon_that_runs_is_said(ready: Path) -> None:
    with Ledger(ready.parent / "experiments.git").hold():
        (finding,) = _found(ready, "daemon")
    assert (finding.state, finding.what) == ("note", f"running with pid {os.getpid()}")


def test_what_a_dead_daemon_left_is_said(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with lab.ledger.hold():
        lab.baseline(1.5)
        lab.open("Wait", "RATE = 0.2\n")
        lab.conclude(lab.open("Fail", "RATE = 0.3\n"), Outcome.CRASH)
    (lab.path / "refs" / "heads" / "best.lock").touch()
    lab.ledger.pause_switch.touch()
    path = _write(tmp_path)
    assert [finding.what for finding in _found(path, "daemon")] == ["not running; open and waiting: 0001", "paused"]
    assert "refs/heads/best.lock" in _found(path, "lab")[-1].what


def test_without_inotify_it_is_ready_and_says_what_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda *_, **__: object())  # a C library without it
    found = machine.kernel()
    assert (found.state, "a second later" in found.what) == ("note", True)
    assert is_ready([found])


def test_a_full_disk_is_missing_space(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FREE_FLOOR_BYTES", 2**62)
    (finding,) = _found(ready, "disk")
    assert finding.state == "missing"


def test_no_name_steers_the_terminal() -> None:
    said = text([Finding(name="project", state="missing", what=EVIL, mend=EVIL)])
    assert said.count("owned") == 2
    assert not [char for char in said if not char.isprintable() and char != "\n"]


def test_torch_is_not_imported(ready: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from autoresearchd.doctor import examine; "
        "examine(Path(sys.argv[1])); "
        "print([m for m in ('torch', 'optuna', 'libcst', 'anthropic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ready)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _heard(program: Path, **llm: object) -> None:
    """What a daemon wrote about its model."""
    status = program.parent / "experiments.git" / "autoresearchd" / "status.json"
    status.parent.mkdir(exist_ok=True)
    status.write_text(json.dumps({"llm": llm}))


def test_without_a_key_the_model_is_no_problem(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (found,) = _found(ready, "model")
    assert (found.state, found.what) == ("ok", "no key: the offline proposers work without")


def test_a_model_that_is_refused_is_one_clear_line(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-0123456789abcdef")
    _heard(ready, state="blocked", why="https://api.anthropic.com refuses the API key (invalid x-api-key)")
    (found,) = _found(ready, "model")
    assert found.state == "note"
    assert "refuses the API key" in found.what
    assert "0123456789abcdef" not in text(examine(ready))
    _heard(ready, state="ready", why="")
    assert _found(ready, "model")[0].state == "ok"
