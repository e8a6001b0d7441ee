"""Why nothing is started now, and why nothing new may begin at all. Pure."""

from __future__ import annotations

from autoresearchd.blame import failures_of_best, finished
from autoresearchd.judge import value
from autoresearchd.world import World

BASELINE_GONE = (
    "the baseline's branch is missing; bring it back from a backup, or where nothing was imported by "
    "`git branch exp/0000-measure-the-baseline refs/autoresearch/newest` in experiments.git"
)
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 10.0, 1800.0


def hold(world: World) -> tuple[str, float] | None:
    """Why no training is started and until when (Unix time; infinity: until somebody acts); None when all is well."""
    if world.health.trouble:
        return world.health.trouble, float("inf")
    if world.orders.paused:
        return "paused", float("inf")
    if world.baseline_tree is None and world.is_begun:
        return BASELINE_GONE, float("inf")
    if world.unbacked:
        return world.unbacked, float("inf")
    failures = failures_of_best(world)
    if not failures:
        return None
    wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** (len(failures) - 1), LONGEST_BACKOFF_SECONDS)
    until = failures[-1].started + failures[-1].wall_seconds + wait
    return f"best itself does not train: {failures[-1].why or failures[-1].ending}", until


def closing(world: World) -> str:
    """Why nothing new may begin: somebody said so, or best is as good as the program asked."""
    metric = world.program.metric
    if world.orders.closing or metric.target is None or any(opened.experiment.is_baseline for opened in world.opened):
        return world.orders.closing
    runs = finished(world.of(world.best_tree))
    numbers = [number for run in runs if (number := value(run, metric.name)) is not None]
    mean = sum(numbers) / len(numbers) if numbers else None
    if mean is None or metric.direction.gain(mean, metric.target) < 0:
        return ""
    return f"{metric.name} reached {mean:.6f}, the target was {metric.target}"
