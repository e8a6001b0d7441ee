"""The few exceptions of the program; each class makes its own sentence, so that every room says it the same way.

An experiment that fails is not an exception, it is a Measurement with an ending. A `UserError` is a person's mistake:
it is shown as its one sentence, exit code 2, without a traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """A person's mistake, in one sentence that names the thing, the value and the way out."""


class NotYet(UserError):
    """What may pass by itself: a GPU whose driver is not up yet, a cluster without a free node.

    To a service manager its exit code is 75, EX_TEMPFAIL of sysexits.h: that is tried again, and no mistake.
    """


class ConfigError(UserError):
    """program.toml has a value that is not allowed, or a key that does not exist."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"program.toml: {key} = {value!r} is not allowed: {allowed}")
        self.key, self.value, self.allowed = key, value, allowed


class AlreadyRunning(NotYet):
    """Another daemon holds this experiments.git."""

    def __init__(self, path: str, pid: int | None) -> None:
        super().__init__(f"{path} is held by another autoresearchd (pid {pid or 'unknown'}); stop it first")
        self.path, self.pid = path, pid


class NoLab(UserError):
    """What lies where experiments.git should be is none."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} is no experiments.git ({why}); `autoresearchd init` makes one")


class StaleRef(Exception):
    """A compare-and-swap lost: the ref no longer holds what the caller had read."""

    def __init__(self, ref: str, expected: str | None, found: str | None) -> None:
        super().__init__(f"{ref} holds {found}, not {expected}")
        self.ref, self.expected, self.found = ref, expected, found


class RefLocked(Exception):
    """Another process is writing the ref right now; the same write may succeed in a moment."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"{ref} is locked by another process")
        self.ref = ref


class CorruptRecord(Exception):
    """Something read back from experiments.git is not what this program writes."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why

    @property
    def sentence(self) -> str:
        """What a person is told, wherever it is: the same, with who knows the way out."""
        return f"{self}; `autoresearchd fsck` says what is wrong"


class UnfilablePath(Exception):
    """A proposal names a path that git cannot file."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r} cannot be filed: {why}")
        self.path, self.why = path, why
