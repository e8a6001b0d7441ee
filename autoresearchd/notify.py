"""What a service manager is told: ready, how it goes, still alive, reloading, stopping (the protocol of sd_notify(3)).

Speaks only where $NOTIFY_SOCKET says so, and takes that out of the environment: no child may speak for the daemon.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import MutableMapping

import structlog

from autoresearchd.status import DeviceStatus, Status

log = structlog.get_logger()
SEND_SECONDS = 1.0
"""Longest wait for a manager whose socket is full; what is lost then is said again."""
PATIENCE_USEC = 60_000_000
WIDTH = 200
"""Characters of a status line: reasons may quote what an experiment said."""


class Notifier:
    """One service manager, or none; everything is said from the loop itself, so that a loop that hangs falls silent."""

    def __init__(self, address: str = "", *, beat_seconds: float = math.inf) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._beat_seconds, self._beaten, self._said, self._lost = beat_seconds, -math.inf, "", False

    @property
    def listens(self) -> bool:
        """Whether a service manager wants to know at all."""
        return bool(self._address)

    def ready(self) -> None:
        """Started, or done with a reload."""
        self._send("READY=1")

    def starting(self) -> None:
        """Not ready yet, and no reason to give up: a cluster has no node free."""
        self._send(f"EXTEND_TIMEOUT_USEC={PATIENCE_USEC}\nSTATUS=waiting for a node of the cluster")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, why: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={one_line(why) or 'stopping'}")

    def alive(self, status: Status, now: float) -> None:
        """One round of the loop at `now` (monotonic seconds): the watchdog at half its time, the line if it changed."""
        if math.isfinite(self._beat_seconds) and now - self._beaten >= self._beat_seconds:
            self._beaten = now
            self._send("WATCHDOG=1")
        if self._address and (said := line(status)) != self._said:
            self._said = said
            self._send(f"STATUS={said}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
                speaker.settimeout(SEND_SECONDS)
                speaker.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._lost:
                log.warning("service_manager_not_told", why=str(error), then="the research goes on")
            self._lost, self._said = True, ""
        else:
            self._lost = False


def take(environment: MutableMapping[str, str]) -> Notifier:
    """The service manager that the environment names, and nothing of it left there."""
    address = environment.pop("NOTIFY_SOCKET", "")
    pid, period = environment.pop("WATCHDOG_PID", ""), environment.pop("WATCHDOG_USEC", "")
    is_ours = not pid or pid == str(os.getpid())
    beat = int(period) / 2e6 if is_ours and period.isdigit() and int(period) else math.inf
    return Notifier(address if address[:1] in ("/", "@") else "", beat_seconds=beat)


def line(status: Status) -> str:
    """The lab in one line: `exp 0042 · training 63 % · best 1.0041 (−2.1 %) · 31 tried, 5 kept`. Pure."""
    busy = [device for device in status.devices if device.started is not None]
    doing = _doing(busy[0]) if busy else status.state
    if len(busy) > 1:
        doing += f" · {len(busy) - 1} more training"
    if status.state == "ending":
        doing = f"ending · {doing}"
    if status.why and not busy:
        doing += f": {status.why}"
    counts = f"{status.tried} tried, {status.kept} kept"
    tail = " · ".join(part for part in (_best(status), counts) if part)
    room = WIDTH - len(tail) - 3
    head = one_line(doing)
    return f"{head if len(head) <= room else head[: room - 1] + '…'} · {tail}"


def _doing(device: DeviceStatus) -> str:
    number = "baseline" if device.experiment is None else f"exp {device.experiment:04d}"
    percent = "" if device.fraction is None else f" {min(1.0, device.fraction):.0%}".replace("%", " %")
    return f"{number} · {device.phase}{percent}"


def _best(status: Status) -> str:
    """The metric of best, and its change in percent of the baseline's: in the metric's own direction, not a gain."""
    if status.best is None or not math.isfinite(status.best):
        return ""
    shown = f"best {status.best:.5g}"
    if status.gain is None or not status.baseline or not math.isfinite(status.baseline):
        return shown
    percent = 100 * (status.best - status.baseline) / abs(status.baseline)
    sign = "+" if percent > 0 else "−"
    worse = "" if status.gain >= 0 else ", worse"
    return f"{shown} ({sign}{abs(percent):.1f} %{worse})"


def one_line(text: str) -> str:
    """Words of others without line ends, which would be fields of the protocol, and nothing that a terminal obeys."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
