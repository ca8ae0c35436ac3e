"""Selection: each strategy as defined, without replacement, decided by the seed."""

import numpy as np
import pytest

from securitynet_hub.attacks.stealing import selection
from securitynet_hub.attacks.stealing.selection import STRATEGIES, select
from securitynet_hub.core.errors import UnknownNameError

RNG = np.random.default_rng(2)
N = 80
POSTERIORS = RNG.dirichlet(np.ones(5), N)
CHOSEN = RNG.permutation(N)[:15]
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def chosen_by(strategy, n=20, **changes):
    settings = {"pool_size": N, "knowledge": POSTERIORS, "chosen": CHOSEN, "seed": 1}
    return select(strategy, n, **(settings | changes))


@each_strategy
class TestEvery:
    def test_none_twice_and_none_that_was_chosen(self, strategy):
        picked = chosen_by(strategy)
        assert len(set(picked.tolist())) == 20
        assert not set(picked.tolist()) & set(CHOSEN.tolist())

    def test_everything_is_reached(self, strategy):
        """First and last positions included."""
        picked = chosen_by(strategy, N - 15)
        assert sorted([*picked, *CHOSEN]) == list(range(N))
        assert len(chosen_by(strategy, 0)) == 0

    def test_the_seed_decides_and_the_global_state_stays(self, strategy):
        before = np.random.get_state()[1].copy()
        flat = np.full((N, 5), 0.2)  # nothing to choose by: the seed breaks the ties
        one, again, other = (chosen_by(strategy, knowledge=flat, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert set(one.tolist()) != set(other.tolist())
        np.testing.assert_array_equal(np.random.get_state()[1], before)

    def test_a_shorter_request_is_the_beginning_of_a_longer_one(self, strategy):
        np.testing.assert_array_equal(chosen_by(strategy, 7), chosen_by(strategy, 20)[:7])

    def test_inputs_are_left_as_they_were(self, strategy):
        before = POSTERIORS.copy(), CHOSEN.copy()
        chosen_by(strategy)
        np.testing.assert_array_equal(POSTERIORS, before[0])
        np.testing.assert_array_equal(CHOSEN, before[1])

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"n": 66}, r"n must lie in 0\.\.65, the images left of 80 after 15; got 66"),
            ({"n": -1}, "n must lie in"),
            ({"chosen": [3, 3]}, r"positions in 0\.\.79, each once"),
            ({"chosen": [80]}, "positions in"),
            ({"chosen": [-1]}, "positions in"),
        ],
    )
    def test_refusals(self, strategy, changes, sentence):
        with pytest.raises(ValueError, match=sentence):
            chosen_by(strategy, **changes)


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
class TestInformed:
    def test_the_order_of_the_pool_does_not_matter(self, strategy):
        order = RNG.permutation(N)
        place = np.argsort(order)  # image i of the pool stands at place[i] afterwards
        moved = chosen_by(strategy, knowledge=POSTERIORS[order], chosen=place[CHOSEN])
        np.testing.assert_array_equal(order[moved], chosen_by(strategy))

    def test_the_order_of_the_classes_does_not_matter(self, strategy):
        turned = chosen_by(strategy, knowledge=POSTERIORS[:, ::-1])
        np.testing.assert_array_equal(turned, chosen_by(strategy))

    @pytest.mark.parametrize(
        ("knowledge", "sentence"),
        [
            (None, "needs knowledge of the images"),
            (POSTERIORS[1:], r"shape \(80, d\), a row per image; got \(79, 5\)"),
            (POSTERIORS[:, 0], "a row per image"),
            (np.where(np.arange(N) == 4, np.nan, POSTERIORS.T).T, r"1 row\(s\) \(4\) hold NaN"),
        ],
    )
    def test_refusals(self, strategy, knowledge, sentence):
        with pytest.raises(ValueError, match=sentence):
            chosen_by(strategy, knowledge=knowledge)


def test_random_is_uniform():
    """Every image is picked about equally often, whatever its posteriors."""
    picks = np.concatenate([select("random", 10, pool_size=40, seed=seed) for seed in range(400)])
    counts = np.bincount(picks, minlength=40)
    assert 60 < counts.min() <= counts.max() < 145  # 100 expected, standard deviation 8.7


@pytest.mark.parametrize(
    ("strategy", "score"),
    [
        ("uncertainty", lambda p: -sum(q * np.log(q) for q in p)),
        ("margin", lambda p: sorted(p)[-2] - sorted(p)[-1]),
    ],
)
def test_the_least_known_come_first(strategy, score):
    left = [i for i in range(N) if i not in CHOSEN]
    expected = sorted(left, key=lambda i: -score(POSTERIORS[i]))[:20]
    np.testing.assert_array_equal(chosen_by(strategy), expected)


def test_entropy_and_margin_differ_where_they_should():
    """Two even rivals have the smallest margin; spread over all classes is the largest entropy."""
    posteriors = [[0.45, 0.45, 0.1, 0.0, 0.0], [0.28, 0.18, 0.18, 0.18, 0.18]]
    assert select("margin", 1, pool_size=2, knowledge=posteriors) == [0]
    assert select("uncertainty", 1, pool_size=2, knowledge=posteriors) == [1]


class TestCentres:
    def brute(self, features, chosen, n):
        centres, picked = list(chosen), []
        for _ in range(n):
            left = [i for i in range(len(features)) if i not in centres]
            far = [min(np.linalg.norm(features[i] - features[c]) for c in centres) for i in left]
            picked.append(left[int(np.argmax(far))])
            centres.append(picked[-1])
        return picked

    @pytest.mark.parametrize("block", [1, 500, 1 << 22])
    def test_brute_force_in_any_blocks(self, monkeypatch, block):
        monkeypatch.setattr(selection, "BLOCK_ELEMENTS", block)
        np.testing.assert_array_equal(chosen_by("k_centre"), self.brute(POSTERIORS, CHOSEN, 20))

    def test_the_first_centre_is_the_seed_s(self):
        firsts = {int(chosen_by("k_centre", 1, chosen=[], seed=seed)[0]) for seed in range(20)}
        assert len(firsts) > 5
        picked = chosen_by("k_centre", 10, chosen=[])
        np.testing.assert_array_equal(picked[1:], self.brute(POSTERIORS, picked[:1], 9))

    def test_no_image_is_far_from_its_centre(self):
        """At most twice the distance of the best centres: of five tight groups each gets one."""
        groups = np.repeat(np.arange(5), 16)
        features = 100.0 * groups[:, None] + RNG.normal(0, 0.1, (N, 2))
        assert set(groups[chosen_by("k_centre", 5, knowledge=features, chosen=[])]) == set(range(5))

    def test_duplicates_come_last(self):
        features = np.array([[0.0], [0.0], [1.0], [1.0], [5.0]])
        picked = select("k_centre", 4, pool_size=5, knowledge=features, chosen=[0])
        assert picked[0] == 4
        assert picked[1] in (2, 3)
        assert {1, 2, 3} == set(picked[1:].tolist())

    def test_large_offsets_lose_no_digits(self):
        """Differences are taken before squares: |x|^2 + |c|^2 - 2 x c would round to nothing."""
        features = 1e9 + np.array([[0.0], [1.0], [3.0], [7.0]])
        picked = select("k_centre", 3, pool_size=4, knowledge=features, chosen=[0])
        np.testing.assert_array_equal(picked, [3, 2, 1])


def test_an_unknown_strategy():
    with pytest.raises(UnknownNameError, match="Did you mean 'k_centre'"):
        select("k_center", 1, pool_size=2)
