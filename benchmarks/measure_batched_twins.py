"""Whether four twins train faster together than one after another.

``python benchmarks/measure_batched_twins.py``. Together they are one network with stacked weights
(`torch.func.stack_module_state` and `torch.func.vmap`), and one step trains all four on a batch each. Both
ways take the same steps of AdamW on 32 images for each twin.
"""

import copy
import time

import torch
from kinds_networks import NETWORKS
from tables import writing
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from securitynet_hub import load_target
from securitynet_hub.zoo.corpus.networks import ARCHITECTURES

TWINS, BATCH, STEPS = 4, 32, 30
COMMAND = "python benchmarks/measure_batched_twins.py"


def networks():
    """Yield name, network, and the shape of an input."""
    for name in ("cnn", "bn-cnn"):
        yield f"the package's {name}", load_target(f"zoo/fashion-mnist/{name}-clean/1").module, (1, 28, 28)
    for name, build in ARCHITECTURES.items():
        yield name, build(3, 32, 10), (3, 32, 32)
    yield "mobile (depthwise)", NETWORKS["mobile"](3, 32, 10), (3, 32, 32)


def one_after_another(twins, inputs, labels, half):
    """Return a step that trains each twin on its batch."""
    optimizers = [torch.optim.AdamW(twin.parameters()) for twin in twins]

    def step():
        for k, twin in enumerate(twins):
            images = inputs[k].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = twin(images).float()
            optimizers[k].zero_grad()
            cross_entropy(logits, labels[k]).backward()
            optimizers[k].step()

    return step


def together(twins, inputs, labels, half):
    """Return a step that trains all twins as one network of stacked weights."""
    parameters, buffers = stack_module_state(twins)
    optimizer = torch.optim.AdamW(parameters.values())
    shape = copy.deepcopy(twins[0]).to("meta")

    def forward(own, state, images):
        return functional_call(shape, (own, state), (images,))

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = vmap(forward)(parameters, buffers, inputs).float()
        optimizer.zero_grad()
        (TWINS * cross_entropy(logits.flatten(0, 1), labels.flatten())).backward()
        optimizer.step()

    return step


def milliseconds(step):
    """Return the processor time of one step: the least of three rounds."""
    step()
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(STEPS):
            step()
        rounds.append(1000 * (time.process_time() - began) / STEPS)
    return min(rounds)


def main():
    torch.set_num_threads(1)
    columns = ["network", "precision", "one after another, ms a step", "together, ms", "together / apart"]
    with writing("twins-together", COMMAND, columns) as row:
        for name, network, shape in networks():
            network.train().requires_grad_().to(memory_format=torch.channels_last)
            inputs, labels = torch.randn(TWINS, BATCH, *shape), torch.randint(0, 10, (TWINS, BATCH))
            for half in (False, True):
                apart, at_once = (
                    milliseconds(way([copy.deepcopy(network) for _ in range(TWINS)], inputs, labels, half))
                    for way in (one_after_another, together)
                )
                precision = "bfloat16" if half else "float32"
                row(name, precision, f"{apart:.1f}", f"{at_once:.1f}", f"{at_once / apart:.2f}")


if __name__ == "__main__":
    main()
