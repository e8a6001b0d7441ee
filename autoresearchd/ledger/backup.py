"""A second copy of a lab: `git clone --mirror`, and later only what is new. Restored by cloning it back.

What somebody deleted in the lab stays in its backup, ideas aside: those were taken up. The folder `autoresearchd/` of a
lab is no history and is not copied.
"""

from __future__ import annotations

from pathlib import Path

from autoresearchd import lock
from autoresearchd.errors import UserError
from autoresearchd.ledger import facts, refs
from autoresearchd.ledger.housekeeping import pack
from autoresearchd.ledger.observed import Finding
from autoresearchd.ledger.repository import GitFailed, git, git_in, open_repository

ROUNDS = 3
"""Git lists refs one after the other; a daemon that moves them meanwhile is listed again."""
_READING = ("--upload-pack", "git -c safe.directory='*' upload-pack")
_EVERYTHING = "+refs/*:refs/*"
_IDEAS = f"+{refs.IDEAS}*:{refs.IDEAS}*"


def back_up(path: Path, copy: Path) -> tuple[Finding, ...]:
    """Bring `copy` up to date with the lab at `path`, also beside a daemon; what is wrong with the copy then.

    Raises: UserError where `copy` is something else, or git cannot write it.
    """
    path, copy = path.resolve(), copy.absolute()
    try:
        if copy.exists() and any(copy.iterdir()):
            _refuse_others(path, copy)
        else:
            # Not by hard links: one damaged file would be damage to both.
            command = ("clone", "--quiet", "--mirror", "--no-local", "--config", "core.logAllRefUpdates=always")
            git_in(path, *command, *_READING, str(path), str(copy))
        for _ in range(ROUNDS):
            git(copy, "fetch", "--quiet", "--prune", *_READING, str(path), _IDEAS)
            git(copy, "fetch", "--quiet", "--no-prune", *_READING, str(path), _EVERYTHING)
            found = facts.examine(open_repository(copy), copy)
            if not found or lock.holder(path) is None:
                break
        pack(copy)
    except (GitFailed, OSError) as error:
        raise UserError(f"{path} cannot be copied to {copy}: {error}") from error
    return found


def _refuse_others(path: Path, copy: Path) -> None:
    """Raises: UserError unless `copy` is a backup of this very lab."""
    try:
        source = git(copy, "config", "--get", "remote.origin.url").decode("utf-8", "surrogateescape").strip()
    except GitFailed:
        source = ""
    if source != str(path):
        raise UserError(f"{copy} is there and no backup of {path}; name a new folder, or the one of the last backup")
