"""What a sweep over every annotated model costs: weights, and operations of one forward pass.

``python tests/benchmarks/measure_costs.py`` builds every network without memory for its tensors and counts
what it does to one image; it prints one line of JSON for each model, and the table of docs/sweeps.md at the
end. Models of torchvision are counted where it is installed.
"""

import json
import sys
from collections import defaultdict

import torch
from torch.utils.flop_counter import FlopCounterMode

from securitynet_hub.annotations import load_annotations
from securitynet_hub.errors import SecurityNetError
from securitynet_hub.targets import find_loader


def count(row):
    """Return a model's parameters, and operations for one image: a multiply-add is two."""
    with torch.device("meta"):
        module, transform = find_loader(row.source).build(row)
        *spatial, channels = transform.shape
        inputs = torch.empty(1, channels, *spatial)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        module.eval()(inputs)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops()


def main():
    totals = defaultdict(lambda: [0, 0, 0])
    for row in load_annotations("extended").values():
        try:
            parameters, operations = count(row)
        except (SecurityNetError, RuntimeError, NotImplementedError) as error:
            print(f"{row.id}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        print(json.dumps({"id": row.id, "parameters": parameters, "operations": operations}), flush=True)
        for place, value in enumerate((1, parameters, operations)):
            totals[row.source, row.dataset][place] += value
    print("| source | data set | models | weights, GB | operations for one image, G |\n|---|---|---|---|---|")
    for (source, dataset), (models, parameters, operations) in sorted(totals.items()):
        print(f"| {source} | {dataset} | {models} | {4e-9 * parameters:,.1f} | {1e-9 * operations:,.0f} |")


if __name__ == "__main__":
    main()
