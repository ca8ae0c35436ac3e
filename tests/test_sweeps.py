"""Sweeps: planned, shared, resumed; each record once, whatever dies."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from crowd import made_up_jobs, measure

from securitynet_hub.annotations import load_annotations
from securitynet_hub.errors import RecordError, UnknownNameError
from securitynet_hub.records import read_records
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import find_models, parse_data, plan_jobs
from securitynet_hub.sweeps.run import sweep

ZOO = load_annotations("zoo")
CROWD = Path(__file__).with_name("crowd.py")
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
        (job,) = plan_jobs(CLEAN[:1], ["loss"], {})
        (same,) = plan_jobs(CLEAN[:1], ["entropy", "loss"], {})
        assert job.units[0] == same.units[1]
        others = [
            plan_jobs(CLEAN[:1], ["loss"], {}, {"seed": 1}),
            plan_jobs([replace(CLEAN[0], weights_hash="0" * 64)], ["loss"], {}),
            plan_jobs(CLEAN[:1], ["loss"], {"Fashion-MNIST": made_up_jobs(3)[0].data}),
            plan_jobs(CLEAN[:1], ["hinge"], {}),
        ]
        assert (
            len({job.units[0].id, *(other.units[0].id for (other,) in others)}) == 4
        )  # the third is the same

    def test_each_budget_of_a_theft_is_a_unit_of_its_own(self):
        jobs = plan_jobs(CLEAN[:1], ["loss", "model_stealing"], {}, budgets=[5, 10])
        assert [job.attacks for job in jobs] == [("loss",), ("model_stealing",), ("model_stealing",)]
        assert len({unit.id for job in jobs for unit in job.units}) == 3

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
            CLEAN[:1], attacks[1:], {}, budgets=[0]
        )
        ledger = Ledger(tmp_path)
        assert sweep(jobs, ledger) == (2, 0), ledger.failed(unit for job in jobs for unit in job.units)
        assert {attack for _, attack in results(tmp_path)} == set(attacks)

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
        subprocess.run([sys.executable, CROWD, tmp_path, "300", "3", "20", "0"], check=True, timeout=300)
        records = list(read_records(tmp_path))
        assert set(Counter((r.target["id"], r.attack["name"]) for r in records).values()) == {1}
        assert len(records) == 300
        assert len({record.result["process"] for record in records}) > 3  # they did share the work


class TestCommand:
    def test_plans_runs_resumes_and_reports(self, run, tmp_path):
        command = ("sweep", "--models", PATTERN, "--attacks", *ATTACKS, "--out", tmp_path)
        assert "4 units left; 0.0 MB to download" in run(*command, "--dry-run")[1]
        assert "4 of 4 units done, 0 failed" in run(*command)[1]
        assert json.loads(run(*command, "--json")[1])["done"] == 4
        code, plan, _ = run(*command, "--dry-run", "--json")
        assert (code, [row["left"] for row in json.loads(plan)]) == (0, [0, 0])

    def test_failures_are_told_and_end_with_an_error(self, run, tmp_path):
        code, shown, _ = run("sweep", "--models", PATTERN, "--attacks", "loss", "rmia", "--out", tmp_path)
        assert code == 1
        assert "2 of 4 units done, 2 failed" in shown
        assert "rmia: ValueError: rmia needs" in shown

    def test_unknown_attacks_get_the_closest(self, run, tmp_path):
        code, _, error = run("sweep", "--models", PATTERN, "--attacks", "los", "--out", tmp_path)
        assert (code, "'loss'" in error) == (2, True)


def launched(tmp_path, out, *arguments, launch):
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_cpu_threads_per_process", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", *launch, "-m", "securitynet_hub", "sweep",
        "--models", PATTERN, "--attacks", *ATTACKS, "--out", str(tmp_path / out), *arguments,
    ]  # fmt: skip
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    sweep(plan_jobs(CLEAN, ATTACKS, {}, {"seed": 0}), Ledger(folder))
    return results(folder)


@pytest.mark.slow
class TestLaunches:
    @pytest.mark.parametrize("spread", ["models", "images"])
    def test_two_processes_give_the_same_results_as_one(self, tmp_path, alone, spread):
        launch = ["--num_processes", "2", "--main_process_port", str(free_port())]
        process = launched(tmp_path, "two", "--spread", spread, launch=launch)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        assert output.count("4 of 4 units done") == 1, output
        assert results(tmp_path / "two") == alone

    def test_two_machines_give_the_same_results_as_one(self, tmp_path, alone):
        """Two launches that find each other on loopback stand in for two machines with a shared folder."""
        port = str(free_port())
        launch = [
            "--num_machines", "2", "--num_processes", "2", "--main_process_ip", "127.0.0.1",
            "--main_process_port", port, "--rdzv_backend", "static",
        ]  # fmt: skip
        machines = [
            launched(tmp_path, "two", "--spread", "images", launch=[*launch, "--machine_rank", rank])
            for rank in "01"
        ]
        outputs = [machine.communicate(timeout=300)[0] for machine in machines]
        assert [machine.returncode for machine in machines] == [0, 0], outputs
        assert results(tmp_path / "two") == alone

    def test_a_sweep_that_is_ended_goes_on_where_it_was(self, tmp_path):
        command = [
            sys.executable, "-m", "securitynet_hub", "sweep", "--models", "zoo/*clean*",
            "--attacks", *ATTACKS, "--out", str(tmp_path),
        ]  # fmt: skip
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 130, error
        written = results(tmp_path)  # each is whole
        assert 0 < len(written) < 24
        subprocess.run(command, env=environment(), check=True, timeout=300)
        again = results(tmp_path)
        assert len(again) == 24
        assert again.items() >= written.items()
