"""A launcher for where bubblewrap cannot run: bounds itself by Landlock and seccomp, then becomes the command.

Started by its path with `python -I -S landlock.py SPEC COMMAND…`, so it imports nothing of ours. What it bounds can
never be loosened, and holds for all that the command starts.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from typing import Any

CREATE, ADD, RESTRICT = 444, 445, 446
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL = 1 << 14, 1 << 15
READING = EXECUTE | READ_FILE | READ_DIR
USING = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL
FILE_ONLY = EXECUTE | USING
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights that each version of the interface knows."""
TCP, SCOPES = 0b11, 0b11
"""Bind and connect; abstract sockets and signals to processes outside."""
SIGNALS_SINCE = 6
SET_SECCOMP, FILTER_MODE, NO_NEW_PRIVS = 22, 2, 38
DROP_BOUNDING, SECUREBITS, NO_ROOT_LOCKED = 24, 28, 0b11
LAST_CAPABILITY, CAPABILITY_VERSION = 63, 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def abi() -> int:
    """Version of the interface that the kernel has; 0 where there is none."""
    return max(0, int(_libc.syscall(CREATE, None, ctypes.c_size_t(0), VERSION_FLAG)))


def main() -> None:
    """Bound, then exec. Raises: OSError; whatever fails, the command does not start."""
    spec, command = json.loads(sys.argv[1]), sys.argv[2:]
    drop_capabilities()
    _checked(_libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    restrict(spec)
    install(bytes.fromhex(spec["filter"]))
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is its whole purpose


def restrict(spec: dict[str, Any]) -> None:
    """Allow reading below `read`, everything below `write`, use of the nodes in `use`; nothing else, and no signals."""
    version = abi()
    handled = RIGHTS[min(version, max(RIGHTS))]
    size = 8 if version < 4 else 16 if version < SIGNALS_SINCE else 24
    attributes = struct.pack("=QQQ", handled, 0 if spec["network"] else TCP, SCOPES)[:size]
    ruleset = _checked(_libc.syscall(CREATE, attributes, ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    for rights, paths in ((READING, spec["read"]), (handled, spec["write"]), (USING, spec["use"])):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    _checked(_libc.syscall(RESTRICT, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # what is not there need not be allowed
    if not os.path.isdir(path):  # noqa: PTH112 - pathlib would cost a third of the start
        rights &= FILE_ONLY
    rule = struct.pack("=Qi", rights, opened)
    _checked(_libc.syscall(ADD, ruleset, PATH_BENEATH, rule, 0), "landlock_add_rule")
    os.close(opened)


def drop_capabilities() -> None:
    """Nothing of root's power, now or after an exec; without effect for everybody else."""
    if os.geteuid() != 0:
        return
    _checked(_libc.prctl(SECUREBITS, NO_ROOT_LOCKED, 0, 0, 0), "securebits")
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(DROP_BOUNDING, capability, 0, 0, 0) != 0:
            break  # the kernel knows no more of them
    header, empty = struct.pack("=Ii", CAPABILITY_VERSION, 0), bytes(24)
    _checked(_libc.capset(header, empty), "capset")


def install(program: bytes) -> None:
    """Put a seccomp filter in force."""
    filter_program = _Program(len(program) // 8, program)
    _checked(_libc.prctl(SET_SECCOMP, FILTER_MODE, ctypes.byref(filter_program), 0, 0), "seccomp")


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


if __name__ == "__main__":
    main()
