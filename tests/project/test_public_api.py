"""What a notebook's user types: few lines for a network in memory, short texts for what comes back."""

import math
from dataclasses import replace

import pytest
import torch

import securitynet_hub as hub
from securitynet_hub.core.errors import RecordError, UnknownNameError

ID = "zoo/fashion-mnist/cnn-overfitted-500/1"
GREY = hub.Transform(height=28, width=28, channels=1, mean=(0.286,), std=(0.353,))


@pytest.fixture(scope="module")
def net():
    """A network of the zoo as its owner has it: in memory."""
    return hub.load_target(ID).module


@pytest.fixture(scope="module")
def data():
    images = hub.load_images()
    return hub.AuditData(images=images, split=hub.Split(members=range(60), nonmembers=range(2000, 2060)))


@pytest.fixture(scope="module")
def records():
    return hub.audit(ID, attacks=["correctness", "modified_entropy"])


def test_only_what_people_need_is_listed():
    assert dir(hub) == sorted(hub.__all__)
    assert [name for name in dir(hub) if not getattr(hub, name).__doc__] == []


def test_texts_are_short_and_say_what_matters(records):
    assert repr(records[1]) == f"Record(modified_entropy on {ID}: auc 0.628 (0.604 to 0.652))"
    target = hub.load_target(ID)
    assert repr(target) == (
        f"Target('{ID}', 10 classes, input 28 x 28 x 1, 16,506 parameters, answers with logits)"
    )
    assert ID in target._repr_html_()
    for shown in (records._repr_html_(), records[0]._repr_html_()):
        assert "<table>" in shown
        assert "0.611 (0.601 to 0.622)" in shown


def test_records_say_first_what_they_amount_to(records):
    assert records.verdict == hub.verdict(iter(records))
    assert str(records).startswith(f"{ID}\n  Leaks membership (moderate): ")
    assert str(records).endswith(f"\n{records[0]!r}\n{records[1]!r}")
    assert "<b>Leaks membership (moderate): " in records._repr_html_()
    assert records[:0] == []
    assert hub.verdict([]) == ""


def test_a_verdict_takes_a_folder_as_a_report_does(tmp_path):
    records = hub.audit(ID, attacks="correctness", out=tmp_path)
    assert hub.verdict(tmp_path) == hub.verdict(str(tmp_path)) == records.verdict
    with pytest.raises(RecordError, match="there is no file or folder"):
        hub.verdict(tmp_path / "elsewhere")


def test_the_same_weights_in_memory_and_in_a_file_are_one_model(net, data, tmp_path):
    file = tmp_path / "net.pth"
    torch.save(net.state_dict(), file)
    saved = hub.load_target(f"file:{file}", module=net, transform=GREY, name="saved")
    found = [
        *hub.audit(saved, attacks="loss", data=data),
        *hub.audit(net, transform=GREY, attacks=["loss", "entropy"], data=data, name="held"),
    ]
    ids = [record.target["id"] for record in found]
    assert len(set(ids)) == 2
    assert len({record.weights for record in found}) == 1
    # One model, under the id of the last audit; of the loss the last record counts.
    assert hub.verdict(found).split("\n")[0] == ids[-1]
    shown = hub.report(found).html
    assert "2 records, measured with" in shown
    assert "1 older record of the same measurements is left out" in shown


def test_a_stranger_s_name_is_text_in_a_notebook(records):
    hostile = replace(records[0], target={"id": "<script>alert(1)</script>\x1b[2J"})
    assert "<script" not in hostile._repr_html_()
    assert "\x1b" not in hostile._repr_html_() + repr(hostile)


def test_records_as_a_table(records):
    frame = records.to_frame()
    assert frame["attack"].tolist() == ["correctness", "modified_entropy"]
    row = frame.iloc[1]
    assert (row["auc"], row["auc_low"], row["n_members"]) == (
        records[1].result["auc"], records[1].result["auc_ci"][0], 500,
    )  # fmt: skip
    assert row["tpr@0.01"] == records[1].result["tpr_at_fpr"][1]["tpr"]
    assert hub.to_frame(iter(records)).equals(frame)
    assert "eps" not in frame
    threat = {"norm": "Linf", "eps": "8/255"}
    of_threat = hub.to_frame([replace(records[0], attack={**records[0].attack, **threat})])
    assert of_threat.loc[0, ["norm", "eps"]].tolist() == ["Linf", "8/255"]


def test_a_report_shows_inline_and_is_kept_where_asked(records, tmp_path):
    shown = hub.report(records)
    assert shown.records == 2
    assert shown._repr_html_().startswith("<iframe srcdoc=")
    kept = hub.report(records, tmp_path / "report.html", title="Mine")
    assert "Mine" in kept.path.read_text()
    assert "<h1>Mine</h1>" not in kept._repr_html_()  # the page is escaped in its frame
    # The words of the report are those that the records say themselves.
    title = records.verdict.splitlines()[1].strip()
    assert title.startswith("Leaks membership (")
    assert title in shown.html.replace("\u00a0", " ").replace("&nbsp;", " ")


def test_models_are_compared_on_the_same_images():
    found = hub.compare_leakage(ID, ID.replace("overfitted", "regularised"))
    assert found.paired
    assert found.difference.ci.low > 0.0
    first, second = (record.result["auc"] for record in found.records)
    assert math.isclose(found.difference.difference, first - second)
    assert "by modified_entropy" in repr(found)
    assert "paired" in repr(found)
    assert "same weights" not in repr(found)
    assert "Both are the same weights" in repr(hub.compare_leakage(ID, ID))
    with pytest.raises(UnknownNameError):
        hub.compare_leakage(ID, ID, attack="los")


def test_options_of_a_network_in_memory_are_not_given_to_a_named_model_beside_it(net, data):
    found = hub.compare_leakage(net, ID, transform=GREY, name="mine", data=data)
    assert [record.target["id"].rpartition("/")[2] for record in found.records] == ["mine", "1"]
    assert found.difference.difference == 0
    with pytest.raises(ValueError, match="leave it out"):
        hub.compare_leakage(ID, ID, transform=GREY)


def test_what_is_no_data_is_told_how_to_become_some(net):
    pictures = torch.utils.data.TensorDataset(torch.zeros(2, 4, 4, 1), torch.zeros(2))
    for wrong, told in (
        (pictures, r"got TensorDataset: AuditData\.from_arrays\(.* for picture, _ in each"),
        (torch.utils.data.DataLoader(pictures), r"got DataLoader: .* loader\.dataset"),
        ((1, 2), r"got tuple: AuditData\.from_arrays\(\(pixels, labels\), "),
    ):
        with pytest.raises(ValueError, match=told):
            hub.audit(net, transform=GREY, data=wrong)


def test_a_wrong_argument_is_told_the_near_one(net):
    with pytest.raises(UnknownNameError, match=r"'attack'.*'attacks'"):
        hub.audit(net, attack="loss")


def test_a_comparison_has_a_short_name_too():
    assert hub.compare is hub.compare_leakage
    assert "securitynet compare" in hub.compare.__doc__  # which asks something else


def test_results_are_short_in_a_prompt(data):
    shown = repr(hub.audit(ID, attacks="modified_entropy"))
    assert max(map(len, shown.splitlines())) <= 100
    assert "in 50 %" in " ".join(shown.split())
    assert repr(data).startswith("AuditData(")
    assert (
        repr(data.split)
        == f"Split({len(data.split.members)} members, {len(data.split.nonmembers)} non-members)"
    )


def test_models_on_other_images_are_compared_unpaired(net, data):
    found = hub.compare_leakage(ID, ID.replace("/1", "/2"))
    assert not found.paired


def test_one_s_own_network_takes_one_line_an_attack(net, data):
    own = {"transform": GREY, "data": data}
    shadows = hub.train_shadows(net, 4, hub.Recipe(epochs=1), **own)
    (record,) = hub.audit(net, **own, attacks="lira", shadows=shadows)
    assert record.attack["name"] == "lira"
    brief = {"model_stealing": {"recipe": {"epochs": 1}, "transfer": 0}}
    (stolen,) = hub.audit(net, **own, attacks="model_stealing", budgets=[20], settings=brief)
    assert 0 <= stolen.result["agreement"] <= 1


class Own(torch.nn.Module):
    """A network whose weights no layer of its own draws."""

    def __init__(self, classes):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(784, classes))

    def forward(self, inputs):
        return inputs.flatten(1) @ self.weight


def test_how_a_network_is_made_is_said_where_it_cannot_be_known(data):
    own = {"transform": GREY, "data": data, "folder": None}
    with pytest.raises(ValueError, match="pass build="):
        hub.train_shadows(Own(10), 2, hub.Recipe(epochs=1), **own)
    shadows = hub.train_shadows(Own(10), 2, hub.Recipe(epochs=1), build=lambda: Own(10), **own)
    assert shadows.logits.shape == (2, 120, 1, 10)


def test_a_copy_draws_its_weights_anew():
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    target = hub.load_target(layers, transform=GREY)
    fresh = target.build()
    assert fresh[1].weight.shape == (10, 784)
    assert not torch.equal(fresh[1].weight, layers[1].weight)


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        (None, {"predictions": [1, 0, 1.0], "references": [1, 0]}, "^predictions and references must have"),
        (None, {"predictions": [1, 0], "references": [1, 0], "target_fpr": [0.1]}, "mean 'target_fprs'"),
        ("loss", {"predictions": [[1.0, 0]], "references": [0, 1], "membership": [1], "from_logits": True},
         "^membership must name both"),
        ("loss", {"predictions": [[1.0, 0]], "references": [0], "membership": [1], "from_logit": True},
         "mean 'from_logits'"),
    ],
)  # fmt: skip
def test_a_metric_speaks_of_its_own_arguments(config, inputs, message):
    metric = hub.load_metric("membership_inference", config, keep_in_memory=True)
    with pytest.raises(ValueError, match=message):
        metric.compute(**inputs)


def test_a_missing_argument_is_named():
    metric = hub.load_metric("backdoor_model_detection")
    with pytest.raises(ValueError, match="needs probabilities="):
        metric.compute(predictions=[1.0, 0.0], references=[1, 0])
