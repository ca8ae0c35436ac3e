"""Absurd arguments to the public statistics end in a sentence, not in another library's error."""

import numpy as np
import pytest
import torch

import securitynet_hub as hub

KNOWN = np.arange(20) < 10


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (torch.empty(20, device="meta"), "meta device"),
        (torch.zeros(20).to_sparse(), "sparse"),
        (np.full(20, np.nan), "finite"),
        (np.full(20, 1j), "real numbers"),
        ([[1, 2], [3]], "rectangular"),
        (np.array([object()] * 20), "real numbers"),
        ("abc", "scores"),
        ({1: 2}, "scores"),
        (None, "scores"),
        ([], "scores"),
    ],
)
def test_scores(scores, sentence):
    with pytest.raises(ValueError, match=sentence):
        hub.statistics.advantage(scores, KNOWN)


@pytest.mark.parametrize(
    "count", [[3, 4], np.arange(3), float("nan"), float("inf"), "abc", b"ab", None, 1j, -1, 2.5, {1: 2}]
)
def test_counts(count):
    with pytest.raises(ValueError, match="must be a count"):
        hub.statistics.wilson_interval(count, 5)
    with pytest.raises(ValueError, match="must be a count"):
        hub.statistics.wilson_interval(0, count if type(count) is not float else -count)
