"""Make and judge the verdict: ``python benchmarks/measure_verdict.py STEP CORPUS ASSETS --out DIR``.

Three steps, in this order. The networks must be there (``python -m
securitynet_hub.zoo.corpus CORPUS --data ASSETS``, and for the parts whose names begin with ``kinds-``
``python benchmarks/kinds_corpus.py CORPUS ASSETS``).

- ``indicators --part PART``: measure every network of a part against its twins, one file each, so that an
  interrupted run resumes and several runs share the work; some 8 to 30 CPU-seconds a network.
- ``calibrate``: score each network of the parts `LEARNT` with weights that were learnt on kinds that share
  neither architecture nor images with it, learn the weights on all, and write
  ``securitynet_hub/resources/backdoor_verdict.json``.
- ``judge``: judge the parts ``test`` and ``kinds-fresh`` with these constants, and keep the tables.

With ``--beside`` all of this is done beside clean networks of the same architecture and images instead of
twins: those of another part, or a further kind's other clean ones (`clean_beside`). DIR must be another one.
The constants are those of ``securitynet_hub/resources/backdoor_verdict_beside.json``. Of the backdoored
networks that calibrate, some 60 % are measured then (`drawn`).

Networks whose backdoor did not take (success below .5) are left out of weights, AUC and shares, and shown
apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from kinds_corpus import kind_of, load_kind_target, plans
from kinds_images import draw_set
from measure_backdoored_models import zoo_targets
from sklearn.linear_model import LogisticRegression
from tables import writing

from securitynet_hub import load_images
from securitynet_hub.attacks.backdoor.twins import MAX_IMAGES, TwinFinding, compare_with_twins
from securitynet_hub.attacks.backdoor.verdict import (
    LEVEL,
    MIN_AGREEMENT,
    Calibration,
    Disagreement,
    Term,
    Verdict,
    Whole,
    against_clean,
    conformal_p,
    judge,
    log_disagreement,
    standardised,
)
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.rates import auc_interval, split_scores, wilson_interval
from securitynet_hub.zoo.corpus.recipes import training_order
from securitynet_hub.zoo.corpus.table import CorpusNetwork, list_networks, load_corpus_target, network_images
from securitynet_hub.zoo.train import SHIPPED_TEST

RESOURCES = Path(__file__).parents[1] / "securitynet_hub" / "resources"

STRENGTH = 0.05
"""Inverse strength of the L2 penalty of the weights."""

USED = (
    "noise_norm", "noise_transfer", "noise_exchange", "shade_contrast", "shade_gap", "faint_trigger",
    "probe",
)  # fmt: skip
"""The indicators that count. The others were dropped without a loss on kinds left out."""

SIZED = {"probe": (0.0, 5.0), "faint_trigger": (0.0, 5.0)}
"""Indicators whose size counts as well, because it means the same for every kind: middle, and factor."""

SIZED_BESIDE = dict.fromkeys(USED, (0.0, 5.0))
"""The same beside clean models, which no network shares its weights with: there every size counts."""

DISAGREEMENT_FACTOR = 2.0
"""What the disagreement of twins is multiplied by, so that the penalty of its weight counts less."""

REARRANGEMENT = Whole(middle=0.5, spread=0.2, weight=2.0)
"""How a backdoor that leads each class to another one is scored: chosen on kinds left out."""

SHARPNESS = 2.0
"""How much more the class that stands out counts than the others (`verdict.judge`)."""

KINDS = "kinds-"
"""What the parts of further kinds begin with."""

LEARNT = (
    "design", "calibration", "kinds-calibration", "kinds-more", "kinds-test", "kinds-spare", "kinds-later",
    "zoo",
)  # fmt: skip
"""The parts whose networks make the constants; ``zoo`` are those that the package ships."""

Measured = dict[str, Any]


def indicators(
    corpus: Path, assets: Path, part: str, out: Path, most: int | None = None, beside: bool = False
) -> None:
    """Measure the indicators of a part's networks, or of so many; another run's are passed over."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    if part.startswith(KINDS):
        measure_kinds(corpus, assets, part, out, beside)
        return
    if part == "zoo":
        measure_zoo(out)
        return
    order = {recipe.number: place for place, recipe in enumerate(training_order(part))}
    for row in sorted(list_networks(corpus, part), key=lambda row: order[row.number]):
        path = out / f"{part}-{row.number:03}.json"
        if most is not None and len(list(out.glob(f"{part}-*.json"))) >= most:
            return
        if path.exists() or (beside and not drawn(part, path.stem, row.trigger)):
            continue
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_EXCL))
            path.write_text(json.dumps(measured(corpus, assets, row, beside)) + "\n", encoding="utf-8")
            print(row.id, flush=True)


def measure_kinds(folder: Path, assets: Path, part: str, out: Path, beside: bool = False) -> None:
    """Measure the indicators of the networks of one half of the further kinds."""
    for plan in plans(part.removeprefix(KINDS)):
        path = out / f"{part}-{plan.id}.json"
        if path.exists() or (beside and not drawn(part, path.stem, plan.trigger)):
            continue
        row = json.loads((folder / f"{plan.id}.json").read_text(encoding="utf-8"))
        pixels, _ = draw_set(kind_of(plan).images, assets, folder / "images")["audit"]
        others = [
            load_kind_target(folder, other)
            for other in plans(plan.half)
            if beside and other.trigger is None and kind_of(other) == kind_of(plan) and other != plan
        ]
        found = compare_with_twins(load_kind_target(folder, plan), pixels, beside=others, seed=plan.seed)
        row = {**row, "id": plan.id, "architecture": kind_of(plan).network, "images": kind_of(plan).images}
        row |= {"mode": plan.how, "beside": len(others), **told(found)}
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
        print(plan.id, flush=True)


def measure_zoo(out: Path) -> None:
    """Measure the indicators of the clean and the backdoored networks that the package ships."""
    for id, target, truth in zoo_targets():
        path = out / f"zoo-{id.split('/', 2)[2].replace('/', '-')}.json"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_EXCL))
            planted = truth.kind == "backdoored"
            row = {"id": id, "architecture": f"zoo's {truth.architecture}", "images": "fashion", "beside": 0}
            row |= {
                "mode": "from scratch" if planted else "clean",
                "trigger": truth.trigger if planted else None,
            }
            row |= {"target": truth.target_class, "success": truth.attack_success_rate}
            row |= told(compare_with_twins(target, load_images().pixels[SHIPPED_TEST], seed=0))
            path.write_text(json.dumps(row) + "\n", encoding="utf-8")
            print(id, flush=True)


def drawn(part: str, stem: str, trigger: str | None) -> bool:
    """Whether a network is measured beside clean ones: all clean ones, and a part of those that calibrate."""
    whole = ("test", "kinds-test", "kinds-spare", "kinds-later")
    return trigger is None or part in whole or bool(sha256(stem.encode()).digest()[0] % 2)


def clean_beside(corpus: Path, row: CorpusNetwork) -> list[Target]:
    """Return three clean networks of another part, of a network's architecture and images."""
    part = "design" if row.part == "calibration" else "calibration"
    return [
        load_corpus_target(corpus, other)
        for other in list_networks(corpus, part)
        if other.trigger is None and (other.architecture, other.images) == (row.architecture, row.images)
    ]


def told(found: TwinFinding) -> Measured:
    """Return what is kept of a comparison."""
    return {
        "agreement": list(found.agreement),
        "varied": found.varied,
        "indicators": {name: values.tolist() for name, values in found.indicators.items()},
        "rearrangement": found.rearrangement,
        "scattered": found.scattered,
    }


def measured(corpus: Path, assets: Path, row: CorpusNetwork, beside: bool = False) -> Measured:
    """Return a network's indicators, with the truth about it."""
    target = load_corpus_target(corpus, row)
    pixels = network_images(corpus, row, assets).audit.pixels[:MAX_IMAGES]
    began = time.process_time()
    others = clean_beside(corpus, row) if beside else []
    found = compare_with_twins(target, pixels, beside=others, seed=row.number)
    return {
        "id": row.id,
        "architecture": row.architecture,
        "images": row.images,
        "mode": row.mode,
        "trigger": row.trigger,
        "target": row.target,
        "success": row.success,
        "seconds": round(time.process_time() - began, 1),
        "beside": len(others),
        **told(found),
    }


def load(out: Path, part: str) -> list[Measured]:
    """Return what was measured of a part."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob(f"{part}-*.json"))]


def agrees(row: Measured) -> bool:
    """Whether the twins, or the clean networks beside, stand for a network, so that it gets a verdict."""
    return round(agreement_of(row), 6) >= MIN_AGREEMENT


def agreement_of(row: Measured) -> float:
    """Return the share of clean images on which twins, or the networks beside, give a network's class."""
    return float(np.mean(row["agreement"]))


def took(row: Measured) -> bool:
    """Whether a network is clean, or its backdoor works."""
    return row["trigger"] is None or row["success"] >= 0.5


def fitted(rows: Sequence[Measured]) -> tuple[list[Term], float, Disagreement]:
    """Choose the weights by logistic regression on classes: a target class against every other class.

    All classes of clean networks and the classes other than the target of backdoored ones are negative, each
    network's together counting as one; all-to-all networks, which have no target, teach nothing. Each class
    is compared with the network's other classes, because how large an indicator is depends on the kind; of
    `SIZED`, or `SIZED_BESIDE`, the size counts as well. So does how far the twins disagree, from the median
    clean network on.
    """
    sized = SIZED_BESIDE if rows[0]["beside"] else SIZED
    clean = [row for row in rows if row["trigger"] is None]
    middle_of = float(np.median([log_disagreement(agreement_of(row)) for row in clean]))
    floors = {name: _floor([row["indicators"][name] for row in clean]) for name in USED}
    features, truth, weights = [], [], []
    for row in rows:
        if row["trigger"] is not None and row["target"] is None:
            continue
        columns = [standardised(row["indicators"][name], floors[name]) for name in USED]
        columns += [
            factor * against_clean(row["indicators"][name], middle, 1.0)
            for name, (middle, factor) in sized.items()
        ]
        disagreement = DISAGREEMENT_FACTOR * (log_disagreement(agreement_of(row)) - middle_of)
        columns.append(np.full(len(columns[0]), disagreement))
        is_target = np.arange(len(columns[0])) == (-1 if row["target"] is None else row["target"])
        features.append(np.stack(columns, 1))
        truth.append(is_target)
        weights.append(np.where(is_target, 1.0, 1 / np.count_nonzero(~is_target)))
    model = LogisticRegression(C=STRENGTH, max_iter=5000)
    model.fit(np.concatenate(features), np.concatenate(truth), sample_weight=np.concatenate(weights))
    names = [*USED, *(f"size of {name}" for name in sized), "disagreement"]
    weights_of = dict(zip(names, model.coef_[0], strict=True))
    terms = [
        Term(
            name=name,
            floor=floors[name],
            middle=sized.get(name, (0.0, 0.0))[0],
            spread=1.0,
            weight=float(weights_of[name]),
            raw_weight=float(weights_of.get(f"size of {name}", 0.0) * sized.get(name, (0.0, 0.0))[1]),
            seen=_seen(rows, name) if name == "probe" else None,
        )
        for name in USED
    ]
    weight = DISAGREEMENT_FACTOR * float(weights_of["disagreement"])
    return terms, float(model.intercept_[0]), Disagreement(middle=middle_of, weight=weight)


def _few(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return about ten of a network's classes, so that one with many counts no more."""
    return np.array(values)[:: max(1, len(values) // 10)]


def _floor(networks: Sequence[Sequence[float]]) -> float:
    deviations = [1.4826 * np.median(np.abs(np.array(v) - np.median(v))) for v in networks]
    together = np.concatenate([_few(values) for values in networks])
    return max(float(np.median(deviations)), 0.1 * float(together.std()), 1e-3)


def _seen(rows: Sequence[Measured], name: str) -> tuple[float, float]:
    medians = [float(np.median(row["indicators"][name])) for row in rows]
    return min(medians), max(medians)


def kind_name(row: Measured) -> str:
    """Return a network's kind: its architecture and its images."""
    return f"{row['architecture']}, {row['images']}"


def apart(one: str, other: str) -> bool:
    """Whether two kinds share neither architecture nor images, as a stranger's shares none with any."""
    return not set(one.split(", ")) & set(other.split(", "))


def bare(rows: Sequence[Measured]) -> Calibration:
    """Return weights that were learnt on some networks, without scores to calibrate by."""
    terms, intercept, disagreement = fitted(rows)
    return Calibration(
        made_by="",
        intercept=intercept,
        terms=tuple(terms),
        sharpness=SHARPNESS,
        rearrangement=REARRANGEMENT,
        disagreement=disagreement,
        clean=(0, 1),
        backdoored=(0, 1),
    )


def scored_apart(rows: Sequence[Measured]) -> list[float]:
    """Score each network with weights that were learnt on kinds that share nothing with its own."""
    weights = {
        kind: bare([row for row in rows if apart(kind_name(row), kind)])
        for kind in {kind_name(row) for row in rows}
    }
    return [verdict_of(row, weights[kind_name(row)]).score for row in rows]


def verdict_of(row: Measured, calibration: Calibration) -> Verdict:
    """Judge what was measured of one network."""
    return judge(
        row["indicators"],
        rearrangement=row["rearrangement"],
        scattered=row["scattered"],
        agreement=agreement_of(row),
        agree=agrees(row),
        varied=row["varied"],
        calibration=calibration,
    )


def calibrated(rows: Sequence[Measured], made_by: str = "") -> Calibration:
    """Return constants: weights of all networks, and scores of each without kinds like its own."""
    scores = scored_apart(rows)
    groups = {
        truth: sorted((kind_name(r), s) for r, s in zip(rows, scores, strict=True)
                      if (r["trigger"] is not None) == truth)
        for truth in (False, True)
    }  # fmt: skip
    known = bare(rows)
    return Calibration(
        made_by=made_by,
        intercept=known.intercept,
        terms=known.terms,
        sharpness=known.sharpness,
        rearrangement=known.rearrangement,
        disagreement=known.disagreement,
        clean=tuple(score for _, score in groups[False]),
        backdoored=tuple(score for _, score in groups[True]),
        clean_kinds=tuple(kind for kind, _ in groups[False]),
        backdoored_kinds=tuple(kind for kind, _ in groups[True]),
    )


def resource(beside: bool) -> Path:
    """Return where the constants lie."""
    return RESOURCES / ("backdoor_verdict_beside.json" if beside else "backdoor_verdict.json")


def calibrate(out: Path, beside: bool = False) -> Calibration:
    """Learn weights and scores on the parts `LEARNT`, and write the constants."""
    rows = learnt(out)
    made_by = (
        f"benchmarks/measure_verdict.py: {len(rows)} networks of {len({kind_name(row) for row in rows})} "
        f"kinds of the parts {', '.join(LEARNT)}"
    )
    known = calibrated(rows, made_by + (", each beside clean networks of its kind" if beside else ""))
    resource(beside).write_text(json.dumps(known.model_dump(), indent=1) + "\n", encoding="utf-8")
    return known


def learnt(out: Path) -> list[Measured]:
    """Return the networks that constants are made of: those that get a verdict, and whose backdoor works."""
    rows = (row for part in LEARNT for row in load(out, part))
    return [row for row in rows if took(row) and agrees(row) and row["varied"]]


CELLS: dict[str, Callable[[Measured], bool]] = {
    "from scratch, all to one": lambda row: row["mode"] == "all-to-one",
    **{
        f"from scratch, {kind}": lambda row, kind=kind: row["mode"] == "all-to-one" and row["trigger"] == kind
        for kind in (
            "corner-patch", "checkerboard", "blend", "dark-bar", "sinusoid", "warp", "sample-specific",
            "colour-shift",
        )
    },
    "fine-tuned, patches and blends": lambda row: (
        row["mode"] == "fine-tuned" and row["trigger"] in ("corner-patch", "checkerboard", "blend")
    ),
    "fine-tuned, other triggers": lambda row: (
        row["mode"] == "fine-tuned" and row["trigger"] not in ("corner-patch", "checkerboard", "blend")
    ),
    **{
        mode: lambda row, mode=mode: row["mode"] == mode
        for mode in ("all-to-all", "clean-label", "covers", "low-rate", "adaptive-rows", "adaptive-margins")
    },
    **{
        f"architecture {name}": lambda row, name=name: row["architecture"] == name
        for name in ("plain-cnn", "strided-bn-cnn", "residual-cnn")
    },
    **{
        f"images {name}": lambda row, name=name: row["images"] == name
        for name in ("fashion", "glyphs10", "glyphs43", "emoji")
    },
    "all": lambda row: True,
}  # fmt: skip
"""The backdoored networks of each line of the table, which stand against all clean ones, or those alike."""


def report(rows: Sequence[Measured], calibration: Calibration, prefix: str = "verdict") -> list[list[str]]:
    """Return the table's lines: AUC against the clean networks, shares found and accused, targets named."""
    found = [verdict_of(row, calibration) for row in rows]
    lines = []
    for name, chosen in CELLS.items():
        alike = name.startswith(("architecture", "images"))
        clean = [
            v
            for row, v in zip(rows, found, strict=True)
            if row["trigger"] is None and (not alike or chosen(row))
        ]
        pairs = [
            (row, v) for row, v in zip(rows, found, strict=True)
            if row["trigger"] is not None and took(row) and chosen(row)
        ]  # fmt: skip
        if not pairs or not clean:
            continue
        lines.append([name, *_figures(pairs, clean)])
    accused = sum(v.word == "backdoor" for row, v in zip(rows, found, strict=True) if row["trigger"] is None)
    total = sum(row["trigger"] is None for row in rows)
    lines.append(["clean networks accused", "", "", _share(accused, total), ""])
    missed = [v for row, v in zip(rows, found, strict=True) if not took(row)]
    lines.append(
        [
            "backdoors that did not take",
            str(len(missed)),
            "",
            _share(sum(v.word == "backdoor" for v in missed), len(missed)),
            "",
        ]
    )
    return lines


def _figures(pairs: list[tuple[Measured, Verdict]], clean: list[Verdict]) -> list[str]:
    scores = [v.score for v in clean] + [v.score for _, v in pairs]
    truth = np.repeat([0, 1], [len(clean), len(pairs)])
    auc, ends = auc_interval(split_scores(scores, truth), 0.95)
    hits = [(row, v) for row, v in pairs if v.word == "backdoor"]
    named = [(row, v) for row, v in hits if row["target"] is not None]
    right = sum(v.suspect == row["target"] and not v.all_to_all for row, v in named)
    return [
        str(len(pairs)),
        f"{auc:.2f} ({ends[0]:.2f}-{ends[1]:.2f})",
        _share(len(hits), len(pairs)),
        _share(right, len(named)) if named else "",
    ]


def _share(count: int, total: int) -> str:
    if not total:
        return "0 of 0"
    ends = wilson_interval(count, total, confidence_level=0.95)
    return f"{count} of {total} ({ends[0]:.2f}-{ends[1]:.2f})"


def left_out(rows: Sequence[Measured]) -> list[list[str]]:
    """Judge each kind with weights and scores of kinds that share nothing with it."""
    scores = scored_apart(rows)
    kinds = [kind_name(row) for row in rows]
    lines, outcomes = [], []
    for kind in sorted(set(kinds)):
        others = [
            (score, name)
            for row, score, name in zip(rows, scores, kinds, strict=True)
            if row["trigger"] is None and apart(name, kind)
        ]
        judged = [
            (row, score, conformal_p(score, [s for s, _ in others], [name for _, name in others]))
            for row, score in zip(rows, scores, strict=True)
            if kind_name(row) == kind
        ]
        outcomes += judged
        lines.append([kind, *_outcome(judged)])
    return [*lines, ["all", *_outcome(outcomes)]]


def _outcome(judged: Sequence[tuple[Measured, float, float]]) -> list[str]:
    clean = [(s, p) for row, s, p in judged if row["trigger"] is None]
    planted = [(s, p) for row, s, p in judged if row["trigger"] is not None]
    auc = ""
    if clean and planted:
        truth = [0] * len(clean) + [1] * len(planted)
        area, ends = auc_interval(split_scores([s for s, _ in clean + planted], truth), 0.95)
        auc = f"{area:.2f} ({ends[0]:.2f}-{ends[1]:.2f})"
    return [
        _share(sum(p <= LEVEL for _, p in clean), len(clean)),
        auc,
        _share(sum(p <= LEVEL for _, p in planted), len(planted)),
    ]


def by_kind(rows: Sequence[Measured], calibration: Calibration) -> list[list[str]]:
    """Judge the networks of kinds that nothing was made on: a line for each kind, and one for all."""
    found = [(row, verdict_of(row, calibration)) for row in rows]
    lines = []
    for kind in dict.fromkeys(kind_name(row) for row in rows):
        own = [(row, v) for row, v in found if kind_name(row) == kind]
        clean = [v for row, v in own if row["trigger"] is None]
        cells = [
            f"{row['trigger']}, {row['mode']}{'' if took(row) else ' (did not take)'}: {v.word}, "
            f"{v.probability:.2f}{', class named' if v.suspect == row['target'] else ''}"
            for row, v in own
            if row["trigger"] is not None
        ]
        said = ", ".join(f"{v.word} {v.probability:.2f}" for v in clean)
        lines.append([kind, said, "; ".join(cells)])
    clean = [v for row, v in found if row["trigger"] is None]
    planted = [(row, v) for row, v in found if row["trigger"] is not None and took(row)]
    accused = sum(v.word == "backdoor" for v in clean)
    _, auc, hits, named = _figures(planted, clean)
    words = f"found {hits}{f', class named in {named}' if named else ''}; AUC {auc}"
    lines.append(["all", f"{_share(accused, len(clean))} accused", words])
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("indicators", "calibrate", "judge"))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--part", default="design")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, help="networks to measure at most")
    parser.add_argument("--beside", action="store_true", help="compare with clean networks instead of twins")
    given = parser.parse_args(arguments)
    command = "python benchmarks/measure_verdict.py judge CORPUS ASSETS --out DIR"
    command += " --beside" if given.beside else ""
    if given.step == "indicators":
        indicators(given.corpus, given.assets, given.part, given.out, given.most, given.beside)
    elif given.step == "calibrate":
        calibrate(given.out, given.beside)
        for row in left_out(learnt(given.out)):
            print(*row, sep=" | ")
    else:
        known = Calibration.model_validate_json(resource(given.beside).read_bytes())
        lines = report(load(given.out, "test"), known)
        columns = ["networks", "n", "AUC", "found", "target named"]
        detailed = ("from scratch, ", "architecture ", "images ")
        whole = "backdoors-verdict-beside" if given.beside else "backdoors-verdict"
        for name, short in ((whole, True), ("backdoors-verdict-cells", False)):
            if given.beside and not short:
                continue
            with writing(name, command, columns) as line:
                for cells in lines:
                    is_detail = cells[0].startswith(detailed) and cells[0] != "from scratch, all to one"
                    if is_detail != short:
                        line(*cells)
        if fresh := [] if given.beside else load(given.out, f"{KINDS}fresh"):
            columns = ["kind", "two clean ones", "with a backdoor"]
            with writing("backdoors-verdict-fresh", command, columns) as line:
                for cells in by_kind(fresh, known):
                    line(*cells)
        columns = ["kind left out", "clean accused", "AUC", "found"]
        name = "backdoors-verdict-left-out" + ("-beside" if given.beside else "")
        with writing(name, command, columns) as line:
            for cells in left_out(learnt(given.out)):
                line(*cells)


if __name__ == "__main__":
    main()
