"""What each part costs beside an earlier state of this repository, a peer, and the limit of the machine.

``python benchmarks/measure_ratios.py`` keeps the table of docs/speed.md, in some ten minutes of one core. It
takes ``--quick`` (small sizes, nothing is kept), ``--before COMMIT`` (a commit that this clone has) and names
of rows, which ``--renew`` puts in the place of those kept. Each state runs in a process of its own on one
thread, from a worktree, and all take turns, so that other work on the machine changes them alike. Ratios are
of the processor's time, the median of the rounds and, in brackets, the lowest and the highest; the first
round warms up. "-" is what an earlier state cannot do, or a peer that is not installed.
"""

import argparse
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
BEFORE = "0abf70c930ff718759545b78a0f28b689c3b4601"
"""The state before channels came last on CPUs, other engines answered, and records were indexed."""

QUICK = "RATIOS_QUICK"
"""Set in the environment of a process that measures small sizes."""

OURS, PEER, LIMIT = "ours", "peer", "limit"


def sized(whole, quick):
    return quick if os.environ.get(QUICK) else whole


def target_of(name, module, classes, transform):
    from securitynet_hub.annotations.schema import unlisted
    from securitynet_hub.models.target import Target

    annotation = unlisted("file", "made-up", name, architecture=name, num_classes=classes)
    return Target(annotation=annotation, module=module, transform=transform, num_classes=classes)


PART = 4
"""Torch forwards a fourth of the images, taken four times: engines need many to show what they can do."""


def passing(target, pixels, batch):
    """Return a pass of ours, the loop that anybody would write, and the network alone as it is fastest."""
    import torch

    from securitynet_hub.engine.inference import predict

    few = pixels[: max(1, len(pixels) // PART)]
    given, times = (pixels, 1) if os.environ.get("SECURITYNET_ENGINE") else (few, len(pixels) / len(few))

    def bare():
        with torch.inference_mode():
            parts = [few[start : start + batch] for start in range(0, len(few), batch)]
            return torch.cat([target.module(target.transform(part)) for part in parts])

    inputs = [target.transform(given[start : start + batch]) for start in range(0, len(given), batch)]
    if times == 1:
        beyond_comparisons(target, given, batch)
    return {
        OURS: (partial(predict, target, given, batch_size=batch), times),
        PEER: (bare, len(pixels) / len(few)),
        LIMIT: (network_alone(target, inputs), times),
    }


def beyond_comparisons(target, pixels, batch):
    """Ask an engine until none of its next batches is compared with torch: few of a long pass are."""
    from securitynet_hub.engine.inference import predict

    predict(target, pixels, batch_size=batch)  # all of which widen the range of what was compared
    rounds = -(-len(pixels) // batch) * 5
    predict(target, np.repeat(pixels[:1], 2 ** rounds.bit_length(), 0), batch_size=1)


def network_alone(target, inputs):
    import copy

    import torch

    engine = os.environ.get("SECURITYNET_ENGINE")
    if engine:
        from securitynet_hub.engine.converted import RUNTIMES

        folder = Path(tempfile.mkdtemp())
        with torch.no_grad():
            RUNTIMES[engine].convert(target.module, inputs[0][:2], folder)
        narrow = os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16"
        ask, arrays = RUNTIMES[engine].load(folder, narrow, 1), [part.numpy() for part in inputs]
        return lambda: [ask(part) for part in arrays]
    module, form = target.module, torch.contiguous_format
    if inputs[0].ndim == 4 and inputs[0].shape[1] == 3:
        module, form = copy.deepcopy(module), torch.channels_last
        module.to(memory_format=form)
    given = [part.contiguous(memory_format=form) for part in inputs]

    def alone():
        with torch.inference_mode():
            return [module(part) for part in given]

    return alone


def crops(count, size=224):
    """Return windows of photographs: an engine that differs from torch about noise would not answer."""
    import skimage.data

    rng = np.random.default_rng(0)
    pictures = [getattr(skimage.data, name)() for name in ("astronaut", "cat", "coffee", "rocket")]
    found = np.empty((count, size, size, 3), np.uint8)
    for place in range(count):
        picture = pictures[place % len(pictures)]
        top, left = (rng.integers(side - size) for side in picture.shape[:2])
        found[place] = picture[top : top + size, left : left + size]
    return found


def lite0():
    from securitynet_hub import load_target

    pixels = crops(sized(128, 8))
    return passing(load_target("package/imagenet-1k/efficientnet_lite0"), pixels, 12)


def resnet50():
    import torch
    from securitynet_hub.loaders.pytorchcv import constructor

    from securitynet_hub.data.transforms import Transform

    torch.manual_seed(0)
    module = constructor("resnet50")()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0  # statistics of one batch, so that activations have moderate sizes
    with torch.no_grad():
        module.train()(torch.randn(4, 3, 224, 224))
    transform = Transform(height=224, width=224, mean=(0.5,) * 3, std=(0.25,) * 3)
    pixels = crops(sized(32, 8))
    return passing(target_of("resnet50", module, 1000, transform), pixels, 8)


def zoo():
    from securitynet_hub import load_images, load_target

    return passing(
        load_target("zoo/fashion-mnist/bn-cnn-clean/1"), load_images().pixels[: sized(4000, 400)], 250
    )


def volumes():
    import torch

    from securitynet_hub.data.transforms import Transform
    from securitynet_hub.models.resnets import ResNet

    torch.manual_seed(0)
    module = ResNet(11, (2, 2, 2, 2), bottleneck=False, width=16, variant="3d").eval()
    pixels = np.random.default_rng(0).integers(0, 256, (sized(64, 8), 28, 28, 28, 1), np.uint8)
    transform = Transform(depth=28, height=28, width=28, channels=3)
    return passing(target_of("resnet18-3d", module, 11, transform), pixels, 8)


def signals():
    import torch
    from scipy.special import logsumexp

    from securitynet_hub.statistics.signals import score_all

    rng, n = np.random.default_rng(0), sized(50_000, 2000)
    logits, labels = rng.standard_normal((n, 1000), np.float32) * 3, rng.integers(0, 1000, n)
    return {
        OURS: partial(score_all, logits, labels, from_logits=True),
        PEER: lambda: logsumexp(logits.astype(np.float64), 1),
        LIMIT: lambda: torch.from_numpy(logits).double().logsumexp(1),
    }


def strip():
    import torch

    from securitynet_hub import load_images, load_target
    from securitynet_hub.attacks.backdoor.strip import strip_scores
    from securitynet_hub.data.triggers import corner_patch

    target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels[2000:]
    each, overlays = sized(100, 10), 20
    inputs, clean = np.concatenate([pixels[:each], corner_patch(pixels[each : 2 * each])]), pixels[1000:1020]
    blended = target.transform(np.repeat(inputs, overlays, 0))
    settings = {"clean": clean, "num_overlays": overlays, "weights": (0.5, 0.5)}

    def theirs():
        from bench_strip import peer

        scaled = [np.moveaxis(part, -1, 1).astype(np.float32) / 255 for part in (clean, inputs)]
        defence = peer(target, scaled[0])
        return lambda: defence.predict(scaled[1])

    def alone():
        with torch.inference_mode():
            return [target.module(part) for part in blended.split(500)]

    return {OURS: partial(strip_scores, target, inputs, **settings), PEER: made(theirs), LIMIT: alone}


def made(make):
    """Return what `make` makes when it is first asked; None where what it needs is not installed."""
    try:
        return make()
    except BaseException as error:  # pytest's skipping is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        print(f"left out: {error}", file=sys.stderr)
        return None


def neural_cleanse():
    from dataclasses import replace

    from securitynet_hub import load_images, load_target
    from securitynet_hub.attacks.backdoor.neural_cleanse import FAST
    from securitynet_hub.attacks.backdoor.neural_cleanse import neural_cleanse as search

    target, pixels = load_target("zoo/fashion-mnist/bn-cnn-corner-patch/7"), load_images().pixels[2000:2020]
    schedule = replace(FAST, steps=sized(40, 3), stop_patience=None)

    def theirs():
        from bench_neural_cleanse import loop

        return partial(loop, target, pixels, schedule)

    inputs = target.transform(np.concatenate([pixels] * target.num_classes))

    def alone():
        for _ in range(schedule.steps):
            given = inputs.clone().requires_grad_()
            target.module(given).sum().backward()
        target.module.zero_grad(set_to_none=True)

    for parameter in target.module.parameters():
        parameter.requires_grad_(False)
    return {
        OURS: partial(search, target, pixels, restarts=1, schedule=schedule),
        PEER: made(theirs),
        LIMIT: alone,
    }


def fitting(build, inputs, labels, epochs, batch, rate):
    """Train as anybody would write it, and as fast as torch does it."""
    import torch

    module = build().train()
    optimiser = torch.optim.AdamW(module.parameters(), rate, fused=True)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(batch):
            torch.nn.functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
            optimiser.step()
            optimiser.zero_grad()


def stealing():
    import torch

    from securitynet_hub import load_images, load_target
    from securitynet_hub.attacks.stealing.black_box import BlackBox
    from securitynet_hub.attacks.stealing.surrogates import steal
    from securitynet_hub.engine.training import Recipe
    from securitynet_hub.models.zoo_networks import NETWORKS

    target, pool = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images().pixels[:2000]
    epochs, budget, numbers, folder = sized(10, 1), 500, count(), Path(tempfile.mkdtemp())
    inputs = target.transform(pool)

    def ours():
        seed = next(numbers)  # with the same seed it would read its kept answers
        box = BlackBox(target, budget=budget, view="label")
        recipe = Recipe(epochs=epochs, batch_size=64, learning_rate=1e-2, seed=seed)
        places = {"budgets": [budget], "folder": folder / str(seed), "seed": seed}
        return steal(box, lambda: NETWORKS["cnn"](10), pool, recipe, **places)

    def theirs():
        import art  # noqa: F401
        import bench_stealing

        bench_stealing.EPOCHS = epochs
        return partial(bench_stealing.art, target, inputs.numpy(), 0, 64, 1e-2)

    def alone():
        with torch.inference_mode():
            labels = target.module(inputs[:budget]).argmax(1)
        fitting(lambda: NETWORKS["cnn"](10), inputs[:budget], labels.clone(), epochs, 64, 1e-2)

    return {OURS: ours, PEER: made(theirs), LIMIT: alone}


def shadows():
    import torch

    from securitynet_hub import load_images, load_target
    from securitynet_hub.attacks.membership.shadows import balanced_masks, train_shadows
    from securitynet_hub.engine.training import Recipe
    from securitynet_hub.models.zoo_networks import NETWORKS

    images, transform = load_images(), load_target("zoo/fashion-mnist/cnn-clean/1").transform
    models, samples, epochs, numbers = 64, sized(200, 20), sized(4, 1), count()
    pool, folder = np.arange(samples), Path(tempfile.mkdtemp())
    masks = balanced_masks(models, samples, seed=0)
    inputs, labels = transform(images.pixels[pool]), torch.from_numpy(np.asarray(images.labels)[pool])

    def build():
        return NETWORKS["cnn"](10)

    def ours():
        seed = next(numbers)
        recipe = Recipe(epochs=epochs, batch_size=64, seed=1000 * seed)
        return train_shadows(build, images, pool, masks, recipe, transform, folder=folder / str(seed))

    def alone():
        for mask in masks:
            fitting(build, inputs[mask], labels[mask], epochs, 64, 3e-3)

    return {OURS: ours, LIMIT: alone}


def lira():
    import bench_lira as b

    n = sized(b.N, 500)
    given = b.TARGET[:n], b.SHADOW[:, :n], b.SHADOW_IN[:, :n]
    tenth = range(0, n, 10)
    return {
        OURS: partial(b.lira_scores, *given),
        PEER: (partial(b.with_scipy, tenth), 10),
        LIMIT: partial(np.sort, given[1], 0),
    }


def rmia():
    import bench_rmia as b

    def theirs():
        import privacy_guard.attacks.rmia_attack  # noqa: F401

        return b.privacy_guard

    def sort():
        return [np.sort(b.TARGET_X), np.searchsorted(np.sort(b.TARGET_Z), b.TARGET_X)]

    return {OURS: b.ours, PEER: None if os.environ.get(QUICK) else made(theirs), LIMIT: sort}


def rmia_pairs():
    import bench_rmia as b

    return {OURS: b.ours, PEER: b.all_pairs}


def bootstrap():
    from sklearn.metrics import roc_auc_score

    from securitynet_hub.statistics.bootstrap import auc_bootstrap_interval, resampled_counts
    from securitynet_hub.statistics.rates import split_scores

    n, resamples, share = sized(10_000, 1000), 500, 10
    rng, is_member = np.random.default_rng(0), np.arange(n) < n // 2
    scores = rng.normal(size=n) + is_member

    def loop():
        for _ in range(resamples // share):
            rows = rng.integers(0, n, n)
            roc_auc_score(is_member[rows], scores[rows])

    return {
        OURS: partial(auc_bootstrap_interval, scores, is_member, resamples=resamples),
        PEER: (loop, share),
        LIMIT: lambda: list(resampled_counts(split_scores(scores, is_member), resamples, 0)),
    }


RECORDS = "RATIOS_RECORDS"
"""The folder of records that the parent made."""

FEW = 5000
"""Records that an earlier state reads, whose time is taken times as many as there are more."""


def folder_of_records():
    """Return the folder that this state reads, and how many times as many records the whole one has."""
    whole = Path(os.environ[RECORDS])
    try:
        from securitynet_hub.records import index  # noqa: F401
    except ImportError:
        few, wanted = whole.with_name("few"), sum(1 for _ in whole.rglob("*.json"))
        return few, wanted / sum(1 for _ in few.rglob("*.json"))
    return whole, 1


def read_all(folder):
    try:
        from securitynet_hub.records.index import read_records
    except ImportError:
        from securitynet_hub.records.record import read_records
    return list(read_records(folder))


def forget(folder):
    with contextlib.suppress(ImportError):
        from securitynet_hub.records.index import index_path

        index_path(folder).unlink(missing_ok=True)


def reading_first():
    folder, times = folder_of_records()

    def ours():
        forget(folder)
        read_all(folder)

    def parse():
        from pydantic_core import from_json

        for path in folder.rglob("*.json"):
            from_json(path.read_bytes())

    return {OURS: (ours, times), LIMIT: parse}


def reading_again():
    folder, times = folder_of_records()
    read_all(folder)

    def states():
        return [path.stat() for path in folder.rglob("*.json")]

    return {OURS: (partial(read_all, folder), times), LIMIT: states}


def ranking():
    from securitynet_hub.cli.main import main as command

    folder, times = folder_of_records()
    out = folder.with_name("boards.csv")

    def ours():
        command(["leaderboard", "--records", str(folder), "--format", "csv", "--out", str(out)])

    ours()
    return {OURS: (ours, times)}


FLOAT, OPENVINO, NARROW = "now", "openvino", "openvino bf16"

ENGINES = {
    OPENVINO: {"SECURITYNET_ENGINE": "openvino"},
    NARROW: {"SECURITYNET_ENGINE": "openvino", "ACCELERATE_MIXED_PRECISION": "bf16"},
}

LOOP, ALONE = "bare torch loop", "the network alone"
ROWS = {
    "EfficientNet-Lite0": (lite0, FLOAT, LOOP, ALONE),
    "EfficientNet-Lite0, `--engine openvino`": (lite0, OPENVINO, LOOP, "bare engine loop"),
    "EfficientNet-Lite0, the same in bf16": (lite0, NARROW, LOOP, "bare engine loop"),
    "ResNet-50": (resnet50, FLOAT, LOOP, ALONE),
    "ResNet-50, `--engine openvino`": (resnet50, OPENVINO, LOOP, "bare engine loop"),
    "ResNet-50, the same in bf16": (resnet50, NARROW, LOOP, "bare engine loop"),
    "the zoo's `bn-cnn`": (zoo, FLOAT, LOOP, ALONE),
    "ResNet-18 of volumes (as MedMNIST 3-D's)": (volumes, FLOAT, LOOP, ALONE),
    "signals of 50,000 x 1,000 logits": (signals, FLOAT, "SciPy: one `logsumexp`", "torch: one `logsumexp`"),
    "STRIP, 200 images": (strip, FLOAT, "ART", "its forward passes"),
    "Neural Cleanse, 40 steps": (neural_cleanse, FLOAT, "loop over classes", "its passes, both ways"),
    "stealing, 500 queries": (stealing, FLOAT, "ART, same batches", "bare training loop"),
    "64 shadow models": (shadows, FLOAT, "", "bare training loops"),
    "LiRA, 20,000 samples, 64 models": (lira, FLOAT, "loop, SciPy's densities", "one sort of the answers"),
    "RMIA, 20,000 against 10,000": (rmia, FLOAT, "PrivacyGuard", "sorting both sides"),
    "RMIA, the same": (rmia_pairs, FLOAT, "matrix of all pairs", ""),
    "bootstrap of an AUC, 10,000 samples": (bootstrap, FLOAT, "loop over scikit-learn", "drawing alone"),
    "{records} records, read first": (reading_first, FLOAT, "", "parsing the JSON alone"),
    "{records} records, read again": (reading_again, FLOAT, "", "looking at the files alone"),
    "{records} records, `leaderboard` again": (ranking, FLOAT, "", ""),
}
FEW_ROUNDS = {reading_first: 1, reading_again: 2, ranking: 2, rmia: 2, stealing: 2, shadows: 2}
"""Rounds beside the one that warms up; 3 of the others. The first reading needs no warming up."""


def serve():
    """Measure what the parent asks for, line by line."""
    import torch

    from securitynet_hub.core import errors
    from securitynet_hub.core.memory import keep_freed_memory

    if hasattr(errors, "EngineWarning"):  # torch would answer in the engine's place
        warnings.simplefilter("error", errors.EngineWarning)
        warnings.filterwarnings("ignore", "in bfloat16", errors.EngineWarning)  # where it does answer
    torch.set_num_threads(1)
    keep_freed_memory()
    answers, sys.stdout = sys.stdout, sys.stderr
    row, ways = None, {}
    for line in sys.stdin:
        name, way = json.loads(line)
        try:
            if name != row:
                ways = {}
                gc.collect()
                ways, row = ROWS[name][0](), name
            do = ways.get(way)
            do, times = do if isinstance(do, tuple) else (do, 1)
            started = time.process_time()
            seconds = None if do is None else do() is None or True
            seconds = seconds and times * (time.process_time() - started)
        except Exception as error:
            print(f"{name}, {way}: {type(error).__name__}: {error}", file=sys.stderr)
            seconds, row = None, None
        print(json.dumps(seconds), file=answers, flush=True)


class Asked:
    """A process that measures, of one state of the repository and one engine."""

    def __init__(self, tree, environment):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--serve"],
            env=os.environ | environment | {"PYTHONPATH": os.pathsep.join([str(tree), *ELSEWHERE])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, name, way):
        self._process.stdin.write(json.dumps([name, way]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return json.loads(answer) if answer else None

    def close(self):
        self._process.stdin.close()
        self._process.wait()


ELSEWHERE = [str(ROOT / "tests"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def measure(name, now, before):
    """Return the seconds of each round by way: ours now and before, the peer and the limit."""
    rounds, warming = FEW_ROUNDS.get(ROWS[name][0], 3), ROWS[name][0] is not reading_first
    found = {}
    asked = {
        "now": (now, OURS),
        "before": (before, OURS),
        "peer": (now, PEER),
        "limit": (now, LIMIT),
    }
    if os.environ.get(QUICK):
        rounds = 1
    for number in range(rounds + warming):
        for way, (process, what) in asked.items():
            if found.get(way, []) is not None:
                seconds = process.seconds(name, what)
                if seconds is None:
                    found[way] = None
                elif number >= warming:
                    found.setdefault(way, []).append(seconds)
    return found


def ratio(above, below):
    if not above or not below:
        return "-"
    each = sorted(one / other for one, other in zip(above, below, strict=True))
    texts = [f"{value:.0f}" if value >= 20 else f"{value:.2g}" if value >= 10 else f"{value:.2f}"
             for value in (statistics.median(each), each[0], each[-1])]  # fmt: skip
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]} to {texts[2]})"


def write_records(total, folder):
    from measure_records import generate

    generate(total, folder / "whole")
    generate(min(total, FEW), folder / "few")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="beginnings of the names of rows; all unless given")
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT")
    parser.add_argument("--records", type=int, default=100_000, metavar="N")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="where records are written, and found again")
    parser.add_argument("--renew", action="store_true", help="keep the named rows in place of earlier ones")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # this state, not one that is installed
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.quick:
        os.environ[QUICK], options.records = "1", min(options.records, 500)
    rows = [name for name in ROWS if name.startswith(tuple(options.rows) or "")]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        place = Path(folder)
        made = options.folder or place
        os.environ |= {"HF_HOME": str(place / "cache"), RECORDS: str(made / "whole")}
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(place / "before"), options.before], check=True)
        closing.callback(subprocess.run, [*git, "remove", "--force", str(place / "before")], check=True)
        if any("records" in name for name in rows) and not (made / "whole").exists():
            write_records(options.records, made)
            time.sleep(4)  # a younger file is not kept in an index
        processes = {"before": Asked(place / "before", {}), FLOAT: Asked(ROOT, {})}
        closing.callback(lambda: [process.close() for process in processes.values()])
        with kept(options) as row:
            for name in rows:
                _, engine, peer, limit = ROWS[name]
                if engine not in processes:
                    processes[engine] = Asked(ROOT, ENGINES[engine])
                found = measure(name, processes[engine], processes["before"])
                now = found["now"]
                beside = (f"{peer}: " if peer else "") + ratio(found["peer"], now)
                best = (f"{limit}: " if limit else "") + ratio(now, found["limit"])
                row(
                    name.format(records=f"{options.records:,}"),
                    f"{statistics.median(now):.3g}" if now else "-",
                    ratio(found["before"], now),
                    beside,
                    best,
                )


def kept(options):
    columns = ["what", "now: s", "before / now", "peer / now", "now / limit"]
    if options.renew and not options.quick:
        return renewing(options)
    if options.quick or options.rows:
        return contextlib.nullcontext(lambda *cells: print("| " + " | ".join(cells) + " |", flush=True))
    from tables import writing

    command = " ".join(["python", "benchmarks/measure_ratios.py", *sys.argv[1:]])
    return writing("ratios", command, columns)


@contextlib.contextmanager
def renewing(options):
    """Keep the rows that are measured in place of earlier ones, and the other rows as they are."""
    from dataclasses import replace

    from tables import keep, read

    found = {}

    def row(*cells):
        print("| " + " | ".join(cells) + " |", flush=True)
        found[cells[0]] = list(cells)

    yield row
    results = read("ratios")
    rows = {row[0]: row for row in results.rows} | found
    names = [name.format(records=f"{options.records:,}") for name in ROWS]
    keep("ratios", replace(results, rows=[rows[name] for name in names if name in rows]))


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
