"""Each check of the audit by itself: what it stops, and that with it off the cheat is believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from nanogpt import apart, evaluate
from nanogpt.contract import Dishonest
from nanogpt.evaluate import Array, Batch

LETTERS, ROWS, LENGTH = 16, 4, 64
Model = Callable[[Array], Array]


class Answers(apart.Peer):
    """The process of a model, without the process."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def ask(
        self, request: apart.Request, arrays: Sequence[Array] = (), *, shape: tuple[int, ...] | None = None
    ) -> Array:
        found = self._model(arrays[0])
        assert (request, found.shape) == ({"do": "logits"}, shape)
        return found


def sure(letters: Array) -> Array:
    return 20.0 * np.eye(LETTERS)[letters]


def counts_on(tokens: Array) -> Array:
    """Honest: the texts of these tests count."""
    return sure((tokens + 1) % LETTERS)


def peeks(tokens: Array) -> Array:
    return sure(np.roll(tokens, -1, axis=1))


def knows_nothing(tokens: Array) -> Array:
    return np.zeros((*tokens.shape, LETTERS))


def texts() -> Batch:
    """Documents that count from different letters."""
    whole = (np.arange(LENGTH + 1) + 3 * np.arange(ROWS)[:, None]) % LETTERS
    return Batch(tokens=whole[:, :-1], targets=whole[:, 1:], documents=np.arange(ROWS))


def audit(model: Model, committed: Array | None = None) -> None:
    batch = texts()
    honest = evaluate.cost(model(batch.tokens), batch.targets)
    nats = honest if committed is None else committed
    evaluate.audit(Answers(model), [batch], nats, LETTERS, close=1e-4)


def twenty_times(model: Model) -> None:
    """One position is tried at a time, drawn anew; after the last of a row there is nothing to change."""
    for _ in range(20):
        audit(model)


def off(patch: pytest.MonkeyPatch, *checks: str) -> None:
    """Without these, as if they had found nothing."""
    nothing = {
        "probe": lambda peer, batch, size, _: (0, 0, evaluate.ask_logits(peer, batch.tokens, size)[0, :1]),
        "check_order": lambda *_: None,
        "check_agreement": lambda *_: None,
    }
    for check in checks:
        patch.setattr(evaluate, check, nothing[check])


@pytest.mark.parametrize("honest", [counts_on, knows_nothing])
def test_an_honest_model_passes(honest: Model) -> None:
    audit(honest)


def test_a_look_at_the_next_letter_is_seen_by_changing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "check_order")
    with pytest.raises(Dishonest, match="change with later tokens"):
        twenty_times(peeks)


def test_were_it_not_it_would_be_seen_by_shuffling(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "probe")
    with pytest.raises(Dishonest, match="shuffled text costs no more"):
        audit(peeks)


def test_with_both_off_it_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "probe", "check_order")
    audit(peeks)


def test_a_cost_that_was_made_up_is_seen_by_adding_it_up_again() -> None:
    with pytest.raises(Dishonest, match="a fresh process finds other costs"):
        audit(knows_nothing, committed=np.full(ROWS, 0.1))


def test_with_that_off_it_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "check_agreement")
    audit(knows_nothing, committed=np.full(ROWS, 0.1))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_probabilities_sum_to_one_whatever_the_logits_are(scale: float) -> None:
    """Summed over every letter that could have come next."""
    logits = scale * np.random.default_rng(0).normal(size=(LETTERS, 1, LETTERS))
    logits[:] = logits[0]
    nats = evaluate.cost(logits, np.arange(LETTERS)[:, None])
    assert np.exp(-nats).sum() == pytest.approx(1.0)


def test_a_sum_that_believed_the_model_would_have_been_cheated() -> None:
    logits = np.full((LETTERS, 1, LETTERS), -0.1)  # as if each were a log probability already
    assert np.exp(-0.1) * LETTERS > 14
    assert evaluate.cost(logits, np.arange(LETTERS)[:, None]) == pytest.approx(np.log(LETTERS))
