"""Publishing and fetching through the real clients, with a Hub on loopback that fails on demand."""

import hashlib
import io
import json
import logging
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, SpaceCard, constants, parse_eval_result_entries
from safetensors.numpy import save_file
from support.drawn_records import measured
from support.processes import Program
from support.published_results import REPO, WHERE, commit_file

from securitynet_hub import load_metric
from securitynet_hub.annotations.schema import HUB_DATASET, load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.stealing.measures import measure_stealing
from securitynet_hub.core.errors import HubError, RecordError, UnknownNameError
from securitynet_hub.core.metric_files import known_metrics
from securitynet_hub.records.record import describe_environment, read_records, write_record
from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing import repositories
from securitynet_hub.sharing.fetching import fetch_results
from securitynet_hub.sharing.publishing import publish_dataset, publish_evaluation, publish_records
from securitynet_hub.sharing.rows import results_shard

# huggingface_hub uploads in a way that its HTTP client deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload")

FIRST = 2
TOKEN = "hf_alice_secret"


@pytest.fixture
def published(whole_hub):
    """A Hub on which alice has a dataset repository with two results."""
    first = results_shard([measured(100), measured(101)])
    whole_hub.add("dataset", REPO, {"README.md": b"# Results\n", f"{FOLDER}/first.parquet": first})
    return whole_hub


@pytest.fixture
def naps(monkeypatch):
    """Let nobody sleep; list for how long they would have."""
    taken = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def ids():
    return {record.id for record in fetch_results(WHERE).records}


def script(hub, home, code, *arguments):
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "PYTHONPATH": os.path.dirname(
            os.path.dirname(__file__)
        ),  # not this process's path: evaluate adds its modules to it
    }
    return Program(["-c", code, *arguments], env=environment, cwd=home)


def finish(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


class TestDataset:
    def test_is_published_as_it_is(self, whole_hub, run):
        code, out, err = run("publish", "dataset", "--repo", REPO)
        assert code == 0, err
        repo = whole_hub.dataset(REPO)
        local = {p.relative_to(HUB_DATASET).as_posix(): p for p in HUB_DATASET.rglob("*") if p.is_file()}
        assert set(repo.files) == {*local, ".gitattributes"}
        assert all(repo.files[name].content == path.read_bytes() for name, path in local.items())
        _, data, benchmark = repo.commits  # the repository's, ours, and that of eval.yaml alone
        assert set(repo.commits[benchmark]) - set(repo.commits[data]) == {"eval.yaml"}
        url = f"{whole_hub.endpoint}/datasets/{REPO}/commit"
        lines = [f"dataset {REPO}: {url}/{data}", f"dataset {REPO} eval.yaml: {url}/{benchmark}"]
        assert out.splitlines() == lines

        again = f"dataset {REPO}: nothing new\ndataset {REPO} eval.yaml: nothing new\n"
        assert run("publish", "dataset", "--repo", REPO)[1] == again
        assert len(repo.commits) == 3

    @pytest.mark.filterwarnings("default::securitynet_hub.core.errors.HubWarning")
    @pytest.mark.parametrize(
        ("framework", "advice"),
        [(None, "name another one of the Hub's list, such as apex-evals"),
         ("inspect-ai", "leave --benchmark-framework out"),
         ("inspect-a", "inspect-a was not on its list of 2026-")],
    )  # fmt: skip
    def test_stands_where_its_benchmark_is_refused(self, whole_hub, run, framework, advice):
        if framework != "inspect-a":  # which is not in the enumeration
            whole_hub.refused_files["eval.yaml"] = "Invalid input at tasks"
        named = () if framework is None else ("--benchmark-framework", framework)
        code, out, err = run("publish", "dataset", "--repo", REPO, *named)
        told = " ".join(err.split())
        assert code == 0
        assert out.count("\n") == 1
        assert "the data set is published, but not eval.yaml" in told
        assert "Invalid input" in told
        assert advice in told
        assert set(whole_hub.dataset(REPO).files) >= {"README.md", "data/models.parquet"}
        assert "eval.yaml" not in whole_hub.dataset(REPO).files
        whole_hub.refused_files.clear()
        code, out, err = run("publish", "dataset", "--repo", REPO, "--benchmark-framework", "inspect-ai")
        assert (code, err) == (0, "")
        assert b'evaluation_framework: "inspect-ai"' in whole_hub.dataset(REPO).files["eval.yaml"].content

    def test_leaves_the_results_of_others(self, published):
        before = ids()
        publish_dataset(REPO)
        assert before < ids()

    def test_private_is_private(self, whole_hub, run, monkeypatch):
        run("publish", "dataset", "--repo", REPO, "--private")
        assert whole_hub.dataset(REPO).private
        monkeypatch.setenv("HF_TOKEN", "hf_bob_secret")
        code, _, err = run("fetch", "results", "--repo", REPO)
        assert code == 1
        assert "is not there, or your login cannot see it" in err

    def test_its_card_is_valid(self):
        card = DatasetCard.load(HUB_DATASET / "README.md")
        names = [config["config_name"] for config in card.data.configs]
        assert names == [info["config_name"] for info in card.data.dataset_info]
        assert names[-1] == "results"

    def test_its_card_tells_the_features_that_the_files_have(self):
        """As `datasets` reads them: `load_dataset` would cast, and hide a difference."""
        card = DatasetCard.load(HUB_DATASET / "README.md")
        for info in card.data.dataset_info:
            stated = datasets.Features._from_yaml_list(info["features"])
            files = list((HUB_DATASET / "data").glob(f"{info['config_name']}*/*.parquet"))
            files = files or [HUB_DATASET / f"data/{info['config_name']}.parquet"]
            for file in files:
                assert datasets.Features.from_arrow_schema(pq.read_schema(file)) == stated, file

    def test_its_benchmark_has_a_task_per_attack_and_data_set(self):
        benchmark = yaml.safe_load((HUB_DATASET / "eval.yaml").read_text())
        assert set(benchmark) == {"name", "description", "tasks"}
        tasks = [task["id"] for task in benchmark["tasks"]]
        measured = {
            kind.name if kind.pooled else attack
            for kind in kinds().values()
            for attack, literal in kind.attacks.items()
            if literal.ranked
        }
        rows = [*load_annotations("models").values(), *load_annotations("zoo").values()]
        assert len(set(tasks)) == len(tasks) == len(measured) * len({row.dataset for row in rows})
        assert {"modified_entropy.cifar-10", "model-stealing.fashion-mnist"} <= set(tasks)
        assert {task.split(".")[0] for task in tasks} == measured
        assert all((task["config"], task["split"]) == ("results", "train") for task in benchmark["tasks"])


@pytest.mark.slow
def test_the_clients_load_it_all_in_a_fresh_process(whole_hub, run, tmp_path):
    assert run("publish", "dataset", "--repo", "lab/securitynet")[0] == 0
    assert run("publish", "metrics", "--repo", "lab")[0] == 0
    page = (Path(__file__).parents[2] / "docs/sharing.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    code += """
import json, sys
for config in ("models", "projects", "extended", "zoo", "results"):
    there = load_dataset("lab/securitynet", config, split="train")
    here = load_dataset(sys.argv[1], config, split="train")
    assert there.features == here.features and there.to_list() == here.to_list(), config
    print(config, there.num_rows)
from importlib import import_module
from securitynet_hub import load_metric
print("metrics")
for name in sys.argv[2:]:
    inputs = json.loads(import_module(f"securitynet_hub.metrics.{name}.app").EXAMPLE)
    assert evaluate.load(f"lab/{name}").compute(**inputs) == load_metric(name).compute(**inputs), name
    print(name)
metric = evaluate.load("lab/membership_inference", "modified_entropy")
logits, labels = [[4.0, 0.0], [0.5, 0.0], [0.0, 0.2], [0.1, 0.0]], [0, 0, 0, 1]
told = {"membership": [1, 1, 0, 0], "from_logits": True}
print(metric.compute(predictions=logits, references=labels, **told)["auc"])
"""
    assert finish(script(whole_hub, tmp_path, code, HUB_DATASET, *known_metrics())).split() == [
        "44", "0.625", "models", "529", "projects", "102", "extended", "1037", "zoo", "44", "results", "88",
        "metrics", *known_metrics(), "1.0",
    ]  # fmt: skip


class TestMetrics:
    def test_each_folder_becomes_a_space(self, whole_hub, run):
        code, out, _ = run("publish", "metrics", "--repo", "lab")
        assert code == 0
        assert len(out.splitlines()) == len(known_metrics())
        for metric in known_metrics():
            space = whole_hub.repositories["space", f"lab/{metric}"]
            assert space.sdk == "gradio"
            assert set(space.files) == {
                ".gitattributes", "README.md", "app.py", "requirements.txt", f"{metric}.py",
            }  # fmt: skip
            card = SpaceCard(space.files["README.md"].content.decode())
            assert {"evaluate", "metric"} <= set(card.data.tags)

    def test_those_that_are_done_are_told_when_another_fails(self, whole_hub, run):
        whole_hub.fault(f"POST .*/{known_metrics()[1]}/commit", status=403)
        code, out, err = run("publish", "metrics", "--repo", "lab")
        assert code == 1
        assert out.startswith(f"space lab/{known_metrics()[0]}: ")
        assert len(out.splitlines()) == 1
        assert known_metrics()[1] in err
        code, out, _ = run("publish", "metrics", "--repo", "lab")
        assert (code, out.count("nothing new"), out.count("/commit/")) == (0, 1, len(known_metrics()) - 1)

    def test_unknown_ones_get_the_closest(self, whole_hub, run):
        code, _, err = run("publish", "metrics", "--repo", "lab/membership_inferenc")
        assert (code, whole_hub.repositories) == (2, {})
        assert "'membership_inference'" in err

    @pytest.mark.parametrize("metric", known_metrics())
    def test_the_example_of_the_page_is_a_telling_one(self, metric):
        from importlib import import_module

        app = import_module(f"securitynet_hub.metrics.{metric}.app")
        found = load_metric(metric).compute(**json.loads(app.EXAMPLE))
        telling = {"auc", "agreement", "norm_ratio", "robust_accuracy", "p_value"} & found.keys()
        assert telling
        assert all(0 < found[name] < 1 for name in telling)


def test_the_explorer_becomes_a_static_space(whole_hub, run, tmp_path):
    record = measured(3)
    write_record(record, tmp_path)
    code, out, _ = run("publish", "space", "--repo", "lab/explorer", "--records", tmp_path)
    assert (code, out.startswith("space lab/explorer: ")) == (0, True)
    space = whole_hub.repositories["space", "lab/explorer"]
    assert (space.sdk, SpaceCard(space.files["README.md"].content.decode()).data.sdk) == ("static", "static")
    assert record.id in space.files["index.html"].content.decode()
    _, out, _ = run("publish", "space", "--repo", "lab/explorer", "--records", tmp_path)
    assert out == "space lab/explorer: nothing new\n"


class TestRecords:
    def test_come_back_equal(self, published, run, tmp_path):
        written = [measured(seed) for seed in range(3)]
        for record in written:
            write_record(record, tmp_path / "own")
        code, out, _ = run("publish", "records", "--repo", REPO, "--records", tmp_path / "own")
        assert code == 0
        assert "/commit/" in out
        code, out, err = run("fetch", "results", "--repo", REPO, "--out", tmp_path / "all")
        assert (code, err) == (0, "")
        assert f"{FIRST + 3} results at {published.dataset(REPO).head}, {FIRST + 3} of them new" in out
        fetched = {record.id: record for record in read_records(tmp_path / "all")}
        assert all(fetched[record.id] == record for record in written)
        _, out, _ = run("fetch", "results", "--repo", REPO, "--out", tmp_path / "all")
        assert ", 0 of them new" in out

    def test_only_new_ones_are_added_and_no_shard_is_touched(self, published):
        records = [measured(seed) for seed in range(3)]
        publish_records(REPO, records[:2])
        before = dict(published.dataset(REPO).files)
        again = publish_records(REPO, records[1:])
        after = published.dataset(REPO).files
        (added,) = set(after) - set(before)
        assert added.startswith(f"{FOLDER}/")
        assert all(after[path].content == file.content for path, file in before.items())
        assert again.commit == published.dataset(REPO).head
        assert pq.read_table(io.BytesIO(after[added].content))["id"].to_pylist() == [records[2].id]
        assert len(ids()) == FIRST + 3

    def test_nothing_new_is_no_commit(self, published):
        record = measured(1)
        publish_records(REPO, [record])
        assert publish_records(REPO, [record]).url is None
        assert len(published.dataset(REPO).commits) == 2

    def test_records_that_nobody_would_believe_are_not_sent(self, published):
        log = len(published.log)
        bad = measured(1)
        bad = replace(bad, result={**bad.result, "auc": 0.123456})
        with pytest.raises(RecordError, match=f"{bad.id} is not valid and is not published"):
            publish_records(REPO, [measured(2), bad])
        with pytest.raises(RecordError, match="no records"):
            publish_records(REPO, [])
        assert len(published.log) == log

    def test_one_that_nobody_would_believe_does_not_keep_the_others_back(self, published, run, tmp_path):
        good, bad = measured(1), measured(2)
        bad = replace(bad, result={**bad.result, "auc": 0.123456})
        for record in (good, bad):
            write_record(record, tmp_path)
        (tmp_path / "torn.json").write_text('{"id": "x')
        publish = ("publish", "records", "--repo", REPO, "--records", tmp_path)
        code, out, err = run(*publish)
        assert (code, out.count("/commit/")) == (0, 1)
        assert [line.split(": ")[:2] for line in err.splitlines()] == [
            ["left out", str(tmp_path / "torn.json")],
            ["left out", bad.id],
        ]
        assert good.id in ids()
        assert bad.id not in ids()
        next(path for path in tmp_path.rglob("*.json") if good.id in path.name).unlink()
        code, _, err = run(*publish)
        assert code == 1
        assert "there are no records to publish" in err

    def test_records_go_where_a_data_set_is(self, whole_hub, run, tmp_path):
        write_record(measured(1), tmp_path)
        code, _, err = run("publish", "records", "--repo", REPO, "--records", tmp_path)
        assert code == 1
        assert "`securitynet publish dataset` makes one" in " ".join(err.split())

    def test_a_claimed_id_does_not_keep_the_true_record_out(self, published):
        """A shard that only states an id in its column is not believed, so it hides nothing."""
        record = measured(1)
        table = pq.read_table(io.BytesIO(results_shard([measured(2)])))
        forged = table.set_column(0, table.schema.field(0), pa.array([record.id]))
        file = io.BytesIO()
        pq.write_table(forged, file)
        commit_file(published, f"{FOLDER}/forged.parquet", file.getvalue())
        publish_records(REPO, [record])
        fetched = fetch_results(WHERE)
        assert record.id in {r.id for r in fetched.records}
        assert [r.reason for r in fetched.refused] == ["the column id contradicts the record"]

    def test_a_pull_request_where_one_may_not_write(self, published, run, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_bob_secret")
        record = measured(1)
        write_record(record, tmp_path)
        arguments = ("publish", "records", "--repo", REPO, "--records", tmp_path)
        before = published.dataset(REPO).head
        code, _, err = run(*arguments)
        assert code == 1
        assert "propose with --create-pr" in err
        code, out, _ = run(*arguments, "--create-pr")
        assert code == 0
        assert f"/datasets/{REPO}/discussions/1" in out
        assert published.dataset(REPO).head == before
        assert record.id not in ids()
        assert record.id in {r.id for r in fetch_results(WHERE, "refs/pr/1").records}

    def test_of_publishers_in_many_threads_nothing_is_lost(self, published):
        records = [measured(seed) for seed in range(12)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: publish_records(REPO, records[3 * n : 3 * n + 3]), range(4)))
        assert {record.id for record in records} <= ids()
        assert len(ids()) == FIRST + 12
        assert len(published.dataset(REPO).commits) == 1 + 4

    @pytest.mark.slow
    def test_of_two_processes_at_once_nothing_is_lost(self, published, tmp_path):
        code = """
import sys, time
from support.drawn_records import measured
from securitynet_hub.sharing.publishing import publish_records
print("ready", flush=True)
sys.stdin.readline()
for seed in range(int(sys.argv[1]), 10, 2):
    record = measured(seed, created=f"2026-01-01T00:00:{seed:02}+00:00")
    print(publish_records("alice/securitynet", [record]).commit)
"""
        processes = [script(published, tmp_path, code, n) for n in (0, 1)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        commits = "".join(finish(process) for process in processes).split()
        assert len(set(commits)) == 10
        assert {measured(n, created=f"2026-01-01T00:00:{n:02}+00:00").id for n in range(10)} <= ids()
        assert len(ids()) == FIRST + 10


def stolen(weights):
    """Return the record of a theft whose copy these weights are."""
    rng = np.random.default_rng(0)
    labels, target, copy = (rng.integers(0, 3, 60) for _ in range(3))
    attack = {
        "name": "model_stealing", "kind": "model-stealing", "budget": 9, "strategy": "random", "loss": "soft",
        "view": {"kind": "posteriors"}, "recipe": {"epochs": 1, "seed": 0}, "surrogate": "net",
        "surrogate_parameters": 6, "surrogate_transform": {},
        "surrogate_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }  # fmt: skip
    record = replace(measured(0), attack=attack, result=measure_stealing(copy, labels, target))
    return replace(record, target={**record.target, "weights_hash_kind": "sha256"})


class TestSurrogate:
    def test_gets_a_card_and_its_weights(self, whole_hub, run, tmp_path):
        save_file({"weight": np.ones((2, 3), np.float32)}, tmp_path / "s.safetensors")
        code, out, _ = run(
            "publish", "surrogate", "--repo", "alice/copy", "--weights", tmp_path / "s.safetensors",
            "--target", "zoo/fashion-mnist/cnn-clean/1",
        )  # fmt: skip
        assert code == 0
        assert out.startswith("model alice/copy: ")
        files = whole_hub.repositories["model", "alice/copy"].files
        content = (tmp_path / "s.safetensors").read_bytes()
        assert files["model.safetensors"].content == content
        card = ModelCard(files["README.md"].content.decode())
        assert "surrogate" in card.data.tags
        assert hashlib.sha256(content).hexdigest() in card.text
        assert "6 parameters" in card.text

    def test_a_record_of_the_theft_tells_its_figures(self, whole_hub, run, tmp_path):
        save_file({"weight": np.ones((2, 3), np.float32)}, tmp_path / "s.safetensors")
        theft = stolen(tmp_path / "s.safetensors")
        write_record(theft, tmp_path / "records")
        write_record(measured(1), tmp_path / "records")
        arguments = ("publish", "surrogate", "--repo", "alice/copy", "--weights", tmp_path / "s.safetensors")
        code, _, err = run(*arguments, "--records", tmp_path / "records")
        assert code == 0, err
        card = ModelCard(whole_hub.repositories["model", "alice/copy"].files["README.md"].content.decode())
        assert f"record {theft.id}" in card.text
        assert f"| agreement | {theft.result['agreement']:.3f}" in card.text
        code, _, err = run(*arguments, "--records", tmp_path / "records", "--target", "other")
        assert code == 1
        assert "is a copy of zoo/fashion-mnist/cnn-clean/1" in " ".join(err.split())
        write_record(measured(2), tmp_path / "none")
        code, _, err = run(*arguments, "--records", tmp_path / "none")
        assert code == 1
        assert "no record names the model of which" in err

    def test_other_files_are_refused_before_anything_is_made(self, whole_hub, run, tmp_path):
        (tmp_path / "s.pt").write_bytes(b"\x80\x02junk")
        arguments = ("publish", "surrogate", "--repo", "alice/copy", "--weights", tmp_path / "s.pt")
        code, _, err = run(*arguments, "--target", "x")
        assert (code, whole_hub.repositories) == (1, {})
        assert "not a complete safetensors file" in err
        code, _, err = run(*arguments)
        assert code == 2
        assert "needs --target" in err


class TestEvaluation:
    TARGET = "zoo/fashion-mnist/cnn-clean/1"

    def entries(self, files):
        return parse_eval_result_entries(yaml.safe_load(files[".eval_results/securitynet.yaml"].content))

    def test_is_a_commit_where_one_may_write(self, whole_hub, run, tmp_path):
        card = b"---\nlicense: mit\n---\n\n# Mine\n\nText.\n"
        repo = whole_hub.add("model", "lab/net", {"README.md": card})
        write_record(record := measured(1, "modified_entropy"), tmp_path)
        arguments = ("publish", "evaluation", "--repo", "lab/net", "--records", tmp_path, "--target")
        code, out, _ = run(*arguments, self.TARGET, "--benchmark", REPO)
        assert code == 0
        assert "/commit/" in out
        (entry,) = self.entries(repo.files)
        assert (entry.dataset_id, entry.task_id) == (REPO, "modified_entropy.fashion-mnist")
        assert (entry.value, entry.date) == (1 - record.result["auc"], record.created)
        low, high = record.result["auc_ci"]
        assert entry.notes == (
            f"1 - auc; auc {record.result['auc']:.4f}, {low:.4f} to {high:.4f} at 95%; modified_entropy"
        )
        assert record.id in entry.source_name
        written = ModelCard(repo.files["README.md"].content.decode())
        (result,) = written.data.eval_results
        assert (result.metric_value, result.dataset_type) == (1 - record.result["auc"], REPO)
        assert written.data.license == "mit"
        assert "Text." in written.text

    def test_again_it_replaces_only_its_own(self, whole_hub):
        other = "- dataset:\n    id: cais/hle\n    task_id: default\n  value: 20.9\n"
        repo = whole_hub.add("model", "lab/net", {".eval_results/securitynet.yaml": other.encode()})
        publish_evaluation("lab/net", [measured(1, "modified_entropy")], REPO)
        latest = measured(5, "modified_entropy")
        older = measured(3, "modified_entropy", created="2020-01-01T00:00:00+00:00")
        publish_evaluation("lab/net", [latest, older], REPO)
        entries = self.entries(repo.files)
        assert [entry.dataset_id for entry in entries] == ["cais/hle", REPO]
        assert entries[1].value == 1 - latest.result["auc"]
        card = ModelCard(repo.files["README.md"].content.decode())
        assert [result.metric_value for result in card.data.eval_results] == [1 - latest.result["auc"]]
        assert publish_evaluation("lab/net", [latest], REPO).url is None

    def test_is_a_pull_request_anywhere_else(self, whole_hub):
        repo = whole_hub.add("model", "google/net")
        before = repo.head
        done = publish_evaluation("google/net", [measured(1, "modified_entropy")], REPO)
        assert done.url.endswith("/google/net/discussions/1")
        assert repo.head == before
        assert self.entries(repo.commits[repo.resolve("refs/pr/1")])

    def test_is_a_pull_request_where_one_may_only_read_or_wants_one(
        self, whole_hub, run, tmp_path, monkeypatch
    ):
        write_record(measured(1, "modified_entropy"), tmp_path)
        repo = whole_hub.add("model", "lab/net")
        arguments = ("publish", "evaluation", "--repo", "lab/net", "--records", tmp_path, "--target")
        arguments = (*arguments, self.TARGET, "--benchmark", REPO)
        assert "/discussions/1" in run(*arguments, "--create-pr")[1]
        monkeypatch.setenv("HF_TOKEN", "hf_bob_secret")
        assert "/discussions/2" in run(*arguments)[1]
        assert len(repo.pull_requests) == 2

    def test_what_others_wrote_stays_as_it_is(self, whole_hub):
        other = {
            "dataset": {"id": "cais/hle", "task_id": "hle"},
            "value": 20.9,
            "evaluation_framework": "hle",
        }
        present = {".eval_results/securitynet.yaml": yaml.safe_dump([other]).encode()}
        repo = whole_hub.add("model", "lab/net", present)
        publish_evaluation("lab/net", [measured(1, "modified_entropy")], REPO)
        assert yaml.safe_load(repo.files[".eval_results/securitynet.yaml"].content)[0] == other

    def test_a_theft_tells_its_budget(self, whole_hub, tmp_path):
        save_file({"weight": np.ones((2, 3), np.float32)}, tmp_path / "s.safetensors")
        repo = whole_hub.add("model", "lab/net")
        publish_evaluation("lab/net", [stolen(tmp_path / "s.safetensors")], REPO)
        (entry,) = self.entries(repo.files)
        assert entry.task_id == "model-stealing.fashion-mnist"
        assert "9 queries" in entry.notes

    def test_what_fits_no_task_or_several_models_is_refused(self, whole_hub):
        whole_hub.add("model", "lab/net")
        with pytest.raises(UnknownNameError, match=r"entropy\.fashion-mnist"):
            publish_evaluation("lab/net", [measured(1, "entropy")], REPO)
        mixed = [measured(1), measured(2, target="zoo/fashion-mnist/cnn-clean/2")]
        with pytest.raises(RecordError, match="of one model"):
            publish_evaluation("lab/net", mixed, REPO)

    @pytest.mark.parametrize("content", [b"{", b"- 1", b"a: b", b"- {dataset: x, value: 1}", b"\xff"])
    def test_a_broken_file_of_others_is_not_overwritten(self, whole_hub, content):
        repo = whole_hub.add("model", "lab/net", {".eval_results/securitynet.yaml": content})
        with pytest.raises(HubError):
            publish_evaluation("lab/net", [measured(1, "modified_entropy")], REPO)
        assert repo.files[".eval_results/securitynet.yaml"].content == content


REQUESTS = {
    "read": r"GET /api/datasets/.*",
    "prepare": r"POST .*/preupload/",
    "batch": r"POST .*/info/lfs/objects/batch",
    "upload": r"PUT /lfs/",
    "commit": r"POST .*/commit/",
}


TOLD = {
    401: "login is missing",
    403: "may not",
    404: "not there",
    429: "to wait",
    500: "answered 500",
}


class TestFaults:
    """Each is told in a sentence or waited for; nothing of it is visible; the same command then completes."""

    def attempt(self, run, folder):
        return run("publish", "records", "--repo", REPO, "--records", folder)

    @pytest.fixture
    def folder(self, tmp_path):
        write_record(measured(1), tmp_path / "own")
        return tmp_path / "own"

    @pytest.mark.parametrize("stage", REQUESTS)
    @pytest.mark.parametrize(
        "fault",
        [{"status": 500}, {"drop_after": 10}, {"status": 429, "headers": {"Retry-After": "7"}}],
    )
    def test_passing_ones_are_waited_for(self, published, run, folder, naps, stage, fault):
        if "headers" in fault:  # clients before 2.0 ask again too early, but end up waiting as long
            fault = {**fault, "times": 9, "lasts": lambda: sum(naps) < 7}
        published.fault(REQUESTS[stage], **fault)
        code, _, err = self.attempt(run, folder)
        assert code == 0, err
        assert len(ids()) == FIRST + 1
        assert naps
        assert sum(naps) >= 7 or "headers" not in fault

    @pytest.mark.parametrize(
        ("stage", "status"),
        [("read", 404), ("read", 500), ("prepare", 401), ("prepare", 403), ("batch", 429), ("upload", 500),
         ("commit", 403), ("commit", 404), ("commit", 429), ("commit", 500)],
    )  # fmt: skip
    def test_lasting_ones_are_told_and_leave_nothing(self, published, run, folder, naps, stage, status):
        before = published.dataset(REPO).head
        message = f"go away, {TOKEN}\x1b[2J<script>"
        published.fault(REQUESTS[stage], status=status, message=ascii(message), times=99)
        code, out, err = self.attempt(run, folder)
        assert (code, out) == (1, "")
        sentence = err[err.index("securitynet: ") :]
        assert TOLD[status] in " ".join(sentence.split())
        assert TOKEN not in err
        assert "Traceback" not in err
        assert published.dataset(REPO).head == before
        published.faults.clear()
        assert self.attempt(run, folder)[0] == 0
        assert len(ids()) == FIRST + 1

    READS = ("GET .*/tree/", "GET .*/resolve/", "GET /cdn/")

    @pytest.mark.parametrize("request_", READS)
    @pytest.mark.parametrize(
        "fault", [{"status": 500}, {"status": 429, "headers": {"Retry-After": "7"}}, {"drop_after": 0}]
    )
    def test_reading_waits_for_passing_ones_too(self, published, run, tmp_path, naps, request_, fault):
        published.fault(request_, **fault, times=1)
        code, out, err = run("fetch", "results", "--repo", REPO, "--out", tmp_path)
        assert code == 0, err
        assert out.startswith(f"{FIRST} results")

    @pytest.mark.parametrize("request_", READS)
    def test_reading_tells_lasting_ones(self, published, run, tmp_path, naps, request_):
        published.fault(request_, status=500, times=999, message=TOKEN)
        code, out, err = run("fetch", "results", "--repo", REPO, "--out", tmp_path / "out")
        assert (code, out) == (1, "")
        assert "cannot read" in err
        assert re.search("Run the same command again|the next download resumes there", " ".join(err.split()))
        assert TOKEN not in err
        assert list((tmp_path / "out").rglob("*.json")) == []

    def test_whoever_is_not_logged_in_is_told_that_it_may_be_private(self, whole_hub, run, monkeypatch):
        monkeypatch.delenv("HF_TOKEN")
        code, _, err = run("fetch", "results", "--repo", "alice/typo")
        assert code == 1
        assert "Check its name, or run `hf auth login`" in " ".join(err.split())

    @pytest.mark.parametrize("what", ["records", "evaluation"])
    def test_private_means_a_new_repository(self, published, run, folder, what):
        arguments = ("publish", what, "--repo", REPO, "--records", folder, "--private")
        code, _, err = run(*arguments, "--target", "x", "--benchmark", REPO)
        assert (code, len(published.log)) == (2, 0)
        assert "makes none" in err

    @pytest.mark.parametrize(
        ("status", "sentence"), [(401, "login is missing"), (403, "may not"), (404, "there")]
    )
    def test_refusals_of_the_storage_are_told(self, published, run, folder, monkeypatch, status, sentence):
        """Clients upload by way of hf_xet where they can, whose errors are Python's own, and texts."""
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
        published.fault("xet-write-token", status=status, message=TOKEN, times=99)
        code, _, err = self.attempt(run, folder)
        assert code == 1
        assert sentence in " ".join(err.split())
        assert TOKEN not in err
        assert sum("xet-write-token" in line for line in published.log) == 1
        assert len(published.dataset(REPO).commits) == 1

    def test_a_commit_whose_answer_is_lost_is_not_made_twice(self, published, run, folder, naps):
        published.fault(REQUESTS["commit"], after_commit=True)
        code, out, _ = self.attempt(run, folder)
        assert (code, out) == (0, f"dataset {REPO}: nothing new\n")
        assert len(published.dataset(REPO).commits) == 2
        assert len(ids()) == FIRST + 1

    def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(self, published, run, folder, naps):
        published.fault(REQUESTS["commit"], after_commit=True)
        code, _, err = run("publish", "records", "--repo", REPO, "--records", folder, "--create-pr")
        assert code == 1
        assert "the connection failed" in err
        assert len(published.dataset(REPO).pull_requests) == 1

    def test_an_expired_token(self, published, run, folder, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_expired_secret")
        code, _, err = self.attempt(run, folder)
        assert code == 1
        assert "Run `hf auth login`" in " ".join(err.split())
        assert "hf_expired_secret" not in err

    def test_no_login(self, whole_hub, run, monkeypatch):
        monkeypatch.delenv("HF_TOKEN")
        code, _, err = run("publish", "dataset", "--repo", REPO)
        assert (code, whole_hub.repositories) == (1, {})
        assert "login is missing" in err

    def test_a_repository_that_is_gone(self, published, run, folder):
        del published.repositories["dataset", REPO]
        code, _, err = self.attempt(run, folder)
        assert code == 1
        assert "is not there" in err
        assert published.repositories == {}

    def test_a_namespace_of_others(self, whole_hub, run):
        code, _, err = run("publish", "dataset", "--repo", "bob/securitynet")
        assert (code, whole_hub.repositories) == (1, {})
        assert "your login may not" in err

    def test_offline(self, published, run, folder, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        log = len(published.log)
        for arguments in (
            ("publish", "records", "--repo", REPO, "--records", folder),
            ("publish", "dataset", "--repo", REPO),
            ("fetch", "results", "--repo", REPO),
            ("leaderboard", "--repo", REPO),
        ):
            code, _, err = run(*arguments)
            assert code == 1
            assert "HF_HUB_OFFLINE forbids" in err
        assert len(published.log) == log

    def test_nobody_there(self, published, run, folder, naps, monkeypatch):
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        code, _, err = self.attempt(run, folder)
        assert code == 1
        assert "the connection failed" in err

    def test_a_head_that_always_moves_is_given_up(self, published, folder, naps, monkeypatch):
        monkeypatch.setattr(repositories, "RACES", replace(repositories.RACES, tries=3))
        published.fault(REQUESTS["commit"], status=412, times=999)
        with pytest.raises(HubError, match="others were writing"):
            publish_records(REPO, read_records(folder))
        assert sum("/commit/" in line for line in published.log) == 3

    def test_a_card_that_the_hub_refuses_publishes_nothing(self, whole_hub, run, monkeypatch, tmp_path):
        import shutil

        from securitynet_hub.sharing import publishing

        shutil.copytree(HUB_DATASET, tmp_path / "broken")
        (tmp_path / "broken/README.md").write_text("---\ntags: x\n---\n")
        monkeypatch.setattr(publishing, "HUB_DATASET", tmp_path / "broken")
        code, _, err = run("publish", "dataset", "--repo", REPO)
        assert code == 1
        assert "tags must be a list" in err
        assert set(whole_hub.dataset(REPO).files) == {".gitattributes"}

    @pytest.mark.parametrize(
        "name", ["securitynet", "a/b/c", "../x/y", "a/..", "a b/c", "https://x/y", "a/b--c"]
    )
    def test_names_that_are_none(self, whole_hub, run, name):
        code, _, err = run("publish", "dataset", "--repo", name)
        assert (code, whole_hub.log) == (2, [])
        assert "owner/name" in err


class TestTokens:
    def commands(self, folder):
        save_file({"weight": np.ones((2, 3), np.float32)}, folder / "s.safetensors")
        record = replace(measured(1, "modified_entropy"), environment=describe_environment())
        write_record(record, folder / "records")
        records = ("--records", folder / "records")
        about = ("--target", record.target["id"])
        return [
            ("publish", "dataset", "--repo", REPO),
            ("publish", "metrics", "--repo", "lab/model_stealing"),
            ("publish", "records", "--repo", REPO, *records),
            ("publish", "records", "--repo", REPO, *records, "--create-pr"),
            ("publish", "surrogate", "--repo", "lab/copy", "--weights", folder / "s.safetensors", *about),
            ("publish", "evaluation", "--repo", "lab/copy", *records, *about, "--benchmark", REPO),
            ("fetch", "results", "--repo", REPO, "--out", folder / "fetched"),
            ("leaderboard", "--repo", REPO, "--format", "html", "--out", folder / "board.html"),
        ]

    @pytest.mark.parametrize("token", [TOKEN, "hf_expired_secret", "of-no-known-form"])
    def test_none_is_told_or_written(self, whole_hub, run, tmp_path, naps, caplog, monkeypatch, token):
        """Neither where all goes well nor where the Hub answers with it; not in the client's log either."""
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
        caplog.set_level(logging.INFO)
        caplog.set_level(logging.DEBUG, "huggingface_hub")
        commands = self.commands(tmp_path)
        told = [run(*command) for command in commands]
        assert {code for code, _, _ in told} == ({0} if token == TOKEN else {1})
        for status in (400, 500):
            whole_hub.faults.clear()
            whole_hub.fault(".", status=status, times=999, message=f"Bearer {token} is {token}")
            told += [run(*command) for command in commands]
        seen = [repr(told), caplog.text]
        seen += [p.read_bytes().decode(errors="replace") for p in tmp_path.rglob("*") if p.is_file()]
        commits = (files for there in whole_hub.repositories.values() for files in there.commits.values())
        seen += [file.content.decode(errors="replace") for files in commits for file in files.values()]
        assert "HTTP Request" in caplog.text
        assert not [text[max(0, text.find(token) - 200) :][:400] for text in seen if token in text]
        assert not any("Traceback" in err for _, _, err in told)
