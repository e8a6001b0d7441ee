"""A damaged pack, its index, packed-refs or commit graph is one sentence, and what it prints mends the lab."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearchd import doctor
from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.ledger import Ledger, back_up, refs, repository
from autoresearchd.ledger.refs import Listing
from tests.ledger.lab import busy, git
from tests.ledger.test_fsck import said
from tests.ledger.test_ways_out import follow, held


@pytest.fixture
def packed(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A lab whose objects and refs are packed, with a commit graph, and a backup in `copy`."""
    busy(ledger)
    back_up(ledger.path, tmp_path / "copy")
    git(ledger.path, "gc", "-q")
    git(ledger.path, "commit-graph", "write", "--reachable", "--no-progress")
    assert not list(ledger.path.glob("objects/[0-9a-f][0-9a-f]"))
    assert said(ledger) == []
    return ledger


def the(lab: Path, ending: str) -> Path:
    (found,) = lab.glob(f"objects/pack/pack-*.{ending}")
    found.chmod(0o644)
    return found


def overwritten(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at : at + 16] = b"X" * 16
    file.write_bytes(data)


def cut(file: Path, at: int) -> None:
    file.write_bytes(file.read_bytes()[:at])


INDEX = "the index of objects/pack/pack-[0-9a-f]*.pack is damaged or missing"
PACK = "objects/pack/pack-[0-9a-f]*.pack is damaged or missing"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "its index is gone": (lambda lab: the(lab, "idx").unlink(), INDEX),
    "its index is cut off": (lambda lab: cut(the(lab, "idx"), 1200), INDEX),
    "its index is junk": (lambda lab: the(lab, "idx").write_bytes(b"junk\n"), INDEX),
    "its index has other bytes": (lambda lab: overwritten(the(lab, "idx"), 1200), INDEX),
    "it is gone": (lambda lab: the(lab, "pack").unlink(), PACK),
    "it is cut off": (lambda lab: cut(the(lab, "pack"), 900), PACK),
    "it has other bytes": (lambda lab: overwritten(the(lab, "pack"), 200), PACK),
}


LOOK = """
import json, sys
from pathlib import Path
from autoresearchd.errors import UserError
from autoresearchd.ledger import Ledger
try:
    found = [f"{finding.what}; {finding.mend}" for finding in Ledger(Path(sys.argv[1])).fsck()]
except UserError as error:
    found = [str(error)]
print(json.dumps(found))
"""


def looked_at(lab: Path) -> list[str]:
    """What is said of it in a process of its own: libgit2 remembers the packs that it has opened."""
    done = subprocess.run([sys.executable, "-c", LOOK, str(lab)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])  # below what was logged
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_named_and_the_printed_commands_mend_it(packed: Ledger, tmp_path: Path, damage: str) -> None:
    act, expected = DAMAGES[damage]
    before = held(packed)
    act(packed.path)
    (found,) = looked_at(packed.path)
    assert re.search(expected, found)
    for command in re.findall("`(.*?)`", found):
        if command != "autoresearchd fsck":
            done = command.replace("BACKUP", shlex.quote(str(tmp_path / "copy")))
            subprocess.run(["sh", "-c", done], cwd=packed.path, check=False, capture_output=True)
    assert looked_at(packed.path) == []
    assert held(packed) == before


@pytest.mark.parametrize("how", ["other bytes", "cut off"])
def test_a_damaged_commit_graph_is_one_finding_and_its_command_removes_it(packed: Ledger, how: str) -> None:
    graph = packed.path / "objects/info/commit-graph"
    graph.chmod(0o644)
    overwritten(graph, 80) if how == "other bytes" else cut(graph, 100)
    (found,) = Ledger(packed.path).fsck()
    assert found.what == "the commit graph is damaged"
    subprocess.run(["sh", "-c", re.findall("`(.*?)`", found.mend)[0]], cwd=packed.path, check=True)
    assert said(packed) == []


TORN = {
    "cut in the middle of a line": lambda text: text[: text.index("refs/heads/exp/0003") + 12],
    "with a line of junk": lambda text: text.replace("\n", "\njunk\n", 1),
    "with a name cut off": lambda text: re.sub("(?m)^([0-9a-f]{40}) refs/heads/exp/0003.*$", r"\1", text),
    "of zeroes": lambda text: text[:200] + "\0" * 40,
}


@pytest.mark.parametrize("how", TORN)
def test_torn_packed_refs_are_one_sentence_everywhere_and_its_command_has_the_lab_read_again(
    packed: Ledger, tmp_path: Path, how: str
) -> None:
    before, file = held(packed), packed.path / "packed-refs"
    file.write_text(TORN[how](file.read_text()))
    with pytest.raises(UserError, match=r"line [0-9]+ of packed-refs is damaged: `sed") as trouble:
        Ledger(packed.path)
    with pytest.raises(CorruptRecord, match="packed-refs"):
        Listing(packed.path, refs.EXPERIMENTS).changes({})
    assert not doctor.is_ready(tuple(doctor._lab(packed.path, tmp_path / "program.toml")))
    command, *_ = re.findall("`(.*?)`", str(trouble.value))
    subprocess.run(["sh", "-c", command], cwd=packed.path, check=True)
    follow(packed, tmp_path / "copy")
    assert held(packed) == before


def test_a_git_that_does_not_end_is_one_sentence(packed: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "GIT_SECONDS", 1e-9)
    with pytest.raises(UserError, match=r"cannot be checked .*has not ended in 1e-09 s"):
        packed.fsck()
