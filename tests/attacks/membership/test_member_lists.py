import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from securitynet_hub import AuditData, LabelledImages, Transform, audit, load_target
from securitynet_hub.attacks.membership import present
from securitynet_hub.attacks.membership.member_lists import SHOWN, describe
from securitynet_hub.attacks.membership.results import parse
from securitynet_hub.core.errors import DataWarning
from securitynet_hub.records.entries import Entry

RNG = np.random.default_rng(0)
MEMBERS, SECRET, OUTSIDE = (RNG.integers(0, 256, (n, 4, 4, 1), np.uint8) for n in (60, 30, 260))
TRANSFORM = Transform(height=4, width=4, mean=(0.5,), std=(0.5,))


class Memory(torch.nn.Module):
    """Is sure of the class 0 of images that it has seen, and of others by chance."""

    def __init__(self):
        super().__init__()
        seen = torch.from_numpy(np.concatenate([MEMBERS, SECRET]).reshape(-1, 16) / 127.5 - 1).float()
        self.register_buffer("seen", seen)

    def forward(self, images):
        flat = images.flatten(1)
        sure = 4 * torch.exp(-torch.cdist(flat, self.seen).min(1).values) + flat[:, :3].sum(1)
        return torch.stack([sure, -sure], 1)


DATA = AuditData.from_arrays((MEMBERS, np.zeros(60, int)), (OUTSIDE[:200], np.zeros(200, int)))
CANDIDATES = np.concatenate([SECRET, OUTSIDE[200:]])


def listed(attacks="loss", **options):
    """Audit the network; return the records and the lists."""
    lists = []
    how = {"name": "memory", "transform": TRANSFORM, "num_classes": 2, "data": DATA, "attacks": attacks}
    records = audit(Memory().eval(), **{**how, "list_members": True, "on_list": lists.append, **options})
    return records, lists


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of pictures of which the first 30 were trained on, with and without classes."""
    root = tmp_path_factory.mktemp("candidates")
    for part in ("plain", "classes/0", "classes/1"):
        (root / part).mkdir(parents=True)
    for number, image in enumerate(CANDIDATES):
        for part in ("plain", "classes/0"):
            Image.fromarray(image[..., 0]).save(root / part / f"{number:02d}.png")
    return root


class TestWithoutCandidates:
    def test_the_members_and_half_of_the_nonmembers_are_judged(self):
        (record,), (named,) = listed()
        counts = record.result["listed"]
        assert (counts["candidates"], counts["known_nonmembers"]) == (160, 100)
        assert 40 <= counts["listed"] <= 70
        assert counts["wrong"] == (~named.is_member[named.rows]).sum() <= counts["at_most_wrong"]
        assert parse(record).listed.listed == counts["listed"]
        judged = set(named.positions.tolist())
        assert judged >= set(DATA.split.members.tolist())
        assert len(judged) == 160

    def test_the_table_says_it_of_each_image(self):
        _, (named,) = listed()
        table = named.table
        assert (np.diff(table["score"]) <= 0).all()
        assert table["named"].sum() == len(named.rows)
        assert (~table["is_member"][table["named"]]).sum() == named.result["wrong"]
        assert table["file"][0].startswith("image ")

    def test_an_attack_that_is_fitted_judges_neither_side_of_its_fit(self):
        (record,), (named,) = listed("logistic")
        counts = record.result["listed"]
        assert (counts["candidates"], counts["known_nonmembers"]) == (30 + 50, 50)
        assert len(named.scores) == 80

    def test_several_attacks_share_the_rate(self):
        records, _ = listed(["loss", "entropy"], fdr=0.2)
        assert [record.result["listed"]["attacks"] for record in records] == [2, 2]
        alone = listed("loss", fdr=0.1)[0][0].result["listed"]
        assert records[0].result["listed"]["listed"] == alone["listed"]

    def test_the_figures_are_those_without_a_list(self):
        (with_list,), _ = listed()
        (without,), none = listed(list_members=False)
        assert none == []
        assert "listed" not in without.result
        assert with_list.unit == without.unit
        assert with_list.result["auc"] == without.result["auc"]

    def test_too_few_nonmembers_are_refused_with_how_many_it_takes(self):
        with pytest.raises(ValueError, match=r"needs 199 or more known non-members; loss has 100, half of"):
            listed(fdr=0.005)
        with pytest.raises(ValueError, match=r"one of 2 equal parts, needs 199 .* or run fewer attacks"):
            listed(["loss", "entropy"], fdr=0.01)
        with pytest.raises(ValueError, match=r"between 0 and 1; got 10"):
            listed(fdr=10)

    def test_sides_that_differ_before_any_training_give_no_list(self):
        dark = AuditData.from_arrays((MEMBERS, np.zeros(60, int)), (OUTSIDE[:200] // 3, np.zeros(200, int)))
        (record,), (named,) = listed(data=dark)
        assert record.result["blind_baseline"]["auc_ci"][0] > 0.5
        assert record.result["listed"]["differs"]
        assert len(named.rows) == 0

    def test_what_no_attack_would_look_at_is_refused(self):
        with pytest.raises(ValueError, match=r"fdr= \(--fdr\) is the rate of list_members="):
            listed(list_members=False, fdr=0.2)
        with pytest.raises(ValueError, match="name base_calibration among them"):
            listed(base="zoo/fashion-mnist/cnn-clean/1")


class TestCandidates:
    def test_those_that_were_trained_on_are_named(self, folder):
        (record,), (named,) = listed(candidates=str(folder / "classes"))
        files = {path.rpartition("/")[2] for path in named.table["file"][named.table["named"]]}
        hits = {name for name in files if int(name[:2]) < 30}
        assert len(hits) >= 20
        assert len(files) - len(hits) <= record.result["listed"]["at_most_wrong"]
        assert record.result["listed"]["candidates"] == 90
        assert record.result["listed"]["known_nonmembers"] == 200
        assert record.result["listed"]["wrong"] is None
        assert "is_member" not in named.table

    def test_a_record_names_no_candidate(self, folder):
        (record,), _ = listed(candidates=str(folder / "classes"))
        text = json.dumps(record.as_dict())
        assert ".png" not in text
        assert str(folder) not in text
        assert record.data == listed()[0][0].data

    def test_other_figures_are_those_without_candidates(self, folder):
        for attack in ("loss", "logistic"):
            (beside,), _ = listed(attack, candidates=str(folder / "classes"))
            (alone,), _ = listed(attack, list_members=False)
            for name in ("auc", "n_members", "n_nonmembers"):
                assert beside.result[name] == pytest.approx(alone.result[name])

    def test_pictures_without_classes(self, folder):
        (record,), _ = listed("entropy", candidates=str(folder / "plain"))
        assert record.result["listed"]["candidates"] == 90
        with pytest.raises(ValueError, match=r"loss needs the candidates' labels: .* such as entropy"):
            listed(candidates=str(folder / "plain"))

    def test_images_of_the_data_are_left_out(self):
        pixels = np.concatenate([CANDIDATES, CANDIDATES[:1], MEMBERS[:2], OUTSIDE[:3]])
        source = LabelledImages(
            name="more", pixels=pixels, labels=np.zeros(len(pixels), int), class_names=("0", "1")
        )
        with pytest.warns(DataWarning, match="6 of 96 candidates"):
            (record,), _ = listed(candidates=source)
        assert record.result["listed"]["candidates"] == 90

    def test_few_are_told_that_they_are_too_few_to_check(self):
        source = LabelledImages(
            name="few", pixels=CANDIDATES[:5], labels=np.zeros(5, int), class_names=("0", "1")
        )
        with pytest.warns(DataWarning, match="5 candidate.* are too few to check"):
            listed(candidates=source)

    def test_other_images_than_the_nonmembers_are_not_judged(self):
        source = LabelledImages(
            name="dark", pixels=CANDIDATES // 3, labels=np.zeros(90, int), class_names=("0", "1")
        )
        (record,), (named,) = listed(candidates=source)
        assert record.result["listed"]["differs"]
        assert record.result["listed"]["listed"] == len(named.rows) == 0
        assert "differ from the known non-members" in describe("loss", record.result["listed"])

    def test_an_attack_by_queries(self, folder):
        (record,), (named,) = listed("translation", candidates=str(folder / "classes"))
        assert record.result["n_members"] == 60
        assert len(named.scores) == 90

    def test_what_is_no_folder_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="there is no folder"):
            listed(candidates=str(tmp_path / "missing"))


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """Return a record and the folder of samples."""
    samples = tmp_path_factory.mktemp("samples")
    (record,), _ = listed(candidates=str(folder / "classes"), samples=samples)
    return record, samples


class TestShown:
    def test_a_table_says_on_how_many_images_each_attack_is_measured(self):
        records, _ = listed(["loss", "entropy", "logistic"], list_members=False)
        annotation = load_target(Memory(), transform=TRANSFORM, num_classes=2).annotation
        _, table, _ = present.tables([(annotation, records)], 200)  # the verdict first, terms explained last
        row = [column._cells[0] for column in table.columns]
        assert row[1] == "60/200"
        assert not any("60/200" in cell for cell in row[3:])
        assert row[5].splitlines()[-1].startswith("of 30/100")  # half of them are what it is fitted on

    def test_files_beside_the_samples(self, written):
        record, samples = written
        table = pd.read_csv(samples / record.target["id"] / "members-loss.csv")
        assert len(table) == 90
        assert table["named"].sum() == record.result["listed"]["listed"]
        with Image.open(samples / record.target["id"] / "members-loss.png") as picture:
            assert picture.width == 10 * 6 + 2

    def test_in_a_report(self, written):
        record, samples = written
        parts = present.section([Entry(record, samples)], [samples]).parts
        tables = [part for part in parts if getattr(part, "caption", "").startswith("Images that each")]
        counts = record.result["listed"]
        assert tables[0].lines[0].cells[:3] == ["90", str(counts["listed"]), str(counts["at_most_wrong"])]
        pictures = next(part for part in parts if getattr(part, "heading", "") == "Named as members").pictures
        assert describe("loss", counts) in pictures[0].caption
        assert counts["listed"] <= SHOWN or "first 40" in pictures[0].caption

    def test_in_a_terminal(self, folder):
        _, lists = listed(candidates=str(folder / "classes"))
        text, table = present.list_tables(lists, most=5)
        assert "are wrongly accused (95 % confidence)" in text.plain
        assert table.row_count == 5
        assert table.columns[1]._cells[0].endswith(".png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listed": 95}, "each should be within the last"),
        ({"at_most_wrong": 89}, "each should be within the last"),
        ({"differs": True}, "that differ cannot show"),
        ({"known_nonmembers": 5}, "are so few"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(written, change, message):
    record, _ = written
    content = {**vars(record), "result": {**record.result, "listed": {**record.result["listed"], **change}}}
    with pytest.raises(ValueError, match=message):
        parse(type(record)(**content))
