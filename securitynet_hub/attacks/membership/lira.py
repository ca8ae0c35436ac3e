"""The likelihood-ratio attack (LiRA): was the target's signal drawn from the IN or the OUT shadow models?

Carlini et al. (2022), arXiv 2112.03570. The signal is the margin ``phi = log p_y - log sum_{i != y} p_i``,
which is nearly normal over models trained on random halves of the data.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.reference_models import (
    BLOCK,
    Counts,
    References,
    check_references,
    ranked_side,
)
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.shares import Share, alone
from securitynet_hub.statistics.signals import Outputs

Mode = Literal["online", "offline", "offline_two_sided"]
Variance = Literal["per_example", "global_centred", "reference", "bayesian"]
Centre = Literal["median", "mean"]

SMALLEST_SCALE = 1e-30
"""Added to every deviation, as in Carlini et al.'s code, so that constant signals give finite scores."""

SMALLEST_RATE = 1e-300
"""Stands for the mass of an empty interval, so that its logarithm is finite."""

MOST_DEGREES = 1e6
"""Used in place of infinitely many degrees of freedom, if all samples seem to share one variance."""

FEWEST_MODELS = {"per_example": 2, "global_centred": 2, "reference": 1, "bayesian": 1}
"""Minimum number of models for each sample on each side that the mode uses."""


def lira_scores(
    target_phi: Outputs,
    shadow_phi: Outputs,
    shadow_in: Outputs,
    *,
    mode: Mode = "online",
    variance: Variance = "per_example",
    centre: Centre | None = None,
    calibrated: bool = False,
    cut: bool = False,
    requested_models: int | None = None,
    share: Share = alone,
) -> Scores:
    """Score each sample by the likelihood of the target's signal under IN and OUT shadow models.

    From Carlini et al. 2022, arXiv 2112.03570. With mu the `centre` of a sample's signals over the models of
    a side and sigma their standard deviation:

    - ``online`` (Algorithm 1): ``log N(phi; mu_in, sigma_in) - log N(phi; mu_out, sigma_out)``.
    - ``offline`` (the one-sided test, which needs no model trained on the sample): ``-log Pr[Z > phi]`` with
      ``Z ~ N(mu_out, sigma_out)``. This increases with the paper's ``1 - Pr[Z > phi]``, but does not round
      to one for members, which lie about 8 deviations out.
    - ``offline_two_sided``: ``-log N(phi; mu_out, sigma_out)``, which the authors' code computes instead.
      It gives a high score to unusually low signals, too.

    Augmentations of one sample are scored one by one and averaged, as in the authors' code. The ranking
    equals that of independent normals for every augmentation, as the sum is a fixed multiple of the mean.

    The deviation sigma, to which 1e-30 is added:

    - ``per_example``: one for each sample and augmentation, about the mean, divided by the number of models
      (ddof 0).
    - ``global_centred``: one for each side, of all signals about their own sample's centre (ddof 0). It is
      better if there are few models.
    - ``reference``: as in the authors' code with ``fix_variance``, to reproduce published figures: one for
      each side, of all signals *without* centring, so that it measures the differences between samples rather
      than those between models; and online the IN deviation is used for OUT, too.
    - ``bayesian``: a Student-t predictive distribution replaces the normal. Each variance has an
      inverse-gamma prior, ``d0 s0^2 / sigma^2 ~ chi^2(d0)``, and the mean a flat prior. So a sample with n
      models, squares S about their mean and ``d = d0 + n - 1`` has ``phi ~ mu + t_d sqrt((d0 s0^2 + S) / d
      (1 + 1/n))`` (Murphy 2007, Conjugate Bayesian analysis of the Gaussian distribution). d0 and s0 are
      estimated for each side from the log variances of all samples (Smyth 2004, doi 10.2202/1544-6115.1027,
      section 6.2). It follows the idea of BaVarIA (Brannvall 2026, arXiv 2603.11799), not its constants.
      It suits small numbers of models; one on each side is enough.

    **Calibrated.** One threshold for the likelihood ratios of all samples accuses some non-members far more
    often than others, since the ratio of each sample has its own distribution (Jalko et al. 2026, arXiv
    2605.25819). With `calibrated`, the online score is ``-log p``, where
    ``p = Pr[log-ratio(t) >= log-ratio(phi)]`` for ``t ~ N(mu_out, sigma_out)``: the false-positive rate at
    which this very sample is accused. So ``score >= -log f`` accuses each non-member with probability f, as
    far as the normal is right. Both densities being normal, p is the mass of an interval or of what lies
    outside it. This is derived here; the paper's own correction could not be read. With several
    augmentations, the mean of their ``-log p`` is no longer calibrated. ``offline`` scores are so already.

    **Uneven counts.** The authors' code cuts every sample's IN and OUT signals to the smallest number that
    any sample has, in the order of the models (``cut=True``). By default all models of a sample count,
    whatever others have, so that the order of the models does not matter. Where every sample is in exactly
    half of the models, as in the authors' experiments, the two agree.

    Args:
        target_phi: shape (n,) or (n, augmentations), the margins of the target.
        shadow_phi: shape (models, n) or (models, n, augmentations).
        shadow_in: shape (models, n), True where the sample was in that model's training set.
        mode: see above.
        variance: see above.
        centre: median or mean. Default: the median, as in the authors' code; the mean for ``bayesian``, as
            its formula requires.
        calibrated: make the scores of all samples comparable; online and with a normal only.
        cut: whether every sample uses equally many models on each side: the smallest number of any sample.
        requested_models: intended number of shadow models.
        share: who scores which block of samples, such as `engine.processes.share_out`; by default this
            process scores all. The scores are the same to the bit.

    Returns:
        Shape (n,), float64, higher = more likely a member. Online, swapping IN and OUT negates the scores
        exactly (except with ``reference``). The order of models and samples does not matter (except that
        of models with `cut`).

    Raises:
        ValueError: shapes do not fit together, an input is not finite, or a sample has fewer than two models
            on a side (one for ``reference`` and ``bayesian``); see `check_references`. Or `calibrated` is
            asked for with another mode than ``online``, or with the ``bayesian`` variance.
        UnknownNameError: no such mode, variance or centre.

    Warns:
        FewModelsWarning: there are fewer models than requested.

    Example: four models. The two trained on the sample have the signals 3 and 5, the other two -1 and 1.

    >>> shadow_phi = [[3.0], [5.0], [-1.0], [1.0]]
    >>> shadow_in = [[True], [True], [False], [False]]
    >>> lira_scores([4.0], shadow_phi, shadow_in)  # 4 is the IN centre and 4 deviations from the OUT one
    array([8.])
    """
    centre = centre or ("mean" if variance == "bayesian" else "median")
    for kind, name, known in (
        ("mode", mode, Mode),
        ("variance", variance, Variance),
        ("centre", centre, Centre),
    ):
        if name not in get_args(known):
            raise UnknownNameError(f"LiRA {kind}", name, get_args(known))
    if calibrated and (mode != "online" or variance == "bayesian"):
        raise ValueError(
            f"calibrated=True is for mode='online' with a normal; got mode={mode!r}, variance={variance!r}. "
            "Scores of mode='offline' are calibrated for each sample as they are."
        )
    fewest = FEWEST_MODELS[variance]
    references = check_references(
        target_phi,
        shadow_phi,
        shadow_in,
        names=("target_phi", "shadow_phi", "shadow_in"),
        fewest_in=fewest if mode == "online" else 0,
        fewest_out=fewest,
        requested_models=requested_models,
    )
    sides = (True, False) if mode == "online" else (False,)
    # A deviation of all samples together comes first; then, and else at once, one block after the other.
    whole: list[_Fit] = []
    if variance != "per_example":
        whole = [_fit(_all_moments(references, side, centre, cut, share), variance) for side in sides]
        if variance == "reference":
            whole = [fit._replace(scale=whole[0].scale) for fit in whole]

    def score(block: References) -> Scores:
        part = slice(block.first, block.first + len(block.target))
        fits = [fit.of(part) for fit in whole] or [
            _fit(_moments(block, inside=side, centre=centre, cut=cut), variance) for side in sides
        ]
        mean: Scores = _score(block.target, fits, mode, calibrated).mean(1)
        return mean

    return references.in_blocks(score, share)


class _Moments(NamedTuple):
    """Moments over the models of one side, shape (n, augmentations), from counts of shape (n, 1)."""

    counts: Counts
    centre: Scores
    mean: Scores
    squares: Scores
    """Summed squares about the mean."""


class _Fit(NamedTuple):
    """A normal, or with degrees of freedom a Student-t, for each sample and query."""

    centre: Scores
    scale: Scores
    degrees: Scores | None = None

    def of(self, part: slice) -> _Fit:
        """Return the distributions of some samples; one scale for all stays."""
        scale = self.scale if len(self.scale) == 1 else self.scale[part]
        return _Fit(self.centre[part], scale, None if self.degrees is None else self.degrees[part])


def _score(phi: Scores, fits: list[_Fit], mode: Mode, calibrated: bool) -> Scores:
    """Return the score of every augmentation, shape (n, augmentations)."""
    outside = fits[-1]
    if mode == "offline":
        return -_log_tail(phi, outside)
    if mode == "offline_two_sided":
        return -_log_density(phi, outside)
    if calibrated:
        return -_log_rate(phi, fits[0], outside)
    return _log_density(phi, fits[0]) - _log_density(phi, outside)


def _all_moments(references: References, inside: bool, centre: Centre, cut: bool, share: Share) -> _Moments:
    """Return the moments of all samples, computed in blocks."""

    def columns(block: References) -> Scores:
        counts, *moments = _moments(block, inside=inside, centre=centre, cut=cut)
        return np.concatenate([counts, *moments], 1)

    counts, moments = np.split(references.in_blocks(columns, share), [1], 1)
    return _Moments(counts.astype(np.int64), *np.split(moments, 3, 1))


def _moments(references: References, *, inside: bool, centre: Centre, cut: bool) -> _Moments:
    shape = references.target.shape
    counts, medians, means, squares = np.empty((len(references.target), 1), np.int64), *np.empty((3, *shape))
    for part, values, n, held in ranked_side(references, inside=inside, cut=cut):
        full = held.all()
        if full:
            width = values.shape[-1]
            lower, upper = values[..., (width - 1) // 2, None], values[..., width // 2, None]
        else:
            lower, upper = (np.take_along_axis(values, i[..., None], -1) for i in ((n - 1) // 2, n // 2))
        median = (lower + upper) / 2
        # The mean is within one deviation of the median. Squares about the median therefore lose no digits,
        # and are exactly zero if all signals are equal.
        gaps = values - median
        if not full:
            np.copyto(gaps, 0, where=~held)
        shift = gaps.sum(-1) / n
        counts[part], medians[part] = n, median[..., 0]
        means[part] = medians[part] + shift
        squares[part] = np.square(gaps, out=gaps).sum(-1) - n * shift * shift
    return _Moments(counts, medians if centre == "median" else means, means, squares)


def _fit(moments: _Moments, variance: Variance) -> _Fit:
    counts, centre, mean, squares = moments
    if variance == "bayesian":
        return _predictive(moments)
    if variance == "per_example":
        return _Fit(centre, np.sqrt(squares / counts) + SMALLEST_SCALE)
    total = int(counts.sum()) * centre.shape[1]
    about = centre if variance == "global_centred" else _exact_sum(counts * mean) / total
    scale = math.sqrt(_exact_sum(squares + counts * (mean - about) ** 2) / total)
    return _Fit(centre, np.float64(scale + SMALLEST_SCALE) * np.ones((1, 1)))


def _predictive(moments: _Moments) -> _Fit:
    counts, centre, _, squares = moments
    prior_degrees, prior_variance = _variance_prior(counts, squares)
    degrees = counts.astype(np.float64) + (prior_degrees - 1)
    variances = (prior_degrees * prior_variance + squares) / degrees * (1 + 1 / counts)
    return _Fit(centre, np.sqrt(variances) + SMALLEST_SCALE, degrees)


def _variance_prior(counts: Counts, squares: Scores) -> tuple[float, float]:
    """Estimate d0 and s0^2 from the variances of all samples, ``S / (n - 1) ~ s0^2 F(n - 1, d0)``.

    The logarithm of F(d, d0) has the mean ``psi(d/2) - log(d/2) - psi(d0/2) + log(d0/2)`` and the variance
    ``psi'(d/2) + psi'(d0/2)``, from which d0 and then s0 follow.
    """
    from scipy.special import digamma, polygamma  # slow to import

    several = counts[:, 0] > 1
    half = (counts[several] - 1) / 2
    variances = squares[several] / (2 * half)
    if variances.size < 2:
        raise ValueError(
            "variance='bayesian' learns its prior from samples with two models at least on a side; got "
            f"{variances.size}."
        )
    # A variance of zero only means "small"; its logarithm must not dominate the others.
    floor = max(1e-5 * float(np.median(variances)), SMALLEST_SCALE**2)
    logs = np.log(np.maximum(variances, floor)) - digamma(half) + np.log(half)
    mean = _exact_sum(logs) / logs.size
    spread = _exact_sum((logs - mean) ** 2) / (logs.size - 1)
    excess = spread - _exact_sum(np.broadcast_to(polygamma(1, half), logs.shape)) / logs.size
    degrees = min(2 * _inverse_trigamma(excess), MOST_DEGREES) if excess > 0 else MOST_DEGREES
    return degrees, math.exp(mean + float(digamma(degrees / 2)) - math.log(degrees / 2))


def _inverse_trigamma(value: float) -> float:
    """Solve psi'(y) = value by Newton's method on 1 / psi', which is convex and nearly linear."""
    from scipy.special import polygamma

    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-12 * y:
            break
    return y


def _log_density(phi: Scores, fit: _Fit) -> Scores:
    z = (phi - fit.centre) / fit.scale
    if fit.degrees is None:
        return -z * z / 2 - np.log(fit.scale) - math.log(2 * math.pi) / 2
    return _log_student(z, fit.degrees) - np.log(fit.scale)


def _log_rate(phi: Scores, inside: _Fit, outside: _Fit) -> Scores:
    """Return log Pr[log-ratio(t) >= log-ratio(phi)] of normals, t ~ outside.

    In deviations of `outside`, the log-ratio is a parabola about ``m / (1 - r^2)``, where m is the IN centre
    and r the IN deviation. It opens downwards if r < 1; then the event is an interval, with phi at one end.
    """
    from scipy.special import log_ndtr

    z, m = (phi - outside.centre) / outside.scale, (inside.centre - outside.centre) / outside.scale
    r = inside.scale / outside.scale
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mirrored = 2 * m / ((1 - r) * (1 + r)) - z  # +-inf for equal deviations
    # Without a difference between IN and OUT, every signal is as likely a member's.
    mirrored = np.where(np.isnan(mirrored), np.inf, mirrored)
    low, high = np.minimum(z, mirrored), np.maximum(z, mirrored)
    beyond = np.logaddexp(log_ndtr(low), log_ndtr(-high), where=r > 1, out=np.zeros(z.shape))
    # Mirrored at zero, an interval in the upper tail keeps its digits.
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
    within = log_ndtr(high) + np.log(np.maximum(-np.expm1(log_ndtr(low) - log_ndtr(high)), SMALLEST_RATE))
    rate: Scores = np.where(r <= 1, within, beyond)
    return np.where((m == 0) & (r == 1), 0.0, rate)


def _log_tail(phi: Scores, fit: _Fit) -> Scores:
    """Return log Pr[Z > phi], finite even in the far tail."""
    from scipy.special import log_ndtr, stdtr

    z = (phi - fit.centre) / fit.scale
    if fit.degrees is None:
        tail: Scores = log_ndtr(-z)
        return tail
    probability = stdtr(fit.degrees, -z)
    # If the probability underflows, use two terms of the asymptotic series of the tail.
    far, d = np.maximum(z, 30), fit.degrees
    series = np.log1p(far * far / d) - np.log(far) + np.log1p(-d / (d + 2) / far**2)
    asymptotic = _log_student(far, d) + series
    log_tail: Scores = np.where(probability > 1e-290, np.log(np.maximum(probability, 1e-290)), asymptotic)
    return log_tail


def _log_student(z: Scores, degrees: Scores) -> Scores:
    from scipy.special import gammaln

    norm = gammaln((degrees + 1) / 2) - gammaln(degrees / 2) - np.log(degrees * math.pi) / 2
    density: Scores = norm - (degrees + 1) / 2 * np.log1p(z * z / degrees)
    return density


def _exact_sum(values: Scores) -> float:
    """Sum without intermediate rounding, so that the order of the samples does not matter."""
    flat = values.ravel()
    parts = (flat[start : start + BLOCK].tolist() for start in range(0, flat.size, BLOCK))
    return math.fsum(chain.from_iterable(parts))


def run_lira(mode: Mode, inputs: MembershipInputs, rows: Rows, **settings: Any) -> Scores:
    """Run `lira_scores` on the logit margins of all augmentations."""
    target, reference = (
        inputs.score("logit_margin", views=True),
        inputs.reference_signals("logit_margin", views=True),
    )
    found = lira_scores(target, reference, inputs.reference_in, mode=mode, share=inputs.share, **settings)
    return found[rows]


ATTACKS = (
    Attack(
        name="lira_offline",
        run=partial(run_lira, "offline"),
        summary="how unusual the margin is for models without the sample",
        formula="-log Pr[Z > logit margin], Z normal over models without x",
        source="Carlini et al. 2022",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=lira_scores,
        min_references=(0, 2),
        augmented=True,
        ranked=True,
    ),
    Attack(
        name="lira_offline_two_sided",
        run=partial(run_lira, "offline_two_sided"),
        summary="how unusual the margin is, in either direction",
        formula="-log density of the same normal, as the authors' code has it",
        source="Carlini et al. 2022",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=lira_scores,
        min_references=(0, 2),
        augmented=True,
    ),
    Attack(
        name="lira",
        run=partial(run_lira, "online"),
        summary="likelihood of the margin with and without the sample in the training set",
        formula="log-likelihood ratio of the logit margin, with and without x",
        source="Carlini et al. 2022, alg. 1",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=lira_scores,
        min_references=(2, 2),
        augmented=True,
    ),
)
