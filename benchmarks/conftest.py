"""What benchmarks share: one thread of torch, and torchvision where VISION names a folder that has it."""

import os
import sys

import pytest
import torch

if "VISION" in os.environ:  # as in tests/conftest.py, which says why two operators are declared
    sys.path.insert(0, os.environ["VISION"])
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
