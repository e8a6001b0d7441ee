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


def verdict(model: Model, committed: Array | None = None) -> str:
    """What the audit says of a model, and of costs that it committed itself to; empty where it is believed."""
    batch = texts()
    honest = evaluate.cost(model(batch.tokens), batch.targets)
    nats = honest if committed is None else committed
    try:
        evaluate.audit(Answers(model), [batch], nats, LETTERS, close=1e-4)
    except Dishonest as error:
        return str(error)
    return ""


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
    assert verdict(honest) == ""


def test_a_look_at_the_next_letter_is_seen_by_changing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "check_order")
    # One position is tried at a time, drawn anew; after the last of a row there is nothing to change.
    assert any("change with later tokens" in verdict(peeks) for _ in range(20))


def test_were_it_not_it_would_be_seen_by_shuffling(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "probe")
    assert "shuffled text costs no more" in verdict(peeks)


def test_with_both_off_it_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "probe", "check_order")
    assert verdict(peeks) == ""


def test_a_cost_that_was_made_up_is_seen_by_adding_it_up_again() -> None:
    assert "a fresh process finds other costs" in verdict(knows_nothing, committed=np.full(ROWS, 0.1))


def test_with_that_off_it_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "check_agreement")
    assert verdict(knows_nothing, committed=np.full(ROWS, 0.1)) == ""


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
