"""Whatever attack or detector there is: its records are published, fetched and ranked, and no forgery of one
breaks anything."""

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard, parse_eval_result_entries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.drawn_records import ZOO
from support.every_record import MANY, drawn_shadows, every_record, few_samples, needs_many, quickly
from support.published_results import REPO, WHERE, changed

from securitynet_hub.attacks.backdoor.inputs import find_inputs
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.core.errors import RecordError, UnknownNameError
from securitynet_hub.models.loading import load_target
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import parse_record
from securitynet_hub.records.rows import FOLDER, find_figure
from securitynet_hub.sharing.bom import bill_of_materials
from securitynet_hub.sharing.export import FORMATS
from securitynet_hub.sharing.fetching import fetch_results, keep_records, read_shard
from securitynet_hub.sharing.leaderboard import leaderboards, unranked
from securitynet_hub.sharing.publishing import publish_evaluation, publish_records
from securitynet_hub.sharing.reproduction import reproduce
from securitynet_hub.sharing.rows import result_row, results_shard
from securitynet_hub.sharing.validation import problems

pytestmark = [
    pytest.mark.slow,
    # huggingface_hub uploads in a way that its HTTP client deprecates.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload"),
]


@pytest.fixture(scope="session")
def records():
    return every_record()


def test_a_record_of_every_attack_is_published_fetched_and_ranked(records, whole_hub, run, tmp_path):
    names = [name for kind in kinds().values() for name in kind.attacks]
    assert [record.attack["name"] for record in records] == names
    whole_hub.add("dataset", REPO, {f"{FOLDER}/first.parquet": results_shard(records[:1])})
    publish_records(REPO, records)
    fetched = fetch_results(WHERE)
    assert fetched.refused == []
    assert sorted(record.id for record in fetched.records) == sorted(record.id for record in records)
    boards = leaderboards(fetched.records)
    assert Counter(board.attack for board in boards) == Counter(names)
    assert unranked(fetched.records) == []
    for board in boards:
        (standing,) = board.standings
        assert board.by in kinds()[board.kind].headline
        assert standing.figure == kinds()[board.kind].headline_of(standing.record.result)[1]
    code, out, err = run("leaderboard", "--repo", REPO)
    assert (code, err, out.count("## ")) == (0, "", len(names))


def test_every_figure_of_every_attack_is_in_a_valid_bill_of_materials(records):
    validation = pytest.importorskip("cyclonedx.validation.json")
    bill = bill_of_materials([Entry(record, Path("x.json")) for record in records])
    validator = validation.JsonStrictValidator(pytest.importorskip("cyclonedx.schema").SchemaVersion.V1_7)
    assert validator.validate_str(json.dumps(bill)) is None
    card = bill["components"][0]["modelCard"]
    shown = [metric["type"].split()[:2] for metric in card["quantitativeAnalysis"]["performanceMetrics"]]
    for record in records:
        assert [record.attack["kind"], record.attack["name"]] in shown


@pytest.mark.filterwarnings("default::securitynet_hub.core.errors.HubWarning")
def test_every_ranked_attack_stands_on_the_hubs_leaderboards(records, whole_hub, run, tmp_path):
    """The Hub's own clients read it back: validated entries, the least exposed model first."""
    assert run("publish", "dataset", "--repo", REPO)[0] == 0
    other = next(id for id in ZOO if id != records[0].target["id"])
    exposed = [changed(record, target={"id": other, "weights_hash": ZOO[other]}) for record in records]
    for name, shown in (("lab/net", records), ("lab/other", exposed)):
        whole_hub.add("model", name, {"README.md": b"# Net\n"})
        publish_evaluation(name, shown, REPO)
    ranked = {attack for kind in kinds().values() for attack in kind.ranked} & {
        record.attack["name"] if not kinds()[record.attack["kind"]].pooled else record.attack["kind"]
        for record in records
    }
    files = whole_hub.repositories["model", "lab/net"].files
    entries = parse_eval_result_entries(yaml.safe_load(files[".eval_results/securitynet.yaml"].content))
    assert {entry.task_id.partition(".")[0] for entry in entries} >= ranked
    card = ModelCard(files["README.md"].content.decode())
    assert {(r.metric_type, r.metric_value) for r in card.data.eval_results} == {
        (entry.task_id, entry.value) for entry in entries
    }
    api = HfApi()
    if hasattr(api, "get_dataset_leaderboard"):
        board = api.get_dataset_leaderboard(REPO)
        assert {entry.model_id for entry in board} == {"lab/net", "lab/other"}
        values = [entry.value for entry in board]
        assert values == sorted(values, reverse=True)
        info = api.model_info("lab/net", expand=["evalResults"])
        assert [(e.task_id, e.value) for e in info.eval_results] == [(e.task_id, e.value) for e in entries]


@pytest.mark.exhaustive
def test_every_record_without_reference_models_is_reproduced(records):
    """Exactly, as seed and code are the same. Nobody trained the reference models of the other records."""
    own = [record for record in records if "shadows_sha256" not in record.attack]
    few, many = few_samples(), few_samples(MANY)
    done = [reproduce(record, data=many if needs_many(record.attack["name"]) else few) for record in own]
    assert [(each.name, each.differences) for each in done if not each.reproduced] == []
    assert all(each.new.value == pytest.approx(each.figure.value, abs=1e-9) for each in done)
    assert len(done) > 30


def test_every_result_is_parsed_and_keeps_all_that_it_holds(records):
    for record in records:
        parsed = kinds()[record.attack["kind"]].results.parse(record)
        assert set(record.result) <= set(dict(parsed))
        newer = replace(record, result={**record.result, "brand_new": {"figure": 1}})
        assert kinds()[record.attack["kind"]].results.parse(newer).brand_new == {"figure": 1}


def test_what_was_measured_beside_is_parsed_too():
    """Slices, accusations at thresholds of a class, and settings that an attack found itself."""
    (loss,) = quickly(["loss"], class_wise=True, slices=True)
    (rmia,) = quickly(["rmia"], a="tuned", shadows=drawn_shadows(few_samples()))
    for record in (loss, rmia):
        assert problems(record) == []
    parse = kinds()["membership-inference"].results.parse
    found = parse(loss)
    assert found.accusations.recall == loss.result["accusations"]["recall"]
    assert {name for name, each in found.slices.items() if each} <= set(loss.result["slices"])
    assert parse(rmia).tuned == rmia.result["tuned"]
    name, whole = next((name, each) for name, each in loss.result["slices"].items() if each)
    slices = {**loss.result["slices"], name: {**whole, "auc": 0.123456789}}
    assert "auc" in problems(changed(loss, result={"slices": slices}))[0]


def test_without_the_truth_there_is_nothing_to_rank_and_that_is_told(records, whole_hub, run):
    """Of somebody's suspicious images nobody knows which are poisoned: shared, but on no board."""
    target, data = load_target(records[0].target["id"]), few_samples()
    suspects = replace(find_inputs(target, data, None, seed=0).inputs, is_poisoned=None)
    detectors = kinds()["backdoor-detection"].attacks.items()
    names = [name for name, each in detectors if each.judges == "inputs" and not each.costly]
    found = quickly(names, inputs=suspects)
    whole_hub.add("dataset", REPO, {f"{FOLDER}/first.parquet": results_shard(found[:1])})
    publish_records(REPO, found)
    assert {record.id for record in fetch_results(WHERE).records} == {record.id for record in found}
    code, out, err = run("leaderboard", "--repo", REPO)
    assert (code, out) == (0, "")
    for record in found:
        assert f"left out: {record.id}: {record.attack['name']} gives no score or auc here" in err


def test_a_newer_versions_kind_is_shared_but_not_ranked(records, whole_hub, run, tmp_path, monkeypatch):
    newer = changed(records[0], attack={"kind": "brand-new"})
    newer = replace(newer, result={"robust": 0.5, "robust_ci": [0.4, 0.6], "others": ["?"]})
    assert problems(newer) == []
    row = replace(result_row(newer), figure="robust", value=0.5, low=0.4, high=0.6)
    with monkeypatch.context() as patch:  # as that version writes it
        patch.setattr("securitynet_hub.sharing.rows.result_row", lambda record: row)
        shard = results_shard([newer])
    whole_hub.add("dataset", REPO, {f"{FOLDER}/newer.parquet": shard})
    assert fetch_results(WHERE).refused == []
    code, out, err = run("leaderboard", "--repo", REPO)
    assert (code, out) == (0, "")
    assert f"left out: {newer.id}: brand-new is no kind of attack" in err
    assert leaderboards([newer, records[0]])[0].standings[0].record == records[0]
    contradicting = replace(newer, result={**newer.result, "robust_ci": [0.6, 0.7]})
    assert problems(contradicting) == ["robust_ci should hold its figure 0.5; got 0.6..0.7"]


SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**12, 10**400, -(10**400), 2**63])
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec=None), max_size=5)
)  # fmt: skip
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
) | st.integers(1, 200).map(lambda depth: json.loads("[" * depth + "]" * depth))


def places(value, above=()):
    """Yield the way to everything in a value of JSON."""
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*above, name)
        if isinstance(part, dict | list):
            yield from places(part, (*above, name))


def forge(record, way, value):
    """Return the text of a record with one value replaced, or removed, and with hashes that are right."""
    content = json.loads(json.dumps({k: v for k, v in record.as_dict().items() if k not in ("id", "unit")}))
    part = content
    for step in way[:-1]:
        part = part[step]
    if value is ...:
        del part[way[-1]]
    else:
        part[way[-1]] = value
    return with_hashes(content)


def with_hashes(content):
    """Return content as a file holds it, with the hashes that it has."""

    def digest(part):
        text = json.dumps(part, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    deciding = {name: content.get(name) for name in ("target", "data", "attack", "code")}
    return json.dumps({"id": digest(content), "unit": digest(deciding), **content})


def use(text, others, folder):
    """Do with a record whatever can be done; only sentences may come of it."""
    try:
        record = parse_record(text, "it")
    except RecordError as error:
        return str(error)
    wrong = problems(record)
    assert all(reason.isprintable() for reason in wrong)
    if wrong:
        return "; ".join(wrong)
    (folder / "shard.parquet").write_bytes(results_shard([record]))
    assert list(read_shard(folder / "shard.parquet", "shard")) == [record]
    figures = [name for name in record.result if find_figure(record.result, name) is not None]
    for by in (None, "tpr@0.01", *figures[:2], *figures[-1:]):
        with suppress(UnknownNameError):
            boards = leaderboards([record, *others], by=by)
            unranked([record, *others], by=by)
            assert all(export(boards) for export in FORMATS.values() if boards)
    keep_records([record], folder)
    return ""


@pytest.fixture(scope="session")
def of_each_form(records):
    """One record of each form that results have, and one with as much as there can be in it."""
    forms = {}
    for record in records:
        parsed = kinds()[record.attack["kind"]].results.parse(record)
        forms.setdefault((type(parsed), frozenset(record.result)), record)
    return list(forms.values())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_is_a_sentence_or_passes(of_each_form, tmp_path_factory, data):
    record = data.draw(st.sampled_from(of_each_form))
    way = data.draw(st.sampled_from(list(places(record.as_dict()))))
    if way[0] in ("id", "unit"):
        way = ("author",)
    value = data.draw(VALUES | st.just(...))
    said = use(forge(record, way, value), [record], tmp_path_factory.mktemp("kept"))
    assert len(said) < 2000


@pytest.mark.parametrize("value", [None, True, 10**400, "x", [None], {}, ...], ids=lambda v: ascii(v)[:10])
def test_every_place_of_every_form(of_each_form, tmp_path_factory, value):
    """Of long lists the first entries: the others are of their type. What all forms have alike, of one."""
    folder, seen = tmp_path_factory.mktemp("kept"), set()
    for record in of_each_form:
        for way in places(record.as_dict()):
            new = way[0] in ("result", "attack") or way not in seen
            if (
                new
                and way[0] not in ("id", "unit")
                and not any(type(step) is int and step > 1 for step in way)
            ):
                use(forge(record, way, value), [record], folder)
            seen.add(way)
