"""One policy for trying again what may succeed in a moment, with growing and random pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class TransientError(Exception):
    """An attempt failed for a reason that may pass: a dropped connection, a time-out, a busy server.

    Attributes:
        retry_after: how many seconds the server asks to wait, None if it does not say.
    """

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often an action is tried, and how long to pause between two attempts.

    Attributes:
        tries: attempts in a row without progress, the first one included.
        first_delay: seconds of the longest pause after the first failure; it doubles with each further one.
        max_delay: seconds that this pause does not exceed.
        max_retry_after: seconds that are waited at most where a server asks for a pause.
    """

    tries: int
    first_delay: float
    max_delay: float = 30.0
    max_retry_after: float = 120.0

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after so many failures: half of the longest pause up to all of it.

        The random share keeps clients that failed together from coming back together. The pause is no
        shorter than the one that the server asks for, up to `max_retry_after`.

        >>> policy = RetryPolicy(tries=6, first_delay=1)
        >>> 2 <= policy.delay(3) <= 4, policy.delay(1, 7), policy.delay(1, 9999)
        (True, 7, 120.0)
        """
        longest = min(self.max_delay, self.first_delay * 2.0 ** (failures - 1))
        return max(longest * random.uniform(0.5, 1.0), min(retry_after or 0.0, self.max_retry_after))


def with_retries(
    action: Callable[[], T],
    policy_for: Callable[[TransientError], RetryPolicy | None],
    *,
    progressed: Callable[[], bool] = lambda: False,
) -> T:
    """Return what an action returns, called again after each `TransientError` as its policy says.

    Args:
        action: what to do.
        policy_for: the policy after an error; None if the action must not be tried again after it.
        progressed: called after each failure; True if the attempt came nearer to the end, which starts the
            count of failures anew.

    Raises:
        TransientError: the last one.
    """
    failures = 0
    while True:
        try:
            return action()
        except TransientError as error:
            failures = 1 if progressed() else failures + 1
            policy = policy_for(error)
            if policy is None or failures >= policy.tries:
                raise
            time.sleep(policy.delay(failures, error.retry_after))
