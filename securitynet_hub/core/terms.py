"""Words of audits that a newcomer may not know, explained once for terminal, reports and documentation."""

from __future__ import annotations

import re

TERMS = {
    "AUC": "the chance that a score puts a random training image above a random other image; 0.5 is guessing",
    "TPR": "true-positive rate: the share of the training images that an attacker finds",
    "FPR": "false-positive rate: the share of other images that are wrongly taken for training images",
    "member": "an image that the model was trained on; a non-member is one that it was not trained on",
    "blind baseline": "an attempt to tell members from non-members without the model; it should fail",
    "Holm": "a correction for several figures, the best of which would look good by luck alone",
    "p-value": "how often chance alone gives a figure at least as striking",
    "interval": "where the figure lies for all images of that sort; at 95 %, one in twenty misses",
    "power": "the chance that an audit finds a leak of a given size; more images give more power",
    "accuracy gap": "accuracy on training images less accuracy on other images",
    "advantage": "members found less non-members wrongly accused, in shares, at the best threshold",
    "logit": "what a network gives for each class before the softmax turns it into a probability",
    "margin": "how far the logit of the right class lies above the highest other one",
    "loss": "minus the logarithm of the probability of the right class; low for training images",
    "reference model": "a network trained like the audited one on other images, for an attacker to compare",
    "LiRA": "an attack by reference models, some trained with an image and some without it",
    "RMIA": "an attack that compares an image with others, by a few reference models",
    "epsilon": "of differential privacy: how far one image may change what is learnt; 0 is perfect privacy",
    "surrogate": "a copy of a model, trained on the model's answers",
    "agreement": "the share of images on which a copy gives the model's answer",
    "trigger": "a pattern that leads a backdoored model to one class, whatever else the image shows",
    "twin": "a clean copy of the suspected model, trained on its answers to clean images",
    "robust accuracy": "the share of images that keep the right class under every attack within bounds",
    "Linf": "a bound on the change of every single pixel; L2 bounds the length of all changes together",
    "ECE": "calibration error: the mean distance between how sure a network is and how often right",
}
"""Each term and what it means, without a full stop."""


def terms_in(text: str) -> dict[str, str]:
    """Return the terms that a text uses, in the order of `TERMS`.

    >>> list(terms_in("AUC 0.6 (0.5-0.7), corrected for 3 figures (Holm)"))
    ['AUC', 'Holm']
    """
    used = {term for term in TERMS if re.search(rf"(?<!\w){re.escape(term)}s?(?!\w)", text)}
    return {term: told for term, told in TERMS.items() if term in used}


def glossary() -> str:
    """Return all terms as a Markdown list, without a line break at its end."""
    ordered = sorted(TERMS.items(), key=lambda each: each[0].lower())
    return "\n".join(f"- **{term}**: {told}." for term, told in ordered)
