"""A run on a disk that is full, or gets full: the machine's fault unless the run has filled it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoresearchd.experiment import Ending
from autoresearchd.run.folders import warm_cache
from autoresearchd.run.local import PATIENCE
from tests.run.room import Room, finish, out_of, program, spec, until
from tests.support.disk import full_disk

SAYS_SO = "raise OSError(28, os.strerror(28))"
UNSAID = "raise RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534')"
CUT = "(OUT / 'result.json').touch()"
WITHOUT_ITS_SAVE = "print('not saved: No space left on device'); say(loss=1)"


@pytest.mark.parametrize("train", [SAYS_SO, UNSAID, CUT, WITHOUT_ITS_SAVE])
def test_a_disk_that_others_have_filled_is_no_fault_of_the_code(
    room: Room, monkeypatch: pytest.MonkeyPatch, train: str
) -> None:
    """Nor is there a number, of what may be cut; also where there is room again at its end."""
    left = [2**40]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=left[0]))
    tree = room.tree(f"import time\nwhile not (OUT / 'go').exists(): time.sleep(0.01)\n{train}")
    with room.executor(program()) as executor:
        executor.start(spec(tree))
        left[0] = 2**20
        assert not executor.poll(time.time())
        left[0] = 2**40
        (out_of(room) / "go").touch()
        until(executor, lambda: not executor.progress())
        with pytest.raises(OSError, match="the disk was full before it ended"):
            executor.start(spec(tree, run="run-2"))


def test_who_is_always_there_when_the_disk_is_full_has_filled_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files that have no name, which are gone when it is: nobody is trained again and again for ever."""
    left = [2**40]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=left[0]))
    go = room.folder / "go"  # where a run has its own output is the executor's to say
    tree = room.tree(f"import time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{SAYS_SO}")
    with room.executor(program()) as executor:
        for number in range(PATIENCE + 1):
            go.unlink(missing_ok=True)
            left[0] = 2**40
            executor.start(spec(tree, run=f"run-{number}"))
            left[0] = 2**20
            assert not executor.poll(time.time())
            go.touch()
            if number < PATIENCE:
                until(executor, lambda: not executor.progress())
                with pytest.raises(OSError, match="the disk was full before it ended"):
                    executor.start(spec(tree, run="another"))
        done = finish(executor)
    assert (done.ending, done.why) == (Ending.CRASH, "OSError: [Errno 28] No space left on device")


def test_who_says_that_a_disk_was_full_which_was_not_has_crashed(room: Room) -> None:
    """As `/tmp` of its own is, which says the same in the same words."""
    done = room.measure(SAYS_SO)
    assert (done.ending, done.why) == (Ending.CRASH, "OSError: [Errno 28] No space left on device")


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (UNSAID, "wrote more than half of what was free on the disk"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("", "it ended well, but no result.json was written"),
    ],
)
def test_who_fills_the_disk_before_anybody_looks_has_crashed(
    room: Room, monkeypatch: pytest.MonkeyPatch, end: str, why: str
) -> None:
    """It would fill it again, and again; the sentence is the same each time, so that best is tried after the third."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**23))
    flood = "for number in range(8): (OUT / f'{number}').write_bytes(os.urandom(2**20))\n"
    done = room.measure(flood + end)
    assert (done.ending, done.why) == (Ending.CRASH, why)


def test_the_kernels_of_the_baseline_are_kept_also_where_there_was_no_room_to_note_whose_they_are(
    tmp_path: Path,
) -> None:
    caches = tmp_path / "cache"
    with full_disk(8), pytest.raises(OSError, match="too large"):
        warm_cache(caches, "a" * 40, "train", tmp_path)
    assert warm_cache(caches, "a" * 40, "train", tmp_path) == caches / "train"
