"""A real ImageNet classifier on real photographs, from its package to an audit's records."""

import numpy as np
import pytest
import skimage.data
from huggingface_hub import constants
from sklearn.datasets import load_sample_image

from securitynet_hub import AuditData, LabelledImages, audit, load_annotations, load_target, read_records
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict

PHOTOGRAPHS = {
    "chelsea": (skimage.data.chelsea, {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}),
    "coffee": (skimage.data.coffee, {967: "espresso"}),
    "camera": (skimage.data.camera, {872: "tripod"}),
    "rocket": (skimage.data.rocket, {657: "missile", 744: "projectile", 812: "space shuttle"}),
    "motorcycle": (lambda: skimage.data.stereo_motorcycle()[0], {665: "moped", 670: "motor scooter"}),
    "china.jpg": (lambda: load_sample_image("china.jpg"), {698: "palace", 663: "monastery"}),
}
"""What each shows: ImageNet classes that a person would accept."""


def photograph(name):
    pixels = PHOTOGRAPHS[name][0]()
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)


@pytest.fixture(scope="module", params=["lite0", "lite1", "lite2"])
def target(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HOME", str(tmp_path_factory.mktemp("home")))
        yield load_target(f"package/imagenet-1k/efficientnet_{request.param}")


def test_what_they_show_is_among_the_first_five(target):
    found = {}
    for name, (_, shown) in PHOTOGRAPHS.items():
        logits = predict(target, photograph(name)[None])
        assert logits.shape == (1, 1000)
        found[name] = not shown.keys().isdisjoint(logits[0].argsort()[-5:].tolist())
    assert all(found.values()), found


def test_cats_and_coffee_come_first(target):
    for name in ("chelsea", "coffee", "camera"):
        assert predict(target, photograph(name)[None])[0].argmax() in PHOTOGRAPHS[name][1]


def test_an_audit_leaves_records(target, tmp_path):
    """None of them is known to be of the training set: half are called members, so nothing can leak."""
    squares = np.stack([photograph(name)[:300, :300] for name in PHOTOGRAPHS])
    images = LabelledImages(
        name="photographs",
        pixels=squares,
        labels=np.array([min(shown) for _, shown in PHOTOGRAPHS.values()]),
        class_names=tuple(map(str, range(1000))),
    )
    halves = np.arange(len(squares)) < 3
    split = Split(members=np.flatnonzero(halves), nonmembers=np.flatnonzero(~halves))
    data = AuditData(images=images, split=split)
    records = audit(target, attacks=["correctness", "modified_entropy"], data=data, out=tmp_path)
    assert {record.id for record in read_records(tmp_path)} == {record.id for record in records}
    right = predict(target, squares).argmax(1) == images.labels
    by_hand = 0.5 + (right[halves].mean() - right[~halves].mean()) / 2
    assert records[0].result["auc"] == pytest.approx(by_hand)
    for record in records:
        assert 0 <= record.result["auc"] <= 1
        assert (record.result["n_members"], record.result["n_nonmembers"]) == (3, 3)
        assert record.target["weights_hash"] == target.annotation.weights_hash
        assert record.target["transform"]["interpolation"] == "bicubic"
        assert record.counts == {
            "forwarded": 6,
            "members": 3,
            "members_right": right[halves].sum(),
            "nonmembers": 3,
            "nonmembers_right": right[~halves].sum(),
        }


def test_the_published_networks_are_built():
    sizes = {"lite0": (4_652_008, 224), "lite1": (5_416_680, 240), "lite2": (6_092_072, 260)}
    rows = load_annotations("extended")
    for name, (parameters, side) in sizes.items():
        row = rows[f"package/imagenet-1k/efficientnet_{name}"]
        assert row.image_size == side
        network = load_target(row).module
        assert sum(p.numel() for p in network.parameters()) == parameters
