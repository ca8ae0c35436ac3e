"""What a sweep over every annotated model costs: weights, and operations of one forward pass.

``VISION=.venv/vision python benchmarks/measure_costs.py`` builds every network without memory for its
tensors, counts what it does to one image, writes ``securitynet_hub/data/operations.json``, from which
``securitynet sweep --dry-run`` estimates, and prints the table of docs/sweeps.md. It takes half an hour. With
``--table`` it prints the table of what was counted before.
"""

import heapq
import json
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch.utils.flop_counter import FlopCounterMode

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.models.loading import find_loader

COUNTED = Path(__file__).parents[1] / "securitynet_hub" / "resources" / "operations.json"


def count(row):
    """Return a model's parameters, and operations for one image: a multiply-add is two.

    Without memory for its tensors; where its code looks at their values, with memory for some or all of them.
    """
    for build in (_without_memory, _with_buffers):
        with suppress(NotImplementedError, RuntimeError):
            return _counted(*build(row))
    return _counted(*_whole(row))


def _counted(module, transform, device):
    *spatial, channels = transform.shape
    inputs = torch.zeros(1, channels, *spatial, device=device)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        module.eval()(inputs)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops()


def _without_memory(row):
    with torch.device("meta"):
        return *find_loader(row.source).build(row), "meta"


def _with_buffers(row):
    with init_empty_weights():
        module, transform = find_loader(row.source).build(row)
    return module.to("meta"), transform, "meta"


def _whole(row):
    return *find_loader(row.source).build(row), "cpu"


def main():
    rows = dict(load_annotations("zoo")) | dict(load_annotations("extended"))
    if "--table" not in sys.argv:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        import conftest  # noqa: F401  # which lets torchvision and timm be found where VISION names them

        lines = [f"{json.dumps(id)}: {json.dumps(count(row))}" for id, row in sorted(rows.items())]
        COUNTED.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    counted = json.loads(COUNTED.read_text(encoding="utf-8"))
    totals = defaultdict(lambda: [0, 0, 0, 0])
    for id, row in rows.items():
        if row.source == "zoo":
            continue
        parameters, operations = counted[id]
        for kind in ((row.source, row.dataset), ("all", "")):
            sums = totals[kind]
            totals[kind] = [sums[0] + 1, sums[1] + parameters, sums[2] + operations, max(sums[3], operations)]
    print("| source | data set | models | weights, GB | operations for one image, Gflop | of the largest |")
    print("|---|---|---|---|---|---|")
    for (source, dataset), (models, parameters, operations, largest) in sorted(totals.items()):
        print(
            f"| {source} | {dataset} | {models} | {4e-9 * parameters:,.1f} | {1e-9 * operations:,.0f} "
            f"| {1e-9 * largest:,.0f} |"
        )
    work = [size[1] for id, size in counted.items() if rows[id].source != "zoo"]
    for processes in (8, 64):
        mean, most = 1e-9 * sum(work) / processes, 1e-9 * busiest(work, processes)
        print(
            f"{processes} processes: {mean:,.0f} Gflop each for an image of every model, {most:,.0f} at most"
        )


def busiest(work, processes):
    """Return what the busiest process has to do where each takes the largest model that is left."""
    loads = [0] * processes
    for operations in sorted(work, reverse=True):
        heapq.heapreplace(loads, loads[0] + operations)
    return max(loads)


if __name__ == "__main__":
    main()
