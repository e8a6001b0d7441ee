"""When a crash is given back to who thought of the experiment, and what is done with the answer. Pure.

The experiment stays open meanwhile and wants no device, so nothing waits; a restart asks again. How often it was mended
is in its commit, so no restart forgets that either.
"""

from __future__ import annotations

from autoresearchd.actions import Action, ApplyFix, AskFix, ConcludeExperiment
from autoresearchd.experiment import LLM, Experiment, Outcome, Verdict
from autoresearchd.world import World

MENDABLE = frozenset({Outcome.CRASH, Outcome.OUT_OF_MEMORY})
"""Accidents of the code, with a traceback; a training that diverges or is too slow says something about the idea."""


def concluded_or_mended(world: World, experiment: Experiment, verdict: Verdict, *, idle: bool) -> Action | None:
    """The verdict, or the correction that comes before it; None while one is awaited. When `idle` none is asked for."""
    if not _is_mendable(world, experiment, verdict):
        return ConcludeExperiment(experiment=experiment, verdict=verdict)
    if experiment.commit in world.ideas.fixes:
        correction = world.ideas.fixes[experiment.commit]
        if correction is None:
            return ConcludeExperiment(experiment=experiment, verdict=verdict)
        return ApplyFix(experiment=experiment, verdict=verdict, correction=correction)
    if idle or experiment.commit in world.ideas.fixes_asked:
        return None
    return AskFix(experiment=experiment, verdict=verdict)


def _is_mendable(world: World, experiment: Experiment, verdict: Verdict) -> bool:
    attempts = world.program.propose.llm.fix_attempts
    return verdict.outcome in MENDABLE and experiment.proposer == LLM and experiment.fix_attempts < attempts
