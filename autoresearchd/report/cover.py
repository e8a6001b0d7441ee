"""What goes with commits that leave the lab: what they change, on what evidence, and how to measure it again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from autoresearchd.experiment import Concluded
from autoresearchd.report.words import counted, figure, gain_figure, gain_of, number, plain
from autoresearchd.yardstick import Metric


def cover(
    chosen: Sequence[Concluded],
    metric: Metric,
    *,
    program: str,
    scales: Mapping[int, Mapping[str, str]] = MappingProxyType({}),
    baseline: Concluded | None = None,
) -> str:
    """The text, its first line fit for a commit's subject; `chosen` in the order of history, at least one.

    `scales` is what was measured on larger scales, by number and by rung; `baseline` what best's line begins with.
    """
    rebased = baseline.experiment.rebased if baseline is not None else None
    carried = [row for row in chosen if rebased is not None and row.experiment.number in rebased.carried]
    lines = [_subject(chosen, carried, baseline, metric, program), ""]
    for row in chosen:
        lines += _entry(row, metric)
        above = scales.get(row.experiment.number, {})
        lines += [f"       on {plain(rung)}: {plain(text)}" for rung, text in above.items()]
    if baseline is not None and rebased is not None and carried:
        gain = gain_figure(gain_of(baseline.verdict, metric.direction), baseline.verdict.std_error)
        older = ", ".join(number(row.experiment) for row in carried)
        lines += ["", f"{older}: measured on older code of the project. All that was carried over onto its commit"]
        lines += [f"{rebased.onto[:10]} gains {gain} there, measured as {number(baseline.experiment)}."]
    environments = sorted({plain(row.verdict.environment) for row in chosen} - {""})
    lines += ["", f"Measured with {'; '.join(environments) or 'an environment that was not noted'}."]
    lines += ["Each was compared with the code before it, over several seeds, until the evidence was enough."]
    newest = chosen[-1].experiment.number
    lines += [f"Measure one again, in the folder of its program.toml: autoresearchd reproduce {newest}"]
    return "\n".join(lines) + "\n"


def _subject(
    chosen: Sequence[Concluded],
    carried: Sequence[Concluded],
    baseline: Concluded | None,
    metric: Metric,
    program: str,
) -> str:
    first, last = chosen[0].verdict.baseline, chosen[-1].verdict.metric
    if carried and baseline is not None and baseline.experiment.rebased is not None:
        is_all = len(carried) == len(baseline.experiment.rebased.carried)
        first = baseline.verdict.start if is_all else None
        last = baseline.verdict.metric if chosen[-1] is carried[-1] else last
    what = f"{plain(program)}: {counted(len(chosen), 'measured improvement')} of {metric.compared}"
    return what if first is None or last is None else f"{what}, {figure(first)} to {figure(last)}"


def _entry(row: Concluded, metric: Metric) -> list[str]:
    experiment, verdict = row.experiment, row.verdict
    gain = gain_figure(gain_of(verdict, metric.direction), verdict.std_error)
    sure = f", confidence {verdict.confidence:.4f}" if verdict.confidence is not None else ""
    trust = f"; trust: {plain(verdict.trust)}" if verdict.trust else ""
    return [
        f"  {number(experiment)} {experiment.commit[:10]}  {plain(experiment.title)}",
        f"       {metric.compared} {figure(verdict.metric)} after {figure(verdict.baseline)}, gain {gain}",
        f"       {counted(verdict.runs, 'run')}{sure}{trust}",
    ]
