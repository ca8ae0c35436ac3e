"""Shadow models: what each was trained on is known, and work that was done is found again."""

import numpy as np
import pytest
import torch

from securitynet_hub.attacks import shadows
from securitynet_hub.attacks.shadows import answers, balanced_masks, identity, mirror, train_shadows
from securitynet_hub.errors import WeightsError
from securitynet_hub.images import load_images
from securitynet_hub.inference import predict_module
from securitynet_hub.signals import logit_margin, loss
from securitynet_hub.training import Recipe
from securitynet_hub.zoo.networks import TRANSFORM, Cnn

IMAGES = load_images()
POOL = np.arange(0, 400, 4)
RECIPE = Recipe(epochs=2, batch_size=25, seed=7)


def build():
    return Cnn(10)


def trained(folder, models=3, *, seed=1, **changes):
    masks = balanced_masks(4, len(POOL), seed=seed)[:models]
    settings = {"images": IMAGES, "pool": POOL, "masks": masks, "recipe": RECIPE, "transform": TRANSFORM}
    return train_shadows(build, **(settings | changes), folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shadows")


@pytest.fixture(scope="module")
def three(folder):
    return trained(folder)


@pytest.fixture
def trainings(monkeypatch):
    """Count the models that are trained."""
    done = []

    def counting(*arguments, **options):
        done.append(arguments[1].shape[0])
        return train(*arguments, **options)

    train = shadows.train
    monkeypatch.setattr(shadows, "train", counting)
    return done


@pytest.mark.parametrize("models", [2, 3, 8, 9])
def test_every_sample_is_in_half_of_the_models(models):
    masks = balanced_masks(models, 500, seed=3)
    assert masks.shape == (models, 500)
    assert set(masks.sum(0).tolist()) == {models // 2}
    np.testing.assert_array_equal(masks, balanced_masks(models, 500, seed=3))
    assert (masks != balanced_masks(models, 500, seed=4)).any()


def test_every_row_can_be_chosen():
    """None is left out, first and last included (a well-known library never picks the last)."""
    masks = balanced_masks(16, 50, seed=0)
    assert masks.any(0).all()
    assert (~masks).any(0).all()


def test_models_are_trained_on_their_members_alone(three, trainings, tmp_path):
    again = trained(tmp_path)
    assert trainings == three.masks.sum(1).tolist()
    np.testing.assert_array_equal(again.logits, three.logits)
    changed = IMAGES.pixels.copy()
    left_out = POOL[~three.masks[0]]
    changed[left_out] = 255 - changed[left_out]
    others = shadows.LabelledImages(
        name="changed", pixels=changed, labels=IMAGES.labels, class_names=IMAGES.class_names
    )
    one = trained(tmp_path, 1, images=others)
    seen = three.masks[0]
    np.testing.assert_array_equal(one.logits[:, seen], three.logits[:1, seen])
    assert not np.allclose(one.logits[:, ~seen], three.logits[:1, ~seen])


def test_members_are_answered_with_more_confidence(tmp_path):
    taught = trained(tmp_path, 2, recipe=Recipe(epochs=60, batch_size=10, learning_rate=2e-3))
    margins = taught.margins(IMAGES.labels[POOL])[..., 0]
    assert margins[taught.masks].mean() > margins[~taught.masks].mean() + 2


def test_work_that_was_done_is_found_again(three, folder, trainings):
    before = sorted(folder.iterdir())
    np.testing.assert_array_equal(trained(folder).logits, three.logits)
    assert trainings == []
    more = trained(folder, 4)
    assert len(trainings) == 1
    np.testing.assert_array_equal(more.logits[:3], three.logits)
    assert len(sorted(folder.iterdir())) == len(before) + 1


@pytest.mark.parametrize("changes", [{"recipe": Recipe(epochs=1, seed=7)}, {"seed": 2}])
def test_other_models_are_not_mistaken_for_these(changes, three, folder, trainings):
    trained(folder, 1, **changes)
    assert len(trainings) == 1


def test_a_damaged_file_is_trained_again(three, folder, trainings):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-10])
    np.testing.assert_array_equal(trained(folder).logits, three.logits)
    assert len(trainings) == 3


def test_an_interruption_keeps_what_was_done(tmp_path, trainings):
    def interrupt(number):
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, on_model=interrupt)
    trained(tmp_path)
    assert len(trainings) == 3
    assert not list(tmp_path.glob(".*"))


def test_views_are_asked_one_by_one(three):
    module, pixels = build().eval(), IMAGES.pixels[:6]
    found = answers(module, TRANSFORM, pixels, (identity, mirror))
    assert found.shape == (6, 2, 10)
    np.testing.assert_array_equal(found[:, 0], predict_module(module, TRANSFORM, pixels))
    np.testing.assert_array_equal(found[:, 1], predict_module(module, TRANSFORM, pixels[:, :, ::-1].copy()))


def test_signals_of_every_answer(three):
    labels = IMAGES.labels[POOL]
    for signal, found in ((logit_margin, three.margins(labels)), (loss, three.log_confidences(labels))):
        assert found.shape == (3, len(POOL), 1)
        for model in range(3):
            expected = signal(three.logits[model, :, 0], labels, from_logits=True)
            np.testing.assert_array_equal(found[model, :, 0], expected)


def test_the_random_state_is_left_alone(folder):
    state = torch.random.get_rng_state()
    trained(folder, 1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pool": np.array([1, 1, 2])}, "each once"),
        ({"pool": POOL + 4000}, r"must lie in 0\.\.3999; got 4000\.\.4396"),
        ({"masks": np.ones((2, 5), bool)}, r"shape \(models, 100\).*got bool of \(2, 5\)"),
        ({"masks": np.ones((2, 100))}, "must be booleans"),
        ({"masks": np.zeros((2, 100), bool)}, "row 0 of masks has none"),
    ],
)
def test_what_does_not_fit_is_refused(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        trained(tmp_path, **changes)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be kept"):
        trained(tmp_path / "file")


def test_too_few_models():
    with pytest.raises(ValueError, match="at least two models"):
        balanced_masks(1, 10, seed=0)
