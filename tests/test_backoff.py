"""What could not be done is left alone for a while, longer each time, until it is done once."""

from __future__ import annotations

from autoresearchd.backoff import Backoff


def rests(backoff: Backoff, *, since: float, failures: int) -> list[float]:
    """How long each rest lasts where it is tried again as soon as the one before is over."""
    found, now = list[float](), since
    for _ in range(failures):
        backoff.failed(OSError("no room"), now=now)
        end = now
        while backoff.why(end):
            end += 1.0
        found.append(end - now)
        now = end
    return found


def test_each_failure_doubles_the_rest_up_to_the_longest() -> None:
    assert rests(Backoff(first_seconds=30.0, longest_seconds=100.0), since=1000.0, failures=4) == [30, 60, 100, 100]


def test_once_it_was_done_the_next_rest_is_a_first_one_again() -> None:
    backoff = Backoff(first_seconds=30.0, longest_seconds=100.0)
    rests(backoff, since=1000.0, failures=3)
    backoff.succeeded()
    assert rests(backoff, since=2000.0, failures=1) == [30]


def test_what_fails_while_it_rests_says_the_newest_reason_and_rests_no_longer() -> None:
    backoff = Backoff(first_seconds=30.0, longest_seconds=100.0)
    assert backoff.why(1000.0) == ""
    backoff.failed(OSError("no room"), now=1000.0)
    backoff.failed(OSError("no permission"), now=1010.0)
    assert backoff.why(1039.0) == "no permission"
    assert backoff.why(1040.0) == ""


def test_the_same_reason_is_given_in_the_same_words_whatever_file_was_tried() -> None:
    backoff, said = Backoff(first_seconds=30.0, longest_seconds=100.0), set[str]()
    for name in ("tmp_object_git2_fa36d005ab26b597", "tmp_object_git2_4528080fd7c6a156"):
        backoff.failed(OSError(f"failed to create temporary file '/lab/objects/{name}': Read-only"), now=1000.0)
        said.add(backoff.why(1000.0))
    assert said == {"failed to create temporary file '/lab/objects/tmp_object_git2_*': Read-only"}
