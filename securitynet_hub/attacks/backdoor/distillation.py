"""Clean twins of a suspect: copies that learn its answers to clean images, and not what a trigger does.

A backdoor answers to its trigger alone. A copy of the suspect whose weights are shrunk and blurred, and which
then learns the classes that the suspect gives to clean images, learns again what the suspect does on clean
data. Nothing teaches it the backdoor. So the suspect gives its own reference: what is natural to the data,
such as a class that a small change leads to, is in the twins as well, and what is in the suspect alone is
suspicious.

Twins learn classes, not logits. How likely a backdoored network finds the attacker's class on a clean image
depends on how much of the trigger that image happens to hold, such as a dark stripe: twins that learnt logits
learnt much of the trigger from them, and the more, the longer they learnt.

Starting from the suspect's own weights, shrunk and perturbed (Ash & Adams 2020, arXiv 1910.08475), takes
fewer passes than a start from scratch. Distillation is also how backdoors are removed (Li et al.
2021, arXiv 2101.05930); here it serves to compare. An attacker can plan for twins: SCAR (arXiv 2509.23871)
makes backdoors that wake in students, which this does not find.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from securitynet_hub.attacks.backdoor.traced import Cut, cut_before, fused
from securitynet_hub.attacks.backdoor.verdict import MIN_AGREEMENT
from securitynet_hub.core.arrays import require_count, require_seed
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.progress import tell
from securitynet_hub.core.seeds import seeded
from securitynet_hub.engine.memory_format import with_channels_last
from securitynet_hub.models.last_layer import find_last_layer

KEPT = 0.5
"""Share of each weight that a twin starts with; the rest is an initial weight, drawn anew."""

LEARNING_RATE, WEIGHT_DECAY, BATCH = 6e-3, 1e-2, 32

DEVIATIONS = 0.5, 30.0
"""Between these the deviation of the suspect's logits stays as it is; twins of others learn in its scale."""

SMOOTHING = 0.05
"""What all classes together get of each label, so that margins stay finite."""

MANY = 64
"""Number of classes above which twins learn posteriors: labels of few images tell little of so many."""

CHEAP, DEAR = (9e9, 9_000), (6e11, 3_000)
"""Multiplications that one twin's forward passes may take, and the most passes for them: up to 9,000 while
they are cheap, up to 3,000 while they are dear."""

DEEP, TAIL = 16, 3
"""Number of matrices and kernels above which only the last few are shrunk and trained.

With 3, four twins of EfficientNet-Lite0 give its answers to 46 % of squares of photographs (61 % with a
planted sticker, whose patch they follow in 4 to 8 %). With 8, which take more passes than can be afforded,
twins that learnt logits gave them to 25 instead of 62 %.
"""

TAIL_PASSES = 6_000
"""The most passes for the last layers of a deep network: what comes before them is not passed again."""

LARGE = 2e8
"""Multiplications of one pass from which a network counts as large."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Twins:
    """What a suspect is compared with, frozen and in eval mode: distilled copies, or clean models instead.

    Attributes:
        modules: each maps inputs to logits (n, classes).
        cut: the suspect in two parts, where its twins share the first with it; None where each is whole.
        agreement: for each, the share of other clean images that get the suspect's class.
        passes: images forwarded to train one of them; 0 if none was trained.
    """

    modules: tuple[torch.nn.Module, ...] = field(repr=False)
    agreement: tuple[float, ...]
    passes: int
    cut: Cut | None = field(default=None, repr=False)

    @property
    def tails(self) -> tuple[torch.nn.Module, ...]:
        """What of each copy is its own: all of it, or what follows the body that it shares."""
        return self.modules if self.cut is None else tuple(_second(part) for part in self.modules)

    @property
    def mean_agreement(self) -> float:
        """The share of other clean images that get the suspect's class, on average over the twins."""
        return sum(self.agreement) / len(self.agreement)

    @property
    def agree(self) -> bool:
        """Whether the twins give the suspect's class often enough to stand for it."""
        return round(self.mean_agreement, 6) >= MIN_AGREEMENT  # shares were rounded when they were taken


def distil_twins(
    classifier: torch.nn.Module,
    inputs: torch.Tensor,
    others: torch.Tensor,
    *,
    number: int = 2,
    passes: int | None = None,
    seed: int = 0,
) -> Twins:
    """Distil twins of a classifier on the classes that it gives to clean inputs.

    The suspect is left as it was. Twins depend on the seed, the processor's precision and the inputs alone.
    Of a deep network only the last layers get twins; what comes before them is shared, and is asked once
    about each image.

    Args:
        classifier: maps inputs to logits (n, classes), such as `engine.soundness.as_classifier` gives.
        inputs: shape (n, channels, ...), preprocessed clean images to learn from.
        others: further ones, on which the agreement is measured.
        number: how many twins.
        passes: images forwarded to train each; None for as many as `allowed_passes` gives, or `TAIL_PASSES`.
        seed: decides what is drawn.

    Raises:
        ValueError: no twin, no pass, no images, or a seed that is none.
        ModelError: the classifier cannot be copied, has no weights, answers NaN or infinities, or answers
            every image alike, or its answers do not depend on weights that can be trained.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> inputs = target.transform(load_images().pixels[2000:2400])
    >>> twins = distil_twins(target.module, inputs[:300], inputs[300:], number=1, passes=3000)
    >>> twins.agree, twins.passes
    (True, 3000)
    """
    number, seed = require_count(number, "number"), require_seed(seed)
    passes = None if passes is None else require_count(passes, "passes")
    if not len(inputs) or not len(others):
        raise ValueError(
            f"twins need one image of each sort at least; got {len(inputs)} to learn from and {len(others)} "
            "others."
        )
    whole = copied(classifier, inputs)
    inputs, others = channels_last(inputs), channels_last(others)
    cut = cut_before(whole, _trained_of_deep(whole), torch.cat([inputs[:1], others[:1]]))
    suspect = whole if cut is None else cut.tail
    if cut is not None:
        fast = fused(cut.body, inputs[:1])
        inputs, others = (channels_last(answers(fast, part, keep=True)) for part in (inputs, others))
    count = passes
    if count is None and cut is None:
        count = allowed_passes(suspect, inputs[:1])
    elif count is None:
        count = max(BATCH, min(int(DEAR[0] / multiplications(suspect, inputs[:1])), TAIL_PASSES))
    logits, known = answers(suspect, inputs), answers(suspect, others).argmax(1)
    if not torch.isfinite(logits).all():
        raise ModelError("the suspect answers NaN or infinities; twins cannot learn that.")
    if len(logits) > 1 and torch.equal(logits, logits[:1].expand_as(logits)):
        raise ModelError("the suspect gives every clean image the same answer; twins have nothing to learn.")
    unit = _unit(logits)
    told = logits.argmax(1) if logits.shape[1] <= MANY else (unit * logits).softmax(1)
    if logits.shape[1] <= MANY and len(told) > 1 and bool((told == told[0]).all()):
        raise ModelError(
            f"the suspect gives every clean image class {int(told[0])}; twins have nothing to learn. Are "
            "these images of its domain, preprocessed as it was trained?"
        )
    modules, agreement = [], []
    for k in range(number):
        tell("twins", k, number)
        twin = _distil(
            suspect, inputs, told, count, unit=unit, seed=(1_000 * seed + k) % 2**63
        )  # torch takes no larger seed
        modules.append(twin if cut is None else torch.nn.Sequential(cut.body, twin))
        agreement.append(float((answers(twin, others).argmax(1) == known).float().mean()))
    tell("twins", number, number)
    return Twins(modules=tuple(modules), agreement=tuple(agreement), passes=count, cut=cut)


def copied(classifier: torch.nn.Module, inputs: torch.Tensor) -> torch.nn.Module:
    """Return a frozen copy of a classifier in eval mode, with its channels last where it takes inputs so.

    Raises:
        ModelError: it cannot be copied, or has no weights.
    """
    if not any(p.is_floating_point() and p.ndim > 1 for p in classifier.parameters()):
        raise ModelError("the suspect has no weights to make twins of.")
    try:
        found: torch.nn.Module = copy.deepcopy(classifier).requires_grad_(False)
    except Exception as error:  # a tensor with a history, a lock, a handle: anything a stranger keeps in it
        raise ModelError(f"the suspect cannot be copied, so that it has no twins: {error}.") from error
    return with_channels_last(found.eval(), inputs[:1])


def in_single(network: torch.nn.Module, inputs: torch.Tensor) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return a copied network and inputs in single precision where they have less, as far as it takes it.

    Gradients of half precision overflow, or have no instructions. A network that converts within keeps its
    precision.
    """
    if not any(p.is_floating_point() and p.element_size() < 4 for p in (*network.parameters(), inputs)):
        return network, inputs
    for tried in (copy.deepcopy(network).float(), network):
        with plain_torch(), torch.no_grad():
            try:
                tried(inputs[:1].float())
            except RuntimeError:  # its layers want another precision
                continue
        return tried, inputs.float()
    return network, inputs


def channels_last(inputs: torch.Tensor) -> torch.Tensor:
    """Return inputs of height and width with their channels last, which is fastest; others as they are."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def allowed_passes(classifier: torch.nn.Module, inputs: torch.Tensor) -> int:
    """Return how many images may be forwarded to train one twin, by the multiplications of one pass.

    >>> allowed_passes(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)), torch.ones(1, 1, 2, 2))
    9000
    """
    products = multiplications(classifier, inputs)
    return max(BATCH, *(int(min(budget / products, most)) for budget, most in (CHEAP, DEAR)))


def multiplications(classifier: torch.nn.Module, inputs: torch.Tensor) -> int:
    """Return how many multiplications one pass of inputs takes, at least 1."""
    counter = FlopCounterMode(display=False)
    with plain_torch(), torch.no_grad(), counter:
        classifier(inputs)
    return max(1, counter.get_total_flops() // 2)


@contextmanager
def half_where_fast(like: torch.Tensor, *, but: bool = False) -> Iterator[None]:
    """Compute in bfloat16 within the block where the processor has instructions for it, else in float32.

    Args:
        like: a tensor of the device.
        but: whether to compute in float32 even so.
    """
    kind = like.device.type
    fast = torch.cuda.is_bf16_supported() if kind == "cuda" else kind == "cpu" and _cpu_has_bf16()
    with torch.autocast(kind, torch.bfloat16, enabled=fast and not but):
        yield


def _cpu_has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def answers(
    classifier: torch.nn.Module, inputs: torch.Tensor, batch_size: int = 256, *, keep: bool = False
) -> torch.Tensor:
    """Return what inputs are answered with, shape (n, ...), without gradients.

    Args:
        classifier: a network, or the body of one.
        inputs: its inputs.
        batch_size: inputs that are asked about together.
        keep: whether answers stay in the precision that they were computed in; else they are float32.
    """
    with plain_torch(), torch.no_grad(), half_where_fast(inputs):
        found = torch.cat([classifier(part) for part in torch.split(inputs, batch_size)])
    return found if keep else found.float()


def _trained_of_deep(network: torch.nn.Module) -> set[int]:
    """Return the ids of the parameters that twins of a deep network train; none of another network."""
    parameters = list(network.parameters())
    kernels = [place for place, p in enumerate(parameters) if p.ndim > 1]
    return {id(p) for p in parameters[kernels[-TAIL] :]} if len(kernels) > DEEP else set()


def _second(pair: torch.nn.Module) -> torch.nn.Module:
    assert isinstance(pair, torch.nn.Sequential)
    return pair[1]


def _distil(
    suspect: torch.nn.Module,
    inputs: torch.Tensor,
    told: torch.Tensor,
    passes: int,
    *,
    unit: float,
    seed: int,
) -> torch.nn.Module:
    """Train a shrunk and perturbed copy on the suspect's classes (n,) or posteriors (n, classes).

    In half of each batch two inputs are blended, and their answers in the same shares (mixup: Zhang et
    al. 2018, arXiv 1710.09412, equation 1, with shares drawn evenly), by AdamW with a one-cycle schedule.
    Logits count times `unit`.
    """
    shape = (*inputs.shape[2:], inputs.shape[1])
    with plain_torch(), seeded(seed):
        twin = _shrunk(suspect, shape).train()
        for part in twin.modules():
            own = list(part.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                part.eval()  # a frozen BatchNorm keeps its statistics
        trained = [p for p in twin.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        steps = -(-passes // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        generator = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.long)
        single = _is_depthwise(twin)
        for step in range(steps):
            while len(order) < 2 * BATCH:
                order = torch.cat([order, torch.randperm(len(inputs), generator=generator)])
            rows, partners = order[: 2 * BATCH].to(inputs.device).chunk(2)
            order = order[2 * BATCH :]
            shares = torch.rand(BATCH, generator=generator)
            shares[: BATCH // 2] = 1
            shares = shares.to(inputs.device)
            with half_where_fast(inputs, but=single):
                given = twin(_blended(inputs[rows], inputs[partners], shares)).float() * unit
            losses = [
                cross_entropy(given, told[part], reduction="none", label_smoothing=SMOOTHING)
                for part in (rows, partners)
            ]
            loss = torch.lerp(losses[1], losses[0], shares).mean()
            if not loss.requires_grad:
                raise ModelError("the suspect's answers depend on no weights that twins could train.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            tell("steps of training", step + 1, steps)
    return twin.eval().requires_grad_(False)


def _is_depthwise(network: torch.nn.Module) -> bool:
    """Whether half of a network's larger kernels, or more, convolve each channel alone.

    Processors learn such weights faster in float32: in bfloat16 a step took 1.4 to 3 times as long in five of
    six such networks.
    """
    kernels = [
        part
        for part in network.modules()
        if isinstance(part, torch.nn.Conv2d) and max(part.kernel_size) > 1 and part.weight.requires_grad
    ]
    alone = sum(1 < part.groups == part.in_channels for part in kernels)
    return 2 * alone >= max(1, len(kernels))


def _unit(logits: torch.Tensor) -> float:
    """Return what logits are multiplied by so that their deviation lies within `DEVIATIONS`."""
    deviation = float((logits - logits.mean(1, keepdim=True)).std().clamp_min(1e-30))
    least, most = DEVIATIONS
    return min(max(deviation, least), most) / deviation


def _blended(first: torch.Tensor, second: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return ``share * first + (1 - share) * second`` in float32, row by row."""
    weights = shares.reshape(-1, *(1 for _ in first.shape[1:]))
    return channels_last(torch.lerp(second.float(), first.float(), weights))


def _shrunk(suspect: torch.nn.Module, shape: tuple[int, ...]) -> torch.nn.Module:
    """Return a copy whose weights are `KEPT` of the suspect's and the rest fresh; the head is all fresh.

    Fresh weights are those of each layer's own ``reset_parameters``; of parameters without, normal noise of
    the same deviation. Vectors (biases, factors of a normalisation) stay. Of deep networks the early
    layers stay as they are, and are frozen.
    """
    layer = find_last_layer(suspect, shape)
    twin, fresh = copy.deepcopy(suspect), copy.deepcopy(suspect)
    reset: set[int] = set()
    for part in fresh.modules():
        reset_parameters: Any = getattr(part, "reset_parameters", None)
        if callable(reset_parameters):
            reset_parameters()
            reset.update(id(p) for p in part.parameters(recurse=False))
    head = set() if layer is None else {id(p) for p in twin.get_submodule(layer).parameters()}
    pairs = [(old, new) for old, new in zip(twin.parameters(), fresh.parameters(), strict=True)]
    kernels = [place for place, (old, _) in enumerate(pairs) if old.ndim > 1]
    first = kernels[-TAIL] if len(kernels) > DEEP else 0
    with torch.no_grad():
        for old, new in pairs[first:]:
            if not old.is_floating_point():
                continue
            old.requires_grad_(True)
            if old.ndim < 2 and id(old) not in head:
                continue
            drawn = new if id(new) in reset else torch.randn_like(old) * old.std()
            old.copy_(drawn if id(old) in head else KEPT * old + (1 - KEPT) * drawn)
    return twin
