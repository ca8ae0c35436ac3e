"""The importer: nothing upstream is lost, every problem is told at once, builds repeat exactly."""

import dataclasses
import math
import re
import shutil

import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset, load_dataset_builder

from securitynet_hub.annotations.schema import (
    CONFIGS,
    HUB_DATASET,
    Annotations,
    ZooAnnotation,
    columns,
    features,
    load_annotations,
)
from securitynet_hub.annotations.writing import write_parquet
from securitynet_hub.importer import ImportProblemsError, build, diff
from securitynet_hub.importer.__main__ import main
from securitynet_hub.importer.tables import BENCHMARK_COLUMNS, PROJECT_COLUMNS

UPSTREAM = HUB_DATASET / "upstream" / "Database_README.md"
HEADINGS = {
    "benchmark": "## Benchmark Models",
    "security": "## Security Research Models",
    "projects": "## New Models",
}


@pytest.fixture(scope="module")
def text():
    return UPSTREAM.read_text(encoding="utf-8")


def first_line(lines, table):
    """Return the index of a table's header line."""
    return lines.index(HEADINGS[table]) + 1


def edit(text, table, row, **cells):
    """Replace cells of one row, or of the header (row -2); columns by upstream's titles."""
    lines = text.splitlines()
    start = first_line(lines, table)
    titles = [title.strip() for title in lines[start].split("|")]
    parts = lines[start + 2 + row].split("|")
    for title, value in cells.items():
        parts[titles.index(title.replace("_", " ").replace("M entropy", "M_entropy"))] = value
    lines[start + 2 + row] = "|".join(parts)
    return "\n".join(lines)


def insert(text, table, row, line):
    lines = text.splitlines()
    lines.insert(first_line(lines, table) + 2 + row, line)
    return "\n".join(lines)


def line_of(text, table, row):
    lines = text.splitlines()
    return lines[first_line(lines, table) + 2 + row]


def problems_of(text):
    with pytest.raises(ImportProblemsError) as caught:
        build(text)
    return caught.value


def upstream_rows(text, table):
    """Read a table independently of the importer: a list of title -> text."""
    lines = text.splitlines()
    start = first_line(lines, table)
    titles = [title.strip() for title in lines[start].split("|")[1:-1]]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(titles, map(str.strip, line.split("|")[1:-1]), strict=True)))
    return rows


# --- nothing is lost


@pytest.mark.parametrize("table", HEADINGS)
def test_every_upstream_cell_can_be_recovered(text, table):
    """A cell equals upstream's but for its type, or a correction keeps upstream's text."""
    fields = PROJECT_COLUMNS if table == "projects" else BENCHMARK_COLUMNS
    config = "projects" if table == "projects" else "models"
    rows = [r for r in load_annotations(config).values() if getattr(r, "table", table) == table]
    upstream = upstream_rows(text, table)
    assert len(rows) == len(upstream) > 0
    kept = 0
    for row, cells in zip(rows, upstream, strict=True):
        corrected = {c.column: c.upstream for c in row.corrections}
        for title, cell in cells.items():
            link = re.fullmatch(r"\[\w+\]\((.*)\)", cell)
            expected = link[1] if link else cell
            value = getattr(row, fields[title])
            if fields[title] in corrected:
                assert corrected[fields[title]] == expected
                kept += 1
            elif isinstance(value, tuple):
                assert ", ".join(value) == expected
            elif isinstance(value, float):
                assert value == float(expected)
            else:
                assert str("" if value is None else value) == expected
        assert corrected.get("weights_url", cells["Weights"][7:-1]) == cells["Weights"][7:-1]
    assert kept > 0


@pytest.mark.parametrize("config", ["models", "projects"])
def test_a_correction_stands_only_where_something_changed(config):
    for row in load_annotations(config).values():
        for correction in row.corrections:
            value = getattr(row, correction.column)
            assert str(value) != correction.upstream
            if isinstance(value, float):
                assert value != float(correction.upstream)


# --- problems


def test_all_problems_are_reported_at_once_with_their_place(text):
    bad = edit(text, "benchmark", 0, Num_Class=" two ", Test_Accuracy=" 1.7 ")
    bad = edit(bad, "benchmark", 200, Train_Accuracy=" 0.50001 ")
    bad = edit(bad, "benchmark", 210, Model_Stealing_Agreement=" 0.1234 ")
    bad = edit(bad, "benchmark", 215, Test_Accuracy=" nan ")
    bad = edit(bad, "security", 3, Correct_Auc=" 0.9 ", Data_Name=" CIFAR-11 ")
    bad = edit(bad, "security", 5, Year="", Model_Name="")
    bad = insert(bad, "security", 92, "| a | b |")
    bad = edit(bad, "projects", 4, Conference_Type=" Art ", Year=" inf ")
    error = problems_of(bad)
    found = {(p.table, p.row, p.column) for p in error.problems}
    assert found >= {
        ("benchmark", 0, "num_classes"),
        ("benchmark", 0, "test_accuracy"),
        ("benchmark", 0, "overfit_gap"),
        ("benchmark", 200, "train_accuracy"),
        ("benchmark", 200, "overfit_gap"),
        ("benchmark", 210, "stealing_agreement"),
        ("benchmark", 215, "test_accuracy"),
        ("security", 3, "mia_correctness_auc"),
        ("security", 3, "dataset"),
        ("security", 5, "paper_year"),
        ("security", 5, "upstream_name"),
        ("security", 92, None),
        ("projects", 4, "paper_venue_type"),
        ("projects", 4, "paper_year"),
    }
    for problem in error.problems:
        assert str(problem) in str(error)
    assert "benchmark, row 0, column 'num_classes': 'two' is not a number" in str(error)


@pytest.mark.parametrize(
    ("table", "row", "cells", "column"),
    [
        ("benchmark", 300, {"Correct_Auc": " 1.2 "}, "mia_correctness_auc"),
        ("benchmark", 300, {"M_entropy_AUC": " -0.1 "}, "mia_modified_entropy_auc"),
        ("benchmark", 300, {"M_entropy_AUC": " inf "}, "mia_modified_entropy_auc"),
        ("benchmark", 174, {"Overfit_Gap": " 0.04 "}, "overfit_gap"),
        ("benchmark", 0, {"Overfit_Gap": " -0.5 "}, "overfit_gap"),
        ("benchmark", 174, {"Correct_Auc": " 0.54 "}, "mia_correctness_auc"),
        ("security", 0, {"Correct_Auc": " 0.5163 "}, "mia_correctness_auc"),
        ("benchmark", 174, {"Wrn_Agree": " 0.99 "}, "wrn_stealing_agreement"),
        ("benchmark", 174, {"Wrn_Agree": " 0 "}, "wrn_stealing_agreement"),
        ("benchmark", 174, {"Model_Stealing_Accuracy": " 0.79331 "}, "stealing_accuracy"),
        ("security", 0, {"Test_Accuracy": " 0.77721 "}, "test_accuracy"),
        ("benchmark", 174, {"Num_Class": " 11 "}, "num_classes"),
        ("benchmark", 174, {"Training_Size": " 49999 "}, "train_size"),
        ("benchmark", 174, {"Num_Authors": " -5 "}, "paper_num_authors"),
        ("benchmark", 174, {"Purpose": " fun "}, "purpose"),
        ("benchmark", 175, {"Model_Name": " resnet20_cifar10 "}, "id"),
    ],
)
def test_each_rule_refuses_what_breaks_it(text, table, row, cells, column):
    error = problems_of(edit(text, table, row, **cells))
    assert (table, column) in {(p.table, p.column) for p in error.problems}


def test_structural_problems(text):
    error = problems_of(edit(text, "benchmark", -2, Country=" Land "))
    assert {(p.column, p.message) for p in error.problems if p.table == "benchmark"} == {
        ("Country", "missing column"), ("Land", "unknown column"),
    }  # fmt: skip
    error = problems_of(text.replace(HEADINGS["security"], "## Another Table"))
    assert {p.table for p in error.problems} == {"security", "Another Table"}
    error = problems_of("")
    assert [p.table for p in error.problems] == ["benchmark", "projects", "security"]


def test_problems_on_the_command_line_write_nothing(text, tmp_path, capsys):
    bad = tmp_path / "bad.md"
    bad.write_text(edit(text, "benchmark", 3, Year=" soon "), encoding="utf-8")
    assert main(["--upstream", str(bad), "--out", str(tmp_path / "out")]) == 1
    assert "'soon' is not a number" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- a newer upstream


def test_a_new_row_is_imported_and_flagged(text):
    added = line_of(text, "benchmark", 174).replace("resnet20_cifar10", "resnet8_cifar10 ")
    built = build(insert(text, "benchmark", 175, added))
    row = {r.id: r for r in built.models}["pytorchcv/cifar10/resnet8"]
    assert row.upstream_row == 175
    assert row.weights_url is None
    assert row.weights_page == "https://github.com/osmr/imgclsmob/tree/master/pytorch"
    assert "weights-link-unresolved" in row.flags
    old = load_annotations().values()
    assert [change.id for change in diff(old, built.models)] == ["pytorchcv/cifar10/resnet8"]
    unmoved = {r.id: r for r in built.models}["pytorchcv/cifar10/preresnet20"]
    assert unmoved.weights_url == load_annotations()[unmoved.id].weights_url


def test_a_new_project_waits_for_review(text):
    added = line_of(text, "projects", 0).replace("Vim?", "Vim2?").replace("Efficient", "Another")
    built = build(insert(text, "projects", 102, added))
    assert built.projects[-1].id == "icml2024/vim2"
    assert built.projects[-1].status == "unknown"
    assert built.projects[-1].flags == ("project-not-reviewed",)


def test_a_model_from_an_unknown_host_is_imported(text):
    page = "https://github.com/someone/new-zoo"
    changed = edit(text, "security", 72, Weights=f" [Link]({page}) ", Model_Name=" net.ckpt ")
    row = build(changed).models[437 + 72]
    assert row.id == "new-zoo/imagenet-1k/net"
    assert (row.license, row.weights_url, row.weights_page) == (None, None, page)
    assert {"license-unclear", "weights-link-unresolved"} <= set(row.flags)


def test_diff_lists_rows_and_cells():
    old = list(load_annotations().values())
    changed = dataclasses.replace(old[1], num_parameters=7)
    fresh = dataclasses.replace(old[0], id="a/b/c")
    changes = list(diff(old[:3], [fresh, changed, old[2]]))
    assert [str(change) for change in changes] == [
        f"removed {old[0].id}",
        "added a/b/c",
        f"changed {old[1].id} num_parameters: {old[1].num_parameters} -> 7",
    ]
    assert list(diff(load_annotations(), old)) == []


# --- the files


def test_the_shipped_data_set_is_what_the_inputs_give(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_check_names_what_is_stale(tmp_path, capsys):
    folder = tmp_path / "hub_dataset"
    shutil.copytree(HUB_DATASET, folder)
    assert main(["--check", "--out", str(folder)]) == 0
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    rows = [dataclasses.replace(r, status="usable") for r in load_annotations("projects").values()]
    write_parquet(rows, folder / "data" / "projects.parquet")
    assert main(["--check", "--out", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "README.md" in printed
    assert "projects.parquet" in printed
    assert "models.parquet" not in printed


def test_two_builds_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        assert main(["--out", str(tmp_path / name)]) == 0
    files = [p.relative_to(tmp_path / "one") for p in tmp_path.rglob("one/**/*") if p.is_file()]
    assert len(files) >= 7
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("config", ["models", "projects"])
def test_the_folder_loads_as_a_hub_data_set(config, tmp_path):
    dataset = load_dataset(str(HUB_DATASET), config, split="train", cache_dir=str(tmp_path))
    assert dataset.features == features(CONFIGS[config])
    assert dataset["id"][:] == list(load_annotations(config))
    schema = pq.read_schema(HUB_DATASET / "data" / f"{config}.parquet")
    assert schema.metadata == features(CONFIGS[config]).arrow_schema.metadata
    assert Features.from_arrow_schema(schema) == features(CONFIGS[config])


@pytest.mark.parametrize("config", ["models", "projects"])
def test_the_card_declares_the_features_and_rows(config, tmp_path):
    info = load_dataset_builder(str(HUB_DATASET), config, cache_dir=str(tmp_path)).info
    assert info.features == features(CONFIGS[config])
    assert info.splits["train"].num_examples == len(load_annotations(config))


def test_the_card_explains_every_field_and_flag():
    card = (HUB_DATASET / "README.md").read_text(encoding="utf-8")
    for row_class in CONFIGS.values():
        for column in columns(row_class):
            assert f"| `{column.name}` |" in card
    for row in load_annotations().values():
        assert all(f"| `{flag}` |" in card for flag in row.flags)
    assert "3201a3dea5a6699af88e3cef2551ca53bff4191c7aa3ec74afb2d2402b40d2b7" in card
    assert "| `train_accuracy` | `not-evaluated` | 174 |" in card


def test_an_unknown_upstream_file_is_not_given_a_commit(text, tmp_path):
    newer = tmp_path / "newer.md"
    newer.write_text(text + "\nMore to come.\n", encoding="utf-8")
    assert main(["--upstream", str(newer), "--out", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "commit not recorded" in card
    assert "3201a3de" not in card


def zoo_row(number, **truth):
    return ZooAnnotation(
        id=f"zoo/fashion-mnist/cnn-{number}", upstream_name=f"cnn-{number}", source="zoo",
        table="zoo", upstream_row=number, purpose="reference", architecture="cnn", family="cnn",
        seed=number, dataset="Fashion-MNIST", domain="clothing", num_classes=10, input_dims=2,
        images="fashion_mnist_4k", members_file="splits/x.json", members_sha256="0" * 64,
            **{"kind": "clean", "recipe": "{}", **truth},
    )  # fmt: skip


def test_zoo_rows_join_the_card_and_load(tmp_path, capsys):
    rows = [zoo_row(1), zoo_row(2, kind="backdoored", target_class=3, poison_rate=0.1)]
    write_parquet(rows, tmp_path / "data" / "zoo.parquet")
    assert main(["--out", str(tmp_path)]) == 0
    assert main(["--out", str(tmp_path), "--check"]) == 0
    dataset = load_dataset(str(tmp_path), "zoo", split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset.features == features(ZooAnnotation)
    assert dataset["target_class"][:] == [None, 3]
    table = pq.read_table(tmp_path / "data" / "zoo.parquet")
    assert list(Annotations("zoo", table).values()) == rows
    (tmp_path / "data" / "zoo.parquet").unlink()
    write_parquet(rows[:1], tmp_path / "data" / "zoo.parquet")
    assert main(["--out", str(tmp_path), "--check"]) == 1
    assert "README.md" in capsys.readouterr().out


def test_write_parquet_refuses_mixed_repeated_or_no_rows(tmp_path):
    path = tmp_path / "x.parquet"
    model = load_annotations()["pytorchcv/cifar10/resnet20"]
    for rows in ([], [model, zoo_row(1)], [model, model]):
        with pytest.raises(ValueError, match=r"^Expected"):
            write_parquet(rows, path)
    assert not path.exists()


def test_nulls_are_nulls_and_never_nan():
    for row in load_annotations().values():
        for field in dataclasses.fields(row):
            value = getattr(row, field.name)
            assert not (isinstance(value, float) and math.isnan(value))
            assert value != ""
