"""What is believed of fetched results, how models are ranked, and that nothing fetched can act."""

import csv
import html.parser
import io
import json
import math
import re
import socket
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import plain_records
from support.drawn_records import measured
from support.published_results import HOSTILE, REPO, WHERE, changed, commit_file

from securitynet_hub.annotations.schema import HUB_DATASET, features, load_annotations
from securitynet_hub.attacks.backdoor.inversion import measure_inversion
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import Run
from securitynet_hub.attacks.membership.samples import sample_table, write_samples
from securitynet_hub.attacks.stealing.measures import measure_stealing
from securitynet_hub.core.errors import HubError, RecordError, UnknownNameError
from securitynet_hub.records.record import Record, parse_record, read_records
from securitynet_hub.records.rows import FOLDER, Result, find_figure
from securitynet_hub.sharing import fetching, leaderboard
from securitynet_hub.sharing.export import FORMATS, to_csv, to_html, to_markdown
from securitynet_hub.sharing.fetching import fetch_results, keep_records, read_shard
from securitynet_hub.sharing.leaderboard import Ends, leaderboards, parted, ranking_note, unranked
from securitynet_hub.sharing.pages import unpacked_size
from securitynet_hub.sharing.repositories import hub_errors_explained
from securitynet_hub.sharing.rows import result_row, results_shard
from securitynet_hub.sharing.validation import NAMES, problems


def stolen(seed=0, **parts):
    rng = np.random.default_rng(seed)
    labels, target, copy = (rng.integers(0, 3, 60) for _ in range(3))
    attack = {"name": "random", "kind": "model-stealing"}
    return changed(
        replace(measured(0), attack=attack, result=measure_stealing(copy, labels, target)), **parts
    )


class TestRows:
    def test_a_row_says_what_its_record_says(self):
        record = measured(1)
        row = result_row(record)
        assert (row.kind, row.attack, row.figure) == ("membership-inference", "loss", "auc")
        assert (row.value, row.low, row.high) == (record.result["auc"], *record.result["auc_ci"])
        assert parse_record(row.record, "here") == record

    def test_other_kinds_have_their_own_figure_or_none(self):
        assert result_row(stolen()).figure == "agreement"
        detector = replace(
            measured(1),
            attack={"name": "neural_cleanse", "kind": "backdoor-detection"},
            result={"score": 3.5, "flagged_classes": [4]},
        )
        row = result_row(detector)
        assert (row.figure, row.value, row.low) == ("score", 3.5, None)
        assert problems(detector) == []
        unknown = replace(detector, attack={"name": "x", "kind": "brand-new"})
        assert (result_row(unknown).figure, problems(unknown)) == (None, [])

    def test_the_shipped_shards_have_the_features_of_the_card_and_are_believed(self):
        (path,) = (HUB_DATASET / FOLDER).glob("*.parquet")
        assert pq.read_schema(path) == features(Result).arrow_schema
        assert pq.read_schema(path).metadata == features(Result).arrow_schema.metadata
        found = list(read_shard(path, path.name))
        assert len(found) == 88
        assert all(isinstance(record, Record) for record in found)

    def test_same_records_same_bytes_in_any_order(self):
        records = [measured(seed) for seed in range(3)]
        assert results_shard(records) == results_shard(records[::-1])


class TestFigures:
    @pytest.mark.parametrize(
        "result",
        [
            {"auc": None}, {"auc": "0.5"}, {"auc": True}, {"auc": 10**400}, {"auc": math.inf}, {"auc": [1]},
            {"tpr_at_fpr": 3}, {"tpr_at_fpr": [3, {}]}, {},
        ],
    )  # fmt: skip
    def test_what_is_no_number_is_no_figure(self, result):
        assert find_figure(result, "auc") is None
        assert find_figure(result, "tpr@0.1") is None

    @pytest.mark.parametrize("interval", [3, [1], ["a", "b"], [0, 10**400], {"low": 0}])
    def test_what_is_no_interval_is_none(self, interval):
        figure = find_figure({"auc": 0.5, "auc_ci": interval}, "auc")
        assert (figure.value, figure.high) == (0.5, None)

    @pytest.mark.parametrize("name", ["tpr@", "tpr@1.2.3", "tpr@x", "", "tpr@.5e-1e"])
    def test_names_that_are_none(self, name):
        assert find_figure(measured(1).result, name) is None


ALL_AGREE = measure_stealing([0] * 60, [0] * 60, [0] * 60)


class TestValidation:
    @pytest.mark.parametrize("record", [measured(1), measured(2, "correctness_like"), stolen()])
    def test_what_was_measured_is_believed(self, record):
        assert problems(record) == []

    def test_ids_of_annotated_models_are_names(self):
        for config in ("extended", "zoo"):
            for id in load_annotations(config):
                assert re.fullmatch(NAMES["target.id"], id, re.ASCII), id

    @pytest.mark.parametrize(
        ("parts", "reason"),
        [
            ({"result": {"auc": 0.5001}}, "auc should be a whole number"),
            ({"result": {"auc": 1.5, "auc_ci": [0, 2]}}, "auc should lie in 0..1"),
            ({"result": {"auc": "0.5"}}, "auc should be a number"),
            ({"result": {"auc": True}}, "auc should be a number"),
            ({"result": {"auc_ci": [0.99, 1.0]}}, "auc_ci should hold its figure"),
            ({"result": {"auc_ci": [0.1]}}, "interval of two numbers"),
            ({"result": {"auc": 1.0, "auc_ci": [0.9, 1.0]}}, "auc should lie in"),
            ({"result": {"advantage": 0, "advantage_ci": [0, 1], "auc": 1, "auc_ci": [0, 1]}}, "auc should"),
            ({"result": {"n_members": 0}}, "n_members should be"),
            ({"result": {"n_members": 10**30}}, "n_members should be"),
            ({"result": {"n_members": [1]}}, "n_members should be"),
            ({"result": {"tpr_at_fpr": 3}}, "tpr_at_fpr should be a list"),
            ({"result": {"tpr_at_fpr": [{}]}}, "tpr_at_fpr.0 lacks 'target_fpr'"),
            ({"attack": {"name": "correctness"}}, "the AUC of correctness"),
            ({"attack": {"name": "../../x"}}, "attack.name should be a plain name"),
            ({"attack": {"name": "x\ny"}}, "attack.name should be a plain name"),
            ({"attack": {"kind": "<b>"}}, "attack.kind should be a plain name"),
            ({"target": {"id": "zoo/../x"}}, "target.id should be a plain name"),
            ({"target": {"id": "/etc/passwd"}}, "target.id should be a plain name"),
            ({"target": {"id": ["x"]}}, "target.id should be text"),
            ({"target": {"weights_hash": "ff"}}, "has the weights"),
            ({"target": {"weights_hash": None}}, "the record names none"),
            ({"attack": {"x": json.loads("[" * 30 + "]" * 30)}}, "nested more than"),
            ({"target": {"weights_hash": "x" * 500}}, "hash in hexadecimal"),
            ({"data": {"name": "=cmd|'/c calc'!A0"}}, "data.name should be a plain name"),
            ({"data": {"name": "x" * 10_000}}, "data.name should be a plain name"),
            ({"counts": {"forwarded": -1}}, "counts.forwarded"),
            ({"environment": {"x": "y" * 300_000}}, "larger than"),
        ],
    )  # fmt: skip
    def test_what_cannot_have_been_measured_is_not(self, parts, reason):
        (first, *_) = problems(changed(measured(1), **parts))
        assert reason in first

    @pytest.mark.parametrize(
        ("parts", "reason"),
        [
            ({"agreement": 0.123, "agreement_ci": [0, 1]}, "agreement should be a whole number"),
            ({"agreement": 1.0, "agreement_ci": list(ALL_AGREE["agreement_ci"])}, "agreement must lie in"),
            ({"accuracy_ci": [0.0, 1.0]}, "should be Wilson's"),
            ({"n_target_errors": 0}, "n_target_errors should be"),
            ({"relative_accuracy": 9.0}, "relative_accuracy is not"),
            ({"n": None}, "n should be a whole number"),
            (
                {"independent": {"models": ["a"], "agreement_on_target_errors": [0.123]}},
                "independent.agreement_on_target_errors should be a whole number",
            ),
            (
                {"independent": {"models": ["a"], "agreement_on_target_errors": []}},
                "the shares of independent models",
            ),
        ],
    )  # fmt: skip
    def test_nor_of_stealing(self, parts, reason):
        assert reason in problems(stolen(result=parts))[0]

    def test_a_rate_above_its_target_is_refused(self):
        """At whatever rate, and the figures beside it as they were measured."""
        scores = np.random.default_rng(1).normal(size=400)
        record = measured(1, result=measure_membership(scores, np.arange(400) < 100))
        assert problems(record) == []
        rates = record.result["tpr_at_fpr"]
        loud = [place for place, rate in enumerate(rates) if rate["achieved_fpr"] > 0]
        assert loud
        for place in loud:
            forged = [dict(rate) for rate in rates]
            forged[place]["target_fpr"] = forged[place]["achieved_fpr"] / 2
            (reason,) = problems(changed(record, result={"tpr_at_fpr": forged}))
            assert "does not go with the target" in reason

    def test_a_rate_of_the_population_must_fit_the_others(self):
        scores = np.random.default_rng(1).normal(size=400)
        record = measured(1, result=measure_membership(scores, np.arange(400) < 100, target_fprs=[0.1]))
        (rate,) = record.result["tpr_at_fpr"]
        assert problems(record) == []
        for part, reason in (
            ({"ci": [rate["tpr"] + 0.01, 0.9]}, "should hold its figure"),
            ({"tpr": 0.9, "ci": [0.0, 1.0]}, "does not go with the advantage"),
            ({"resolvable": False}, "is resolvable with 300 non-members"),
            ({"ci_at_threshold": [0.0, 1.0]}, "Wilson's"),
        ):
            forged = changed(record, result={"tpr_at_fpr": [{**rate, **part}]})
            assert reason in problems(forged)[0]

    def test_a_record_of_an_older_version_is_still_read(self):
        """Its rate is that at the sample's threshold, with Wilson's interval."""
        record = measured(1)
        old = [
            {
                **{name: value for name, value in rate.items() if "at_threshold" not in name},
                "tpr": rate["tpr_at_threshold"],
                "ci": rate["ci_at_threshold"],
            }
            for rate in record.result["tpr_at_fpr"]
        ]
        assert problems(changed(record, result={"tpr_at_fpr": old})) == []
        forged = [{**rate, "ci": [0.0, 1.0]} for rate in old]
        assert "Wilson's" in problems(changed(record, result={"tpr_at_fpr": forged}))[0]

    @pytest.mark.parametrize("lacking", ["auc", "advantage", "tpr_at_fpr", "n_members", "confidence_level"])
    def test_a_figure_that_lacks_is_named(self, lacking):
        record = measured(1)
        result = {name: value for name, value in record.result.items() if name != lacking}
        assert f"lacks '{lacking}'" in problems(replace(record, result=result))[0]

    @pytest.mark.parametrize("field", ["target", "data", "attack", "result", "counts", "code", "environment"])
    @pytest.mark.parametrize("value", [None, [], "x", 3])
    def test_parts_of_another_type(self, field, value):
        assert problems(replace(measured(1), **{field: value})) == [
            f"{field} should be a map of names to values"
        ]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("created", "yesterday"), ("created", None), ("created", "2026-01-01T00:00:00"),
            ("created", "2026-W01-1T00:00:00+00:00"), ("created", "2026-01-01T00:00:00+23:59"),
            ("created", "9999-01-01T00:00:00+00:00"),
            ("author", "a\u202eb"), ("author", "x" * 101), ("author", 7), ("author", "\ud800"),
        ],
    )  # fmt: skip
    def test_when_and_who(self, field, value):
        (reason,) = problems(replace(measured(1), **{field: value}))
        assert reason.startswith(field)
        assert reason.isprintable()


def detected(**result):
    """Return records of a detector by norms and of one by a p-value, such as audits write them."""
    norms = [[10.0, 50.0, 60.0, 70.0, 80.0, None]]
    found = measure_inversion(np.array(norms, float))
    by_norms = {
        **found, "score": -math.log2(found["norm_ratio"]), "suspect": 0, "norms": norms,
        "classes": list(range(6)), "controls": [True] * 6,
    }  # fmt: skip
    by_chance = {"score": 2.0, "suspect": 1, "p_value": 0.01}
    attacks = ({"name": name, "kind": "backdoor-detection"} for name in ("neural_cleanse", "mm_bd"))
    return [
        replace(measured(1), attack=attack, result={**own, **result})
        for attack, own in zip(attacks, (by_norms, by_chance), strict=True)
    ]


class TestDetections:
    def test_what_was_measured_is_believed(self):
        assert [problems(record) for record in detected()] == [[], []]

    def test_what_contradicts_itself_is_not(self):
        for record in detected(score=9.0):
            assert "score should be" in problems(record)[0]
        by_norms, by_chance = detected(anomaly_index=9.0)[0], detected(p_value=1.5)[1]
        assert "anomaly_index should be 3.37" in problems(by_norms)[0]
        assert "p_value should lie in 0..1" in problems(by_chance)[0]
        assert problems(detected(norms=[["x"]])[0])
        assert problems(detected(norms=[[None] * 6])[0])
        assert problems(detected(classes=[1])[0])


@pytest.mark.parametrize(
    "record", [measured(1), stolen(), *detected()], ids=lambda record: record.attack["name"]
)
def test_no_value_of_another_type_breaks_the_validation(record):
    """It is told, or passes where any value may stand; and what passes can be ranked and exported."""
    junk = [None, True, -1, 10**400, "x", "<b>", [], [None], [[1]], {}, {"x": 1}]
    for part in ("target", "data", "attack", "result", "counts"):
        for name in getattr(record, part):
            for value in junk:
                forged = changed(record, **{part: {name: value}})
                if not problems(forged):
                    for by in (None, name, "tpr@0.01"):
                        with suppress(UnknownNameError):
                            boards = leaderboards([forged, record], by=by)
                            assert all(export(boards) for export in FORMATS.values())


def varint(number, length=None):
    """Write a whole number as Thrift does, in as many bytes as are asked for."""
    text, number = [], number * 2
    while number > 127 or (length is not None and len(text) < length - 1):
        text.append(number & 127 | 128)
        number >>= 7
    return bytes([*text, number])


class TestHostileShards:
    """A repository anyone may write to: what does not hold is listed and left out, the rest is read."""

    def refused(self, hub, content, name="x.parquet"):
        commit_file(hub, f"{FOLDER}/{name}", content)
        fetched = fetch_results(WHERE)
        assert len(fetched.records) == 2
        return [refused.reason for refused in fetched.refused]

    def table(self, **columns):
        table = pq.read_table(io.BytesIO(results_shard([measured(1)])))
        for name, values in columns.items():
            table = table.set_column(
                table.schema.names.index(name), table.schema.field(name), pa.array(values)
            )
        return self.bytes(table)

    def bytes(self, table):
        file = io.BytesIO()
        pq.write_table(table, file)
        return file.getvalue()

    @pytest.fixture
    def hub(self, whole_hub):
        first = results_shard([measured(100), measured(101)])
        whole_hub.add("dataset", REPO, {f"{FOLDER}/first.parquet": first})
        return whole_hub

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "not a readable record"),
            ("{", "not a readable record"),
            ("[" * 50_000, "not a readable record"),
            ("1" * 10_000, "not a readable record"),
            ('{"schema_version": 1}', "not a record of schema"),
            ('{"schema_version": 99}', "Upgrade"),
            ('{"schema_version": 1, "target": NaN}', "not a record of schema"),
            ("null", "no schema_version"),
            ('{"schema_version": 0}', "no schema_version"),
            ('{"schema_version": true}', "no schema_version"),
            (None, "holds no record"),
        ],
    )
    def test_records_that_are_none(self, hub, text, reason):
        (found,) = self.refused(hub, self.table(record=pa.array([text], pa.string())))
        assert reason in found
        assert len(found) < 400

    def test_records_that_were_changed(self, hub):
        text = result_row(measured(1)).record.replace('"kind": "membership-inference"', '"kind": "x"')
        assert "changed or damaged" in self.refused(hub, self.table(record=[text]))[0]

    @pytest.mark.parametrize(("column", "value"), [("value", 0.99), ("target", "other"), ("author", "me")])
    def test_columns_that_say_something_else(self, hub, column, value):
        assert self.refused(hub, self.table(**{column: [value]})) == [
            f"the column {column} contradicts the record"
        ]

    def test_files_that_are_no_shards(self, hub):
        row = asdict(result_row(measured(1)))
        assert "not a readable Parquet file" in self.refused(hub, b"junk")[0]
        whole = results_shard([measured(1)])
        assert "not a readable Parquet file" in self.refused(hub, whole[:-20])[0]
        assert "columns are not those" in self.refused(hub, self.bytes(pa.table({"id": ["x"]})))[0]
        types = self.bytes(pa.Table.from_pylist([{**row, "schema_version": "1"}]))
        assert "columns are not those" in self.refused(hub, types)[0]

    def test_a_small_file_that_unfolds_into_a_large_one(self, hub):
        schema = features(Result).arrow_schema
        row = asdict(result_row(measured(1))) | {"record": "x" * 300_000}
        table = pa.Table.from_pylist([row], schema=schema)
        bomb = self.bytes(pa.concat_tables([table] * 300).combine_chunks())  # 90 MB of text
        assert len(bomb) < 200_000
        before = pa.total_allocated_bytes()
        assert "longer than any record's" in self.refused(hub, bomb)[0]
        assert pa.total_allocated_bytes() - before < 10_000_000

    def test_a_footer_that_says_that_it_does_not_unfold(self, hub, monkeypatch):
        """Readers allocate what the pages say; so this would have taken its size several times."""
        row = asdict(result_row(measured(1))) | {"record": "x" * 3_000_000}
        table, file = pa.Table.from_pylist([row], schema=features(Result).arrow_schema), io.BytesIO()
        pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
        content, group = file.getvalue(), pq.read_metadata(file).row_group(0)
        (tmp := Path("honest.parquet")).write_bytes(content)
        assert 3_000_000 < unpacked_size(tmp) < group.total_byte_size + 20
        columns = [group.column(n).total_uncompressed_size for n in range(group.num_columns)]
        for size in (group.total_byte_size, max(columns)):
            assert varint(size) in content
            content = content.replace(varint(size), varint(1000, len(varint(size))))
        assert pq.read_metadata(io.BytesIO(content)).row_group(0).total_byte_size == 1000
        monkeypatch.setattr(fetching, "MAX_UNPACKED", 1_000_000)
        assert "bytes unpacked are too many" in self.refused(hub, content)[0]

    def test_pages_that_are_none(self, hub):
        whole = results_shard([measured(1)])
        for noise in (b"\xff", b"\x00", b"\x1c", b"\x19", b"\x15\x01\x15\x01\x15\x01\x00"):
            assert self.refused(hub, whole[:4] + noise * 50 + whole[4 + 50 * len(noise) :])

    def test_more_than_a_shard_may_hold(self, hub, monkeypatch):
        monkeypatch.setattr(fetching, "MAX_ROWS", 3)
        assert "too many" in self.refused(hub, results_shard(measured(seed) for seed in range(4)))[0]
        monkeypatch.setattr(fetching, "MAX_SHARD", 40_000)
        log = len(hub.log)
        assert "more than the 40,000" in self.refused(hub, b"x" * 40_001)[0]
        assert not any("x.parquet" in line for line in hub.log[log:])  # not even downloaded

    @pytest.mark.parametrize(
        "name",
        ["../../../evil.parquet", "a/b.parquet", "x.py", "x y.parquet", "\x1b[2J.parquet", "ü.parquet"],
    )
    def test_names_that_lead_elsewhere_are_not_asked_for(self, hub, name, tmp_path):
        log = len(hub.log)
        assert self.refused(hub, results_shard([measured(1)]), name) == [
            f"only {FOLDER}/NAME.parquet is read"
        ]
        assert not any("resolve" in line and "first" not in line for line in hub.log[log:])

    def test_a_repository_without_results(self, whole_hub, run):
        whole_hub.add("dataset", REPO)
        code, _, err = run("fetch", "results", "--repo", REPO)
        assert code == 1
        assert "data/results" in err

    def test_the_command_lists_what_it_left_out(self, hub, run, tmp_path):
        commit_file(hub, f"{FOLDER}/<script>\x1b[2J.parquet", b"x")
        code, out, err = run("fetch", "results", "--repo", REPO, "--out", tmp_path / "out")
        assert (code, out.split()[0]) == (0, "2")
        assert "left out: data/results/<script>\\x1b[2J.parquet: only" in err
        assert "\x1b" not in err
        assert len(list(read_records(tmp_path / "out"))) == 2

    def test_what_lies_in_the_way_is_not_overwritten(self, tmp_path):
        record = measured(1)
        keep_records([record], tmp_path)
        (path,) = tmp_path.rglob("*.json")
        assert keep_records([record], tmp_path) == 0
        path.write_text("{}")
        with pytest.raises(RecordError):
            keep_records([record], tmp_path)
        assert path.read_text() == "{}"


def standing(name, auc, low, high, **changes):
    record = measured(1, target=name, **changes)
    return replace(record, result={**record.result, "auc": auc, "auc_ci": [low, high]})


class TestLeaderboard:
    def places(self, records, **choice):
        (board,) = leaderboards(records, **choice)
        return [(s.target, s.place) for s in board.standings]

    def test_by_hand(self):
        """a overlaps b, b overlaps c, a does not overlap c, d is below all."""
        records = [
            standing("d", 0.5, 0.45, 0.55),
            standing("b", 0.8, 0.7, 0.9),
            standing("a", 0.9, 0.85, 0.95),
            standing("c", 0.7, 0.6, 0.75),
        ]
        expected = [("a", "1-2"), ("b", "1-3"), ("c", "2-3"), ("d", "4")]
        assert self.places(records) == expected
        assert self.places(records[::-1]) == expected

    def test_figures_without_intervals_part_no_models(self):
        def detector(name, score):
            attack = {"name": "neural_cleanse", "kind": "backdoor-detection"}
            return replace(measured(1, target=name), attack=attack, result={"score": score})

        records = [detector("a", 1.0), detector("b", 3.0), detector("c", 1.0)]
        assert self.places(records) == [("b", "1-3"), ("a", "1-3"), ("c", "1-3")]

    def test_settings_are_told_in_words(self):
        settings = {
            "recipe": {"batch_size": 64, "augment": "none"}, "betas": [0.5, 0.9], "width": None,
            "exact": False, "reference": {"id": "zoo/a", "weights_hash": "ab" * 32},
        }  # fmt: skip
        attack = {"name": "loss", "kind": "membership-inference"} | settings
        boards = leaderboards([replace(standing("a", 0.8, 0.7, 0.9), attack=attack)])
        told = (
            "betas (0.5, 0.9), exact no, recipe (augment none, batch size 64), reference (id zoo/a, "
            "weights hash abababababab…)"
        )
        for form in ("markdown", "html", "csv"):
            text = FORMATS[form](boards)
            assert told in text
            assert "{" not in text.split("<body", 1)[-1].split("<script", 1)[0]
        assert json.loads(FORMATS["json"](boards))[0]["settings"]["recipe"] == settings["recipe"]

    def test_against_brute_force(self):
        """Parted: no overlap, and a difference beyond its error at a level for 435 pairs at once."""
        rng = np.random.default_rng(0)
        middle, half = rng.random(30), rng.random(30) / 200
        records = [standing(f"m{n}", middle[n], middle[n] - half[n], middle[n] + half[n]) for n in range(30)]
        (board,) = leaderboards(records)
        wider = NormalDist().inv_cdf(1 - 0.05 / 435 / 2) / NormalDist().inv_cdf(0.975)

        def above(a, b):
            error = wider * (half[a] ** 2 + half[b] ** 2) ** 0.5
            return middle[a] - middle[b] > max(error, half[a] + half[b])

        assert any(s.best == s.worst for s in board.standings)
        for s in board.standings:
            own = int(s.target[1:])
            assert s.best == 1 + sum(above(other, own) for other in range(30))
            assert s.worst == 30 - sum(above(own, other) for other in range(30))

    def test_many_models_have_the_places_of_all_pairs(self, monkeypatch):
        """Those of a large board are not compared one by one; ends that meet and figures without ends too."""
        rng = np.random.default_rng(1)
        middle, parts = rng.integers(10, 55, 150) / 64, rng.integers(0, 5, (150, 2)) / 64
        middle[::3], parts[::3] = rng.random(50), rng.gamma(2, 0.01, (50, 2))
        records = [
            standing(f"m{n}", *map(float, (middle[n], middle[n] - parts[n, 0], middle[n] + parts[n, 1])))
            for n in range(150)
        ]
        bare = standing("x", 0.99, 0.9, 1.0)
        bare_result = {name: figure for name, figure in bare.result.items() if name != "auc_ci"}
        records.append(replace(bare, result=bare_result))
        (plain,) = leaderboards(records)
        for name, value in (("ALL_PAIRS", 1), ("PAIRS_AT_A_TIME", 64)):
            monkeypatch.setattr(leaderboard, name, value)
        (quick,) = leaderboards(records)
        assert quick == plain
        assert len({standing.place for standing in plain.standings}) > 50

    def test_notes_give_the_same_boards_without_figures(self):
        records = [standing(f"m{n}", 0.5 + n / 50, 0.48 + n / 50, 0.53 + n / 50) for n in range(9)]
        records += [replace(records[0], data={**records[0].data, "name": "other"})]
        records += [
            replace(records[1], result={"n": 3}),
            replace(records[1], attack={"name": "a", "kind": "b"}),
        ]
        notes = {record.id: ranking_note(record) for record in records}
        assert leaderboards(records, notes=notes) == leaderboards(records)
        assert len(leaderboards(records)) == 2
        assert unranked(records, notes=notes) == unranked(records)
        assert len(unranked(records)) == 2
        assert leaderboards(records, by="advantage", notes=notes) == leaderboards(records, by="advantage")

    @pytest.mark.parametrize("by", ["auc", "tpr@0.01", "tpr@0.1", "advantage"])
    def test_of_boards_of_equal_models_few_hold_a_false_order(self, by):
        """By intervals that do not overlap alone, every fifth to tenth of these boards would hold one."""
        rng = np.random.default_rng(4)
        truth = np.arange(1000) < 500
        false = 0
        for _ in range(25):
            found = [
                measure_membership(rng.normal(size=1000) + 1.5 * truth, truth, target_fprs=[0.01, 0.1])
                for _ in range(12)
            ]
            figures = [find_figure(result, by) for result in found]
            false += parted([Ends(*figure) for figure in figures], 0.95).any()
        assert false <= 3

    @pytest.fixture(scope="class")
    @classmethod
    def audited(cls, tmp_path_factory):
        """Records of three models and the scores of single images, as an audit writes them."""
        rng, folder = np.random.default_rng(8), tmp_path_factory.mktemp("samples")
        truth, image = np.arange(2000) % 4 == 0, rng.normal(size=2000)
        records = []
        for name, distance in (("weak", 1.0), ("strong", 1.12), ("alike", 1.12)):
            scores = image + 0.2 * rng.normal(size=2000) + distance * truth
            result = {**measured(1).result, **measure_membership(scores, truth, target_fprs=[0.01, 0.1])}
            records.append(replace(measured(1, target=name), result=result))
            table = sample_table(
                {records[-1].attack["name"]: Run(scores, np.arange(2000))}, truth, labels=truth * 1,
                positions=np.arange(2000),
            )  # fmt: skip
            write_samples(table, np.zeros((2000, 1, 1, 1), np.uint8), folder / name)
        return records, folder

    @pytest.mark.parametrize("by", ["auc", "advantage", "tpr@0.1"])
    def test_models_on_the_same_images_are_compared_image_by_image(self, audited, by):
        records, folder = audited
        (alone,), (board,) = leaderboards(records, by=by), leaderboards(records, by=by, samples=folder)
        assert (alone.paired, board.paired) == (0, 3)
        assert {s.place for s in alone.standings} == {"1-3"}
        places = {s.target: s.place for s in board.standings}
        assert places == ({"strong": "1-2", "alike": "1-2", "weak": "3"} if by == "auc" else places)
        assert "unpaired: compared by their intervals alone" in to_markdown([alone])
        for form in FORMATS.values():
            assert "paired: compared image by image" in form([board])

    def test_figures_without_intervals_rank_nothing_and_the_board_says_so(self):
        records = [
            plain_records.make(
                target={"id": id, "weights_hash": id},
                attack={"kind": "backdoor-detection", "name": "mm_bd", "judges": "models"},
                result={"judges": "models", "score": score},
            )
            for id, score in (("a", 1.0), ("b", 9.0))
        ]
        (board,) = leaderboards(records)
        assert {standing.place for standing in board.standings} == {"1-2"}
        assert board.comparison.startswith("not ranked: the figures have no intervals")

    def test_scores_of_other_images_members_or_audits_pair_nothing(self, audited, tmp_path):
        records, folder = audited
        table = pd.read_parquet(folder / "strong" / "scores.parquet")
        for number, (other, why) in enumerate(
            (
                (table.assign(position=table["position"] + 1), "2 different sets of members"),
                (
                    table.assign(is_member=table["is_member"].to_numpy()[::-1]),
                    "1 of 2 have scores of another",
                ),
                (table.assign(loss=table["loss"] + np.arange(2000)), "1 of 2 have scores of another audit"),
                (table.drop(columns="loss"), "1 of 2 have scores of other attacks only"),
            )
        ):
            place = tmp_path / str(number)
            for name in ("weak", "strong"):
                (place / name).mkdir(parents=True)
                kept = other if name == "strong" else pd.read_parquet(folder / name / "scores.parquet")
                kept.to_parquet(place / name / "scores.parquet")
            (board,) = leaderboards(records[:2], samples=place)
            assert board.paired == 0
            assert why in board.comparison
        (board,) = leaderboards(records, samples=tmp_path)  # none at all
        assert "unpaired" in board.comparison
        assert f"3 of 3 have no scores below {tmp_path}" in board.comparison

    def test_models_that_differ_are_told_apart(self):
        records = [standing(f"m{n}", 0.5 + n / 25, 0.49 + n / 25, 0.51 + n / 25) for n in range(12)]
        assert self.places(records) == [(f"m{n}", str(12 - n)) for n in range(11, -1, -1)]

    def test_a_rate_of_one_threshold_stands_on_no_board(self):
        """Records of older versions: Wilson's interval at the sample's own threshold."""
        old = measured(1, target="old")
        rates = [{k: v for k, v in r.items() if "at_threshold" not in k} for r in old.result["tpr_at_fpr"]]
        old = changed(old, result={"tpr_at_fpr": rates})
        (board,) = leaderboards([old, measured(2, target="new")], by="tpr@0.01")
        assert [s.target for s in board.standings] == ["new"]

    @pytest.mark.parametrize(
        "change",
        [
            {"data": {"name": "svhn"}}, {"data": {"sha256": "cd"}}, {"result": {"n_members": 21}},
            {"attack": {"name": "entropy"}}, {"attack": {"from_logits": False}},
            {"attack": {"confidence_level": 0.9}}, {"counts": {"shadow_models": 4}},
            {"target": {"precision": "bf16"}}, {"attack": {"pool": "b"}},
            {"attack": {"recipe": {"epochs": 2, "seed": 0}}},
        ],
    )  # fmt: skip
    def test_only_what_was_measured_alike_is_compared(self, change):
        alike = {"attack": {"pool": "a"}, "counts": {"pool": 9}}
        one, two = (changed(measured(n, target=name), **alike) for n, name in ((1, "a"), (2, "b")))
        assert len(leaderboards([one, two])) == 1
        boards = leaderboards([one, changed(two, **change)])
        assert [len(board.standings) for board in boards] == [1, 1]

    @pytest.mark.parametrize(
        "change",
        [
            {"attack": {"target_fprs": [0.5]}},
            {"attack": {"shadows_sha256": "ab"}},
            {"counts": {"forwarded": 9}},
            {"attack": {"seed": 7}},
            {"attack": {"recipe": {"epochs": 1, "seed": 7}}},
        ],
    )
    def test_what_does_not_decide_a_figure_parts_nothing(self, change):
        one = changed(measured(1), attack={"seed": 0, "recipe": {"epochs": 1, "seed": 0}})
        two = changed(measured(2, target="b"), attack={"seed": 0, "recipe": {"epochs": 1, "seed": 0}})
        assert len(leaderboards([one, changed(two, **change)])) == 1

    @pytest.mark.parametrize("change", [{"surrogate_sha256": "cd"}, {"queries_sha256": "ab"}, {"seed": 7}])
    def test_nor_what_a_theft_made_of_its_model(self, change):
        two = stolen(1, target={"id": "b", "weights_hash": None}, attack=change)
        assert len(leaderboards([stolen(attack={"seed": 0}), two])) == 1

    def test_networks_that_are_stolen_with_their_own_kind_are_compared(self):
        """By hand: agreements of 1/2 and 9/10 of 60, whose intervals do not overlap."""
        labels = np.arange(60) % 3

        def theft(target, agreeing):
            copy = np.where(np.arange(60) < agreeing, labels, (labels + 1) % 3)
            own = {"surrogate": f"{target}, from scratch", "surrogate_parameters": len(target)}
            record = stolen(target={"id": target, "weights_hash": None}, attack=own)
            return replace(record, result=measure_stealing(copy, labels, labels))

        (board,) = leaderboards([theft("lab/a", 30), theft("lab/bcd", 54)])
        assert [(s.target, s.place, s.figure.value) for s in board.standings] == [
            ("lab/bcd", "1", 0.9),
            ("lab/a", "2", 0.5),
        ]
        assert board.settings["surrogate"] == "the target's own, from scratch"

    def test_the_lowest_distance_of_a_copy_stands_first(self):
        def theft(target, kl, low, high):
            record = stolen(target={"id": target, "weights_hash": None})
            return changed(record, result={"kl": kl, "kl_ci": [low, high]})

        records = [theft("far", 2.0, 1.5, 2.5), theft("near", 0.1, 0.05, 0.2), theft("mid", 1.8, 1.4, 2.1)]
        expected = [("near", "1"), ("mid", "2-3"), ("far", "2-3")]
        assert self.places(records, by="kl") == expected
        records = [theft(name, value, None, None) for name, value in (("b", 2.0), ("a", 1.0))]
        assert self.places(records, by="kl") == [("a", "1-2"), ("b", "1-2")]

    def test_many_runs_of_one_model_are_ranked_at_once(self):
        runs = [standing("a", 0.5, 0.4, 0.6, created=f"2026-01-01T00:00:00.{n:06}+00:00") for n in range(300)]
        (board,) = leaderboards(runs)
        assert (board.standings[0].runs, board.standings[0].disputed) == (300, False)

    def test_of_several_runs_the_latest_counts_and_a_dispute_shows(self):
        early, late = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
        records = [standing("a", 0.9, 0.8, 0.95, created=early), standing("a", 0.6, 0.5, 0.7, created=late)]
        (board,) = leaderboards(records)
        (only,) = board.standings
        assert (only.figure.value, only.runs, only.disputed) == (0.6, 2, True)
        assert "2, disputed" in to_markdown([board])

    def test_other_weights_are_another_model(self):
        records = [
            changed(measured(seed), target={"weights_hash": hash}) for seed, hash in ((1, "a"), (2, "b"))
        ]
        assert len(leaderboards(records)[0].standings) == 2

    def test_by_other_figures(self):
        records = [measured(seed, target=f"m{seed}") for seed in range(5)]
        for by in ("advantage", "tpr@0.01"):
            (board,) = leaderboards(records, by=by)
            for s in board.standings:
                assert s.figure == find_figure(s.record.result, by)
            assert [s.figure.value for s in board.standings if s.best == 1]
        with pytest.raises(UnknownNameError, match="'advantage'"):
            leaderboards(records, by="advantag")
        with pytest.raises(UnknownNameError, match=r"tpr@0\.001"):
            leaderboards(records, by="tpr@0.5")

    def test_filters(self, run, tmp_path):
        keep_records([measured(1), measured(2, "entropy"), stolen()], tmp_path)
        for filters, count in (((), 3), (("--kind", "model-stealing"), 1), (("--attack", "entropy"), 1)):
            code, out, _ = run("leaderboard", "--records", tmp_path, *filters)
            assert (code, out.count("## ")) == (0, count)
        code, _, err = run("leaderboard", "--records", tmp_path, "--dataset", "fashion_mnist")
        assert code == 2
        assert "'fashion_mnist_4k'" in err

    def test_records_without_the_figure_are_named_with_the_reason(self, run, tmp_path):
        other = stolen()
        keep_records([measured(1), other], tmp_path)
        code, out, err = run("leaderboard", "--records", tmp_path, "--by", "advantage")
        assert (code, out.count("## ")) == (0, 1)
        assert f"left out: {other.id}: {other.attack['name']} gives no advantage here" in err

    def test_a_local_record_that_cannot_be_believed_is_left_out(self, run, tmp_path):
        from securitynet_hub.records.record import write_record

        write_record(standing("a", 0.9, 0.95, 0.99), tmp_path)
        code, out, err = run("leaderboard", "--records", tmp_path)
        assert (code, out) == (0, "")
        assert "auc_ci should hold its figure" in err
        assert "no results to rank" in err

    @pytest.mark.parametrize("format", FORMATS)
    def test_is_the_same_from_the_hub_and_on_disk(self, whole_hub, run, tmp_path, format):
        records = [measured(seed, target=f"m{seed}") for seed in range(4)]
        whole_hub.add("dataset", REPO, {f"{FOLDER}/a.parquet": results_shard(records)})
        keep_records(records, tmp_path / "records")
        run("leaderboard", "--repo", REPO, "--format", format, "--out", tmp_path / "board")
        _, out, _ = run("leaderboard", "--records", tmp_path / "records", "--format", format)
        assert (tmp_path / "board").read_text() == out
        assert all(record.id in out for record in records)


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.add((tag, *(name for name, _ in attributes)))


@pytest.mark.parametrize("text", HOSTILE)
class TestExport:
    """Even what validation keeps out cannot act, should it come from elsewhere."""

    def boards(self, text):
        record = measured(1, target=text, author=text)
        record = changed(record, data={"name": text}, attack={"name": text, text: text})
        return leaderboards([record])

    def test_html(self, text):
        page = to_html(self.boards(text))
        plain = to_html(self.boards("x"))
        assert Tags(page).found == Tags(plain).found
        assert "default-src 'none'" in page
        assert page.isprintable() or page.replace("\n", "").isprintable()
        assert len(page) < 30_000

    def test_markdown(self, text):
        lines, plain = (to_markdown(self.boards(t)).split("\n") for t in (text, "x"))
        assert len(lines) == len(plain)
        table = [re.sub(r"\\.", "", line) for line in lines if line.startswith("|")]
        assert {line.count("|") for line in table} == {9}
        bare = re.sub(r"\\.", "", "\n".join(lines))
        assert not re.search(r"[<>`\[\]!@]|://|www\.", bare)

    def test_csv(self, text):
        rows = list(csv.reader(io.StringIO(to_csv(self.boards(text)))))
        assert [len(row) for row in rows] == [20, 20]
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in rows[1])


def test_a_fault_is_told_without_tokens_and_signatures(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-of-another-form")
    link = "https://cdn.example/x?X-Amz-Signature=hidden"
    with pytest.raises(HubError) as refusal, hub_errors_explained(WHERE, "read"):
        raise ValueError(f"secret-of-another-form hf_abcDEF123 Authorization: Bearer tok {link}\nand more")
    sentence = str(refusal.value)
    assert sentence.startswith("cannot read the dataset repository alice/securitynet: ")
    assert not re.search("another-form|abcDEF|tok |hidden|\n", sentence)
    assert refusal.value.__suppress_context__


def test_no_token_stands_in_a_record(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_secret")
    assert "hf_alice_secret" not in json.dumps(Record(**{
        name: {} for name in ("target", "data", "attack", "result", "counts", "timings")
    }).as_dict())  # fmt: skip
    assert socket.gethostname() not in json.dumps(measured(1).as_dict())
