"""Attacks: the ball, the linear case in closed form, and equality with the library alone."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.linear_targets import NORMALISED, as_target

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.kind import KIND, Options
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.threat import Threat
from securitynet_hub.attacks.evasion.units import Planned, attack_unit
from securitynet_hub.attacks.evasion.worst_case import perturbing
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import MissingPackageError, UnknownNameError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict

IMAGES = load_images()
X, Y = IMAGES.pixels[2000:2016], IMAGES.labels[2000:2016].astype(np.int64)
QUICK = {
    "pgd_t": {"targets": 4},
    "apgd_ce": {"steps": 20},
    "apgd_t": {"steps": 12, "targets": 4},
    "fab_t": {"steps": 12, "targets": 4},
    "square": {"budget": 100},
    "hop_skip_jump": {"budget": 300},
}
SHORT = {
    "pgd_t": {"targets": 2, "steps": 8},
    "apgd_ce": {"steps": 8},
    "apgd_t": {"steps": 6, "targets": 2},
    "fab_t": {"steps": 6, "targets": 2},
    "square": {"budget": 20},
    "hop_skip_jump": {"budget": 150},
}
HAS_LIBRARY = importlib.util.find_spec("pyautoattack") is not None
NAMES = [name for name, attack in perturbing().items() if attack.package is None or HAS_LIBRARY]
each_attack = pytest.mark.parametrize("name", NAMES)
each_norm = pytest.mark.parametrize("norm", ["Linf", "L2"])


@pytest.fixture(scope="module")
def zoo():
    return PixelClassifier(load_target("zoo/fashion-mnist/cnn-clean/1"))


def run(classifier, name, x, y, threat, **settings):
    with classifier.attacked():
        how = {**QUICK.get(name, {}), **settings}
        return perturbing()[name].run(classifier, x, y, threat=threat, **how)


def tensors(classifier, count=16):
    return classifier.as_pixels(X[:count]), torch.tensor(Y[:count])


def skip_unknown(name, norm):
    if norm not in perturbing()[name].norms:
        pytest.skip(f"{name} does not know {norm}")


@each_norm
@each_attack
def test_it_stays_in_the_ball_and_in_the_range(zoo, name, norm):
    skip_unknown(name, norm)
    x, y = tensors(zoo, 4)
    before = x.clone()
    threat = Threat(norm=norm, eps=0.05 if norm == "Linf" else 3.0)
    state = torch.get_rng_state(), torch.is_grad_enabled()
    changed = run(zoo, name, x, y, threat, seed=3, **SHORT.get(name, {}))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert torch.is_grad_enabled() == state[1]
    allowed = threat.allows(x, changed)
    if name in ("fab_t", "hop_skip_jump"):  # look for the smallest change, whatever its length
        assert ((changed >= 0) & (changed <= 1)).all()
        with torch.no_grad():
            assert (zoo(changed).argmax(1) != y).any()
    else:
        assert allowed.all()
    again = run(zoo, name, x, y, threat, seed=3, **SHORT.get(name, {}))
    assert torch.equal(changed, again)


def linear_world(classes, norm, transform=NORMALISED, n=48):
    """A linear network on pixels, images away from black and white, and the eps that each withstands.

    In pixels the logits are ``W x + b``. A change of length eps lowers ``z_y - z_k`` by at most
    ``eps |w_y - w_k|_q``, q = 1 for Linf and 2 for L2, and one change reaches that.
    """
    rng = np.random.default_rng(classes)
    images = rng.integers(90, 166, (n, 6, 6, 2), dtype=np.uint8)
    head = torch.nn.Linear(72, classes)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(rng.normal(size=(classes, 72)) / 8))
        head.bias.zero_()
    classifier = PixelClassifier(
        as_target(torch.nn.Sequential(torch.nn.Flatten(), head), replace(transform, height=6, width=6))
    )
    x = classifier.as_pixels(images)
    with torch.no_grad():
        z = classifier(x).double()
    y = z.argmax(1)
    std = torch.tensor(transform.std, dtype=torch.float64).repeat_interleave(36)
    w = head.weight.detach().double() / std
    order = 1 if norm == "Linf" else 2
    needed = torch.full_like(z, torch.inf)
    for k in range(classes):
        lengths = torch.linalg.vector_norm(w[y] - w[k], ord=order, dim=1)
        gap = z[torch.arange(n), y] - z[:, k]
        needed[:, k] = torch.where(y == k, torch.inf, gap / lengths)
    return classifier, x, y, needed.min(1).values


@each_norm
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("fgsm", 2),
        ("pgd", 2),
        ("pgd_t", 2),
        ("pgd_t", 5),
        ("apgd_ce", 2),
        ("fab_t", 2),
        ("apgd_t", 5),
        ("fab_t", 5),
    ],
)
def test_a_linear_network_is_broken_exactly_where_it_can_be(name, classes, norm):
    if name not in NAMES:
        pytest.skip("the library is not installed")
    classifier, x, y, needed = linear_world(classes, norm)
    eps = float(needed.median())
    certain = (needed - eps).abs() > 0.03 * eps
    threat = Threat(norm=norm, eps=eps)
    changed = run(classifier, name, x, y, threat)
    with torch.no_grad():
        broken = (classifier(changed).argmax(1) != y) & threat.allows(x, changed)
    assert torch.equal(broken[certain], (needed < eps)[certain])
    assert 0.2 < broken.float().mean() < 0.8


@pytest.mark.parametrize("name", ["square", "hop_skip_jump"])
def test_attacks_on_answers_never_break_what_cannot_be_broken(name):
    if name not in NAMES:
        pytest.skip("the library is not installed")
    classifier, x, y, needed = linear_world(2, "L2")
    threat = Threat(norm="L2", eps=1.5 * float(needed.median()))
    changed = run(classifier, name, x, y, threat)
    with torch.no_grad():
        broken = (classifier(changed).argmax(1) != y) & threat.allows(x, changed)
    assert not (broken & (needed > 1.001 * threat.eps)).any()
    assert broken.sum() > 3
    assert classifier.gradients == 0


class TestLibrary:
    """The same images, seed and batch give what the package alone gives."""

    pytestmark = pytest.mark.skipif(not HAS_LIBRARY, reason="the library is not installed")

    @each_norm
    def test_all_four_attacks_one_after_the_other(self, zoo, norm, monkeypatch):
        import pyautoattack
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

        monkeypatch.setattr("pyautoattack.checks.check_dynamic", lambda *a, **how: None)  # sets a trace
        eps, seed = (0.03 if norm == "Linf" else 0.5), 7
        x, y = tensors(zoo, 12)
        names = ["apgd-ce", "apgd-t", "fab-t", "square"]
        with zoo.attacked():
            alone = pyautoattack.AutoAttack(
                zoo, norm=norm, eps=eps, seed=seed, version="custom", attacks=names, device="cpu"
            )
            common = {"eps": eps, "norm": norm, "seed": seed, "device": "cpu", "logger": alone.logger}
            alone.apgd = APGDAttack(zoo, n_iter=5, **common)
            alone.apgd_targeted = APGDAttack_targeted(zoo, n_iter=5, n_target_classes=2, **common)
            alone.fab.n_iter, alone.fab.n_target_classes, alone.square.n_queries = 5, 2, 20
            with torch.random.fork_rng():
                changed, answers = alone.run_standard_evaluation(x, y, batch_size=12)
        settings = {
            "apgd_ce": {"steps": 5},
            "apgd_t": {"steps": 5, "targets": 2},
            "fab_t": {"steps": 5, "targets": 2},
            "square": {"budget": 20},
        }
        planned = [Planned(attack=perturbing()[name], settings=own) for name, own in settings.items()]
        data = AuditData.from_arrays((IMAGES.pixels[:2], IMAGES.labels[:2]), (X[:12], Y[:12]))
        subject = Subject.of(zoo.target, data, Options(norm=norm, eps=str(eps)), seed)
        done = attack_unit(subject, planned, np.arange(2, 14))
        expected = (answers == y).numpy()
        assert 0 < expected.sum() < 12
        np.testing.assert_array_equal(done.robust, expected)
        first = done.examples[0]
        np.testing.assert_array_equal(first.changed[..., 0], changed[first.row - 2, 0].numpy())

    def test_what_is_missing_is_named(self, zoo, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyautoattack.square", None)
        x, y = tensors(zoo, 2)
        with pytest.raises(MissingPackageError, match=r"pip install 'securitynet-hub\[evasion\]'"):
            run(zoo, "square", x, y, Threat(norm="Linf", eps=0.1))


class TestThreat:
    @pytest.mark.parametrize(("eps", "value"), [("8/255", 8 / 255), ("0.5", 0.5), (0.25, 0.25)])
    def test_eps_is_a_number_or_a_fraction(self, eps, value):
        assert Threat.of("L2", eps).eps == value

    @pytest.mark.parametrize("eps", ["0", "-1/255", "x", "1/0", "nan", "inf", None])
    def test_others_are_refused(self, eps):
        with pytest.raises(ValueError, match="eps must be"):
            Threat.of("Linf", eps)

    def test_a_threat_of_everything_is_refused(self, zoo):
        with pytest.raises(ValueError, match=r"1 at most in the norm Linf.*got '8'.*such as 8/255"):
            Threat.of("Linf", "8")
        assert Threat.of("Linf", 1).eps == 1
        with pytest.raises(ValueError, match=r"below 28 in the norm L2 for images of 784 values"):
            Subject.of(zoo.target, known_data(zoo.target.annotation), Options(norm="L2", eps="28"), 0)

    def test_norms_that_are_not_known(self):
        with pytest.raises(UnknownNameError, match="'Linf'"):
            Threat.of("linf", 0.1)

    def test_what_it_allows(self):
        x = torch.full((4, 1, 1, 2), 0.5)
        changed = x + torch.tensor([[0.1, -0.1], [0.11, 0.0], [torch.nan, 0.0], [0.6, 0.0]]).reshape(
            4, 1, 1, 2
        )
        assert Threat(norm="Linf", eps=0.1).allows(x, changed).tolist() == [True, False, False, False]
        assert Threat(norm="L2", eps=0.12).allows(x, changed).tolist() == [False, True, False, False]
        assert Threat(norm="Linf", eps=1.0).allows(x, changed).tolist() == [True, True, False, False]


class TestClassifier:
    def test_it_answers_as_the_target_and_counts(self):
        target = load_target("zoo/fashion-mnist/cnn-clean/1")
        classifier = PixelClassifier(target)
        x, y = tensors(classifier, 5)
        with classifier.attacked():
            np.testing.assert_allclose(classifier(x).numpy(), predict(target, X[:5]), atol=1e-4)
        assert (classifier.forwarded, classifier.gradients) == (5, 0)
        run(classifier, "pgd", x, y, Threat(norm="Linf", eps=0.1), steps=3)
        assert (classifier.forwarded, classifier.gradients) == (20, 15)

    def test_gradients_pass_the_resize_so_that_the_ball_is_the_images(self):
        """A network that sees the mean of each half of a 12-pixel row as one pixel."""
        head = torch.nn.Linear(2, 2)
        with torch.no_grad():
            head.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
            head.bias.zero_()
        transform = Transform(height=1, width=2, channels=1, resize=(1, 2), interpolation="box")
        classifier = PixelClassifier(as_target(torch.nn.Sequential(torch.nn.Flatten(), head), transform))
        x = torch.full((1, 1, 6, 12), 0.5)
        changed = run(classifier, "fgsm", x, torch.tensor([0]), Threat(norm="Linf", eps=0.25))
        assert torch.equal(changed[..., :6], torch.full((1, 1, 6, 6), 0.25))
        assert torch.equal(changed[..., 6:], torch.full((1, 1, 6, 6), 0.75))

    def test_a_network_without_gradients_is_told(self):
        target = load_target("zoo/fashion-mnist/cnn-clean/1")

        class Detached(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = target.module

            def forward(self, x):
                return self.inner(x).detach()

        detached = PixelClassifier(as_target(Detached(), target.transform))
        assert not detached.has_gradients
        reason = KIND.attacks["fgsm"].why_not(detached, Threat(norm="Linf", eps=0.1))
        assert "gradient" in reason
