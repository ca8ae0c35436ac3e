import numpy as np
import pytest

from securitynet_hub.data.splits import Split, random_split, read_split, write_split


def test_random_splits_use_every_position_once_and_follow_the_seed():
    split = random_split(range(100, 150), 20, seed=3)
    assert sorted(split.indices) == list(range(100, 150))
    assert split.is_member.sum() == 20
    assert set(split.indices[split.is_member]) == set(split.members)
    assert random_split(range(100, 150), 20, seed=3).sha256 == split.sha256
    assert random_split(range(100, 150), 20, seed=4).sha256 != split.sha256


def test_the_hash_is_of_the_sets_and_knows_the_sides():
    a = Split(members=np.array([1, 2]), nonmembers=np.array([3]))
    assert a.sha256 == Split(members=np.array([2, 1]), nonmembers=np.array([3])).sha256
    assert a.sha256 != Split(members=np.array([3]), nonmembers=np.array([1, 2])).sha256


@pytest.mark.parametrize(
    ("members", "nonmembers", "sentence"),
    [
        ([1, 2], [2, 3], r"1 position\(s\) come twice, the first is 2"),
        ([1, 1], [2], "come twice"),
        ([], [1], "members must be a non-empty"),
        ([1], [], "nonmembers must be a non-empty"),
        ([-1], [1], "0 and above"),
        ([0.5], [1], "positions"),
    ],
)
def test_refusals(members, nonmembers, sentence):
    with pytest.raises(ValueError, match=sentence):
        Split(members=np.array(members), nonmembers=np.array(nonmembers))


def test_positions_beyond_the_images_are_refused():
    with pytest.raises(ValueError, match="position 9, but there are only 5"):
        Split(members=np.array([0]), nonmembers=np.array([9])).require_within(5)


def test_files_come_back_equal(tmp_path):
    split = random_split(range(50), 20, seed=0)
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json").sha256 == split.sha256


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"members": [1], "nonmembers": [1]}', "\x00"])
def test_files_of_another_form_are_refused_by_name(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"split\.json is not a readable split"):
        read_split(path)
