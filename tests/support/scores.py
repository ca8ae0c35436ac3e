"""Scores of members and non-members to measure figures on, and a figure by trying everything."""

import numpy as np
from hypothesis import strategies as st

few_distinct = st.lists(
    st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=2, max_size=40
).filter(lambda rows: 0 < sum(member for _, member in rows) < len(rows))


def gaussian(distance, n, n_nonmembers=None, seed=0):
    """n members N(distance, 1) and as many non-members N(0, 1), or another number of them."""
    rng = np.random.default_rng(seed)
    k = n if n_nonmembers is None else n_nonmembers
    scores = np.concatenate([rng.normal(distance, 1, n), rng.normal(0, 1, k)])
    return scores, np.arange(n + k) < n


def brute_tpr(scores, is_member, target):
    """Try every threshold, none included; keep the largest TPR whose FPR is allowed."""
    best = 0.0
    for threshold in [-np.inf, *scores]:
        if np.mean(scores[~is_member] > threshold) <= target:
            best = max(best, np.mean(scores[is_member] > threshold))
    return best
