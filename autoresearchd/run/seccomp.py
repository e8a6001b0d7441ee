"""A seccomp filter as bytes: what a trainer never needs and an attacker does. Builds the program, installs nothing.

Numbers are from the kernel's syscall tables (arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
NAMESPACES = 0x7E020000
"""CLONE_NEWNS to CLONE_NEWNET, all of them."""
TERMINAL_INPUT, TERMINAL_SPECIAL = 0x5412, 0x541C
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
_NR, _ARCH, _ARGUMENTS = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# name: (x86_64, aarch64); None where the architecture has no such call
Numbers = tuple[int | None, int | None]
DENIED: dict[str, Numbers] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
    "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "acct": (163, 89),
    "quotactl": (179, 60), "syslog": (103, 116), "sethostname": (170, 161), "setdomainname": (171, 162),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "iopl": (172, None), "ioperm": (173, None), "fanotify_init": (300, 262),
}  # fmt: skip
ATTRIBUTES: dict[str, Numbers] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
}  # fmt: skip
"""Landlock does not guard them. They do nothing and say that they did, so that shutil.copy goes on."""
CLONE, CLONE3, IOCTL, SOCKET, PRLIMIT = (56, 220), (435, 435), (16, 29), (41, 198), (302, 261)

Instruction = tuple[int, int, int, int]


def build(*, families: Sequence[int], attributes: bool = True, machine: str | None = None) -> bytes | None:
    """The filter for bubblewrap's --seccomp, or for prctl; None for an architecture that it does not know.

    `families` are the kinds of sockets that may be made; without `attributes` nobody's file modes change.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        return None
    column = list(ARCHITECTURES).index(machine)
    code: list[Instruction] = [
        _load(_ARCH), (_EQUAL, 1, 0, ARCHITECTURES[machine]), (_RETURN, 0, 0, KILL), _load(_NR),
    ]  # fmt: skip
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, X32_BIT), _fail(errno.EPERM)]
    for numbers in DENIED.values():
        code += _whole(numbers[column], errno.EPERM)
    code += _whole(CLONE3[column], errno.ENOSYS)  # its flags are in memory, where no filter can look; libc falls back
    if not attributes:
        for numbers in ATTRIBUTES.values():
            code += _whole(numbers[column], 0)
    code += _when(CLONE[column], 0, [(_ANY_BIT, 0, 1, NAMESPACES), _fail(errno.EPERM)])
    refused = [word for family in (TERMINAL_INPUT, TERMINAL_SPECIAL) for word in _is(family, errno.EPERM)]
    code += _when(IOCTL[column], 1, refused)
    code += _when(PRLIMIT[column], 0, [(_EQUAL, 1, 0, 0), _fail(errno.EPERM)])  # of others; 0 is oneself
    allowed = [word for family in families for word in ((_EQUAL, 0, 1, family), (_RETURN, 0, 0, ALLOW))]
    code += _when(SOCKET[column], 0, [*allowed, _fail(errno.EACCES)])
    code.append((_RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _load(offset: int) -> Instruction:
    return _LOAD, 0, 0, offset


def _fail(number: int) -> Instruction:
    return _RETURN, 0, 0, ERRNO | number


def _is(value: int, number: int) -> list[Instruction]:
    return [(_EQUAL, 0, 1, value), _fail(number)]


def _whole(call: int | None, number: int) -> list[Instruction]:
    return [] if call is None else _is(call, number)


def _when(call: int, argument: int, then: list[Instruction]) -> list[Instruction]:
    """For one call only: look at the low half of an argument; what `then` does not decide is allowed."""
    body = [_load(_ARGUMENTS + 8 * argument), *then, (_RETURN, 0, 0, ALLOW)]
    return [(_EQUAL, 0, len(body), call), *body]
