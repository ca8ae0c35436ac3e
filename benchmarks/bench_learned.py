"""The network on all posteriors beside the Adversarial Robustness Toolbox's, on one target's answers.

Run with ``make bench``; skipped without ``adversarial-robustness-toolbox`` (``pip install --no-deps``, and
``six``, do). Both are fitted on the same samples and judge the same others, in one thread each; the ratio is
of the processor's time, imports left out.
"""

import time
import warnings

import numpy as np
import pytest
from support.speed_comparison import tell

from securitynet_hub import load_target
from securitynet_hub.attacks.membership.learned import fit_learned_attack
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.inference import predict
from securitynet_hub.statistics.rates import roc_auc

TARGET = "zoo/fashion-mnist/cnn-overfitted-1000/1"


def answers():
    target = load_target(TARGET)
    data = known_data(target.annotation)
    rows = data.split.indices
    logits = predict(target, data.images.pixels[rows])
    known = np.zeros(len(rows), bool)
    known[np.random.default_rng(0).permutation(len(rows))[: len(rows) // 2]] = True
    return logits, data.images.labels[rows], data.split.is_member, known


def peer(logits, labels, is_member, known):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
        from art.estimators.classification import BlackBoxClassifier

        shifted = np.exp(logits - logits.max(1, keepdims=True))
        posteriors = (shifted / shifted.sum(1, keepdims=True)).astype(np.float32)
        table = BlackBoxClassifier(lambda x: posteriors, (1,), posteriors.shape[1])
        attack = MembershipInferenceBlackBox(table, attack_model_type="nn")
        members, others = known & is_member, known & ~is_member
        attack.fit(
            x=None,
            y=labels[members],
            test_x=None,
            test_y=labels[others],
            pred=posteriors[members],
            test_pred=posteriors[others],
        )
        scores = attack.infer(None, labels[~known], pred=posteriors[~known], probabilities=True)
    return np.asarray(scores).ravel()


def test_fitting_and_scoring():
    pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")
    from art.attacks.inference import membership_inference  # noqa: F401 (its import is not timed)

    logits, labels, is_member, known = answers()

    def ours():
        attack = fit_learned_attack(
            "mlp_full", logits[known], labels[known], is_member[known], from_logits=True
        )
        return attack.score(logits[~known], labels[~known], from_logits=True)

    ours()
    started = time.process_time()
    theirs = peer(logits, labels, is_member, known)
    middle = time.process_time()
    scores = ours()
    ended = time.process_time()
    aucs = [roc_auc(each, is_member[~known]) for each in (scores, theirs)]
    print(f"\n  AUC {aucs[0]:.3f}, peer {aucs[1]:.3f}", end="")
    assert aucs[0] > aucs[1]
    assert tell("network on posteriors", ended - middle, middle - started, "ART") > 3
