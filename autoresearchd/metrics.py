"""The status for Prometheus, over HTTP on loopback: what a dashboard draws and an alert watches. Only reads.

What counts experiments comes from git and never goes back; what counts seconds is of this session.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from autoresearchd.errors import UserError
from autoresearchd.status import Status

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

log = structlog.get_logger()
ADDRESS = "127.0.0.1"


@contextmanager
def served(port: int, status: Callable[[], Status]) -> Iterator[None]:
    """Answer on loopback at this port, 0 for any free one, while the context is open; `status` is called in threads.

    Raises: UserError when the port is somebody else's.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(_Lab(status))
    try:
        server, thread = start_http_server(port, addr=ADDRESS, registry=registry)
    except OSError as error:
        raise UserError(
            f"service.metrics_port = {port} cannot be used ({error.strerror}); choose another one"
        ) from error
    log.info("metrics_served", address=f"http://{ADDRESS}:{server.server_port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Lab:
    """What prometheus_client asks at each request."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        return families(self._status())


def families(status: Status) -> Iterator[Metric]:
    """Every number of the status under its name for Prometheus; what is not known is left out."""
    yield from _research(status)
    yield from _devices(status)
    if (llm := status.llm) is not None:
        yield _counter("llm_spend_usd", "Spent on the language model.", _one(llm.spent_total))
        tokens = [(("input",), llm.input_tokens), (("output",), llm.output_tokens)]
        yield _counter("llm_tokens", "Tokens of this session.", tokens, "kind")


def _research(status: Status) -> Iterator[Metric]:
    verdicts = [((word,), count) for word, count in sorted(status.verdicts.items())]
    yield _counter("experiments", "Experiments with a verdict, the baseline among them.", verdicts, "verdict")
    yield _gauge("experiments_open", "Experiments without a verdict.", _one(len(status.open)))
    rate = _one(status.experiments_per_hour)
    yield _gauge("experiments_per_hour", "Verdicts of this session over its length.", rate)
    name, direction = status.metric, status.direction
    values = [((name, direction, "best"), status.best), ((name, direction, "baseline"), status.baseline)]
    yield _gauge("metric", "Its value at best, and at the baseline.", values, "name", "direction", "of")
    yield _gauge("proposals_ready", "Ideas that wait for a device.", _one(status.ready))
    yield _gauge("proposals_asked", "Ideas that are being thought of.", _one(status.thinking))
    yield _gauge("state", "What the daemon does now.", [((status.state,), 1)], "state")
    refused = bool(status.program_refused)
    yield _gauge("program_refused", "1 while the saved program.toml is not in force.", _one(refused))


def _devices(status: Status) -> Iterator[Metric]:
    yield _gauge("devices", "Devices that trainings share.", _one(len(status.devices)))
    yield _gauge("device_busy_ratio", "Share of the devices' time in runs, this session.", _one(status.busy_share))
    idle = [((reason,), seconds) for reason, seconds in sorted(status.idle_seconds.items())]
    yield _counter("device_idle_seconds", "Device seconds without a training, this session.", idle, "reason")


Samples = Iterable[tuple[tuple[str, ...], float | None]]
"""Values of a label each, and the number."""


def _one(value: float | None) -> Samples:
    return [((), value)]


def _gauge(name: str, about: str, samples: Samples, *labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"autoresearchd_{name}", about, labels=labels), samples)


def _counter(name: str, about: str, samples: Samples, *labels: str) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"autoresearchd_{name}", about, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples:
        if value is not None and math.isfinite(value):
            family.add_metric(labels, value)
    return family
