"""Search over constants: finds more than chance, repeats nothing, stays away from what fails, says what it does."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
import statistics
from collections.abc import Callable, Mapping

import pytest

from autoresearchd.experiment import Outcome
from autoresearchd.proposal import Proposal
from autoresearchd.propose.constants import Constant, Value, find, rewrite
from autoresearchd.propose.space import Space
from tests.propose.fakes import FakeLab, apply
from tests.propose.synthetic import SOURCE, Objective, search, values_of

SMALL = "MATRIX_LR = 0.02\nBATCH_SIZE = 2**16  # tokens\nTIE_WEIGHTS = False\n"
SAMPLERS = ("tpe", "cma-es", "random")


def ask(lab: FakeLab, *pending: Proposal) -> Proposal | None:
    return asyncio.run(Space().propose(lab.context(pending=pending)))


def changed(lab: FakeLab, proposal: Proposal) -> dict[str, Value]:
    before, after = values_of(lab.files), values_of(apply(lab.files, proposal.edits))
    return {name: value for name, value in after.items() if before[name] != value}


def sampler(name: str) -> str:
    return f'[propose.space]\nsampler = "{name}"\n'


def box(constant: Constant) -> tuple[float, float]:
    return constant.range.bounds if constant.range.is_numeric else (0, len(constant.range.choices) - 1)


def by_chance(objective: Objective, *, trials: int, seed: int) -> float:
    """True value of the best of settings drawn from the whole ranges, the author's among them."""
    rng, noise = random.Random(f"chance/{seed}"), random.Random(f"noise/{seed}")
    constants = find({"train.py": SOURCE.encode()})
    drawn = ({c.name: c.range.at(rng.uniform(*box(c))) for c in constants} for _ in range(trials))
    settings = [{c.name: c.value for c in constants}, *drawn]
    best = min(settings, key=lambda setting: objective.true(setting) + noise.gauss(0, objective.noise))
    return objective.true(best)


def test_it_finds_much_more_than_chance_in_thirty_noisy_trials() -> None:
    left_by_space, left_by_chance = [], []
    for seed in range(5):
        objective = Objective.drawn(seed)
        start = objective.true(values_of({"train.py": SOURCE.encode()}))
        lab = search(Space(), objective, trials=30, seed=seed)
        left_by_space.append((objective.true(values_of(lab.files)) - 1) / (start - 1))
        left_by_chance.append((by_chance(objective, trials=30, seed=seed) - 1) / (start - 1))
    # Of what the author left to gain, space leaves 43 % and chance all (means over these seeds).
    assert statistics.fmean(left_by_space) < 0.6
    assert statistics.fmean(left_by_space) < statistics.fmean(left_by_chance) - 0.3


FORETOLD = re.compile(r"expects (\S+) in val_bpb .* of the (\d+) measured .* within (\S+) of what it said\.")


def foretold(true: Callable[[Mapping[str, Value]], float], *, trials: int, seed: int) -> list[tuple[float, ...] | None]:
    """For each trial of a search: the gain that was foretold, its error's bound, and the gain that was measured."""
    rng, found = random.Random(seed), list[tuple[float, ...] | None]()
    lab = FakeLab({"train.py": SOURCE}, value=true(values_of({"train.py": SOURCE.encode()})), seed=seed)
    for _ in range(trials):
        proposal = ask(lab)
        assert proposal is not None
        value = true(values_of(apply(lab.files, proposal.edits))) + rng.gauss(0, 0.004)
        gain = (lab.value_of_best() or 0.0) - value
        said = FORETOLD.search(proposal.rationale)
        found.append((float(said[1]), float(said[3]), gain) if said else None)
        assert (said is None) == ("is not foretold" in proposal.rationale)
        lab.try_proposal(proposal, Outcome.KEEP if gain > 0.008 else Outcome.DISCARD, value)
    return found


def test_no_gain_is_foretold_from_a_few_experiments_nor_where_nothing_matters() -> None:
    assert "1 experiment measured so far" in (ask(FakeLab({"train.py": SOURCE})) or pytest.fail("silent")).rationale
    said = [each for seed in range(2) for each in foretold(lambda values: 1.0, trials=25, seed=seed)]
    assert sum(each is not None for each in said) <= 2


def test_what_is_foretold_comes_about_as_often_as_it_says() -> None:
    nights = [foretold(Objective.drawn(seed).true, trials=26, seed=seed) for seed in (100, 101, 102)]
    assert all(said is None for night in nights for said in night[:10])
    said = [each for night in nights for each in night if each is not None]
    assert len(said) > 15
    inside = sum(abs(gain - expected) < within for expected, within, gain in said)
    assert inside > 0.5 * len(said)  # it says 80 %, and does so in hundreds of trials


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_proposal_is_new_and_small(name: str) -> None:
    lab = search(Space(), Objective.drawn(3), trials=15, seed=3, toml=sampler(name))
    trees = [line.experiment.tree for line in lab.history.lines]
    assert len(set(trees)) == len(trees) == 16
    titles = [line.experiment.title for line in lab.history.lines]
    assert all(0 < len(title) <= 72 for title in titles)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_constant_is_enough_for_a_night(name: str) -> None:
    lab = FakeLab({"train.py": "DECAY = 0.2\n"}, toml=sampler(name))
    for _ in range(40):
        proposal = ask(lab)
        assert proposal is not None, f"silent after {len(lab.history.lines)} experiments"
        lab.try_proposal(proposal, Outcome.DISCARD, 1.1)
    trees = [line.experiment.tree for line in lab.history.lines]
    assert len(set(trees)) == len(trees)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_lab_gives_the_same_proposal(name: str) -> None:
    lab = search(Space(), Objective.drawn(4), trials=12, seed=4, toml=sampler(name))
    assert ask(lab) == ask(lab)


def test_at_most_three_constants_change_at_a_time() -> None:
    lab = FakeLab({"train.py": SOURCE})
    for _ in range(8):
        proposal = ask(lab)
        assert proposal is not None
        assert 1 <= len(changed(lab, proposal)) <= 3
        lab.try_proposal(proposal, Outcome.DISCARD, 1.1)


def test_what_is_waiting_is_not_proposed_again() -> None:
    lab = FakeLab({"train.py": SMALL})
    pending: list[Proposal] = []
    for _ in range(12):
        proposal = ask(lab, *pending)
        assert proposal is not None
        pending.append(proposal)
    assert len({proposal.edits for proposal in pending}) == 12


def test_an_open_experiment_is_not_proposed_again() -> None:
    lab = FakeLab({"train.py": "TIE_WEIGHTS = False\n"})
    files = {"train.py": b"TIE_WEIGHTS = True\n"}
    experiment = lab.experiment(files)
    lab.history.trees[experiment.tree] = files
    context = dataclasses.replace(lab.context(), pending=(experiment,))
    assert asyncio.run(Space().propose(context)) is None


def test_a_value_spelled_otherwise_is_still_the_same_tree() -> None:
    lab = FakeLab({"train.py": "LR = 0.02\n"}, toml="[propose.space.constants]\nLR = {choices = [0.02, 0.04]}\n")
    lab.try_files({"train.py": "LR = 4e-2\n"}, Outcome.DISCARD, 1.1)
    assert ask(lab) is None


def test_without_constants_there_is_nothing_to_say() -> None:
    assert ask(FakeLab({"train.py": "print('no constants here')\n"})) is None


def test_the_title_says_the_change_as_the_source_spells_it() -> None:
    lab = FakeLab({"train.py": "BATCH_SIZE = 2**16\n"})
    proposal = ask(lab)
    assert proposal is not None
    assert re.fullmatch(
        r"Raise BATCH_SIZE from 2\*\*16 to 2\*\*1\d|Lower BATCH_SIZE from 2\*\*16 to 2\*\*1\d", proposal.title
    )
    assert proposal.category == "hyperparameter"
    assert "BATCH_SIZE was not moved before" in proposal.rationale


def memory_of(values: dict[str, Value]) -> float:
    """MiB; doubles with BATCH_SIZE."""
    return 10_000 * float(values["BATCH_SIZE"]) / 2**16


def night_with_memory(lab: FakeLab, limit: float, trials: int, memory_mib: float | None) -> list[float]:
    """Memory that each trial would have needed; those over the limit end out of memory."""
    wanted = []
    for _ in range(trials):
        proposal = asyncio.run(Space().propose(dataclasses.replace(lab.context(), memory_mib=memory_mib)))
        if proposal is None:
            break
        values = values_of(apply(lab.files, proposal.edits))
        need = memory_of(values)
        wanted.append(need)
        if need > limit:
            lab.try_proposal(proposal, Outcome.OUT_OF_MEMORY, None)
            continue
        better = float(values["BATCH_SIZE"]) > 2**15
        lab.try_proposal(proposal, Outcome.DISCARD, 0.99 if better else 1.1, peak_memory_mib=need)
    return wanted


def lab_with_memory() -> FakeLab:
    lab = FakeLab({"train.py": SOURCE})
    run = lab.history.runs[lab.best_tree][0]
    metrics = {**run.metrics, "peak_memory_mib": 10_000.0}
    lab.history.runs[lab.best_tree][0] = dataclasses.replace(run, metrics=metrics)
    return lab


def test_where_the_memory_is_known_hardly_a_trial_overflows() -> None:
    wanted = night_with_memory(lab_with_memory(), limit=15_000, trials=25, memory_mib=15_000.0)
    assert len(wanted) == 25
    assert sum(need > 15_000 for need in wanted) <= 1


def test_a_region_that_ran_out_of_memory_is_left_alone() -> None:
    wanted = night_with_memory(lab_with_memory(), limit=15_000, trials=25, memory_mib=None)
    assert len(wanted) == 25
    assert sum(need > 15_000 for need in wanted) <= 2


def test_a_memory_constraint_keeps_trials_below_it() -> None:
    lab = FakeLab({"train.py": SOURCE}, toml='[[constraint]]\nmetric = "peak_memory_mib"\nmax = 12000\n')
    lab.history.runs.update(lab_with_memory().history.runs)
    wanted = night_with_memory(lab, limit=12_000, trials=15, memory_mib=None)
    assert sum(need > 12_000 for need in wanted) <= 1


@pytest.mark.parametrize("outcome", [Outcome.UNSTABLE, Outcome.CRASH, Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY])
def test_a_failed_change_is_never_taken_farther(outcome: Outcome) -> None:
    lab = FakeLab({"train.py": SMALL})
    lab.try_files({"train.py": SMALL.replace("0.02", "0.03")}, outcome, None)
    for _ in range(15):
        proposal = ask(lab)
        if proposal is None:
            break
        assert values_of(apply(lab.files, proposal.edits))["MATRIX_LR"] < 0.03  # type: ignore[operator]
        lab.try_proposal(proposal, Outcome.DISCARD, 1.01)
    assert lab.count > 5


@pytest.mark.parametrize("name", SAMPLERS)
def test_failures_do_not_drag_the_search_away(name: str) -> None:
    lab = FakeLab({"train.py": SMALL}, toml=sampler(name))
    for text in ("0.08", "0.16", "0.3"):
        lab.try_files({"train.py": SMALL.replace("0.02", text)}, Outcome.CRASH, None)
    proposal = ask(lab)
    assert proposal is not None
    assert changed(lab, proposal)


def test_a_change_of_code_counts_for_no_constant() -> None:
    """The gain of new code must not make the constant that changed with it look good."""
    lab = FakeLab({"train.py": "MATRIX_LR = 0.02\n"})
    lab.try_files({"train.py": "MATRIX_LR = 0.04\nprint(1)\n"}, Outcome.DISCARD, 0.9)
    proposal = ask(lab)
    assert proposal is not None
    assert "MATRIX_LR was not moved before" in proposal.rationale


def test_a_fixed_constant_stays() -> None:
    lab = FakeLab({"train.py": SMALL}, toml="[propose.space.constants]\nMATRIX_LR = {fixed = true}\n")
    for _ in range(8):
        proposal = ask(lab)
        if proposal is None:
            break
        assert "MATRIX_LR" not in changed(lab, proposal)
        lab.try_proposal(proposal, Outcome.DISCARD, 1.1)
    assert lab.count > 3


def test_a_proposal_is_rewritten_source_and_nothing_else() -> None:
    lab = FakeLab({"train.py": SMALL, "README.md": "hello"})
    proposal = ask(lab)
    assert proposal is not None
    constants = {c.name: c for c in find(lab.files)}
    values = {constants[name]: value for name, value in changed(lab, proposal).items()}
    assert proposal.edits == rewrite(lab.files, values)
    assert (proposal.parent, proposal.proposer) == (lab.best, "space")
