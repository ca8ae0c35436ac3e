"""Clean models beside the audited one: what they must be, and what they tell."""

import copy

import pytest
import torch
from torch import nn

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.backdoor.clean_models import Rescaled, in_place_of_twins
from securitynet_hub.attacks.backdoor.distillation import copied
from securitynet_hub.attacks.backdoor.kind import KIND
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.attacks.kind import split_options
from securitynet_hub.core.errors import SkippedWarning
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.beside import as_several
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record
from securitynet_hub.sharing.reproduction import _options

BACKDOORED, TARGET_CLASS = "zoo/fashion-mnist/cnn-corner-patch/7", 0
CLEAN = ["zoo/fashion-mnist/cnn-clean/1", "zoo/fashion-mnist/cnn-clean/2", "zoo/fashion-mnist/cnn-clean/3"]


@pytest.fixture(scope="module")
def suspect() -> Target:
    return load_target(BACKDOORED)


@pytest.fixture(scope="module")
def inputs(suspect: Target) -> torch.Tensor:
    return network_inputs(suspect, load_images().pixels[2000:2200])


class Plain:
    """A preprocessing that only scales pixels to 0 to 1."""

    def __init__(self, shape):
        self.shape = shape

    def __call__(self, pixels):
        return torch.tensor(pixels).movedim(-1, 1).float() / 255

    def as_dict(self):
        return {"plain": True}


def beside(suspect: Target, inputs: torch.Tensor, *models: Target):
    network = copied(as_classifier(suspect), inputs)
    return in_place_of_twins(models, suspect, network, PixelSpace.from_target(suspect), inputs)


def test_the_agreement_is_that_of_the_answers(suspect, inputs):
    other = load_target(CLEAN[0])
    found = beside(suspect, inputs, other)
    expected = (suspect.module(inputs).argmax(1) == other.module(inputs).argmax(1)).float().mean()
    assert found.agreement == (
        pytest.approx(float(expected), abs=0.011),
    )  # bfloat16 may move an image or two
    assert (found.passes, found.cut) == (0, None)


def test_a_model_with_other_means_sees_the_same_pixels(suspect, inputs):
    """The other model normalises within its network what the suspect's preprocessing does outside."""
    other = load_target(CLEAN[0])
    space = PixelSpace.from_target(other)

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = other.module

        def forward(self, pixels):
            return self.network(space.inputs(pixels))

    inside = load_target(Inside(), transform=Plain(other.transform.shape))
    found, plain = beside(suspect, inputs, inside), beside(suspect, inputs, other)
    assert isinstance(found.modules[0], Rescaled)
    torch.testing.assert_close(found.modules[0](inputs), plain.modules[0](inputs), rtol=1e-4, atol=1e-4)
    assert found.agreement == plain.agreement


def other_network(classes: int, side: int = 28) -> Target:
    module = nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes))
    return load_target(module, transform=Plain((side, side, 1)), num_classes=classes)


def changed(change) -> Target:
    """Return the audited model as a caller's own, changed."""
    known = load_target(BACKDOORED)
    module = copy.deepcopy(known.module)
    change(module)
    return load_target(module, transform=known.transform)


def noisy(module) -> None:
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(1e-3 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))


def broken(module) -> None:
    with torch.no_grad():
        next(module.parameters()).fill_(torch.nan)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: other_network(7), "has 10 classes, module.* 7: only"),
        (lambda: other_network(10, 14), "takes images of 14 x 14 x 1"),
        (lambda: load_target(BACKDOORED), "answers as the audited model does"),
        (lambda: changed(lambda module: module.half()), "answers as the audited model does"),
        (lambda: changed(noisy), "answers as the audited model does"),
        (lambda: changed(broken), "answers NaN or infinities"),
    ],
)
def test_what_cannot_be_compared_is_refused(suspect, inputs, model, said):
    with pytest.raises(ValueError, match=said):
        beside(suspect, inputs, model())


def test_a_clean_model_that_is_named_twice_is_refused(suspect, inputs):
    with pytest.raises(ValueError, match="answers as zoo/fashion-mnist/cnn-clean/1 does"):
        beside(suspect, inputs, load_target(CLEAN[0]), load_target(CLEAN[0]))


def test_an_audit_beside_clean_models_finds_the_backdoor_and_can_be_repeated():
    (record,) = audit(BACKDOORED, attacks="twins", beside=CLEAN[:2])
    assert record.attack["beside"] == CLEAN[:2]
    assert (record.result["verdict"], record.result["suspect"]) == ("backdoor", TARGET_CLASS)
    assert record.result["beside"] == len(record.result["twin_agreement"]) == 2
    assert record.result["triggers"][0]["twin_success"] < 0.1 < 0.9 < record.result["triggers"][0]["success"]
    assert record.result["passes"] == 0
    assert "number" not in record.attack
    assert dict(_options(record, KIND))["beside"] == tuple(CLEAN[:2])


def test_the_option_of_two_kinds_is_given_to_both():
    options = split_options({"beside": ("timm:resnet18",)})
    assert options["backdoor-detection"].beside == options["provenance"].beside == ("timm:resnet18",)
    assert as_several(5) == (5,)
    assert as_several(None) == ()
    shared = split_options({"beside": iter(["one", "two"])})
    assert shared["backdoor-detection"].beside == shared["provenance"].beside == ("one", "two")


def test_detectors_that_compare_nothing_say_that_clean_models_are_unused():
    settings = {"mm_bd": {"images_per_class": 1, "steps": 2}}
    with pytest.warns(SkippedWarning, match="only twins compares models"):
        audit(BACKDOORED, attacks="mm_bd", settings=settings, beside=CLEAN[0])
    with pytest.raises(ValueError, match="belongs to backdoor detection and provenance"):
        audit(BACKDOORED, attacks="loss", beside=CLEAN[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"beside": 5}, "should be named as a model is"),
        ({"beside": CLEAN[:1], "settings": {"twins": {"number": 3}}}, "has no use for number"),
    ],
)
def test_what_means_nothing_beside_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        audit(BACKDOORED, attacks="twins", **given)


def test_a_record_that_compares_with_somebodys_own_models_says_so(tmp_path):
    record = Record(
        target={"id": BACKDOORED}, data={}, attack={"name": "twins", "beside": ["module/123456789abc/Net"]},
        result={}, counts={}, timings={},
    )  # fmt: skip
    with pytest.raises(ValueError, match="models of somebody's own, such as module/123456789abc/Net"):
        dict(_options(record, KIND))
