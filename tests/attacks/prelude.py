"""What every hostile trainer begins with; it ends by saying whether it got what it wanted."""

import ctypes
import errno
import fcntl
import json
import os
import resource
import socket
import stat
import sys
import termios
from pathlib import Path

OUT = Path(os.environ["AUTORESEARCH_OUT"])
WHERE = json.loads(Path("where.json").read_text())
USED = (ctypes, errno, fcntl, resource, socket, stat, sys, termios)


def say(**metrics):
    text = json.dumps({"run": os.environ["AUTORESEARCH_RUN"], "metrics": metrics})
    (OUT / "result.json").write_text(text)


def call(number, *arguments):
    """A system call of x86-64 by its number."""
    return ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
