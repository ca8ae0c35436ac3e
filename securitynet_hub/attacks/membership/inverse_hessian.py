"""The inverse-Hessian attack (IHA): what the parameters say beyond the loss.

Suri, Zhang & Evans (2024, arXiv 2406.11544) derive the optimal membership test for a model trained by SGD. It
needs the inverse Hessian of the training loss. The formula here is that of the authors' code without weight
decay (``mib/attacks/theory_new.py``, class ``IHA``, as their script ``IHA.sh`` runs it), with its
damping, momentum and tolerance; the learning rate of a target is seldom known, and has little effect.

Two things differ, and both are assumptions to know of. The last linear layer alone is taken for the model,
which the authors' code offers as ``--partial_model``: its Hessian is positive definite with damping, so that
conjugate gradients always converge. And the other training samples that their attacker knows are here the
known members: their code leaves a member out of the mean gradient and needs its membership for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from securitynet_hub.attacks.membership.attack import Attack, Rows, Tuned
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.leverage import checked_features, chunks, sum_over
from securitynet_hub.core.arrays import Scores, as_array

Apply = Callable[[Scores], Scores]
"""Multiplies vectors, shape (n, classes, d), by a symmetric positive definite matrix."""

BLOCK = 1 << 22
"""Numbers in an array of vectors that are worked on together: 32 MiB."""

ITERATIONS = 1000
"""Most steps of conjugate gradients."""

EXACT_WORK = 2e8
"""Multiplications by which one step for all samples costs more than a second or two in all; above, a sketch
replaces the solution for each."""

PROBES = 64
"""Random vectors of the sketch, unless another number is asked for: its relative deviation is 18 %."""


def inverse_hessian_scores(
    inputs: MembershipInputs,
    rows: Rows,
    *,
    damping: float = 0.2,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    training_size: int | None = None,
    members: int = 1000,
    probes: int | None = None,
    tolerance: float = 1e-3,
) -> Tuned:
    """Score each sample by the inverse-Hessian attack on the last linear layer.

    With g the gradient of a sample's cross-entropy loss, g_0 the mean over the known members, H their mean
    Hessian, and n training samples:

        score = loss / (1 + momentum) - (|H^-1 g|^2 / n + 2 g_0' H^-2 g) / learning_rate

    higher = more likely a member (Suri et al. 2024, arXiv 2406.11544, in the form of the authors' code
    without weight decay). H^-1 v is found by conjugate gradients (Hestenes & Stiefel 1952). Where solving for
    each sample would take too long, ``|H^-1 g|^2`` is the mean of ``(r' H^-1 g)^2`` over vectors r of random
    signs (Hutchinson 1990), which is unbiased; the result then says so.

    Args:
        inputs: what the attacker holds; the known members give g_0 and H.
        rows: the samples to score.
        damping: added to every eigenvalue of H; 0.2 is the authors'. Scores depend on the unit of the
            features through it, as the authors' do.
        learning_rate: of the target's training. The loss has little weight unless it is above 1.
        momentum: of the target's training.
        training_size: number of the target's training samples; by default that of the known members.
        members: most known members that H is a mean over: evenly spaced in the order of their losses.
        probes: random vectors of the sketch; 0 to solve for each sample, None to decide by the work.
        tolerance: largest residual of the linear systems, relative to the right-hand side.

    Returns:
        Scores of shape (rows,), and as ``probes`` the number of random vectors that was used, 0 for none.

    Raises:
        ValueError: no member is known, a setting is out of range, or as `leverage_scores`.

    >>> features = np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0], [1.0]])
    >>> inputs = MembershipInputs(
    ...     outputs=np.hstack([features, -features]), labels=[0, 1, 0, 1, 0, 1], from_logits=True,
    ...     is_member=[1, 1, 0, 0, 1, 0], calibration=np.arange(6) < 4, penultimate=features,
    ... )  # fmt: skip
    >>> inverse_hessian_scores(inputs, np.array([4, 5])).scores.round(1)  # the second is labelled wrongly
    array([ -5. , -66.2])
    """
    if not (damping > 0 and learning_rate > 0 and 0 <= momentum < 1 and 0 < tolerance < 1 and members > 0):
        raise ValueError(
            "damping and learning_rate must be above 0, momentum in 0..1, tolerance between 0 and 1 and "
            f"members at least 1; got {damping}, {learning_rate}, {momentum}, {tolerance} and {members}."
        )
    features = checked_features(inputs)
    outputs = as_array(inputs.first_view, "outputs")
    labels, losses = as_array(inputs.labels, "labels"), -inputs.score("loss")
    known = np.flatnonzero(inputs.calibrated_on & inputs.membership)
    if not len(known):
        raise ValueError("the Hessian needs known members; there are none.")

    def part(chosen: Rows) -> _Part:
        given = outputs[chosen].astype(np.float64)
        posteriors = softmax(given, 1) if inputs.from_logits else given
        errors = posteriors.copy()
        errors[np.arange(len(chosen)), labels[chosen]] -= 1
        ones = np.ones((len(chosen), 1))
        return _Part(posteriors, errors, np.hstack([features[chosen].astype(np.float64), ones]))

    order = known[np.lexsort((known, losses[known]))]
    curved = part(order[np.linspace(0, len(order) - 1, min(members, len(order))).round().astype(np.int64)])
    apply = _hessian(curved.posteriors, curved.features, damping)
    classes, width = curved.posteriors.shape[1], curved.features.shape[1]
    step, few = max(1, BLOCK // (classes + width)), max(1, BLOCK // (classes * width))

    def gradient(chosen: Rows) -> Scores:
        own = part(chosen)
        summed: Scores = own.errors.T @ own.features / len(known)
        return summed

    mean_gradient = sum_over(gradient, chunks(known, step), inputs.share)
    (towards,) = solve(apply, solve(apply, mean_gradient[None], tolerance), tolerance)

    work = len(rows) * len(curved.features) * classes * width
    probes = (PROBES if work > EXACT_WORK else 0) if probes is None else probes
    signs = np.random.default_rng(inputs.seed).choice([-1.0, 1.0], (probes, classes, width))
    # ``H^-1 r`` for vectors r of random signs.
    solved = inputs.share(lambda some: solve(apply, some, tolerance), chunks(signs, few))
    sketch = [each for some in solved for each in some]

    def terms(chosen: Rows) -> Scores:
        """Return ``|H^-1 g|^2`` and ``g_0' H^-2 g`` of some samples."""
        own = part(chosen)
        along = ((own.errors @ towards) * own.features).sum(1)
        if probes:
            dots = [((own.errors @ probe) * own.features).sum(1) for probe in sketch]
            return np.stack([np.mean(np.square(dots), 0), along])
        gradients = own.errors[:, :, None] * own.features[:, None, :]
        return np.stack([(solve(apply, gradients, tolerance) ** 2).sum((1, 2)), along])

    found = np.concatenate(inputs.share(terms, chunks(rows, step if probes else few)), 1)
    n = len(known) if training_size is None else training_size
    scores = losses[rows] / (1 + momentum) - (found[0] / n + 2 * found[1]) / learning_rate
    return Tuned(scores, {"probes": float(probes)})


class _Part(NamedTuple):
    """Some samples: posteriors p and errors p - y, shape (n, classes), and features with a 1, (n, d)."""

    posteriors: Scores
    errors: Scores
    features: Scores


def _hessian(posteriors: Scores, features: Scores, damping: float) -> Apply:
    """Return ``v -> mean over samples of ((diag(p) - p p') kron f f') v + damping v``, d x d never built."""
    m, classes = posteriors.shape
    p = posteriors[:, None, :]

    def apply(vectors: Scores) -> Scores:
        n, _, width = vectors.shape
        moved = p * (features @ vectors.reshape(-1, width).T).reshape(m, n, classes)
        moved -= p * moved.sum(2, keepdims=True)
        product: Scores = (moved.reshape(m, -1).T @ features).reshape(vectors.shape) / m
        return product + damping * vectors

    return apply


def solve(apply: Apply, right: Scores, tolerance: float) -> Scores:
    """Solve ``A x = b`` for several b by conjugate gradients (Hestenes & Stiefel 1952, section 3).

    Args:
        apply: multiplies by A, symmetric and positive definite.
        right: shape (n, classes, d); each solution depends on its own b alone.
        tolerance: a solution is left when ``|b - A x| <= tolerance |b|``.

    Returns:
        Shape (n, classes, d).

    Raises:
        ValueError: a solution is not reached in `ITERATIONS` steps.

    >>> solve(lambda v: np.array([2.0, 4.0]) * v, np.array([[[2.0, 2.0]]]), 1e-9).round(6)
    array([[[1. , 0.5]]])
    """
    found, residual = np.zeros_like(right), right.copy()
    direction = residual.copy()
    squares = (residual**2).sum((1, 2))
    enough = tolerance**2 * squares
    for _ in range(ITERATIONS):
        going = squares > enough
        if not going.any():
            return found
        product = apply(direction)
        bent = (direction * product).sum((1, 2))
        length = np.where(going, squares / np.where(going, bent, 1), 0)[:, None, None]
        found += length * direction
        residual -= length * product
        before, squares = squares, np.where(going, (residual**2).sum((1, 2)), squares)
        turn = np.where(going, squares / np.where(going, before, 1), 0)[:, None, None]
        direction = residual + turn * direction
    raise ValueError(
        f"conjugate gradients did not reach a residual of {tolerance:g} in {ITERATIONS} steps: raise damping "
        "or tolerance."
    )


ATTACK = Attack(
    name="inverse_hessian",
    run=inverse_hessian_scores,
    summary="loss and gradient on the last layer, in the geometry of the training loss",
    formula="loss / (1 + momentum) - (|H^-1 g|^2 / n + 2 g_0' H^-2 g) / learning_rate",
    source="Suri et al. 2024, on the last layer",
    needs=("labels", "penultimate", "calibration"),
    weights=True,
)
