"""The schedule of Neural Cleanse against the authors' loop, written out for one trigger."""

import math

import numpy as np
import pytest

from securitynet_hub.attacks.backdoor.schedule import REFERENCE, Progress, Schedule


def authors_loop(successes, norms, schedule):
    """Give the cost after each step, the best norm and the number of steps, of one trigger."""
    cost, costs, best, before = 0.0, [], math.inf, math.inf
    initial = up = down = idle = 0
    raised = lowered = False
    for step, (rate, norm) in enumerate(zip(successes, norms, strict=True), start=1):
        if rate >= schedule.success_threshold and norm < best:
            best = norm
        if best < math.inf:
            idle = idle + 1 if best >= schedule.stop_threshold * before else 0
        before = min(best, before)
        if schedule.stop_patience is not None and raised and lowered and idle >= schedule.stop_patience:
            return costs, best, step
        if cost == 0 and rate >= schedule.success_threshold:
            initial += 1
            if initial >= schedule.patience:
                cost, up, down, raised, lowered = schedule.first_cost, 0, 0, False, False
        else:
            initial = 0
        if rate >= schedule.success_threshold:
            up, down = up + 1, 0
        else:
            up, down = 0, down + 1
        if up >= schedule.patience:
            up, cost, raised = 0, cost * schedule.multiplier, True
        elif down >= schedule.patience:
            down, cost, lowered = 0, cost / schedule.multiplier**1.5, True
        costs.append(cost)
    return costs, best, len(costs)


@pytest.mark.parametrize("schedule", [REFERENCE, Schedule(stop_threshold=0.9, stop_patience=4, patience=2)])
def test_many_triggers_follow_the_authors_loop_each(schedule):
    rng = np.random.default_rng(0)
    steps, n = 400, 12
    rates = np.repeat(rng.random((steps // 8, n)) < np.linspace(0, 1, n), 8, axis=0).astype(float)
    norms = rng.gamma(5, 10, (steps, n)) * np.linspace(3, 1, steps)[:, None]
    progress, arms, costs = Progress(schedule, n), np.arange(n), [[] for _ in range(n)]
    for k in range(steps):
        better = progress.candidates(arms, rates[k, arms], norms[k, arms])
        done = progress.update(arms, rates[k, arms], norms[k, arms], better)
        for arm in arms[~done]:
            costs[arm].append(progress.cost[arm])
        arms = arms[~done]
    ends = set()
    for arm in range(n):
        expected, best, length = authors_loop(rates[:, arm], norms[:, arm], schedule)
        assert costs[arm] == pytest.approx(expected)
        assert (progress.best[arm], progress.steps[arm]) == (best, length)
        ends.add(length)
    assert len(ends) > 3  # some end early, some late, some never
    assert np.isinf(progress.best[0])


def test_no_cost_before_patience_and_doubling_after():
    progress, arm = Progress(REFERENCE, 1), np.array([0])
    costs = []
    for _ in range(16):
        progress.update(arm, np.array([1.0]), np.array([9.0]), np.array([False]))
        costs.append(progress.cost[0])
    # The step that sets the first cost counts as the first of the five successes that double it.
    assert costs[:4] == [0] * 4
    assert costs[4:8] == [1e-3] * 4
    assert costs[8:13] == [2e-3] * 5


def test_failures_lower_the_cost_by_the_multiplier_to_the_power_of_one_and_a_half():
    progress, arm = Progress(REFERENCE, 1), np.array([0])
    progress.cost[:] = 1.0
    for _ in range(5):
        progress.update(arm, np.array([0.98]), np.array([9.0]), np.array([False]))
    assert progress.cost[0] == pytest.approx(2**-1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"batches": -1},
        {"success_threshold": 0},
        {"multiplier": 1},
        {"first_cost": 0},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValueError, match="; got "):
        Schedule(**wrong)
