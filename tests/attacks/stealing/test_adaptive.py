"""Knockoff's bandit: its update by hand, its rewards by brute force, and that it does not collapse."""

import math

import numpy as np
import pytest

from securitynet_hub.attacks.stealing.adaptive import GroupBandit, reward

RNG = np.random.default_rng(2)


def softmax(rows):
    return np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)


class TestReward:
    def test_by_hand(self):
        """Certainty 0, .8; diversity .2 both; loss log 2 both: only certainty varies, a third of 0 and 1."""
        answers = np.array([[0.5, 0.5], [0.9, 0.1]])
        np.testing.assert_allclose(reward(answers, np.full((2, 2), 0.5)), [0, 1 / 3], atol=1e-12)

    def test_brute_force(self):
        y, q = (softmax(RNG.normal(0, 2, (9, 4))) for _ in range(2))
        mean = [sum(row[k] for row in y) / 9 for k in range(4)]
        parts = [
            [sorted(row)[-1] - sorted(row)[-2] for row in y],
            [sum(max(0, row[k] - mean[k]) for k in range(4)) for row in y],
            [-sum(y[i, k] * math.log(q[i, k]) for k in range(4)) for i in range(9)],
        ]  # fmt: skip
        scaled = [[(v - min(part)) / (max(part) - min(part)) for v in part] for part in parts]
        np.testing.assert_allclose(reward(y, q), np.mean(scaled, axis=0))

    def test_equal_answers_are_worth_the_same_and_nothing_breaks(self):
        np.testing.assert_array_equal(reward(np.full((5, 3), 1 / 3), np.full((5, 3), 1 / 3)), np.zeros(5))
        assert reward(np.eye(2), np.eye(2)[::-1]).tolist() == [0, 0]  # log 0 is clipped
        assert np.isfinite(reward(np.eye(3), np.eye(3)[[1, 1, 1]])).all()


class TestBandit:
    def test_the_update_by_hand(self):
        bandit = GroupBandit([0, 0, 1, 1], 4, seed=0)
        groups = (bandit.choose(2) >= 2).astype(int)
        answers = np.array([[0.5, 0.5], [0.9, 0.1]])
        preferences, drawn = np.zeros(2), np.zeros(2)
        for group, advantage in zip(groups, [-1 / 6, 1 / 6], strict=True):  # rewards 0, 1/3
            drawn[group] += 1
            for b in (0, 1):
                preferences[b] += advantage / drawn[group] * ((b == group) - 0.5)
        left = np.array([np.sum(groups == group) < 2 for group in (0, 1)])
        bandit.learn(answers, np.full((2, 2), 0.5))
        expected = softmax(preferences) * left
        np.testing.assert_allclose(bandit.chances, expected / expected.sum())

    def test_every_image_once_and_no_more(self):
        bandit = GroupBandit(RNG.integers(0, 5, 100), 100, seed=1)
        picked = np.concatenate([bandit.choose(30), bandit.choose(70)])
        assert sorted(picked.tolist()) == list(range(100))

    def test_what_pays_is_drawn_more_often_and_the_rest_still(self):
        groups = np.repeat([3, 7, 9], 2000)  # any integers
        bandit = GroupBandit(groups, 6000, seed=3)
        for _ in range(20):
            picked = bandit.choose(50)
            sure = np.where(groups[picked] == 7, 0.95, 0.5)[:, None]
            bandit.learn(np.hstack([sure, 1 - sure]), np.full((50, 2), 0.5))
        assert bandit.chances[1] > 0.4
        assert bandit.chances.min() > 0.01

    def test_one_group_is_random(self):
        bandit = GroupBandit(np.zeros(50, int), 50)
        assert bandit.chances.tolist() == [1]
        assert len(set(bandit.choose(50).tolist())) == 50

    def test_seeds(self):
        one, same, other = (GroupBandit(np.arange(50) % 4, 50, seed=s).choose(20) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert one.tolist() != other.tolist()


@pytest.mark.parametrize("groups", [None, [0, 1], [0.5, 1, 2], [[0, 1, 2]]])
def test_groups_that_do_not_fit(groups):
    with pytest.raises(ValueError, match="needs groups, 3 integers, one for each image of the pool; got"):
        GroupBandit(groups, 3)
