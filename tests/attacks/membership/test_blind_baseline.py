"""What the blind baseline withholds: sides that differ, and no others."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2_contingency
from support.planted_shifts import OF_COLOUR, SHIFTS, class_mix, photographs

from securitynet_hub import load_images
from securitynet_hub.attacks.membership.blind_baseline import find_baseline, measure_baseline
from securitynet_hub.attacks.subject import AuditData, read_data
from securitynet_hub.data.duplicates import count_duplicates, fingerprint
from securitynet_hub.data.image_statistics import image_statistics
from securitynet_hub.data.splits import Split
from securitynet_hub.statistics.weighted import stratified_auc, weighted_auc

SIDE = 120
MEMBERS = np.arange(2 * SIDE) < SIDE


@pytest.fixture(scope="module")
def clothes():
    images = load_images()
    return list(images.pixels[2000:]), images.labels[2000:]


@pytest.fixture(scope="module")
def squares():
    return photographs()


@pytest.fixture(params=["clothes", "squares"])
def pool(request):
    return request.getfixturevalue(request.param)


def draw(pool, seed, change=lambda image: image):
    """Split a part of the pool at random, then change the members."""
    images, labels = pool
    rows = np.random.default_rng(seed).permutation(len(images))[: 2 * SIDE]
    shown = [
        change(images[row]) if member else images[row] for row, member in zip(rows, MEMBERS, strict=True)
    ]
    return measure_baseline(shown, labels[rows], MEMBERS, seed=seed)


@pytest.mark.slow
def test_random_splits_of_one_pool_are_seldom_withheld(pool):
    found = [draw(pool, seed) for seed in range(10)]
    assert sum(one.differs for one in found) <= 1
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.04)


def test_the_interval_is_as_wide_as_cross_fitting_needs(clothes):
    """Scores fitted on the other folds spread more than scores that know nothing of the sample."""
    found = draw(clothes, 0)
    plain = weighted_auc(np.random.default_rng(0).normal(size=2 * SIDE), MEMBERS, np.ones(2 * SIDE)).ci
    width = found.auc_ci.high - found.auc_ci.low
    assert width / (plain.high - plain.low) == pytest.approx(np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_planted_shift_is_withheld(squares, clothes, shift):
    for pool in (squares,) if shift in OF_COLOUR else (squares, clothes):
        found = draw(pool, 1, SHIFTS[shift])
        assert found.differs
        assert found.auc_ci.low > 0.5


def test_files_are_looked_at_where_there_are_such(tmp_path, clothes):
    """The same pixels, in other files: members as PNG, non-members as BMP."""
    images, labels = clothes
    for row in range(120):
        split, kind = ("train", "png") if row % 2 else ("test", "bmp")
        folder = tmp_path / split / str(labels[row])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row][..., 0]).save(folder / f"{row}.{kind}")
    found = find_baseline(read_data(str(tmp_path), channels=1))
    assert found.auc > 0.99
    assert {"file size", "file format"} < set(found.looked_at)


def test_another_mix_of_classes_is_withheld(pool):
    images, labels = pool
    rows = class_mix(labels, SIDE, SIDE, np.random.default_rng(0))
    found = measure_baseline([images[row] for row in rows], labels[rows], MEMBERS)
    assert found.differs
    assert found.class_balance < 0.01


def test_class_balance_is_the_chi_squared_test(clothes):
    images, labels = clothes
    found = measure_baseline(images[: 2 * SIDE], labels[: 2 * SIDE], MEMBERS)
    table = [np.bincount(labels[: 2 * SIDE][side], minlength=10) for side in (MEMBERS, ~MEMBERS)]
    assert found.class_balance == pytest.approx(chi2_contingency(np.array(table)).pvalue)


def test_images_of_any_size_are_described(squares):
    chosen = np.random.default_rng(0).permutation(len(squares[0]))[: 2 * SIDE]
    images = [squares[0][row][: 20 + 9 * (k % 5), : 16 + 11 * (k % 4)] for k, row in enumerate(chosen)]
    images[0], images[1] = images[0][:1, :1], images[1][:, :, :1]
    found = measure_baseline(images, np.zeros(2 * SIDE, int), MEMBERS)
    assert np.isfinite(image_statistics(images)).all()
    assert (found.differs, found.class_balance) == (False, None)


def test_the_same_seed_gives_the_same_figures(clothes):
    assert draw(clothes, 3).as_result() == draw(clothes, 3).as_result()


def test_few_images_say_nothing():
    images = list(np.random.default_rng(0).integers(0, 255, (4, 8, 8, 1), np.uint8))
    found = measure_baseline(images, [0, 1, 0, 1], [1, 1, 1, 0])
    assert found.auc_ci == (0, 1)
    assert not found.differs


@pytest.fixture(scope="module")
def darkened():
    """The baseline of sides of which one has more darkened images, which images these are, and the sides."""
    images = load_images()
    is_member = np.arange(2000) < 1000
    darker = np.arange(2000) % 10 < np.where(is_member, 7, 3)
    pixels = [(image * 0.6).astype(np.uint8) if dark else image
              for image, dark in zip(images.pixels[2000:], darker, strict=True)]  # fmt: skip
    return measure_baseline(pixels, images.labels[2000:], is_member), darker, is_member


class TestMatching:
    """Members and non-members that look alike can be compared, where there are such."""

    def test_removes_what_the_difference_alone_explains(self, darkened):
        found, darker, is_member = darkened
        assert found.differs
        rows, noise = np.arange(2000), np.random.default_rng(0).normal(size=2000)
        scores = darker + noise
        assert weighted_auc(scores, is_member, np.ones(2000)).auc > 0.58
        matched = found.match(scores, rows, is_member)["overlap_weights"]
        assert matched["auc_ci"][0] < 0.5 < matched["auc_ci"][1]
        assert matched["blind_auc"] == pytest.approx(0.5, abs=0.05)
        assert 10 < matched["effective_members"] < 1000

    def test_keeps_what_it_does_not_explain(self, darkened):
        found, _, is_member = darkened
        scores = is_member + np.random.default_rng(0).normal(size=2000)
        assert found.match(scores, np.arange(2000), is_member)["overlap_weights"]["auc_ci"][0] > 0.65

    def test_classes_are_compared_where_nothing_else_differs(self, darkened, clothes):
        images, labels = clothes
        rows = class_mix(labels, 400, 400, np.random.default_rng(0))
        members = np.arange(800) < 400
        found = measure_baseline([images[row] for row in rows], labels[rows], members)
        scores = -10.0 * labels[rows]  # tells classes, and nothing within one
        assert weighted_auc(scores, members, np.ones(800)).auc > 0.6
        assert found.match(scores, np.arange(800), members)["within_class"]["auc"] == 0.5
        shifted, _, is_member = darkened
        assert shifted.match(np.zeros(2000), np.arange(2000), is_member)["within_class"] is None

    def test_uses_the_samples_that_the_attack_scored(self, darkened):
        found, _, is_member = darkened
        rows = np.arange(0, 2000, 2)
        weighted = found.match(np.zeros(1000), rows, is_member[rows])["overlap_weights"]
        assert weighted["auc"] == 0.5
        assert weighted["effective_members"] <= 500

    def test_has_no_figure_where_no_image_is_like_the_other_side_s(self, clothes):
        found = draw(clothes, 1, SHIFTS["border"])
        assert found.match(np.zeros(2 * SIDE), np.arange(2 * SIDE), MEMBERS)["overlap_weights"] is None


class TestWeightedAreas:
    def test_whole_weights_are_repeated_samples(self):
        rng = np.random.default_rng(0)
        scores, members, times = rng.integers(0, 5, 60), rng.random(60) < 0.4, rng.integers(1, 4, 60)
        repeated = np.repeat(np.arange(60), times)
        one = weighted_auc(scores, members, times).auc
        assert one == pytest.approx(
            weighted_auc(scores[repeated], members[repeated], np.ones(len(repeated))).auc
        )

    def test_the_interval_covers(self):
        rng = np.random.default_rng(1)
        members = np.arange(300) < 150
        weights = np.where(np.arange(300) % 2, 0.2, 1.0)
        held = 0
        for _ in range(300):
            low, high = weighted_auc(rng.normal(size=300), members, weights).ci
            held += low <= 0.5 <= high
        assert 275 <= held <= 297

    def test_within_strata_a_difference_between_them_does_not_count(self):
        strata = np.repeat([0, 1], 100)
        members = np.r_[np.arange(100) < 80, np.arange(100) < 20]
        scores = -10.0 * strata + np.random.default_rng(0).normal(size=200)
        assert weighted_auc(scores, members, np.ones(200)).auc > 0.7
        low, high = stratified_auc(scores, members, strata).ci
        assert low < 0.5 < high
        assert stratified_auc([1, 2], [1, 0], ["a", "b"]) is None

    @pytest.mark.parametrize("weights", [[1, -1], [1], [1, np.nan], [0, 1]])
    def test_strange_weights_are_refused(self, weights):
        with pytest.raises(ValueError, match="weights must be"):
            weighted_auc([1, 0], [1, 0], weights)


def duplicates(first, second):
    return count_duplicates(*([fingerprint(image) for image in side] for side in (first, second)))


class TestDuplicates:
    def test_copies_are_counted_however_they_were_stored(self, squares):
        images = squares[0][:600:10]
        stored = [SHIFTS["jpeg"](image) for image in images[20:40]]
        found = duplicates(images[:40], [*images[:10], *stored, *images[50:60]])
        assert found.exact == 10
        assert 15 <= found.near <= 21

    def test_images_that_show_nothing_are_no_near_copies(self):
        flat = [np.full((8, 8, 1), value, np.uint8) for value in (3, 4)]
        assert duplicates(flat[:1], flat) == (1, 0)


def test_a_record_s_baseline_looks_at_a_sample_of_the_split():
    images = load_images()
    data = AuditData(images=images, split=Split(members=np.arange(1500), nonmembers=np.arange(1500, 1700)))
    found = find_baseline(data, seed=5)
    assert (found.n_members, found.n_nonmembers, len(found.rows)) == (1000, 200, 1200)
    assert find_baseline(data, seed=5) is found
    assert found.rows.tolist() == sorted(set(found.rows.tolist()))
