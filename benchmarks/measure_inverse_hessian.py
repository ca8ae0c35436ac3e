"""What the inverse-Hessian attack finds with all parameters, beside the last layer: ``docs/membership.md``.

Run with ``python benchmarks/measure_inverse_hessian.py FOLDER [DESIGN ...]``, some minutes of one core.
FOLDER is that of `corpora`; three networks of each design are attacked, on the samples that
`measure_last_layer` judges.

The authors' code (Suri et al. 2024, arXiv 2406.11544, ``mib/attacks/theory_new.py``) inverts the whole
Hessian of the training loss, with 0.2 added to each eigenvalue, or solves one linear system for each sample.
Here one Lanczos basis serves for all samples: the eigenvalues and vectors of the Hessian in the Krylov space
of the mean gradient, and the damping alone in every other direction,

    (H + c)^-1 = 1 / c + Q (1 / (theta + c) - 1 / c) Q'

H is the Gauss-Newton matrix, the Hessian without the curvature of the network itself (Schraudolph 2002), to
which it is equal on the last layer. The Hessian of the first of these networks has an eigenvalue of -0.8, so
that 0.2 does not make it positive definite, and conjugate gradients, one of the authors' ways, may fail.

The inverse is exact for the mean gradient up to what conjugate gradients leave after so many steps, and for
other vectors as far as the eigenvalues that are left out are small beside c. The first thing this script does
is to compare it with a dense matrix in double precision.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from corpora import DESIGNS, network
from measure_last_layer import Corpus
from tables import writing
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap

from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import run_attack

COMMAND = "python benchmarks/measure_inverse_hessian.py FOLDER"
TARGETS, STEPS, MEMBERS, BATCH = 3, 50, 1000, 250
DAMPING, LEARNING_RATE, MOMENTUM = 0.2, 0.1, 0.9


class Curvature:
    """The Gauss-Newton matrix of a network's mean loss on some samples, seen through products with vectors.

    Args:
        module: the network, in eval mode.
        inputs: shape (n, ...), what it reads.
        labels: shape (n,).
    """

    def __init__(self, module, inputs, labels):
        self.module, self.inputs, self.labels = module, inputs, labels
        self.names = [name for name, _ in module.named_parameters()]
        self.start = [p.detach() for p in module.parameters()]
        self.products = 0

    def parts(self, vector):
        """Divide one long vector into tensors like the parameters."""
        chunks = vector.split([p.numel() for p in self.start])
        return [chunk.reshape(p.shape) for chunk, p in zip(chunks, self.start, strict=True)]

    def loss(self, parameters, inputs, labels):
        return torch.nn.functional.cross_entropy(self.logits(parameters, inputs), labels)

    def batches(self):
        for first in range(0, len(self.labels), BATCH):
            part = slice(first, first + BATCH)
            yield self.inputs[part], self.labels[part]

    def mean_gradient(self):
        total = 0
        for inputs, labels in self.batches():
            found = grad(self.loss)(self.start, inputs, labels)
            total = total + len(labels) * torch.cat([g.reshape(-1) for g in found])
        return total / len(self.labels)

    def logits(self, parameters, inputs):
        return functional_call(self.module, dict(zip(self.names, parameters, strict=True)), (inputs,))

    def times(self, vector):
        """Return the product with a vector: J' (diag(p) - p p') J v, J the Jacobian of the logits."""
        along, total = self.parts(vector), 0
        for inputs, _ in self.batches():
            logits, moved = jvp(lambda p, x=inputs: self.logits(p, x), (self.start,), (along,))
            own = logits.softmax(1)
            bent = own * (moved - (own * moved).sum(1, keepdim=True))
            (found,) = vjp(lambda p, x=inputs: self.logits(p, x), self.start)[1](bent)
            total = total + torch.cat([g.reshape(-1) for g in found])
        self.products += 1
        return total / len(self.labels)

    def sample_gradients(self, inputs, labels):
        """Return one gradient for each sample, shape (n, parameters)."""
        each = vmap(grad(lambda p, x, y: self.loss(p, x[None], y[None])), in_dims=(None, 0, 0))
        found = each(self.start, inputs, labels)
        return torch.cat([g.reshape(len(labels), -1) for g in found], 1)


def lanczos(times, first, steps):
    """Return eigenvalues and vectors, shape (k,) and (parameters, k), in the Krylov space of a vector.

    With full orthogonalisation (Lanczos 1950; Golub & Van Loan 2013, section 10.3).
    """
    basis = [first / first.norm()]
    alpha, beta = [], []
    for step in range(steps):
        moved = times(basis[-1])
        alpha.append(float(moved @ basis[-1]))
        known = torch.stack(basis, 1)
        for _ in range(2):
            moved = moved - known @ (known.T @ moved)
        length = float(moved.norm())
        if step + 1 == steps or length < 1e-7 * max(map(abs, alpha)):
            break
        beta.append(length)
        basis.append(moved / length)
    values, inner = np.linalg.eigh(np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1))
    vectors = torch.stack(basis, 1) @ torch.from_numpy(inner).to(first)
    return torch.from_numpy(values).to(first), vectors


def scores(curvature, inputs, labels, *, steps=STEPS, batch=50):
    """Score samples, higher = more likely a member; return also the smallest and the largest theta."""
    mean = curvature.mean_gradient()
    theta, vectors = lanczos(curvature.times, mean, steps)
    shift = 1 / (theta + DAMPING)
    own = vectors.T @ mean
    towards = vectors @ (shift**2 * own) + (mean - vectors @ own) / DAMPING**2  # H^-2 g_0
    found = []
    for first in range(0, len(labels), batch):
        part = slice(first, first + batch)
        gradients = curvature.sample_gradients(inputs[part], labels[part])
        inside = gradients @ vectors
        rest = (gradients**2).sum(1) - (inside**2).sum(1)
        squares = (inside**2) @ (shift**2) + rest.clamp(min=0) / DAMPING**2
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(
                curvature.module(inputs[part]), labels[part], reduction="none"
            )
        second = squares / len(curvature.labels) + 2 * gradients @ towards
        found.append(losses / (1 + MOMENTUM) - second / LEARNING_RATE)
    return torch.cat(found).double().numpy(), float(theta[0]), float(theta[-1])


def check():
    """Compare with a dense matrix in double precision, on a network of 43 parameters."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    inputs, labels = torch.randn(60, 4).double(), torch.arange(60) % 3
    curvature = Curvature(module, inputs, labels)
    flat = torch.cat([p.reshape(-1) for p in curvature.start])
    own = module(inputs).softmax(1).detach()
    slopes = jacrev(lambda v: curvature.logits(curvature.parts(v), inputs))(flat)
    middle = torch.diag_embed(own) - own[:, :, None] * own[:, None, :]
    dense = torch.einsum("nci,ncd,ndj->ij", slopes, middle, slopes) / len(labels)
    inverse = torch.linalg.inv(dense + DAMPING * torch.eye(len(flat)).double())
    gradients = curvature.sample_gradients(inputs, labels)
    mean = gradients.mean(0)
    losses = torch.nn.functional.cross_entropy(module(inputs), labels, reduction="none")
    second = ((gradients @ inverse) ** 2).sum(1) / 60 + 2 * gradients @ inverse @ inverse @ mean
    expected = (losses / (1 + MOMENTUM) - second / LEARNING_RATE).detach().numpy()
    found, *_ = scores(curvature, inputs, labels, steps=len(flat))
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    few, *_ = scores(curvature, inputs, labels, steps=15)
    print(
        f"  15 of {len(flat)} steps: within {abs(few - expected).max() / np.ptp(expected):.1e} of the range"
    )


def attacked(corpus, number):
    """Return figures of both attacks on one network, and what the one on all parameters took."""
    inputs = corpus.inputs(number)
    rows = np.flatnonzero(~inputs.calibrated_on)
    last = run_attack("inverse_hessian", inputs)
    module, transform = network(corpus.folder, corpus.name, number)
    known = np.flatnonzero(inputs.calibrated_on & inputs.membership)
    pixels, labels = transform(corpus.pixels), torch.from_numpy(corpus.labels.astype(np.int64))
    began = time.process_time()
    chosen = np.random.default_rng(0).permutation(known)[:MEMBERS]
    curvature = Curvature(module, pixels[chosen], labels[chosen])
    full, low, high = scores(curvature, pixels[rows], labels[rows])
    took = time.process_time() - began
    found = []
    for own in (last.scores, full):
        figures = measure_membership(own, inputs.membership[rows], target_fprs=[0.01])
        found.append([figures["auc"], figures["tpr_at_fpr"][0]["tpr_at_threshold"]])
    size = sum(p.numel() for p in module.parameters())
    print(f"  {corpus.name} {number}: {size} parameters, {low:.2f}..{high:.2f}, {took:.0f} s, {found}",
          file=sys.stderr, flush=True)  # fmt: skip
    return found, took


def main(folder, designs):
    torch.set_num_threads(1)
    check()
    columns = ["networks", "attack", "AUC", "TPR at 1 % FPR", "processor's seconds"]
    with writing("membership-inverse-hessian", COMMAND, columns) as row:
        for design in designs:
            corpus = Corpus(folder, design)
            numbers = list(corpus.targets)[::4][:TARGETS]
            results, took = zip(*(attacked(corpus, number) for number in numbers), strict=True)
            for name, own, seconds in zip(("last layer", "all parameters"), np.mean(results, 0),
                                          ("-", f"{np.mean(took):.0f}"), strict=True):  # fmt: skip
                row(design, name, *(f"{value:.3f}".lstrip("0") for value in own), seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(DESIGNS))
