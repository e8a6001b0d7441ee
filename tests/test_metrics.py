"""What Prometheus reads: over real HTTP from a real server, by prometheus_client's own parser."""

from __future__ import annotations

import socket
import urllib.request
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from autoresearchd.errors import UserError
from autoresearchd.metrics import served
from autoresearchd.status import DeviceStatus, LlmStatus, Status

STATUS = Status(
    now=100.0,
    pid=1,
    program="model",
    metric="val_bpb",
    direction="lower",
    state="training",
    best=0.95,
    best_number=17,
    baseline=1.0,
    verdicts={"keep": 5, "discard": 26, "baseline": 1},
    devices=(DeviceStatus(device="cuda:0", model="H200"),),
    session_started=0.0,
    open=(33, 34),
    ready=2,
    thinking=1,
    busy_share=0.98,
    idle_seconds={"no_idea": 2.5, "paused": 60.0},
    experiments_per_hour=11.5,
    llm=LlmStatus(model="m", state="ready", spent_total=3.25, input_tokens=1000),
)


def scraped(status: Status) -> dict[str, float]:
    """`name{label=value}` → number, as a scrape finds it."""
    with structlog.testing.capture_logs() as logs, served(0, lambda: status):
        (said,) = [entry for entry in logs if entry["event"] == "metrics_served"]
        assert said["address"].startswith("http://127.0.0.1:")
        text = urllib.request.urlopen(said["address"], timeout=120).read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} says nothing of itself"
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[sample.name.removeprefix("autoresearchd_") + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_a_scrape_finds_what_a_dashboard_needs() -> None:
    found = scraped(STATUS)
    assert found["experiments_total{verdict=keep}"] == 5
    assert found["experiments_total{verdict=discard}"] == 26
    assert found["experiments_per_hour"] == 11.5
    assert found["metric{direction=lower,name=val_bpb,of=best}"] == 0.95
    assert found["metric{direction=lower,name=val_bpb,of=baseline}"] == 1.0
    assert (found["proposals_ready"], found["proposals_asked"], found["experiments_open"]) == (2, 1, 2)
    assert (found["devices"], found["device_busy_ratio"]) == (1, 0.98)
    assert found["device_idle_seconds_total{reason=no_idea}"] == 2.5
    assert found["device_idle_seconds_total{reason=paused}"] == 60
    assert found["llm_spend_usd_total"] == 3.25
    assert found["llm_tokens_total{kind=input}"] == 1000
    assert found["state{state=training}"] == 1
    assert found["program_refused"] == 0


def test_what_is_not_known_is_left_out_and_is_no_zero() -> None:
    found = scraped(
        replace(STATUS, best=None, baseline=float("nan"), busy_share=None, experiments_per_hour=None, llm=None)
    )
    unknown = ("metric", "device_busy_ratio", "experiments_per_hour", "llm_")
    assert [key for key in found if key.startswith(unknown)] == []


def test_what_the_program_calls_its_metric_stays_one_label() -> None:
    found = scraped(replace(STATUS, metric='x"}\n# TYPE y gauge\ny 1'))
    assert "y" not in found


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"metrics_port = {port} cannot be used"), served(port, lambda: STATUS):
            pass


def test_only_loopback_is_answered() -> None:
    with structlog.testing.capture_logs() as logs, served(0, lambda: STATUS):
        port = urlsplit(logs[0]["address"]).port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))
