"""What else went on on a run's GPU: through the real binding, and a library that says what the test wants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import structlog

from autoresearchd.experiment import Device
from autoresearchd.run import proc
from autoresearchd.run.company import Company, Residents, Watch
from autoresearchd.run.nvml import Sight
from tests.run.room import Room, finish, program, spec
from tests.support.nvml import environment

Told = dict[str, list[Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """By situation: how the run ended, and what was seen."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "rooms").mkdir()
    words = [sys.executable, "-m", "tests.run.nights", str(folder / "rooms")]
    done = subprocess.run(words, env=environment(folder), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found: Told = json.loads(done.stdout.splitlines()[-1])
    return found


GPU = Device(name="cuda:0", index=0)
ALONE = Sight(foreign={}, unknown=frozenset())


class Shown(Watch):
    """Sees what it was told, one thing after the other."""

    def __init__(self, *sights: Sight) -> None:
        super().__init__()
        self._shown = iter(sights)

    def look(self, device: Device) -> Sight | None:
        return next(self._shown)

    last = look


def seen(residents: Residents, *sights: Sight) -> list[str]:
    """The incidents of a run, the first sight of which is before it begins."""
    company = Company(Shown(*sights), GPU, residents)
    for _ in sights[1:]:
        company.note()
    return [incident.what for incident in company.incidents]


def kinds(found: list[Any]) -> list[str]:
    return [incident["kind"] for incident in found[1:]]


def test_a_runs_own_processes_are_no_incident_not_even_from_within_a_sandbox(told: Told) -> None:
    own = [found for name, found in told.items() if name.startswith("its own processes")]
    assert own
    assert all(found == ["finished"] for found in own)


@pytest.mark.parametrize("beside", ["", " beside a part of a GPU", " beside a GPU by its name"])
def test_a_process_of_somebody_else_is_named_with_its_memory(told: Told, beside: str) -> None:
    ending, incident = told[f"a stranger{beside}"]
    assert (ending, incident["kind"]) == ("finished", "foreign")
    assert incident["what"].endswith(f"(pid {os.getpid()}, 1024 MiB) on cuda:0")


def test_who_is_on_a_device_that_trains_nothing_is_seen_with_memory(told: Told) -> None:
    (resident,) = told["nobody trains"]
    assert resident.endswith(f"(pid {os.getpid()}, 1024 MiB)")


def test_a_number_that_means_nothing_here_may_be_our_own_unless_it_was_there_before(told: Told) -> None:
    """In a container some drivers say numbers of the machine's own namespace."""
    assert told["a number of another namespace"] == ["finished"]
    unknown = Sight(foreign={}, unknown=frozenset({7}))
    residents = Residents()
    residents.begin(GPU, ALONE)  # a run before
    assert seen(residents, unknown, replace(unknown)) == ["a process of another namespace (pid 7 there) on cuda:0"]


def test_who_was_there_before_the_first_run_and_ever_since_is_said_once(told: Told) -> None:
    """As the server of CUDA MPS is, to which the driver ascribes all that its clients do."""
    assert told["the same before the first run"] == ["finished"]
    server = Sight(foreign={7: "nvidia-cuda-mps (pid 7)"}, unknown=frozenset())
    both = replace(server, foreign={**server.foreign, 8: "python (pid 8)"})
    residents = Residents()
    with structlog.testing.capture_logs() as logs:
        assert seen(residents, server, replace(server)) == []
        assert seen(residents, replace(server), both) == ["python (pid 8) on cuda:0"]
    assert [entry["who"] for entry in logs] == [["nvidia-cuda-mps (pid 7)"]]
    assert seen(residents, ALONE, server) == ["nvidia-cuda-mps (pid 7) on cuda:0"]  # it went, and came again


def test_one_moment_of_heat_is_none_however_often_it_is_looked_up() -> None:
    hot = Sight(foreign={}, unknown=frozenset(), slowed=("thermal slowdown",))
    assert seen(Residents(), hot, hot, hot, ALONE) == []
    assert seen(Residents(), ALONE, hot, hot, replace(hot)) == ["thermal slowdown of cuda:0"]


def test_the_runs_of_a_daemon_with_the_number_1_are_its_own() -> None:
    """As in a container that holds nothing else."""
    assert proc.whose(1, root=1) is proc.Whose.OURS


def test_heat_is_an_incident_and_a_full_load_is_none(told: Told) -> None:
    assert [incident["what"] for incident in told["heat"][1:]] == ["thermal slowdown by the hardware of cuda:0"]
    assert told["a full load"] == ["finished"]


def test_a_gpu_that_is_gone_is_said_with_the_drivers_words(told: Told) -> None:
    ending, incident = told["a GPU that is lost"]
    assert ending == "out-of-memory"
    assert incident == {"kind": "lost", "what": "cuda:0: GPU is lost"}


def test_memory_in_use_before_a_run_explains_only_that_it_had_too_little(told: Told) -> None:
    ending, incident = told["memory held, and too little"]
    assert (ending, incident["kind"]) == ("out-of-memory", "held")
    assert incident["what"] == "50000 MiB of cuda:0 were in use before it began"
    assert told["memory held, and enough"] == ["finished"]
    assert told["its own memory"] == ["out-of-memory"]


def test_without_a_driver_there_is_nothing_and_nobody_waits(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    with room.executor(program()) as executor:
        executor.start(spec(room.tree("say(loss=1)"), device="cuda:0"))
        assert finish(executor).incidents == ()
    assert caplog.text == ""
