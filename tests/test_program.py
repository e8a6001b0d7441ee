"""program.toml: what a person may write, and the one sentence they get when it is wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.errors import ConfigError, UserError
from autoresearchd.experiment import Direction
from autoresearchd.program import load, matches, parse

SMALLEST = """
[program]
name = "tiny"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
"""


def test_the_smallest_program_is_five_lines() -> None:
    program = parse(SMALLEST)
    assert program.train.argv == ("python", "train.py")
    assert program.metric.direction is Direction.LOWER
    assert program.budget.experiments is None


@pytest.mark.parametrize(
    ("line", "key", "allowed"),
    [
        ("[train]\nseconds = -1", "train.seconds", "greater than 0"),
        ('[train]\nseconds = "long"', "train.seconds", "valid number"),
        ("[train]\nsecond = 300", "train.second", "did you mean `seconds`"),
        ('[train]\ncommand = "python \'train.py"', "train.command", "command line"),
        ('[metric]\ndirection = "up"', "metric.direction", "'lower' or 'higher'"),
        ('[metric]\npattern = "(a)(b)"', "metric.pattern", "exactly one group"),
        ('[metric]\npattern = "(a"', "metric.pattern", "regular expression"),
        ('[[constraint]]\nmetric = "val bpb"\nmax = 1', "constraint[0].metric", "match pattern"),
        ("[accept]\nconfidence = 1.5", "accept.confidence", "less than 1"),
        ('[devices]\nuse = ["gpu0"]', "devices.use", '["cuda:0", "cuda:1"]'),
        ('[devices]\nuse = "gpu"', "devices.use", "'auto' or 'cpu'"),
        ('[[constraint]]\nmetric = "peak_memory_mib"', "constraint[0]", "`max`, `min` or both"),
        ("[propose.spase]\nenabled = true", "propose.spase", "did you mean `space`"),
        ('[propose.space]\nsampler = "grid"', "propose.space.sampler", "'tpe', 'cma-es' or 'random'"),
        ('[[propose.patterns.custom]]\nname = "x"\nfind = "y"', "propose.patterns.custom[0]", "exactly one of"),
        ("[budgets]\nhours = 8", "budgets", "did you mean `budget`"),
    ],
)
def test_a_bad_value_is_one_sentence_naming_key_value_and_what_is_allowed(line: str, key: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(_with(line))
    assert caught.value.key == key
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


def _with(line: str) -> str:
    """SMALLEST with the line's keys put into its section, in the place of equal ones."""
    header, _, rest = line.partition("\n")
    if f"\n{header}\n" not in SMALLEST:
        return SMALLEST + line
    key = rest.split(" =")[0]
    kept = "\n".join(text for text in SMALLEST.splitlines() if not text.startswith(f"{key} ="))
    return kept.replace(header, f"{header}\n{rest}")


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"train\.command.*required"):
        parse(SMALLEST.replace('command = "python train.py"', ""))


def test_a_mistyped_key_is_said_before_the_key_it_leaves_missing() -> None:
    with pytest.raises(ConfigError, match="did you mean `command`"):
        parse(SMALLEST.replace("command =", "comand ="))


def test_pattern_and_evaluate_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        parse(SMALLEST + "pattern = '^val_bpb: (.*)'\nevaluate = 'python evaluate.py'\n")


@pytest.mark.parametrize(
    ("seen", "held"),
    [
        ("[train]\ndata = 'data'", "data = './data/'"),
        ("[train]\ndata = 'data/val/more'", "data = 'data/val'"),
        ("[train]\ndata = 'data/audit'", "evaluate = 'python e.py'\naudit = 'data/audit'"),
        ("[sandbox]\nreadable = ['more', 'x/../data/val']", "data = 'data/val'"),
    ],
)
def test_training_on_what_is_held_out_is_refused(seen: str, held: str) -> None:
    with pytest.raises(ConfigError, match="no training may see"):
        parse(_with(seen).replace("[metric]\n", f"[metric]\n{held}\n"))


def test_what_is_held_out_may_lie_within_what_is_read() -> None:
    """There it is hidden from the training."""
    found = parse(_with("[train]\ndata = 'data'").replace("[metric]\n", "[metric]\ndata = 'data/val'\n"))
    assert (found.train.data, found.metric.data) == ("data", "data/val")


def test_a_file_saved_half_way_is_one_sentence() -> None:
    with pytest.raises(UserError, match="not valid TOML"):
        parse(SMALLEST + "[accept\n")


def test_a_missing_file_is_one_sentence(tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "program.toml")


@pytest.mark.parametrize(
    ("path", "glob", "yes"),
    [
        ("train.py", "train.py", True),
        ("a/train.py", "train.py", False),
        ("a/train.py", "*.py", False),
        ("a/train.py", "**/*.py", True),
        ("train.py", "**/*.py", True),
        ("a/b/c.py", "a/**", True),
        ("ab.py", "a?.py", True),
        ("../train.py", "**", False),
        ("/train.py", "**", False),
        ("a//b", "**", False),
    ],
)
def test_globs_match_as_git_users_expect(path: str, glob: str, yes: bool) -> None:
    assert matches(path, glob) is yes


def test_protected_wins_over_editable() -> None:
    program = parse(SMALLEST.replace('["train.py"]', '["**/*.py"]\nprotected = ["evaluate.py"]'))
    assert program.may_edit("model.py")
    assert not program.may_edit("evaluate.py")


@given(st.text(max_size=200))
def test_any_text_is_a_program_or_one_sentence(text: str) -> None:
    with contextlib.suppress(UserError):  # any other exception fails the test
        assert parse(text).train.argv
