"""Trying again: how often, how long to wait, and when to stop."""

import time

import pytest

from securitynet_hub.core.retry import RetryPolicy, TransientError, with_retries

POLICY = RetryPolicy(tries=4, first_delay=1.0, max_delay=30.0)


@pytest.fixture
def waits(monkeypatch):
    taken = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


class Server:
    """Fails with the given errors, one an attempt, then answers."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.attempts = 0

    def __call__(self):
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def busy(count):
    return [TransientError("busy") for _ in range(count)]


def test_what_passes_is_waited_for(waits):
    server = Server(*busy(3))
    assert with_retries(server, lambda _: POLICY) == "answer"
    assert (server.attempts, len(waits)) == (4, 3)


def test_what_lasts_is_raised_after_the_last_try(waits):
    server = Server(*busy(9))
    last = server.errors[3]
    with pytest.raises(TransientError) as failure:
        with_retries(server, lambda _: POLICY)
    assert failure.value is last
    assert (server.attempts, len(waits)) == (4, 3)


def test_progress_starts_the_count_anew(waits):
    server = Server(*busy(20))
    assert with_retries(server, lambda _: POLICY, progressed=lambda: server.attempts % 3 == 0) == "answer"
    assert max(waits) <= 4


def test_other_errors_are_not_retried(waits):
    server = Server(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        with_retries(server, lambda _: POLICY)
    assert (server.attempts, waits) == (1, [])


def test_an_error_without_a_policy_is_not_retried(waits):
    server = Server(*busy(1))
    with pytest.raises(TransientError):
        with_retries(server, lambda _: None)
    assert (server.attempts, waits) == (1, [])


def test_waits_grow_with_jitter_up_to_the_longest():
    policy = RetryPolicy(tries=9, first_delay=1.0, max_delay=30.0)
    waits = [policy.delay(failures) for failures in range(1, 9)]
    assert all(min(2**n, 30) / 2 <= wait <= min(2**n, 30) for n, wait in enumerate(waits))
    assert len(set(waits)) == len(waits)


def test_the_server_s_wish_is_honoured_but_not_for_ever(waits):
    with_retries(Server(TransientError("busy", 7), TransientError("busy", 86400)), lambda _: POLICY)
    assert waits == [7, 120]
