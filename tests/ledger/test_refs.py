"""Names move by compare-and-swap across processes, the git command included."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2
import pytest
from structlog.testing import capture_logs

from autoresearchd.errors import RefLocked, StaleRef
from autoresearchd.experiment import CommitOid, RefName
from autoresearchd.ledger import Ledger, refs
from autoresearchd.ledger.repository import open_repository
from tests.ledger.lab import fsck, git, kept, measurement, new_ledger, opened

RACED = "refs/heads/idea/race"
ROOT = Path(__file__).parents[2]

# Each racer adds one to a counter that is kept in a ref, over and over: a commit whose message is the count and whose
# parent is the commit that it was read from. A lost update is a count that two commits have, or one that is missing.
ADDER = """
import sys
from pathlib import Path
from autoresearchd.errors import RefLocked, StaleRef
from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import open_repository, signature
path, name, wins = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
repo = open_repository(path)
lost = {"StaleRef": 0, "RefLocked": 0}
sys.stdin.readline()
while wins:
    old = refs.read(repo, name)
    commit = repo[old]
    who = signature(1.0)
    new = repo.create_commit(None, who, who, f"{int(commit.message) + 1}", commit.tree_id, [old])
    try:
        refs.move(repo, name, str(new), expected=old, why="add")
    except (StaleRef, RefLocked) as error:
        lost[type(error).__name__] += 1
        continue
    wins -= 1
print(sum(lost.values()))
"""
CREATOR = """
import sys
from pathlib import Path
from autoresearchd.errors import RefLocked, StaleRef
from autoresearchd.ledger import refs
from autoresearchd.ledger.repository import open_repository
path, rounds, me = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
repo = open_repository(path)
for round in range(rounds):
    sys.stdin.readline()
    try:
        refs.create(repo, f"refs/heads/idea/claim-{round}", me, why="claim")
        print("won", flush=True)
    except (StaleRef, RefLocked):
        print("lost", flush=True)
"""
GIT_ADDER = """
set -u
read go
wins=0
while [ $wins -lt $3 ]; do
  old=$(git -C "$1" rev-parse --verify -q "$2") || continue
  count=$(git -C "$1" log -1 --format=%s "$old")
  new=$(git -C "$1" -c user.name="$4" -c user.email=g@g commit-tree -p "$old" -m $((count + 1)) "$old^{tree}")
  if [ "$4" = update-ref ]
  then git -C "$1" update-ref "$2" "$new" "$old" 2>/dev/null && wins=$((wins + 1))
  else git -C "$1" push -q --force-with-lease="$2:$old" "$1" "$new:$2" 2>/dev/null && wins=$((wins + 1))
  fi
done
"""


def _python(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _shell(script: str, *arguments: object) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["bash", "-c", script, "bash", *map(str, arguments)]
    return subprocess.Popen(
        command,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    )


def _say(racer: subprocess.Popen[str]) -> None:
    assert racer.stdin is not None
    racer.stdin.write("go\n")
    racer.stdin.flush()


@contextmanager
def _reaped(racers: list[subprocess.Popen[str]]) -> Iterator[None]:
    try:
        yield
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def _counter(path: Path) -> str:
    repo = open_repository(path)
    tree = git(path, "rev-parse", "best^{tree}").strip()
    first = git(path, "commit-tree", "-m", "0", tree).strip()
    refs.create(repo, RACED, first, why="begin")
    return first


def test_no_update_is_lost_among_daemons_pushes_and_update_refs(tmp_path: Path) -> None:
    path = new_ledger(tmp_path).path
    _counter(path)
    racers = [
        _python(ADDER, path, RACED, 80),
        _python(ADDER, path, RACED, 80),
        _shell(GIT_ADDER, path, RACED, 10, "update-ref"),
        _shell(GIT_ADDER, path, RACED, 5, "push"),
    ]
    with _reaped(racers):
        for racer in racers:
            _say(racer)
        ended = [racer.wait(timeout=120) for racer in racers]
    assert ended == [0, 0, 0, 0]
    counts = git(path, "log", "--format=%s", RACED).split()
    assert counts == [str(count) for count in range(175, -1, -1)]
    assert fsck(path) == ""


def test_of_many_who_claim_one_name_exactly_one_has_it(tmp_path: Path) -> None:
    path = new_ledger(tmp_path).path
    tree = git(path, "rev-parse", "best^{tree}").strip()
    mine = [git(path, "commit-tree", "-m", str(who), tree).strip() for who in range(3)]
    racers = [_python(CREATOR, path, 40, oid) for oid in mine]
    with _reaped(racers):
        for claim in range(40):
            for racer in racers:
                _say(racer)
            said = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
            assert said.count("won") == 1, said
            holder = git(path, "rev-parse", f"refs/heads/idea/claim-{claim}").strip()
            assert holder == mine[said.index("won")]


def test_a_move_from_what_is_not_there_is_stale(ledger: Ledger) -> None:
    repo, best = open_repository(ledger.path), ledger.best().commit
    kept(ledger, "RATE = 0.2\n")
    for name in (refs.BEST, "refs/heads/missing"):
        with pytest.raises(StaleRef) as raised:
            refs.move(repo, name, best, expected=best, why="late")
        assert raised.value.expected == best
    with pytest.raises(StaleRef):
        refs.remove(repo, refs.BEST, expected=best)
    with pytest.raises(StaleRef):
        refs.create(repo, refs.BEST, best, why="again")


@pytest.mark.parametrize("packed", [False, True])
def test_a_ref_that_another_process_is_writing_is_locked(ledger: Ledger, packed: bool) -> None:
    repo, best = open_repository(ledger.path), ledger.best().commit
    if packed:
        ledger.pack()
    (ledger.path / "refs/heads/best.lock").touch()
    with pytest.raises(RefLocked):
        refs.move(repo, refs.BEST, best, expected=best, why="no")
    (ledger.path / "refs/heads/best.lock").unlink()
    refs.move(repo, refs.BEST, best, expected=best, why="yes")
    assert refs.read(repo, refs.BEST) == best


WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from autoresearchd.experiment import Outcome
from autoresearchd.ledger import Ledger
from tests.ledger.lab import METRIC, NOW, measurement, opened, verdict
ledger, most, words = Ledger(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
experiment = ledger.opened()[0]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
for act in (
    lambda: opened(ledger, "RATE = 5\\n", rationale=words),
    lambda: ledger.record(measurement(experiment.tree, 7, log_tail=words)),
    lambda: ledger.conclude(experiment, verdict(Outcome.KEEP), metric=METRIC, now=NOW),
    lambda: ledger.conclude(experiment, verdict(Outcome.DISCARD), metric=METRIC, now=NOW),
    lambda: ledger.submit_wish(words),
):
    try:
        act()
    except OSError:
        pass
    else:
        sys.exit("it went through")
"""


@pytest.mark.parametrize("most", [0, 1500])
def test_a_full_disk_is_an_os_error_and_changes_nothing(ledger: Ledger, most: int) -> None:
    """Also where it takes a ref, which fits into a page that is there, and not the commit that it is to hold."""
    words = random.Random(1).randbytes(2000).hex()
    experiment = opened(ledger, "RATE = 0.3\n", rationale=words)
    ledger.record(measurement(experiment.tree))
    before = git(ledger.path, "for-each-ref")
    command = [sys.executable, "-c", WITHOUT_ROOM, str(ledger.path), str(most), words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert git(ledger.path, "for-each-ref") == before
    assert fsck(ledger.path) == ""


@pytest.mark.parametrize(
    "left",
    [
        "refs/heads/best.lock",
        "refs/heads/exp/0001-x.lock",
        "refs/autoresearch/runs.lock",
        "packed-refs.lock",
        "packed-refs.new",
        "config.lock",
        "objects/info/commit-graph.lock",
        "objects/pack/multi-pack-index.lock",
    ],
)
def test_a_lock_that_a_killed_process_left_is_cleared_by_the_next_daemon(ledger: Ledger, left: str) -> None:
    lock = ledger.path / left
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(b"")
    os.utime(lock, (time.time() - 60, time.time() - 60))
    with capture_logs() as said, ledger.hold():
        assert not lock.exists()
        kept(ledger, "RATE = 0.2\n", title="x")
        ledger.pack()
    assert [entry["path"] for entry in said if entry["event"] == "stale_lock_removed"] == [str(lock)]


def test_a_lock_that_was_written_just_now_is_its_owners_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "LOCK_GRACE_SECONDS", 600.0)
    path = new_ledger(tmp_path).path
    lock = path / "refs/heads/idea.lock"
    lock.touch()
    owner = threading.Timer(0.2, lock.unlink)
    owner.start()
    with capture_logs() as said:
        refs.clear_stale_locks(path)
    owner.join()
    assert not lock.exists()
    assert said == []


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("refs/heads/exp/0042-raise", 42),
        ("refs/heads/exp/123456-x", 123456),
        ("refs/heads/exp/42-x", None),
        ("refs/heads/exp/0042", None),
        ("refs/heads/exp/0042-x/y", None),
        ("refs/heads/exp/0042-X", None),
        ("refs/heads/idea/0042-x", None),
        ("refs/heads/exp/٠٠٤٢-x", None),
        ("refs/heads/exp/0042-x\n", None),
    ],
)
def test_only_our_own_branch_names_have_a_number(name: str, number: int | None) -> None:
    assert refs.number_of(name) == number


class Reader:
    """Who lists experiments, and keeps what they held."""

    def __init__(self, ledger: Ledger) -> None:
        self.listing = refs.Listing(ledger.path, refs.EXPERIMENTS)
        self.held: dict[str, CommitOid] = {}

    def changes(self) -> dict[RefName, CommitOid | None]:
        changed = self.listing.changes(self.held)
        self.held |= {name: oid for name, oid in changed.items() if oid is not None}
        for name in (name for name, oid in changed.items() if oid is None):
            del self.held[name]
        return changed


def test_a_listing_says_what_changed_since_it_was_last_asked(ledger: Ledger) -> None:
    reader, baseline = Reader(ledger), refs.experiment_ref(0, "measure-the-baseline")
    assert list(reader.changes()) == [baseline]
    assert reader.changes() == {}
    experiment = opened(ledger, "RATE = 0.2\n")
    assert reader.changes() == {experiment.ref: experiment.commit}
    ledger.pack()
    assert reader.changes() == {}
    git(ledger.path, "update-ref", "-d", experiment.ref)
    assert reader.changes() == {experiment.ref: None}


def test_a_listing_knows_that_a_ref_has_gone_which_its_reader_has_just_written(ledger: Ledger) -> None:
    reader = Reader(ledger)
    reader.changes()
    experiment = opened(ledger, "RATE = 0.2\n")
    reader.listing.note()
    reader.held[experiment.ref] = experiment.commit
    git(ledger.path, "update-ref", "-d", experiment.ref)
    assert reader.changes() == {experiment.ref: None}


def test_a_listing_finds_below_a_ref_that_has_gone_what_was_packed(ledger: Ledger) -> None:
    experiment = opened(ledger, "RATE = 0.2\n")
    ledger.pack()
    git(ledger.path, "update-ref", experiment.ref, "best")
    reader = Reader(ledger)
    assert reader.changes()[experiment.ref] == ledger.best().commit
    (ledger.path / experiment.ref).unlink()
    assert reader.changes() == {experiment.ref: experiment.commit}


def test_a_listing_is_the_same_as_gits(ledger: Ledger) -> None:
    reader = Reader(ledger)
    reader.changes()
    for rate in range(4):
        kept(ledger, f"RATE = {rate}\n")
        if rate == 1:
            git(ledger.path, "pack-refs", "--all")
        if rate == 2:
            git(ledger.path, "pack-refs", "--all", "--no-prune")
        reader.changes()
    said = git(ledger.path, "for-each-ref", "--format=%(refname) %(objectname)", refs.EXPERIMENTS).split()
    assert reader.held == dict(zip(said[::2], said[1::2], strict=True))


def test_every_write_is_synced_to_the_disk(tmp_path: Path) -> None:
    """pygit2 cannot be asked; a repository opened by us is: its setting is one for the whole process."""
    new_ledger(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        asked: list[bool] = []
        patch.setattr(type(pygit2.settings), "enable_fsync_gitdir", lambda _, on: asked.append(on))
        Ledger(tmp_path / "experiments.git")
    assert asked == [True]


def test_a_name_that_libgit2_does_not_take_is_an_os_error(ledger: Ledger) -> None:
    with pytest.raises(OSError, match=r"refs/heads/idea/caf\\xe9 cannot be written"):
        refs.remove(open_repository(ledger.path), "refs/heads/idea/caf\udce9", expected=ledger.best().commit)


def test_a_name_with_an_odd_space_is_listed_loose_and_packed(ledger: Ledger) -> None:
    name, best = "refs/heads/idea/a\u00a0b\u2028c", ledger.best().commit
    git(ledger.path, "update-ref", name, "best")
    for _ in range(2):
        assert refs.Listing(ledger.path, refs.IDEAS).changes({}) == {name: best}
        git(ledger.path, "pack-refs", "--all")
    assert ledger.fsck() == ()


def test_a_damaged_ref_hides_no_others_from_a_listing(ledger: Ledger) -> None:
    for content in (b"", b"\xff\xfe", b"x" * 40):
        (ledger.path / "refs/heads/exp/0009-torn").write_bytes(content)
        assert list(refs.Listing(ledger.path, refs.EXPERIMENTS).changes({})) == [
            "refs/heads/exp/0000-measure-the-baseline"
        ]
