"""What `fsck` prints as the way out is typed as it stands, in a real lab with a real backup: then nothing is wrong."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from autoresearchd.experiment import CommitOid, Outcome
from autoresearchd.ledger import Ledger, back_up, refs, runs_back
from tests.ledger.lab import busy, git
from tests.ledger.test_fsck import DAMAGES, branch, oid, said
from tests.support.damage import RUNS, tear


@pytest.fixture
def lab(ledger: Ledger) -> Ledger:
    return busy(ledger)


NOBODY_CAN_TELL = frozenset(
    {"a run is renamed", "a run is copied", "a file among the runs", "a folder among the runs", "a lock is left"}
)
"""What of a strange file is to become is its owner's to say: it is counted nowhere, or as what it says."""


def held(lab: Ledger) -> str:
    """Every ref and what it holds; of the line of runs what is filed there, for that grows on."""
    names = git(lab.path, "for-each-ref", "--format=%(refname) %(objectname)")
    return re.sub(f"(?m)^{RUNS} .*$", git(lab.path, "ls-tree", "-r", RUNS).replace("\\", ""), names)


@pytest.mark.parametrize("damage", sorted(DAMAGES.keys() - NOBODY_CAN_TELL))
def test_with_a_backup_the_printed_commands_undo_what_somebody_did(lab: Ledger, tmp_path: Path, damage: str) -> None:
    lab.promotion.look(lab.best().commit, baseline=CommitOid(oid(lab, branch(lab, 0))))
    back_up(lab.path, tmp_path / "copy")
    before = held(lab)
    DAMAGES[damage][0](lab)
    follow(lab, tmp_path / "copy")
    assert held(lab) == before


def test_a_kept_branch_is_not_to_be_deleted_for_another_that_claims_its_number(lab: Ledger) -> None:
    """Best was moved back below it, and beside it lies one that would be sound."""
    kept = next(row for row in reversed(lab.concluded()) if row.verdict.outcome is Outcome.KEEP)
    forged = git(lab.path, "log", "-1", "--format=%B", kept.experiment.ref).replace("Verdict: keep", "Verdict: discard")
    tree, parent = kept.experiment.tree, kept.experiment.parent
    made = git(lab.path, "commit-tree", tree, "-p", parent, given=forged).strip()
    git(lab.path, "update-ref", f"refs/heads/exp/{kept.experiment.number:04d}-zforged", made)
    git(lab.path, "update-ref", refs.BEST, parent)
    assert not any(f"update-ref -d {kept.experiment.ref}`" in finding.mend for finding in lab.fsck())


@pytest.mark.parametrize("name", [refs.BEST, refs.PROMOTED, refs.NEWEST, RUNS, "an experiment"])
def test_with_a_backup_the_printed_commands_mend_a_ref_that_a_power_cut_tore(
    lab: Ledger, tmp_path: Path, name: str
) -> None:
    lab.promotion.look(lab.best().commit, baseline=CommitOid(oid(lab, branch(lab, 0))))
    back_up(lab.path, tmp_path / "copy")
    before = held(lab)
    name = branch(lab, 3) if name == "an experiment" else name
    tear(lab.path, name, b"")
    assert not any("0" * 40 in sentence for sentence in said(lab)), "that is no object that a backup has"
    follow(lab, tmp_path / "copy")
    if name == refs.PROMOTED:
        lab.promotion.look(lab.best().commit, baseline=CommitOid(oid(lab, branch(lab, 0))))
    assert held(lab) == before


def follow(lab: Ledger, copy: Path) -> None:
    """Do what `fsck` says of its first finding, and look again, until there is none."""
    for _ in range(6):
        found = Ledger(lab.path).fsck()
        if not found:
            return
        for command in re.findall("`(.*?)`", found[0].mend):
            if command == "autoresearchd backup --runs-back BACKUP":
                runs_back(lab.path, copy)
            elif command == "autoresearchd run":
                with Ledger(lab.path).hold():
                    pass
            else:
                done = command.replace("BACKUP", shlex.quote(str(copy)))
                subprocess.run(["sh", "-c", done], cwd=lab.path, check=True, capture_output=True)
    raise AssertionError(found)
