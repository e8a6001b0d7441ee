"""The judge: better, allowed, enough evidence, the noise, hopeless. Pure: values in, values out."""

from autoresearchd.judge import halves
from autoresearchd.judge.accept import decide, decide_baseline, missing_baseline_seeds, refused
from autoresearchd.judge.additivity import Fate, Tally, added, fate, gain_of, standing, tally
from autoresearchd.judge.composite import composed, reference
from autoresearchd.judge.constraints import reads_curves
from autoresearchd.judge.contention import MOST_REPEATS, contended
from autoresearchd.judge.curves import hopeless
from autoresearchd.judge.decision import Conclude, Decision, Measure, Rules, Samples, Side
from autoresearchd.judge.edits import improper
from autoresearchd.judge.halves import Effect, Seen
from autoresearchd.judge.metric import value
from autoresearchd.judge.seeds import unselected_seed
from autoresearchd.judge.spread import Spread, estimate

__all__ = [
    "MOST_REPEATS",
    "Conclude",
    "Decision",
    "Effect",
    "Fate",
    "Measure",
    "Rules",
    "Samples",
    "Seen",
    "Side",
    "Spread",
    "Tally",
    "added",
    "composed",
    "contended",
    "decide",
    "decide_baseline",
    "estimate",
    "fate",
    "gain_of",
    "halves",
    "hopeless",
    "improper",
    "missing_baseline_seeds",
    "reads_curves",
    "reference",
    "refused",
    "standing",
    "tally",
    "unselected_seed",
    "value",
]
