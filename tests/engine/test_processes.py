"""Processes that work together: the same values as one, and no waiting for those that fail or die."""

import gc
import json
import os
import re
import shlex
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from accelerate.state import AcceleratorState
from support.joint_predictions import ID, IMAGES, SHARED, SIZES, audited
from support.joint_processes import RECIPE, blobs, linear
from support.processes import run_python
from support.sweep_processes import made_up_jobs, measure

from securitynet_hub import load_images, load_target
from securitynet_hub.core.errors import ProcessError
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.processes import (
    LAUNCH,
    find_place,
    find_precision,
    init_processes,
    is_left_alone,
    share_out,
    shutdown,
)
from securitynet_hub.engine.training import train
from securitynet_hub.records.record import read_records
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.run import sweep

PROCESSES = Path(__file__).parents[1] / "support" / "joint_processes.py"


def with_support():
    """An environment in which processes find the helpers, as many threads, and no launch of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERATE")}
    path = os.pathsep.join([str(PROCESSES.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": path}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folder of two processes that torch's launcher started, and what each says; the second dies."""
    folder = tmp_path_factory.mktemp("together")
    done = run_python(PROCESSES, folder, env=with_support())
    told = folder / "0.json"
    assert told.exists(), done.stderr
    return folder, json.loads(told.read_text())


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """The folder of what two processes predicted, and audited, together."""
    folder = tmp_path_factory.mktemp("predictions")
    script = PROCESSES.with_name("joint_predictions.py")
    done = run_python(script, folder, env=with_support())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_two_processes_are_put_in_their_place(predictions, size):
    """A process with a batch less fills its rows up; what it fills them with is no image's."""
    expected = predict(load_target(ID), load_images().pixels[:IMAGES], batch_size=size)
    for number in (0, 1):
        assert np.array_equal(np.load(predictions / f"{number}-{size}.npy"), expected)


def test_answers_in_files_are_joined_a_few_at_a_time(predictions):
    expected = np.load(predictions / f"0-{SIZES[0]}.npy")
    for number in (0, 1):
        assert np.array_equal(np.load(predictions / f"{number}-file.npy"), expected)


def test_scores_in_shares_are_those_of_one_process_byte_for_byte(predictions):
    alone = audited()
    for number in (0, 1):
        assert (predictions / f"{number}-audit.json").read_text() == alone
    names = [record.attack["name"] for record in read_records(predictions / "records")]
    assert sorted(names) == sorted(SHARED)


def test_a_share_of_one_process_is_all():
    with pytest.raises(ZeroDivisionError):
        share_out(lambda part: 1 / part, [1, 0])
    assert share_out(lambda part: 1 / part, [1, 2]) == [1, 0.5]
    assert share_out(abs, []) == []


@pytest.mark.parametrize("late", [0.0, 5.0], ids=["the partner dies", "the partner is busy"])
def test_a_partner_that_never_connects_is_given_up_a_busy_one_is_not(late, tmp_path):
    """The time in which they connect is no bound on the exchanges that follow."""
    done = run_python(PROCESSES.with_name("connecting.py"), late, env=with_support(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if late:
        assert done.stdout.split() == ["agreed", "agreed"]
    else:
        assert "the 2 processes of this launch did not all connect within 1 s: one did not" in done.stdout


@pytest.mark.slow
class TestTogether:
    def test_they_meet_on_the_cpu_without_being_told(self, found):
        assert found[1]["processes"] == 2
        assert found[1]["agreed"] == 0

    @pytest.mark.parametrize("size", SIZES)
    def test_logits_are_those_of_one_process_byte_for_byte(self, found, size):
        expected = predict(load_target(ID), load_images().pixels[:IMAGES], batch_size=size)
        for number in (0, 1):
            assert np.array_equal(np.load(found[0] / f"{number}-{size}.npy"), expected)

    def test_what_fails_on_one_is_raised_on_the_others(self, found):
        assert found[1]["failed"] == "PeerProcessError: process 1 failed: ValueError: bad luck"

    def test_scores_in_shares_are_those_of_one_process_byte_for_byte(self, found):
        assert found[1]["audited"] == audited()

    def test_a_share_that_fails_is_raised_on_the_others(self, found):
        assert (
            found[1]["unshared"] == "PeerProcessError: process 1 failed: ZeroDivisionError: division by zero"
        )

    def test_weights_are_those_of_one_process_up_to_rounding(self, found):
        alone = train(linear, *blobs(), RECIPE).state_dict()
        for number in (0, 1):
            shared = torch.load(found[0] / f"{number}-linear.pt", weights_only=True)
            torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-5)

    def test_both_have_the_same_statistics_of_batches(self, found):
        one, other = (torch.load(found[0] / f"{number}-norm.pt", weights_only=True) for number in (0, 1))
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_they_steal_together_and_say_so(self, found):
        processes, agreement = found[1]["stolen"]
        assert processes == 2
        assert 0 <= agreement <= 1

    def test_a_model_that_one_cannot_load_fails_for_both_alone(self, found):
        folder, told = found
        assert told["bad"] == [3, 3]
        failures = Ledger(folder / "bad").failed(made_up_jobs(6)[0].units)
        assert {f["message"] for f in failures} == {"process 1 failed: OSError: the network is down"}

    def test_a_death_ends_the_sweep_and_is_no_failure_of_the_model(self, found):
        folder, told = found
        assert "the 2 processes of this launch lost their connection" in told["lost"]
        jobs, ledger = made_up_jobs(9), Ledger(folder / "lost")
        assert ledger.failed(unit for job in jobs for unit in job.units) == []
        before = len(list(read_records(folder / "lost")))
        done, failed = sweep(jobs, ledger, load=lambda job: None, measure=measure)
        assert (before + done, failed) == (9, 0)
        assert before >= 3


class TestPlace:
    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch):
        for name in (*LAUNCH, "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize(
        ("number", "of"), [("RANK", "WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"),
                           ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")],
    )  # fmt: skip
    def test_is_read_from_torch_s_launcher_and_mpi_s(self, monkeypatch, number, of):
        monkeypatch.setenv(number, "2")
        monkeypatch.setenv(of, "3")
        assert find_place() == (2, 3)
        shutdown()
        assert find_place() == (0, 1)
        assert init_processes().num_processes == 1

    def test_a_launch_of_several_that_gave_one_is_noticed(self, monkeypatch):
        assert not is_left_alone()
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        assert not is_left_alone()  # no launcher of Accelerate
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        assert is_left_alone()
        monkeypatch.setenv("RANK", "0")
        assert not is_left_alone()

    def test_processes_that_cannot_meet_any_more_say_so(self, monkeypatch):
        init_processes()  # alone
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ProcessError, match="has 2 processes, but this one found 1"):
            init_processes()

    def test_precision_and_compilation_are_the_launch_s(self, monkeypatch):
        monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
        assert find_precision() == "no"
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
        assert find_precision() == "bf16, inductor"


def documented():
    """Give every line of the documents that launches, joined where it is broken."""
    root = Path(__file__).parents[2]
    for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^.*accelerate launch --.* -m .*$", text, re.MULTILINE):
            yield (
                line.replace("$((8 * SLURM_NNODES))", "16")
                .replace("$SLURM_NNODES", "2")
                .replace("$SLURM_NODEID", "0")
            )


@pytest.mark.parametrize("line", list(documented()))
def test_every_documented_launch_is_one_and_starts_several_processes(line):
    """Accelerate's own parser reads them; ``--cpu`` would start one."""
    before, launch = re.split(r"accelerate launch ", line.rstrip("'"), maxsplit=1)
    told = launch_command_parser().parse_args(shlex.split(launch))
    assert told.module
    assert told.training_script == "securitynet_hub"
    assert told.training_script_args[0] == "sweep"
    assert told.multi_gpu
    assert not told.cpu
    assert told.num_processes > 1
    assert (told.num_machines > 1) == (told.main_process_ip is not None)
    assert ("ACCELERATE_USE_CPU=true" in before) == (told.num_cpu_threads_per_process is not None)


def test_accelerate_is_asked_again_only_when_something_has_changed(monkeypatch):
    first = init_processes()
    assert init_processes() is first
    held = dict(AcceleratorState._shared_state)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._shared_state.clear()
    try:
        narrow = init_processes()
        assert narrow.mixed_precision == "bf16"
        with narrow.autocast():
            assert torch.is_autocast_enabled("cpu")
    finally:
        AcceleratorState._shared_state.clear()
        AcceleratorState._shared_state.update(held)
    with init_processes().autocast():  # the state is the old one, though the environment is not
        assert not torch.is_autocast_enabled("cpu")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    assert init_processes().mixed_precision == "no"


def test_what_is_trained_is_not_held_on_to():
    module = train(linear, *blobs(20), RECIPE)
    held = weakref.ref(module)
    init_processes()
    del module
    gc.collect()
    assert held() is None
