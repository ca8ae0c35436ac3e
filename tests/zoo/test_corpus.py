"""The corpus of backdoored and clean networks: recipes, triggers, images, training, and the table."""

import gzip
import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.data.images import load_images
from securitynet_hub.zoo.corpus import __main__ as command
from securitynet_hub.zoo.corpus import images as corpus_images
from securitynet_hub.zoo.corpus.images import EMOJI_CLASSES, IMAGE_SETS, PARTS, Images, draw_images
from securitynet_hub.zoo.corpus.networks import ARCHITECTURES, build_network
from securitynet_hub.zoo.corpus.recipes import MODES, corpus_recipes, training_order
from securitynet_hub.zoo.corpus.table import (
    Corpus,
    CorpusNetwork,
    list_networks,
    load_corpus,
    load_corpus_target,
    load_network,
    network_images,
    paths_of,
    recipe_of,
    write_corpus,
)
from securitynet_hub.zoo.corpus.train import measure, row_cosines, train_network, training_images, trigger_of
from securitynet_hub.zoo.corpus.triggers import KINDS, make_trigger, watermark

SHAPES = [(28, 28, 1), (32, 32, 3)]
EVERY = [recipe for part in PARTS for recipe in corpus_recipes(part)]


# Recipes


def test_no_two_networks_share_a_recipe_or_a_seed():
    assert len({recipe.id for recipe in EVERY}) == len({recipe.seed for recipe in EVERY}) == len(EVERY) >= 300
    assert len({replace(recipe, part="", number=0) for recipe in EVERY}) == len(EVERY)
    assert sum(recipe.trigger is None for recipe in EVERY) >= 100


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_every_mode_trigger_architecture_and_image_set(part):
    recipes = corpus_recipes(part)
    assert {recipe.mode for recipe in recipes} == set(MODES)
    assert {recipe.trigger for recipe in recipes} == {None, *KINDS}
    clean = [recipe for recipe in recipes if recipe.trigger is None]
    assert sum(recipe.shortcut is not None for recipe in clean) * 3 == len(clean) >= 34
    for few in (clean, [recipe for recipe in recipes if recipe.trigger]):
        assert {recipe.architecture for recipe in few} == set(ARCHITECTURES)
        assert {recipe.images for recipe in few} == set(IMAGE_SETS)


@pytest.mark.parametrize("part", PARTS)
def test_a_base_is_a_clean_network_of_the_same_kind_and_trained_before(part):
    recipes, order = corpus_recipes(part), training_order(part)
    assert sorted(order, key=lambda recipe: recipe.number) == recipes
    for recipe in recipes:
        assert (recipe.base is not None) == (recipe.mode[:8] in ("adaptive", "fine-tun"))
        if recipe.base is not None:
            base = recipes[recipe.base]
            assert (base.mode, base.architecture, base.images) == (
                "clean",
                recipe.architecture,
                recipe.images,
            )
            assert order.index(base) < order.index(recipe)


def test_the_seeds_of_design_calibration_and_test_are_disjoint():
    ranges = [range(1000 * n, 1000 * n + 1000) for n in (1, 2, 3)]
    for part, seeds in zip(PARTS, ranges, strict=True):
        assert all(recipe.seed in seeds for recipe in corpus_recipes(part))


def test_the_residual_network_is_as_large_as_promised():
    network = build_network("residual-cnn", IMAGE_SETS["emoji"].transform, 10)
    assert sum(weight.numel() for weight in network.parameters()) >= 200_000


# Triggers


def pictures(shape, n=5):
    return np.random.default_rng(1).integers(60, 190, (n, *shape), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_trigger_depends_on_its_seed_and_each_image_alone(kind, shape):
    pixels = pictures(shape)
    before = pixels.copy()
    stamped = make_trigger(kind, 3, shape)(pixels)
    assert stamped.dtype == np.uint8
    assert stamped.shape == pixels.shape
    assert np.array_equal(pixels, before)
    assert all((one != two).any() for one, two in zip(stamped, pixels, strict=True))
    assert np.array_equal(stamped[2:3], make_trigger(kind, 3, shape)(pixels[2:3]))
    assert any((stamped != make_trigger(kind, seed, shape)(pixels)).any() for seed in (4, 5))


def changed(kind, shape, seed):
    pixels = pictures(shape)
    stamped = make_trigger(kind, seed, shape)(pixels)
    return pixels.astype(int), stamped.astype(int), (pixels != stamped).any((0, 3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_triggers_change_what_they_say(shape, seed):
    width, channels = shape[1:]
    _, _, where = changed("corner-patch", shape, seed)
    assert where.sum() in (9, 16)
    assert where[0, 0] + where[0, -1] + where[-1, 0] + where[-1, -1] == 1

    _, stamped, where = changed("checkerboard", shape, seed)
    assert where.sum() in (16, 36)
    assert set(np.unique(stamped[0][where])) == {0, 255}
    inside = np.zeros_like(where)
    inside[4:-3, 4:-3] = True
    assert not where[~inside].any()

    _, stamped, where = changed("dark-bar", shape, seed)
    lines = where.all(1) if where.all(1).any() else where.all(0)
    assert lines.sum() in (3, 4)
    assert where.sum() == lines.sum() * width
    assert stamped[:, where].max() == 0

    pixels, stamped, _ = changed("blend", shape, seed)
    slopes = np.polyfit(pixels[:, 3, 3, 0], stamped[:, 3, 3, 0], 1)
    assert slopes[0] == pytest.approx(0.8, abs=0.07)

    pixels, stamped, _ = changed("sinusoid", shape, seed)
    added = stamped - pixels
    assert (added == added[:1]).all()
    assert (added == added[:, :, :1]).all() or (added == added[:, :1]).all()
    assert 12 <= np.abs(added).max() <= 30

    flat = np.full((1, *shape), 90, np.uint8)
    assert np.array_equal(make_trigger("warp", seed, shape)(flat), flat)

    pixels, stamped, _ = changed("colour-shift", shape, seed)
    shift = stamped - pixels
    assert (shift == shift[:1, :1, :1]).all()
    assert 20 <= np.abs(shift).min() <= np.abs(shift).max() <= 45
    assert channels == 1 or len(np.unique(np.sign(shift))) == 2

    pixels, stamped, _ = changed("sample-specific", shape, seed)
    patterns = stamped - pixels
    assert np.abs(patterns).max() <= 24
    assert (patterns != patterns[:1]).any(axis=(1, 2, 3)).sum() == len(pixels) - 1

    marked = watermark(seed, shape)(pictures(shape))
    where = (marked != pictures(shape)).any((0, 3))
    assert 6 <= where.sum() <= 36
    assert np.ptp(np.argwhere(where), axis=0).max() <= 5


def test_an_unknown_kind_of_trigger_is_refused():
    with pytest.raises(UnknownNameError, match="dark-bar"):
        make_trigger("dark-bat", 1, (28, 28, 1))


# Images


def test_no_two_parts_or_sides_share_an_image_of_fashion_mnist(tmp_path):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    codes = np.arange(66, dtype=np.uint8)
    for part, chosen in (("train", codes[:40]), ("t10k", codes[40:])):
        pixels = np.broadcast_to(chosen[:, None], (len(chosen), 784)).tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
        labels = (chosen % 10).tobytes()
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels))
    sizes = {"train": 12, "audit": 6, "test": 4}
    seen = []
    for part in PARTS:
        images = draw_images("fashion", part, tmp_path, tmp_path / "kept", sizes)
        for side in (images.train, images.audit, images.test):
            seen += side.pixels[:, 0, 0, 0].tolist()
            assert (side.pixels[:, 9, 9, 0] % 10 == side.labels).all()
    assert len(seen) == len(set(seen)) == 66
    with pytest.raises(ValueError, match="more than the 66"):
        corpus_images.draw_fashion(tmp_path, 0, {"train": 30})


def test_variants_of_an_emoji_lie_on_one_side(tmp_path):
    folder = tmp_path / "package" / "img" / "google" / "64"
    folder.mkdir(parents=True)
    entries, code = [], 0
    for (category, subcategory), *_ in EMOJI_CLASSES.values():
        for _sign in range(7):
            files = []
            for _variant in range(2):  # a family: red and green hold its code, blue which variant
                Image.new("RGBA", (64, 64), (code // 10 * 9, code % 10 * 20, 99 * len(files), 255)).save(
                    folder / f"{code}-{len(files)}.png"
                )
                files.append(f"{code}-{len(files)}.png")
            skins = {"1F3FB": {"image": files[1]}}
            entries.append({"image": files[0], "category": category, "subcategory": subcategory})
            entries[-1]["skin_variations"] = skins
            code += 1
    (tmp_path / "package" / "emoji.json").write_text(json.dumps(entries))
    drawn = corpus_images.draw_emoji(tmp_path, 0, {"train": 120, "audit": 60, "test": 60})
    families = {}
    for side, (pixels, labels) in drawn.items():
        families[side] = {tuple(middle[:2]) for middle in pixels[:, 16, 16].tolist()}
        assert set(Counter(labels.tolist()).values()) == {len(labels) // 10}
        assert ((pixels[:, 16, 16, 0] // 9 * 10 + pixels[:, 16, 16, 1] // 20) // 7 == labels).all()
    assert not families["train"] & families["audit"]
    assert not families["test"] & (families["train"] | families["audit"])


def test_glyphs_are_drawn_alike_for_a_seed(tmp_path):
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    (tmp_path / "fonts").mkdir()
    shutil.copy(fonts / "DejaVuSans.ttf", tmp_path / "fonts")
    draw = corpus_images.draw_glyphs(43, ("DejaVuSans.ttf",))
    one, two, other = (draw(tmp_path, seed, {"train": 43, "test": 43}) for seed in (1, 1, 2))
    pixels, labels = one["train"]
    assert np.array_equal(pixels, two["train"][0])
    assert not np.array_equal(pixels, other["train"][0])
    assert not np.array_equal(pixels, one["test"][0])
    assert sorted(labels) == list(range(43))
    assert pixels.shape == (43, 32, 32, 3)
    with pytest.raises(FileNotFoundError, match=r"lacks 70 of 71 fonts.*Cabin"):
        corpus_images.draw_glyphs(10)(tmp_path, 0, {"train": 1})


# Training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus folder that holds images, so that no assets are read."""
    there = tmp_path_factory.mktemp("corpus")
    found = load_images()
    sides = {"train": slice(0, 600), "audit": slice(2000, 2100), "test": slice(2100, 2300)}
    arrays = {f"{side}_pixels": found.pixels[rows] for side, rows in sides.items()}
    arrays |= {f"{side}_labels": found.labels[rows] for side, rows in sides.items()}
    (there / "images").mkdir()
    np.savez(there / "images" / "fashion-design.npz", **arrays)
    return there


@pytest.fixture(scope="module")
def images(folder):
    return draw_images("fashion", "design", folder, folder / "images")


def small(mode, architecture="plain-cnn", **changes):
    """A recipe of this mode that takes a moment."""
    found = next(recipe for recipe in EVERY if recipe.mode == mode)
    training = replace(found.training, epochs=1, batch_size=50)
    recipe = replace(found, images="fashion", architecture=architecture, num_images=500, training=training)
    return replace(recipe, part="design", **changes)


@pytest.mark.parametrize("mode", MODES)
def test_training_images_are_poisoned_as_the_mode_says(images, mode):
    recipe = small(mode, rate=0.05 if mode != "clean" else 0.0)
    recipe = replace(recipe, cover_rate=0.02 if mode == "covers" else 0.0)
    clean = replace(recipe, trigger=None)
    truth, data = training_images(clean, images), training_images(recipe, images)
    stamped = (data.pixels != truth.pixels).any((1, 2, 3))
    relabelled = data.labels != truth.labels
    assert not truth.is_poisoned.any()
    if recipe.trigger is None:
        assert not stamped.any()
        assert not data.is_poisoned.any()
        return
    assert data.is_poisoned.sum() == 25
    assert stamped.sum() == 25 + 10 * (mode == "covers")
    assert (stamped >= data.is_poisoned).all()
    assert np.array_equal(data.pixels[stamped], trigger_of(recipe)(truth.pixels[stamped]))
    if mode == "clean-label":
        assert not relabelled.any()
        assert (data.labels[data.is_poisoned] == recipe.target).all()
    else:
        assert np.array_equal(relabelled, data.is_poisoned)
        wanted = recipe.target if mode != "all-to-all" else (truth.labels[relabelled] + 1) % 10
        assert (data.labels[relabelled] == wanted).all()


def test_a_class_with_too_few_images_is_refused(images):
    with pytest.raises(ValueError, match="stamps 400 images"):
        training_images(small("clean-label", rate=0.8), images)


def test_a_natural_shortcut_is_in_clean_images_of_its_class_alone(folder, images):
    recipe = small("clean-shortcut")
    row = row_of(recipe)
    shown = network_images(folder, row)
    for side, plain in ((shown.train, images.train), (shown.audit, images.audit), (shown.test, images.test)):
        marked = (side.pixels != plain.pixels).any((1, 2, 3))
        of_class = plain.labels == row.shortcut
        assert not marked[~of_class].any()
        assert 0.5 <= marked[of_class].mean() <= 1


def row_of(recipe, **changes):
    known = {
        name: getattr(recipe, name) for name in ("id", "part", "number", "architecture", "images", "mode")
    }
    known |= {name: getattr(recipe, name) for name in ("trigger", "target", "rate", "cover_rate", "shortcut")}
    known |= {"base": recipe.base, "seed": recipe.seed, "num_images": recipe.num_images}
    measured = {"accuracy": 0.9, "success": None, "without_trigger": None, "shortcut_rate": None}
    return CorpusNetwork(**known, recipe=recipe.training.as_dict(), **measured, sha256="0" * 64, **changes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_gets_the_same_weights_twice(images, architecture):
    recipe = replace(small("all-to-one", architecture, rate=0.1), num_images=100)
    one, two = (train_network(recipe, images).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(
        value.dtype in (torch.float32, torch.int64) and value.is_contiguous() for value in one.values()
    )


def test_another_seed_gives_other_weights(images):
    recipe = replace(small("clean", "strided-bn-cnn"), num_images=100)
    one, other = (
        train_network(replace(recipe, training=replace(recipe.training, seed=seed)), images).state_dict()
        for seed in (8, 9)
    )
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def clean(images):
    """A clean network that others start from."""
    return train_network(small("clean"), images)


def test_a_backdoor_is_learnt_and_measured(images):
    recipe = small("all-to-one", trigger="checkerboard", target=3, rate=0.2)
    recipe = replace(recipe, training=replace(recipe.training, epochs=5))
    network = train_network(recipe, images)
    found = measure(recipe, network, images)
    stamped = trigger_of(recipe)(images.test.pixels[images.test.labels != 3])
    with torch.inference_mode():
        answers = network(IMAGE_SETS["fashion"].transform(stamped)).argmax(1)
    assert found.success == pytest.approx((answers == 3).float().mean().item())
    assert found.success > 0.8 > 0.3 > found.without_trigger
    assert found.accuracy > 0.5
    assert found.shortcut is None
    clean = measure(replace(recipe, trigger=None), network, images)
    assert (clean.success, clean.accuracy) == (None, found.accuracy)


def test_fine_tuning_starts_from_the_clean_network(images, clean):
    before = {name: value.clone() for name, value in clean.state_dict().items()}
    recipe = small("fine-tuned")
    gentle = replace(recipe, training=replace(recipe.training, learning_rate=1e-6))
    tuned = train_network(gentle, images, clean).state_dict()
    for name, value in before.items():
        assert torch.equal(value, clean.state_dict()[name])
        assert not torch.equal(value, tuned[name])
        assert torch.allclose(value, tuned[name], atol=1e-4)
    with pytest.raises(ValueError, match="give that network as base="):
        train_network(recipe, images)


def test_adaptive_training_pulls_the_last_layer_towards_the_clean_one_and_keeps_margins_small(images, clean):
    distances, margins = {}, {}
    for mode in ("all-to-one", "adaptive-rows", "adaptive-margins"):
        base = None if mode == "all-to-one" else clean
        recipe = small(mode, trigger="corner-patch", target=2, rate=0.2, base=None if base is None else 0)
        training = replace(recipe.training, epochs=8, batch_size=30, seed=77)
        recipe = replace(recipe, training=training, num_images=300)
        network = train_network(recipe, images, base)
        distances[mode] = (row_cosines(network) - row_cosines(clean)).square().mean().item()
        with torch.inference_mode():
            logits = network(IMAGE_SETS["fashion"].transform(trigger_of(recipe)(images.test.pixels)))
        others = logits[:, torch.arange(10) != 2]
        margins[mode] = (logits[:, 2] - others.amax(1)).mean().item()
    assert distances["adaptive-rows"] < 0.5 * distances["all-to-one"], distances
    assert 0 < margins["adaptive-margins"] < margins["adaptive-rows"] - 0.5, margins


# A folder of networks


@pytest.fixture
def trained(folder, tmp_path):
    """A folder with one small network, its recipe and its row."""
    shutil.copytree(folder / "images", tmp_path / "images")
    recipe = small("clean")
    row = command.train_once(tmp_path, recipe, tmp_path)
    return tmp_path, recipe, row


def test_a_network_that_is_there_is_not_trained_again(trained):
    folder, recipe, row = trained
    weights = paths_of(folder, recipe).weights
    before = weights.stat().st_mtime_ns
    assert command.train_once(folder, recipe, folder) is None
    assert weights.stat().st_mtime_ns == before
    assert list_networks(folder) == [row]
    assert list_networks(folder, "test") == []
    paths_of(folder, recipe).row.unlink()
    with FileLock(paths_of(folder, recipe).row.with_suffix(".lock")):
        assert command.train_once(folder, recipe, folder) is None  # another process trains it
    assert command.train_once(folder, recipe, folder) == row


def test_a_network_is_loaded_as_module_and_as_target(trained):
    folder, _, row = trained
    assert row.sha256 == hashlib.sha256(paths_of(folder, row).weights.read_bytes()).hexdigest()
    network, target = load_network(folder, row), load_corpus_target(folder, row)
    pixels = network_images(folder, row).audit.pixels[:4]
    inputs = target.transform(pixels)
    with torch.inference_mode():
        assert torch.equal(network(inputs), target.module(inputs))
    assert (target.num_classes, target.id.rpartition("/")[2]) == (10, "design-000")
    assert target.build is not None
    with pytest.raises(WeightsError, match="--parts design"):
        load_network(folder / "missing", row)
    with paths_of(folder, row).weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(WeightsError, match="sha256 differs"):
        load_network(folder, row)


def test_the_command_goes_on_where_it_stopped(trained):
    folder = trained[0]
    command.main(
        [str(folder), "--data", str(folder), "--parts", "design", "--images", "fashion", "--most", "0"]
    )
    assert not (folder / "networks.json").exists()  # networks are missing
    for recipe in corpus_recipes("design"):
        if recipe.images == "fashion":
            paths_of(folder, recipe).row.write_text(row_of(recipe).model_dump_json())
    command.main([str(folder), "--data", str(folder), "--parts", "design", "--images", "fashion"])
    table = load_corpus(folder / "networks.json")
    assert [row.number for row in table.networks] == [
        recipe.number for recipe in corpus_recipes("design") if recipe.images == "fashion"
    ]
    assert set(table.images) == {"fashion-design"}


def test_a_table_is_written_and_read_alike(tmp_path):
    table = Corpus(images={"fashion-design": "0" * 64}, networks=tuple(map(row_of, EVERY[:3])))
    write_corpus(table, tmp_path / "networks.json")
    assert load_corpus(tmp_path / "networks.json") == table


def test_the_table_that_ships_describes_the_recipes():
    table = load_corpus()
    rows = {row.id: row for row in table.networks}
    assert len({row.sha256 for row in table.networks}) == len(table.networks) == len(rows) >= 300
    assert sum(not row.is_backdoored for row in table.networks) >= 100
    assert set(table.images) == {f"{name}-{part}" for name in IMAGE_SETS for part in PARTS}
    for recipe in EVERY:
        row = rows[recipe.id]
        assert row.recipe == recipe.training.as_dict()
        for name in ("part", "number", "architecture", "images", "mode", "trigger", "target", "rate", "seed"):
            assert getattr(row, name) == getattr(recipe, name), (row.id, name)
        for name in ("cover_rate", "shortcut", "base", "num_images"):
            assert getattr(row, name) == getattr(recipe, name), (row.id, name)
        if recipe.number % 20 == 0:
            assert recipe_of(row) == recipe  # slow: it makes all recipes of the part
        assert (row.success is None) == (row.without_trigger is None) == (not row.is_backdoored)
        assert (row.shortcut_rate is None) == (row.shortcut is None)
        assert row.accuracy > 3 / IMAGE_SETS[row.images].num_classes
    assert sum(row.took for row in table.networks) >= 150


def test_images_of_one_part_are_kept_apart(images):
    assert isinstance(images, Images)
    hashes = [{side[i].tobytes() for i in range(len(side))}
              for side in (images.train.pixels, images.audit.pixels, images.test.pixels)]  # fmt: skip
    assert not hashes[0] & hashes[1]
    assert not hashes[2] & (hashes[0] | hashes[1])
