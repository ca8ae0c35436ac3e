import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import Run
from securitynet_hub.attacks.membership.samples import (
    measure_slices,
    most_exposed,
    sample_table,
    tile,
    write_samples,
)
from securitynet_hub.core.errors import RecordError

RNG = np.random.default_rng(3)
SCORES, MEMBER, LABELS = RNG.normal(size=300), RNG.random(300) < 0.5, RNG.integers(0, 4, 300)


class TestSlices:
    def test_each_is_what_the_attack_gives_there(self):
        found = measure_slices(SCORES, MEMBER, LABELS, target_fprs=(0.1,))
        assert list(found) == [0, 1, 2, 3]
        for name, result in found.items():
            rows = name == LABELS
            assert result == measure_membership(SCORES[rows], MEMBER[rows], target_fprs=(0.1,))

    def test_a_slice_without_both_sides_has_no_result(self):
        found = measure_slices(SCORES, MEMBER, np.where(LABELS == 2, 2 + 10 * MEMBER, LABELS))
        assert [name for name, result in found.items() if result is None] == [2, 12]

    def test_all_intervals_together_are_wider(self):
        alone, together = (measure_slices(SCORES, MEMBER, LABELS, simultaneous=s) for s in (False, True))
        assert together[0]["confidence_level"] == pytest.approx(1 - 0.05 / 4)
        for name in alone:
            assert together[name]["auc_ci"].low < alone[name]["auc_ci"].low
            assert together[name]["auc_ci"].high > alone[name]["auc_ci"].high

    def test_together_they_cover_the_truth_as_often_as_they_say(self):
        rng = np.random.default_rng(0)
        missed = 0
        for _ in range(200):
            found = measure_slices(
                rng.normal(size=400), np.arange(400) % 2, np.arange(400) // 40, simultaneous=True
            )
            missed += any(not r["auc_ci"].low <= 0.5 <= r["auc_ci"].high for r in found.values())
        assert missed <= 20  # 10 expected; more than 20 has a chance of 0.2 %

    def test_row_order_does_not_matter(self):
        order = RNG.permutation(300)
        assert measure_slices(SCORES[order], MEMBER[order], LABELS[order]) == measure_slices(
            SCORES, MEMBER, LABELS
        )

    def test_other_lengths_and_missing_names_are_refused(self):
        with pytest.raises(ValueError, match="one slice for each of 300 scores; got 299"):
            measure_slices(SCORES, MEMBER, LABELS[:-1])
        with pytest.raises(ValueError, match="1 of them missing"):
            measure_slices(SCORES, MEMBER, [None, *LABELS[1:].tolist()])

    def test_names_of_any_container(self):
        expected = measure_slices(SCORES, MEMBER, LABELS)
        for slices in (pd.Series(LABELS), LABELS.tolist(), torch.from_numpy(LABELS)):
            assert measure_slices(SCORES, MEMBER, slices) == expected
        words = measure_slices(SCORES, MEMBER, pd.Series(LABELS.astype(str)))
        assert list(words.values()) == list(expected.values())


class TestTable:
    def table(self):
        rows = np.arange(1, 300)
        runs = {"a": Run(SCORES, np.arange(300)), "b": Run(-SCORES[1:], rows)}
        return sample_table(runs, MEMBER, labels=LABELS, positions=np.arange(300) + 7)

    def test_one_row_a_sample(self):
        table = self.table()
        assert list(table.columns) == ["position", "label", "is_member", "a", "b"]
        assert table["is_member"].dtype == bool
        np.testing.assert_array_equal(table["b"][1:], -SCORES[1:])
        assert np.isnan(table["b"][0])

    def test_other_lengths_are_refused(self):
        with pytest.raises(ValueError, match="'label': 299"):
            sample_table({}, MEMBER, labels=LABELS[1:], positions=np.arange(300))

    def test_it_is_written_with_pictures(self, tmp_path):
        pixels = RNG.integers(0, 255, (300, 4, 4, 1), np.uint8)
        table = self.table()
        write_samples(table, pixels, tmp_path / "zoo/x", count=4)
        assert pd.read_parquet(tmp_path / "zoo/x/scores.parquet").equals(table)
        for name, scores in (("a", SCORES), ("b", np.append(-np.inf, -SCORES[1:]))):
            expected = tile(pixels[most_exposed(np.maximum(scores, -1e9), MEMBER, 4)])
            with Image.open(tmp_path / f"zoo/x/exposed-{name}.png") as picture:
                np.testing.assert_array_equal(np.asarray(picture), expected[..., 0])

    def test_nothing_is_overwritten_or_left(self, tmp_path):
        pixels = RNG.integers(0, 255, (300, 4, 4, 3), np.uint8)
        write_samples(self.table(), pixels, tmp_path / "x")
        with pytest.raises(RecordError, match="the scores of other members"):
            write_samples(self.table().iloc[::-1].reset_index(drop=True), pixels, tmp_path / "x")
        added = self.table().rename(columns={"a": "c"})
        write_samples(added, pixels, tmp_path / "x")
        kept = pd.read_parquet(tmp_path / "x/scores.parquet")
        assert kept["a"].equals(self.table()["a"])  # of the audit before
        assert kept["c"].equals(added["c"])
        (tmp_path / "file").write_text("")
        with pytest.raises(RecordError, match="cannot write"):
            write_samples(self.table(), pixels, tmp_path / "file/x")
        assert {path.name for path in tmp_path.iterdir()} == {"x", "file"}


def test_the_most_exposed_are_members():
    rows = most_exposed(SCORES, MEMBER, 10)
    assert MEMBER[rows].all()
    assert sorted(SCORES[MEMBER])[-10:] == sorted(SCORES[rows])
    assert (np.diff(SCORES[rows]) <= 0).all()
    assert len(most_exposed(SCORES, MEMBER, 1000)) == MEMBER.sum()
    assert most_exposed([1.0, 1.0, 1.0, 0.0], [1, 1, 1, 0], 2).tolist() == [0, 1]


class TestTiles:
    def test_they_lie_in_rows(self):
        pixels = RNG.integers(0, 255, (5, 4, 6, 3), np.uint8)
        sheet = tile(pixels, columns=3)
        assert sheet.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
        np.testing.assert_array_equal(sheet[2:6, 2:8], pixels[0])
        np.testing.assert_array_equal(sheet[8:12, 10:16], pixels[4])
        assert (sheet[8:12, 18:24] == 255).all()

    @pytest.mark.parametrize("shape", [(0, 4, 4, 1), (2, 4, 4, 2), (4, 4, 1)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"of shape \(n, height, width, 1 or 3\)"):
            tile(np.zeros(shape, np.uint8))
