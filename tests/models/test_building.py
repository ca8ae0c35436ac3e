"""What a configuration makes a library build is bounded while it is built."""

import threading

import pytest
from torch import nn

from securitynet_hub.core.errors import ModelError
from securitynet_hub.models import building
from securitynet_hub.models.building import bounded_building, require_moderate_pass


class Attention(nn.Module):
    """Every pixel looks at every other one."""

    def __init__(self, times=1):
        super().__init__()
        self.times = times

    def forward(self, pixels):
        flat = pixels.flatten(2)
        for _ in range(self.times):
            (flat.transpose(1, 2) @ flat).sum()
        return flat.mean()


def test_modules(monkeypatch):
    monkeypatch.setattr(building, "MAX_MODULES", 10)
    with pytest.raises(ModelError, match="more modules than the 10"), bounded_building():
        nn.Sequential(*(nn.ReLU() for _ in range(11)))
    with bounded_building():
        nn.Sequential(*(nn.ReLU() for _ in range(10)))
    nn.Sequential(*(nn.ReLU() for _ in range(11)))


def test_parameters_and_buffers(monkeypatch):
    monkeypatch.setattr(building, "MAX_PARAMETERS", 100)
    for build in (lambda: nn.Linear(11, 10), lambda: nn.BatchNorm1d(60)):
        with pytest.raises(ModelError, match="more parameters than the 100"), bounded_building():
            build()
    with bounded_building():
        nn.Linear(9, 10)


def test_other_threads_build_what_they_like(monkeypatch):
    monkeypatch.setattr(building, "MAX_PARAMETERS", 100)
    made = []
    with bounded_building():
        thread = threading.Thread(target=lambda: made.append(nn.Linear(100, 100)))
        thread.start()
        thread.join()
    assert made


def test_the_time(monkeypatch):
    monkeypatch.setattr(building, "MAX_SECONDS", -1.0)
    with pytest.raises(ModelError, match="to build"), bounded_building():
        nn.Sequential(nn.ReLU())


@pytest.mark.parametrize("side", [2048, 1 << 15])
def test_a_pass_that_would_write_too_much(side):
    with pytest.raises(ModelError, match=r"intermediate results|can be counted"):
        require_moderate_pass(Attention(), (1, 3, side, side))
    require_moderate_pass(Attention(), (1, 3, 16, 16))


def test_a_pass_of_too_many_steps(monkeypatch):
    monkeypatch.setattr(building, "MAX_OPERATIONS", 50)
    with pytest.raises(ModelError, match="more than 50 steps"):
        require_moderate_pass(Attention(times=30), (1, 3, 8, 8))


def test_a_network_that_asks_for_numbers_is_let_through():
    class Asking(nn.Module):
        def forward(self, pixels):
            return pixels * pixels.sum().item()

    require_moderate_pass(Asking(), (1, 3, 8, 8))
