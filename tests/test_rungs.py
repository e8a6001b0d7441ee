"""[[scale]] and [promote] in program.toml: what a person may write, and how the program trains on a rung."""

from __future__ import annotations

import pytest

from autoresearchd.errors import ConfigError
from autoresearchd.experiment import Device
from autoresearchd.program import parse

LADDER = """
[program]
name = "tiny"
editable = ["train.py"]
[train]
command = "python train.py"
seconds = 300
deadline_seconds = 700
[metric]
name = "val_bpb"
evaluate = "python evaluate.py"
[[scale]]
name = "d12"
args = "--depth 12"
evaluate_args = "--batch 8"
seconds = 900
[[scale]]
name = "d24"
args = "--depth 24"
device = "cuda:*"
memory_mib = 80000
"""


def test_a_rung_trains_with_its_own_arguments_and_budget() -> None:
    program = parse(LADDER)
    larger = program.on("d12")
    assert larger.train.argv == ("python", "train.py", "--depth", "12")
    assert larger.metric.evaluate_argv == ("python", "evaluate.py", "--batch", "8")
    assert (larger.train.seconds, larger.train.deadline) == (900, 1500)
    assert program.on("d24").train.seconds == 300, "what a rung does not say is as [train] says"
    assert program.on("") is program


def test_a_rung_names_the_devices_that_are_large_enough() -> None:
    rung = parse(LADDER).scale[1]
    assert rung.fits(Device(name="cuda:0", memory_mib=141_000))
    assert not rung.fits(Device(name="cuda:0", memory_mib=40_000))
    assert not rung.fits(Device(name="cuda:0"))
    assert not rung.fits(Device(name="cpu:0", memory_mib=141_000))


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ('"d24"', '"d_24"', "scale[1].name", "match pattern"),
        ('"d24"', '"D12"', "the file", "a name of its own"),
        ('"--depth 24"', '"--depth \'24"', "scale[1].args", "command line"),
        ("memory_mib = 80000", "memory_mib = 0", "scale[1].memory_mib", "greater than or equal to 1"),
        ("memory_mib", "memory", "scale[1].memory", "did you mean `memory_mib`"),
        ("[train]", "[promote]\nshare = 2.0\n[train]", "promote.share", "less than or equal to 1"),
    ],
)
def test_a_mistake_in_the_ladder_is_one_sentence(old: str, new: str, key: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(LADDER.replace(old, new))
    assert caught.value.key == key
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)
