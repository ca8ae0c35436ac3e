"""Sweeps: planned, shared, resumed; each record once, whatever dies."""

import errno
import itertools
import json
import os
import re
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from support.processes import Program, run_python
from support.servers import Route
from support.sweep_processes import made_up_jobs, measure

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.membership.running import runnable
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import RecordError, UnknownNameError
from securitynet_hub.core.retry import RetryPolicy
from securitynet_hub.data.splits import Split
from securitynet_hub.models.loading import load_target
from securitynet_hub.records import record as record_module
from securitynet_hub.records.record import read_records
from securitynet_hub.statistics.signals import SIGNALS
from securitynet_hub.sweeps.estimate import Cost, Size, estimate, known_sizes, measure_speed
from securitynet_hub.sweeps.launch import SweepOptions, part_of, plan
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import find_models, parse_data, plan_jobs
from securitynet_hub.sweeps.run import sweep
from securitynet_hub.weights.fetch import fetch

ZOO = load_annotations("zoo")
PROCESSES = Path(__file__).parents[1] / "support" / "sweep_processes.py"
CLEAN = [ZOO[f"zoo/fashion-mnist/cnn-clean/{number}"] for number in (1, 2)]
PATTERN = "zoo/fashion-mnist/cnn-clean/[12]"
ATTACKS = ["correctness", "modified_entropy"]


def results(folder):
    """Return what the records say, without times and places."""
    records = list(read_records(folder))
    found = {(record.target["id"], record.attack["name"]): record.result for record in records}
    assert len(found) == len(records), "a unit has two records"
    return found


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def many_processes(folder, *, units, kills):
    """Sweep made-up units by three processes at a time, of which so many are killed."""
    done = run_python(PROCESSES, folder, units, 3, kills, 0)
    assert done.returncode == 0, done.stderr


class TestPlan:
    def test_patterns_and_conditions_choose_models(self):
        assert len(find_models(["zoo"])) == 44
        assert [row.id for row in find_models([CLEAN[0].id, "zoo/*/cnn-clean/1"])] == [CLEAN[0].id]
        accurate = find_models(["pytorchcv/cifar10/*"], "test_accuracy > 0.96")
        assert accurate
        assert all(row.test_accuracy > 0.96 for row in accurate)

    def test_what_matches_nothing_is_told(self):
        with pytest.raises(UnknownNameError, match="pytorchcv/cifar10/resnet20"):
            find_models(["pytorchcv/cifar10/resnet21"])
        with pytest.raises(ValueError, match="holds for none of 44 models"):
            find_models(["zoo"], "test_accuracy > 2")
        with pytest.raises(ValueError, match="cannot be understood"):
            find_models(["zoo"], "accuracy >")

    def test_data_sets_without_images_are_named(self):
        with pytest.raises(ValueError, match=r"no images of CIFAR-10 \(\d+ models\)"):
            plan_jobs(find_models(["pytorchcv/cifar10/*"]), ["loss"], {})
        with pytest.raises(ValueError, match="DATASET=REFERENCE"):
            parse_data("cifar10")
        with pytest.raises(UnknownNameError, match="'limit'"):
            parse_data("CIFAR-10=folder?limits=3")

    def test_a_unit_is_named_after_all_that_decides_its_result(self, monkeypatch):
        row, data = CLEAN[0], known_data(CLEAN[0])

        def name(row=row, attack="loss", data=data, options=None):
            (job,) = plan_jobs([row], [attack], {row.dataset: data}, options)
            return job.units[0].id

        swapped = Split(members=data.split.nonmembers, nonmembers=data.split.members)
        fewer = Split(members=data.split.members[1:], nonmembers=data.split.nonmembers)
        negative = replace(data.images, pixels=255 - data.images.pixels)
        relabelled = replace(data.images, labels=data.images.labels[::-1].copy())
        names = {
            "as it is": name(),
            "model": name(replace(row, id="zoo/fashion-mnist/other/1")),
            "weights": name(replace(row, weights_hash="0" * 64)),
            "attack": name(attack="hinge"),
            "options": name(options={"seed": 1}),
            "pixels": name(data=replace(data, images=negative)),
            "labels": name(data=replace(data, images=relabelled)),
            "sides": name(data=replace(data, split=swapped)),
            "a sample fewer": name(data=replace(data, split=fewer)),
        }
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        names["precision"] = name()
        monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
        # Other modules, so another hash of the code.
        monkeypatch.setattr(record_module, "DECIDING", ("statistics",))
        record_module.code_identity.cache_clear()
        names["code"] = name()
        monkeypatch.undo()
        record_module.code_identity.cache_clear()
        assert len(set(names.values())) == len(names), names
        assert name() == names["as it is"]

    def test_a_unit_is_the_same_beside_any_others(self):
        (job,) = plan_jobs(CLEAN[:1], ["loss"], {})
        (same,) = plan_jobs(CLEAN[:1], ["entropy", "loss"], {CLEAN[0].dataset: known_data(CLEAN[0])})
        assert job.units[0] == same.units[1]

    def test_each_budget_of_a_theft_is_a_unit_of_its_own(self):
        jobs = plan_jobs(CLEAN[:1], ["loss", "model_stealing"], {}, {"budgets": [5, 10]})
        assert [job.attacks for job in jobs] == [("loss",), ("model_stealing",), ("model_stealing",)]
        assert len({unit.id for job in jobs for unit in job.units}) == 3

    def test_a_kind_s_options_are_part_of_its_own_units_alone(self):
        first, second = (
            plan_jobs(CLEAN[:1], ["loss", "model_stealing"], {}, {"seed": 1, "budgets": budgets})
            for budgets in ([5], [5, 10])
        )
        assert first[0].units == second[0].units
        assert first[1].units == second[1].units
        default = plan_jobs(CLEAN[:1], ["model_stealing"], {})
        assert [job.options["budgets"] for job in default] == [[100], [500]]

    @pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
    def test_a_group_stands_for_the_attacks_that_run_unattended(self, kind, tmp_path):
        options = SweepOptions(models=[CLEAN[0].id], attacks=[kind.group, kind.group], out=tmp_path)
        if not kind.audits.swept():  # each needs something of its own, such as another model
            with pytest.raises(ValueError, match="there is nothing to do"):
                plan(options)
            return
        planned = [name for job in plan(options) for name in job.attacks]
        assert set(planned) == set(kind.audits.swept())
        assert set(planned) <= set(kind.attacks)

    def test_the_largest_models_come_first(self):
        rows = [replace(CLEAN[0], id=f"m/{count}", num_parameters=count) for count in (5, None, 70, 9)]
        assert [job.annotation.num_parameters for job in plan_jobs(rows, ["loss"], {})] == [70, 9, 5, None]


class TestSweep:
    def test_records_land_once_and_a_second_sweep_has_nothing_to_do(self, tmp_path):
        jobs, ledger = plan_jobs(CLEAN, ATTACKS, {}), Ledger(tmp_path)
        assert sweep(jobs, ledger) == (4, 0)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
        assert sweep(jobs, ledger) == (0, 0)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == written
        assert results(tmp_path).keys() == {(row.id, attack) for row in CLEAN for attack in ATTACKS}

    def test_thefts_and_detectors_are_swept_like_other_attacks(self, tmp_path):
        """Noise is the quickest detector; an untrained surrogate costs no query."""
        attacks = ["neuron_noise", "model_stealing"]
        options = {"settings": {"neuron_noise": {"steps": 2}}}
        jobs = plan_jobs(CLEAN[:1], attacks[:1], {}, options) + plan_jobs(
            CLEAN[:1], attacks[1:], {}, {"budgets": [0]}
        )
        ledger = Ledger(tmp_path)
        assert sweep(jobs, ledger) == (2, 0), ledger.failed(unit for job in jobs for unit in job.units)
        assert {attack for _, attack in results(tmp_path)} == set(attacks)

    def test_attacks_on_one_model_pass_over_the_images_once(self, tmp_path):
        attacks = [*SIGNALS, "logistic"]
        jobs, forwarded = plan_jobs(CLEAN[:1], attacks, {}), []
        assert sweep(jobs, Ledger(tmp_path), on_batch=forwarded.append) == (8, 0)
        assert sum(forwarded) == jobs[0].num_images
        assert {record.counts["forwarded"] for record in read_records(tmp_path)} == {jobs[0].num_images}

    @pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")
    def test_models_of_twelve_sizes_decode_each_picture_once(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        rng, read = np.random.default_rng(0), Counter()
        for split, label, number in itertools.product(("train", "test"), range(10), range(3)):
            path = tmp_path / "pictures" / split / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            levels = rng.integers(0, 256, (*rng.integers(40, 60, 2),), np.uint8)
            Image.fromarray(levels).save(path)
        data = AuditData.from_folder(tmp_path / "pictures", channels=1)

        class Counted:
            def __len__(self):
                return len(data.images)

            def content(self, row):
                read[row] += 1
                return data.images.store.content(row)

            def place(self, row):
                return data.images.store.place(row)

        def load(job):
            target = load_target(job.annotation)
            side = 20 + 2 * [row.id for row in rows].index(target.id)
            transform = replace(target.transform, height=side, width=side, resize=side + 4)
            return replace(target, transform=transform)

        rows = find_models(["zoo"], "architecture == 'bn-cnn'")[:12]
        counted = replace(data, images=replace(data.images, store=Counted()))
        jobs = plan_jobs(rows, ["loss"], {row.dataset: counted for row in rows})
        assert sweep(jobs, Ledger(tmp_path / "out"), load=load) == (len(rows), 0)
        assert len(rows) == 12
        assert read == dict.fromkeys(range(60), 1)

    def test_a_model_that_gives_no_answers_is_asked_once(self, tmp_path):
        def load(job):
            target = load_target(job.annotation)
            with torch.no_grad():
                target.module[-1].bias[0] = float("nan")
            return target

        jobs, forwarded = plan_jobs(CLEAN[:1], list(SIGNALS), {}), []
        outcome = sweep(jobs, Ledger(tmp_path), load=load, on_batch=forwarded.append)
        assert outcome == (0, len(SIGNALS))
        assert sum(forwarded) == jobs[0].num_images

    def test_a_network_that_fails_during_a_download_fails_one_model_until_it_is_back(
        self, tmp_path, hub, monkeypatch
    ):
        quick = RetryPolicy(tries=6, first_delay=0.01)
        monkeypatch.setattr("securitynet_hub.weights.download.http.RETRIES", quick)
        content = fetch(CLEAN[0]).read_bytes()
        route = hub.routes["/model.safetensors"] = Route(content, drops=[20_000] * 100, ranges=False)
        row = replace(CLEAN[0], id="zoo/fashion-mnist/remote/1", weights_url=hub.url("/model.safetensors"))
        jobs, ledger = plan_jobs([row, CLEAN[1]], ATTACKS, {}), Ledger(tmp_path / "out")
        assert sweep(jobs, ledger) == (2, 2)
        failures = ledger.failed(unit for job in jobs for unit in job.units)
        assert {(failure["model"], failure["error"]) for failure in failures} == {(row.id, "WeightsError")}
        assert "could not be downloaded after 6 tries" in failures[0]["message"]
        route.drops = []
        assert sweep(jobs, ledger, retry=True) == (2, 0)
        assert len(results(tmp_path / "out")) == 4

    def test_a_damaged_failure_is_still_one(self, tmp_path):
        jobs, ledger = made_up_jobs(3), Ledger(tmp_path)
        ledger.fail(jobs[0].units[0], ValueError("x"))
        ledger.failure_of(jobs[0].units[0]).write_text("{")
        (failure,) = ledger.failed(jobs[0].units)
        assert (failure["error"], failure["attack"]) == ("unknown", jobs[0].units[0].attack)

    def test_a_bad_model_fails_alone_and_can_be_tried_again(self, tmp_path):
        bad = replace(CLEAN[0], id="zoo/fashion-mnist/bad/1", weights_hash="0" * 64)
        jobs, ledger = plan_jobs([bad, CLEAN[1]], ATTACKS, {}), Ledger(tmp_path)
        assert sweep(jobs, ledger) == (2, 2)
        failures = ledger.failed(unit for job in jobs for unit in job.units)
        assert {(failure["model"], failure["error"]) for failure in failures} == {(bad.id, "WeightsError")}
        assert sweep(jobs, ledger) == (0, 0)
        assert sweep(jobs, ledger, retry=True) == (0, 2)

    def test_an_attack_that_fails_leaves_the_others(self, tmp_path):
        """RMIA without reference models is refused."""
        jobs, ledger = plan_jobs(CLEAN[:1], ["loss", "rmia", "hinge"], {}), Ledger(tmp_path)
        assert sweep(jobs, ledger) == (2, 1)
        assert {attack for _, attack in results(tmp_path)} == {"loss", "hinge"}
        (failure,) = ledger.failed(jobs[0].units)
        assert (failure["attack"], failure["error"]) == ("rmia", "ValueError")

    def test_what_failed_is_forgotten_once_it_is_done(self, tmp_path):
        jobs, ledger = made_up_jobs(3), Ledger(tmp_path)

        def broken(target, job, attacks, on_record, on_batch):
            raise OSError("the network is down")

        assert sweep(jobs, ledger, load=lambda job: None, measure=broken) == (0, 3)
        assert sweep(jobs, ledger, load=lambda job: None, measure=measure, retry=True) == (3, 0)
        assert ledger.failed(jobs[0].units) == []

    def test_a_damaged_record_is_set_aside_and_measured_again(self, tmp_path):
        jobs, ledger = made_up_jobs(6), Ledger(tmp_path)
        sweep(jobs, ledger, load=lambda job: None, measure=measure)
        path = ledger.record_of(jobs[0].units[1])
        path.write_text(path.read_text().replace("process", "progress"))
        assert ledger.set_damaged_aside() == [path.with_suffix(".damaged")]
        assert sweep(jobs, ledger, load=lambda job: None, measure=measure) == (1, 0)
        assert len(results(tmp_path)) == 6

    def test_a_folder_that_cannot_be_written_ends_it(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RecordError, match="cannot write records into"):
            Ledger(tmp_path / "file")

    def test_a_full_disk_ends_it_and_loses_nothing(self, tmp_path):
        """A limit on the size of files stands in for the disk: both fail in the middle of a write."""
        jobs, ledger = made_up_jobs(6), Ledger(tmp_path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(RecordError, match=r"cannot write .*File too large"):
                sweep(jobs, ledger, load=lambda job: None, measure=measure)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert not list(tmp_path.rglob("*.json"))
        assert sweep(jobs, ledger, load=lambda job: None, measure=measure) == (6, 0)

    def test_processes_that_die_at_any_moment_lose_nothing_and_do_nothing_twice(self, tmp_path):
        """Three processes on one folder, twenty killed, 300 units."""
        many_processes(tmp_path, units=300, kills=20)
        records = list(read_records(tmp_path))
        units = Counter(f"{r.target['id']} {r.attack['name']}" for r in records)
        assert (len(units), set(units.values())) == (300, {1})
        assert len({record.result["process"] for record in records}) > 3  # they did share the work
        measured = Counter((tmp_path / "measured.txt").read_text().splitlines())
        assert measured.keys() == units.keys()
        # Who dies between a measurement and its record takes that one along, and nothing else is done again.
        assert sum(measured.values()) <= 300 + 20

    def test_no_unit_is_measured_by_two_processes(self, tmp_path):
        """Records are named after their units, so that they would not show it."""
        many_processes(tmp_path, units=60, kills=0)
        measured = Counter((tmp_path / "measured.txt").read_text().splitlines())
        assert (len(measured), set(measured.values())) == (60, {1})
        assert len({record.result["process"] for record in read_records(tmp_path)}) > 1

    def test_a_job_is_held_by_one_at_a_time(self, tmp_path):
        """Of two ledgers of one folder, as two processes have them; another job is free all the while."""
        (job, other), (mine, theirs) = made_up_jobs(6), (Ledger(tmp_path), Ledger(tmp_path))
        with mine.claim(job) as held, theirs.claim(job) as refused, theirs.claim(other) as free:
            assert (held, refused, free) == (True, False, True)
        with theirs.claim(job) as held:
            assert held

    def test_a_file_system_without_locks_is_told(self, tmp_path, monkeypatch):
        def acquire(*arguments, **options):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        (job,), ledger = made_up_jobs(3), Ledger(tmp_path)
        monkeypatch.setattr(FileLock, "acquire", acquire)
        with pytest.raises(RecordError, match=r"cannot lock .*\.lock: No locks available"):
            sweep([job], ledger, load=lambda job: None, measure=measure)
        assert not list(tmp_path.rglob("*.json"))

    def test_where_locks_do_not_hold_the_faster_process_s_record_stays(self, tmp_path):
        (job,), ledger, made = made_up_jobs(3), Ledger(tmp_path), []
        unit = job.units[0]
        for _ in range(2):
            measure(None, job, [unit.attack], made.append, None)
        ledger.keep(unit, made[0])
        ledger.fail(unit, ValueError("while the other one was at it"))
        ledger.keep(unit, made[1])
        assert [record.id for record in read_records(tmp_path)] == [made[0].id]
        assert ledger.failed(job.units) == []


class TestEstimate:
    @pytest.fixture(autouse=True)
    def _sizes(self, monkeypatch):
        sizes = {row.id: Size(1_000, 1_000_000) for row in CLEAN}
        monkeypatch.setattr("securitynet_hub.sweeps.estimate.known_sizes", lambda: sizes)

    def estimate(self, attacks, tmp_path, rows=CLEAN, **options):
        return estimate(plan_jobs(rows, attacks, {}), Ledger(tmp_path), speed=lambda: 1e8, **options)

    def test_without_records_it_is_operations_by_speed(self, tmp_path):
        """2,000 images of a million operations each, at a hundred million in a second."""
        assert self.estimate(["loss"], tmp_path) == [Cost(0, 20.0)] * 2

    def test_what_was_downloaded_and_computed_costs_no_more(self, tmp_path):
        sweep(plan_jobs(CLEAN[:1], ["loss", "hinge"], {}), Ledger(tmp_path))
        done, other = self.estimate(["loss"], tmp_path)
        assert done == Cost(0, 0.0)
        assert 0 < other.seconds < 20  # at the speed of the records
        more, _ = self.estimate(["loss", "entropy"], tmp_path)
        (record,) = [r for r in read_records(tmp_path) if r.attack["name"] == "loss"]
        assert more.seconds == pytest.approx(record.timings["inference"])

    def test_a_failed_unit_counts_where_it_is_done_again(self, tmp_path):
        sweep(plan_jobs(CLEAN[:1], ["rmia"], {}), Ledger(tmp_path))
        assert self.estimate(["rmia"], tmp_path, CLEAN[:1]) == [Cost(0, 0.0)]
        assert self.estimate(["rmia"], tmp_path, CLEAN[:1], retry=True) == [Cost(0, 20.0)]

    def test_parameters_are_downloaded_and_what_is_unknown_is_said(self, tmp_path, hub):
        remote = replace(CLEAN[0], weights_url=hub.url("/x"), num_parameters=None)
        strange = replace(remote, id="zoo/fashion-mnist/strange/1")
        costs = self.estimate(["loss"], tmp_path, [remote, strange])
        assert costs == [Cost(4_000, 20.0), Cost(None, None)]
        assert self.estimate(["neuron_noise"], tmp_path, CLEAN[:1]) == [Cost(0, None)]

    def test_the_speed_of_a_convolution_is_measured(self):
        assert 1e8 < measure_speed(0.05) < 1e16


def test_sizes_are_of_the_tables_models():
    """Of a model that was added since they were counted the time is unknown, and that is said."""
    rows = load_annotations("extended").keys() | ZOO.keys()
    assert not known_sizes().keys() - rows
    assert len(known_sizes()) > 0.95 * len(rows)


@pytest.mark.slow
def test_sizes_are_counted_right():
    """A convolution of k x k on h x w outputs multiplies and adds k k h w times for each pair of channels."""
    count = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "measure_costs.py"))["count"]
    id = "zoo/fashion-mnist/bn-cnn-clean/1"
    operations = 2 * (9 * 14 * 14 * 16 + 9 * 7 * 7 * 16 * 24 + 9 * 4 * 4 * 24 * 44 + 440)
    assert known_sizes()[id] == count(ZOO[id]) == (13_722, operations)


class TestCommand:
    def test_plans_runs_resumes_and_reports(self, run, tmp_path):
        command = ("sweep", "--models", PATTERN, "--attacks", *ATTACKS, "--out", tmp_path)
        assert "4 units left; 0.0 MB to download" in run(*command, "--dry-run")[1]
        assert "4 of 4 units done, 0 failed" in run(*command)[1]
        assert json.loads(run(*command, "--json")[1])["done"] == 4
        code, plan, _ = run(*command, "--dry-run", "--json")
        assert (code, [row["left"] for row in json.loads(plan)]) == (0, [0, 0])

    def test_a_model_is_planned_once_whatever_its_budgets(self, run, tmp_path):
        attacks = "--attacks", "loss", "model_stealing", "--budgets", "200", "400"
        plan = run("sweep", "--models", PATTERN, *attacks, "--out", tmp_path, "--dry-run")[1]
        assert "2 models, 6 units" in plan
        assert "attacks of unknown length on 2 models not counted" in plan
        assert plan.count("\n cnn-") == 2

    def test_a_group_of_attacks_is_swept(self, run, tmp_path):
        command = ("sweep", "--models", CLEAN[0].id, "--attacks", "all", "--out", tmp_path, "--json")
        code, shown, _ = run(*command)
        assert (code, json.loads(shown)["failed"]) == (0, [])
        assert {attack for _, attack in results(tmp_path)} == set(runnable())

    def test_failures_are_told_and_end_with_an_error(self, run, tmp_path):
        code, shown, _ = run("sweep", "--models", PATTERN, "--attacks", "loss", "rmia", "--out", tmp_path)
        assert code == 1
        assert "2 of 4 units done, 2 failed" in shown
        assert "rmia: ValueError: rmia needs" in shown

    def test_off_a_terminal_lines_say_how_far_it_is(self, run, tmp_path, monkeypatch):
        """A clock on which a minute and more passes between any two looks."""
        looks = itertools.count(step=100.0)
        monkeypatch.setattr(time, "monotonic", lambda: next(looks))
        code, _, error = run("sweep", "--models", PATTERN, "--attacks", *ATTACKS, "--out", tmp_path)
        assert code == 0
        told = [line for line in error.splitlines() if re.match(r"[1-4] of 4 units, about .* left", line)]
        assert told == sorted(told)
        assert told
        assert "\x1b" not in error

    def test_a_damaged_record_is_told(self, run, tmp_path):
        command = ("sweep", "--models", CLEAN[0].id, "--attacks", "loss", "--out", tmp_path)
        run(*command)
        (path,) = tmp_path.rglob("*.json")
        path.write_text(path.read_text().replace("auc", "cua"))
        code, shown, error = run(*command)
        assert (code, "was set aside" in error) == (0, True)
        assert "1 of 1 units done" in shown

    def test_a_launch_of_several_that_gave_one_is_told(self, run, tmp_path, monkeypatch):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        code, _, error = run("sweep", "--models", CLEAN[0].id, "--attacks", "loss", "--out", tmp_path)
        assert code == 0
        assert "made for several processes, but there is only this one" in error

    def test_one_process_speaks_for_all(self, run, tmp_path, monkeypatch):
        """A launcher ends all processes when one ends with an error: only the last to know may."""
        command = ("sweep", "--models", PATTERN, "--attacks", "loss", "rmia", "--out", tmp_path)
        for number, expected in (("1", 0), ("0", 1)):
            monkeypatch.setenv("RANK", number)
            monkeypatch.setenv("WORLD_SIZE", "2")
            code, shown, _ = run(*command)
            assert (code, "2 failed" in shown) == (expected, bool(expected))

    def test_a_model_may_lie_on_the_disk(self, run, tmp_path):
        command = ("sweep", "--models", CLEAN[0].id, "--attacks", "modified_entropy")
        offloaded = ("--max-memory", "cpu=1KB", "--offload", tmp_path)
        assert run(*command, "--out", tmp_path / "whole")[0] == 0
        assert run(*command, "--out", tmp_path / "parts", *offloaded)[0] == 0
        assert results(tmp_path / "parts") == results(tmp_path / "whole")
        (record,) = read_records(tmp_path / "parts")
        assert record.environment["device"] == "disk"

    @pytest.mark.parametrize("size", ["10GB", "gpu=1GB", "cpu=", "0=1GB", "cpu=much"])
    def test_sizes_of_memory_are_understood_or_refused(self, run, tmp_path, size):
        command = ("sweep", "--models", CLEAN[0].id, "--attacks", "loss", "--out", tmp_path)
        code, shown, error = run(*command, "--max-memory", size)
        assert code
        assert "DEVICE=SIZE" in error or "max_memory must give sizes" in shown

    def test_unknown_attacks_get_the_closest(self, run, tmp_path):
        code, _, error = run("sweep", "--models", PATTERN, "--attacks", "los", "--out", tmp_path)
        assert (code, "'loss'" in error) == (2, True)


@pytest.mark.slow
def test_a_full_and_a_read_only_disk_are_told_and_lose_nothing(tmp_path):
    """A file system of 40 kB in memory, which needs a mount namespace."""
    script = tmp_path / "disk.py"
    script.write_text(
        "import subprocess, sys\n"
        "from securitynet_hub.cli.main import main\n"
        "def mount(options, *what):\n"
        "    subprocess.run(['mount', *what, '-o', options, sys.argv[1]], check=True)\n"
        "def sweep():\n"
        "    command = ['sweep', '--models', 'zoo/*/cnn-clean/*', '--attacks', 'correctness', 'loss']\n"
        "    try: main([*command, '--out', sys.argv[1] + '/out'])\n"
        "    except SystemExit as leave: return leave.code\n"
        "mount('size=40k', '-t', 'tmpfs', 'none')\n"
        "full = sweep()\n"
        "mount('remount,ro')\n"
        "closed = sweep()\n"
        "mount('remount,rw,size=4m')\n"
        "print(full, closed, sweep())\n"
        "subprocess.run(['cp', '-r', sys.argv[1] + '/out', sys.argv[2]], check=True)\n"
    )
    (tmp_path / "mount").mkdir()
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        allowed = subprocess.run([*namespace, "mount", "-t", "tmpfs", "none", tmp_path / "mount"])
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if allowed.returncode:
        pytest.skip("mount namespaces are not allowed here")
    done = subprocess.run(
        [*namespace, sys.executable, script, tmp_path / "mount", tmp_path / "copy"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "1 1 None", done.stdout + done.stderr
    said = " ".join(done.stderr.split())
    assert "No space left on device" in said
    assert "Read-only file system" in said
    assert len(results(tmp_path / "copy")) == 12


COMMAND = [
    "-m",
    "securitynet_hub",
    "sweep",
    "--models",
    PATTERN,
    "--attacks",
    *ATTACKS,
    "--batch-size",
    "300",
]


def two_machines(out, spread):
    """Sweep in two processes that are told what torch's launcher tells those of two machines."""
    port, programs = free_port(), []
    for rank in range(2):
        launch = {
            "RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true",
            "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no",
        }  # fmt: skip
        told = {name: str(value) for name, value in launch.items()}
        programs.append(Program([*COMMAND, "--spread", spread, "--out", out], env=environment(**told)))
    outputs = ["".join(program.communicate()) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    return outputs


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    sweep(plan_jobs(CLEAN, ATTACKS, {}, {"seed": 0, "batch_size": 300}), Ledger(folder))
    return results(folder)


@pytest.mark.slow
class TestLaunches:
    def test_accelerates_launcher_is_understood(self, tmp_path, alone):
        """Of 2,000 images in batches of 300 the last is uneven, and one process has a batch more."""
        launch = [
            "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--num_processes", "2",
            "--main_process_port", free_port(), "--num_cpu_threads_per_process", "1",
            "--mixed_precision", "no", "--dynamo_backend", "no",
        ]  # fmt: skip
        command = [*launch, *COMMAND, "--spread", "images", "--out", tmp_path / "two"]
        done = run_python(*command, env=environment(ACCELERATE_USE_CPU="true"))
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert output.count("4 of 4 units done, 0 failed") == 1, output
        assert output.count("by 2 processes") == 1, output
        assert results(tmp_path / "two") == alone

    @pytest.mark.parametrize("spread", ["models", "images"])
    def test_two_machines_give_the_same_results_as_one(self, tmp_path, alone, spread):
        """Two processes that find each other on loopback stand in for two machines with a shared folder."""
        outputs = two_machines(tmp_path / "two", spread)
        assert "".join(outputs).count("4 of 4 units done, 0 failed") == 1, outputs
        assert "by 2 processes" in outputs[0], outputs
        assert results(tmp_path / "two") == alone

    def test_a_sweep_that_is_ended_goes_on_where_it_was(self, tmp_path):
        command = [
            "-m", "securitynet_hub", "sweep", "--models", "zoo/*clean*", "--attacks", *ATTACKS,
            "--out", tmp_path,
        ]  # fmt: skip
        written = {}
        for ending in (signal.SIGTERM, signal.SIGINT):
            process = Program(command, env=environment())
            while len(list(tmp_path.rglob("*.json"))) == len(written) and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(ending)
            _, error = process.communicate()
            assert process.returncode == 130, error
            assert "Interrupted" in error
            now = results(tmp_path)  # each is whole
            assert len(written) < len(now) < 24
            assert now.items() >= written.items()
            written = now
        assert run_python(*command, env=environment()).returncode == 0
        again = results(tmp_path)
        assert len(again) == 24
        assert again.items() >= written.items()


def test_parts_of_a_sweep_hold_each_job_once_and_merge_into_one_folder(tmp_path):
    jobs = made_up_jobs(21)  # seven models
    parts = [part_of(jobs, number, 3) for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [3, 2, 2]
    assert Counter(job.id for part in parts for job in part) == Counter(job.id for job in jobs)
    for number, part in enumerate(parts):
        sweep(part, Ledger(tmp_path / str(number)), load=lambda job: None, measure=measure)
        shutil.copytree(tmp_path / str(number), tmp_path / "all", dirs_exist_ok=True)
    assert len(list(read_records(tmp_path / "all" / "records"))) == 21
    assert sweep(jobs, Ledger(tmp_path / "all"), load=lambda job: None, measure=measure) == (0, 0)
    with pytest.raises(ValueError, match=r"shard 8/9 is empty: the sweep has 7 model\(s\)"):
        part_of(jobs, 8, 9)
    with pytest.raises(ValueError, match="1/3 to 3/3; got 4/3"):
        part_of(jobs, 4, 3)
