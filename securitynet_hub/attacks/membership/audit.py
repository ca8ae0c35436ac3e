"""Membership inference on one target: ask, score, measure, record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.accuracy import count_right
from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.membership.attack import Attack
from securitynet_hub.attacks.membership.base_calibration import find_base
from securitynet_hub.attacks.membership.blind_baseline import BlindBaseline, find_baseline
from securitynet_hub.attacks.membership.candidates import Candidates, find_candidates
from securitynet_hub.attacks.membership.kind import FDR, KIND, NEEDS, Options
from securitynet_hub.attacks.membership.measures import draw_share, measure_membership
from securitynet_hub.attacks.membership.member_lists import NamedMembers, Plan
from securitynet_hub.attacks.membership.pool import Answers, Pool, ask_about, find_pool, forward
from securitynet_hub.attacks.membership.registry import attacks as registered
from securitynet_hub.attacks.membership.registry import find
from securitynet_hub.attacks.membership.running import (
    ALWAYS_HELD,
    Run,
    measure_run,
    require_class_wise,
    run_attack,
    runnable,
)
from securitynet_hub.attacks.membership.samples import (
    kept_scores,
    measure_slices,
    sample_table,
    write_samples,
)
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.membership.tail import LiraEstimate, estimate_lira
from securitynet_hub.attacks.subject import AuditData, at_one_size, describe_subject
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.augmentations import VIEWS
from securitynet_hub.data.features import COMPONENTS
from securitynet_hub.engine.processes import find_place
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record, require_writable


def run(
    target: Target, data: AuditData, attacks: Sequence[str], options: Options, context: Context
) -> list[Record]:
    """Run membership attacks on a target; return one record for each, as `Audits.run` says.

    Raises:
        UnknownNameError: no such attack, setting or augmentation; the closest names are given.
        RecordError: the folder for samples holds other samples' scores of this model, or cannot be written.
        ValueError: an attack lacks a field that it needs, or might forward more than ``max_queries`` images.
    """
    measuring: dict[str, Any] = {
        "target_fprs": [float(rate) for rate in options.target_fprs],
        "confidence_level": float(context.confidence_level),
    }
    # Refuse impossible requests before the forward pass.
    measure_membership([1, 0], [1, 0], **measuring)
    data.require_classes_of(target)
    _require_addable(target, data, options)
    _require_used(attacks, options)
    chosen = _settings(attacks, context.settings, class_wise=options.class_wise)
    number = None if isinstance(options.shadows, Shadows) else options.shadows
    if number is not None and context.trainer is None:  # nothing can be compared with reference models
        options = replace(options, shadows=None)

    def require(name: str) -> None:
        """Refuse an attack that cannot run, whatever reference models there will be."""
        _require_answers(name, target, options)
        if number is not None and options.shadows is None and any(find(name).min_references):
            raise _unknown_training(target)
        if find(name).shares_pass and options.shadows is None:
            _require_inputs(name, None, options)

    attacks = context.able(attacks, require)
    if not attacks:
        return []
    plan, candidates = _plan(target, data, attacks, options, context)
    asked = data if candidates is None else candidates.beside(data)

    def require_asked(name: str) -> None:
        """Refuse an attack that cannot be asked about the candidates, or asks about too many images."""
        if candidates is not None:
            candidates.require_answerable({name: find(name)})
        if not find(name).shares_pass:
            _require_affordable(find(name), chosen[name], at_one_size(target, asked)[1], options.max_queries)

    attacks = context.able(attacks, require_asked)
    pool = _pool(target, data, options, context, candidates, attacks) if attacks else None

    def require_inputs(name: str) -> None:
        if find(name).shares_pass:
            _require_inputs(name, pool, options)

    attacks = context.able(attacks, require_inputs)
    if not attacks:
        return []
    plan = None if plan is None else replace(plan, attacks=len(attacks))
    comparing = [name for name in attacks if find(name).shares_pass]

    audit = _Audit(target, data, options, context, pool, measuring, plan, candidates)
    if comparing:
        audit.forward(comparing)
    elif data.validity is not None:
        data.validity.ask(target, data)
    runs: dict[str, Run] = {}
    records: list[Record] = []
    for name in attacks:
        with context.attempting(name):
            runs[name], record = audit.attack(find(name), chosen[name])
            records.append(record)
            context.on_record(record)
    if options.samples is not None and runs and find_place().is_main:
        positions = data.split.indices
        table = sample_table(
            runs, data.split.is_member, labels=data.images.labels[positions], positions=positions
        )
        _, sized = at_one_size(target, data)
        folder = Path(options.samples) / target.id
        write_samples(table, sized.images.select(positions), folder, lists=audit.lists)
    return records


def applicable(target: Target, data: AuditData, options: Options, context: Context) -> list[str]:
    """List the attacks on answers for which there is everything: reference models enough, a population."""
    _require_addable(target, data, options)  # before reference models are trained
    names, candidates = [name for name in registered() if find(name).unanswerable(target) is None], None
    if options.candidates is not None:
        candidates = find_candidates(options.candidates, target, data)
        kept = isinstance(options.shadows, Shadows) and not candidates.are_known_to(options.shadows, data)
        names = [
            name
            for name in names
            if not (kept and find(name).min_references[0])
            and (candidates.labelled or not find(name).labelled)
        ]
    pool = _pool(target, data, options, context, candidates, names)
    found = runnable(_held(pool, options), _fewest_references(pool))
    return [name for name in found if name in names]


def left_out(target: Target, data: AuditData, options: Options) -> dict[str, str]:
    """Return the reason for each attack that ``all`` leaves out here, as a command line says it.

    Where reference models are still to be trained, only the training shows which attacks they suffice for:
    then what an attack asks of them is returned, and the caller passes over those that ran.
    """
    candidates = None if options.candidates is None else find_candidates(options.candidates, target, data)
    pool = find_pool(options.shadows, data) if isinstance(options.shadows, Shadows) else None
    kept = pool is not None and candidates is not None and not candidates.are_known_to(pool.shadows, data)
    reasons = {}
    for name, attack in registered().items():
        if reason := attack.unanswerable(target):
            reasons[name] = reason
        elif not attack.shares_pass:
            reasons[name] = "it makes queries of its own, up to --max-queries images: name it in --attacks"
        elif candidates is not None and attack.labelled and not candidates.labelled:
            reasons[name] = "it needs labels, and the candidates have none"
        elif kept and attack.min_references[0]:
            reasons[name] = "it needs reference models trained on candidates, and these were trained before"
        elif reason := _lacking(attack, pool, options):
            reasons[name] = reason
    return reasons


def _lacking(attack: Attack, pool: Pool | None, options: Options) -> str:
    """Say what an attack on answers lacks, in the words of the command line; empty if nothing."""
    held = _held(pool, options)
    missing = set(attack.needed(held)) - held
    if "base_features" in missing:
        return "it needs the public model that the target was fine-tuned from: pass --base-model MODEL"
    if missing and options.shadows is None:
        return "it needs reference models: pass --shadows N"
    least_in, least_out = attack.min_references
    fewest_in, fewest_out = _fewest_references(pool)
    if missing & OF_POPULATION:
        return (
            "it needs a population, images that are neither members nor non-members, and the reference "
            "models were asked about none"
        )
    if missing or fewest_in < least_in or fewest_out < least_out:
        return (
            f"it needs, for each image, {least_in} or more reference models trained on it and {least_out} or "
            "more that were not: pass a larger --shadows N"
        )
    return ""


def swept() -> list[str]:
    """List the attacks that need neither reference models nor further queries."""
    return runnable()


class _Audit:
    """What the attacks of one audit share: the forward pass, the reference models, how to measure."""

    def __init__(
        self,
        target: Target,
        data: AuditData,
        options: Options,
        context: Context,
        pool: Pool | None,
        measuring: dict[str, Any],
        plan: Plan | None,
        candidates: Candidates | None,
    ) -> None:
        self.target, self.data, self.options, self.context = target, data, options, context
        self.pool, self.measuring, self.plan, self.candidates = pool, measuring, plan, candidates
        self.asked = data if candidates is None else candidates.beside(data)  # samples, then candidates
        self.labels = data.images.labels[data.split.indices]
        self.lists: list[NamedMembers] = []
        self.answers: Answers | None = None

    def forward(self, names: Sequence[str]) -> None:
        """Ask the target once, for all attacks on answers."""
        attacks = [find(name) for name in names]
        self.answers = forward(
            self.target,
            self.asked,
            self.pool,
            views=any(attack.augmented for attack in attacks),
            features=any("features" in attack.needs for attack in attacks),
            penultimate=any("penultimate" in attack.needs for attack in attacks),
            base=self.base if any("base_features" in attack.needs for attack in attacks) else None,
            calibration=float(self.options.calibration) if self.candidates is None else self.fitted_on,
            seed=self.context.seed,
            batch_size=self.context.batch_size,
            on_batch=self.context.on_batch,
        )
        own = self.answers.logits[: len(self.labels)]
        self.accuracy = count_right(own, self.labels, self.data.split.is_member)
        if self.data.validity is not None:
            self.data.validity.judge(self.target, self.data, self.data.split.indices, own)

    @cached_property
    def base(self) -> Target | None:
        """The public model that the target was fine-tuned from, if one was named."""
        return None if self.options.base is None else find_base(self.options.base, self.target)

    @cached_property
    def baseline(self) -> BlindBaseline:
        """Return how well images alone distinguish members from non-members."""
        level = self.measuring["confidence_level"]
        return find_baseline(self.data, seed=self.context.seed, confidence_level=level)

    @cached_property
    def fitted_on(self) -> npt.NDArray[np.bool_]:
        """For each image that is asked about, whether attacks may be fitted on it: no candidate is."""
        drawn = draw_share(float(self.options.calibration), self.data.split.is_member, self.context.seed)
        return np.append(drawn, np.zeros(len(self.asked.split.indices) - len(drawn), np.bool_))

    @cached_property
    def differs(self) -> bool:
        """Whether the candidates certainly differ from the known non-members by their images alone."""
        if self.candidates is None:
            return self.baseline.differs
        level = self.measuring["confidence_level"]
        return self.candidates.compare(self.data, seed=self.context.seed, confidence_level=level).differs

    def list_members(self, attack: Attack, run: Run) -> NamedMembers:
        """Name members among the candidates by the scores of an attack."""
        assert self.plan is not None
        n, is_member = len(self.labels), self.asked.split.is_member[run.rows]
        if self.candidates is None:
            known, judged = self.plan.halve(run.rows, is_member)
        else:
            known, judged = np.flatnonzero(~is_member & (run.rows < n)), np.flatnonzero(run.rows >= n)
        return NamedMembers(
            model=self.target.id,
            attack=attack.name,
            found=self.plan.list_of(run.scores[judged], run.scores[known]),
            scores=run.scores[judged],
            images=self.asked.images,
            positions=self.asked.split.indices[run.rows[judged]],
            plan=self.plan,
            known=len(known),
            is_member=is_member[judged] if self.candidates is None else None,
            differs=self.differs,
            candidates=None if self.candidates is None else self.candidates.images,
        )

    @cached_property
    def lira_estimate(self) -> LiraEstimate | None:
        """Return what LiRA would find, by the losses; None for a target that answers without them."""
        if self.answers is None or self.target.labels_only:
            return None
        rows = slice(0, len(self.labels))  # without candidates
        losses, is_member = self.answers.inputs.score("loss")[rows], self.data.split.is_member
        return estimate_lira(losses, is_member, confidence_level=self.measuring["confidence_level"])

    def attack(self, attack: Attack, settings: dict[str, Any]) -> tuple[Run, Record]:
        """Run one attack and measure it."""
        began = time.perf_counter()
        found, known, counts, timings = (self._compare if attack.shares_pass else self._ask)(attack, settings)
        own = found.rows < len(self.labels)
        run = found._replace(scores=found.scores[own], rows=found.rows[own])
        is_member = self.data.split.is_member
        result = measure_run(run, is_member, class_wise=self.options.class_wise, **self.measuring)
        if self.options.slices:
            known["slices"] = "class"
            classes = np.array(self.data.images.class_names)[self.labels]
            result["slices"] = measure_slices(
                run.scores, is_member[run.rows], classes[run.rows], simultaneous=True, **self.measuring
            )
        several = attack.augmented and self.pool is not None and len(self.pool.shadows.views) > 1
        sized = not attack.shares_pass or several or "features" in attack.needs
        data = at_one_size(self.target, self.data)[1] if sized else self.data
        result["blind_baseline"] = self.baseline.as_result()
        # A record says the same whatever runs beside its attack: only one on answers surely has the losses.
        if attack.shares_pass and self.lira_estimate is not None:
            result["lira_estimate"] = self.lira_estimate.as_result()
        if self.baseline.differs:
            result["matched"] = self.baseline.match(run.scores, run.rows, is_member[run.rows])
        if self.plan is not None:
            named = self.list_members(attack, found)
            result["listed"] = named.result
            self.lists.append(named)
            if self.options.on_list is not None:
                self.options.on_list(named)
        record = Record(
            **describe_subject(self.target, data),
            attack={"name": attack.name, "kind": KIND.name, **self.measuring, **known},
            result=result,
            counts=counts,
            timings={**timings, "attack": time.perf_counter() - began},
        )
        return run, record

    def _compare(
        self, attack: Attack, settings: dict[str, Any]
    ) -> tuple[Run, dict[str, Any], dict[str, int], dict[str, float]]:
        """Run an attack on the answers; return its run, settings, counts and the pass's duration."""
        assert self.answers is not None
        run = run_attack(attack.name, self.answers.inputs, class_wise=self.options.class_wise, **settings)
        known = {**settings, **self._decided(attack)}
        counts = {
            "forwarded": self.answers.forwarded,
            **(
                {"base_forwarded": len(self.answers.inputs.outputs)}
                if "base_features" in attack.needs
                else {}
            ),
            **self.accuracy._asdict(),
            **_models_used(attack, self.pool),
        }
        return run, known, counts, {"inference": self.answers.seconds}

    def _ask(
        self, attack: Attack, settings: dict[str, Any]
    ) -> tuple[Run, dict[str, Any], dict[str, int], dict[str, float]]:
        """Run an attack by queries; return as `_compare`."""
        target, data = at_one_size(self.target, self.asked)
        images, context = data.images, self.context
        labels = images.labels[data.split.indices]
        known = {**settings, "seed": context.seed}
        supplied: dict[str, Any] = {"seed": context.seed, "batch_size": context.batch_size}
        if attack.starts:
            # The first image of each class outside the split.
            rest = np.setdiff1d(np.arange(len(images)), data.split.indices)
            known["starts"] = rest[np.unique(images.labels[rest], return_index=True)[1]].tolist()
            supplied["starts"] = images.array(known["starts"])
        if attack.learns:
            supplied["known"] = np.where(self.fitted_on, data.split.is_member, -1)
        pixels = images.array(data.split.indices)
        found = attack.run(target, pixels, labels, **settings, **supplied)
        context.on_batch(found.total_queries)
        counts = {"forwarded": found.total_queries, "most_for_one_sample": int(found.queries.max())}
        if found.rows is None:
            return Run(found.scores, np.arange(len(labels))), known, counts, {}
        return (
            Run(found.scores, found.rows),
            {**known, "calibration": float(self.options.calibration)},
            counts,
            {},
        )

    def _decided(self, attack: Attack) -> dict[str, Any]:
        """Return what decides an attack's result besides its name and settings, for its record."""
        needs, pool = attack.needed(_held(self.pool, self.options)), self.pool
        decided: dict[str, Any] = {"from_logits": True}
        if "features" in needs:
            decided["features"] = {"components": COMPONENTS, "label": True}
        if "base_features" in needs and self.base is not None:
            known = self.base.annotation
            decided["base"] = {
                "id": known.id,
                "weights_hash_kind": known.weights_hash_kind,
                "weights_hash": known.weights_hash,
            }
        if self.options.class_wise:
            decided["class_wise"] = True
        if self.options.class_wise or "calibration" in needs:
            decided |= {"calibration": float(self.options.calibration), "seed": self.context.seed}
        if pool is not None and any("reference" in need or "population" in need for need in needs):
            decided["shadows_sha256"] = pool.shadows.sha256
            if attack.augmented:
                decided["views"] = list(pool.shadows.views)
        return decided


def _require_addable(target: Target, data: AuditData, options: Options) -> None:
    """Refuse a folder for samples that cannot take these, before any work."""
    if options.samples is not None:
        require_writable(Path(options.samples))
        kept_scores(Path(options.samples) / target.id, data.split.indices, data.split.is_member)


def _require_used(attacks: Sequence[str], options: Options) -> None:
    """Refuse options that no attack of this audit would look at."""
    if options.base is not None and not any("base_features" in find(name).needs for name in attacks):
        raise ValueError(
            "none of the attacks compares with the model that base= (--base-model) names: name "
            "base_calibration among them. The attack named base is another one, with reference models."
        )
    if options.fdr != FDR and not options.list_members and options.candidates is None:
        raise ValueError("fdr= (--fdr) is the rate of list_members= (--list-members): ask for that, too.")


def _plan(
    target: Target, data: AuditData, attacks: Sequence[str], options: Options, context: Context
) -> tuple[Plan | None, Candidates | None]:
    """Return how members are listed and the candidates, where lists are asked for and candidates given.

    Raises:
        ValueError: there are too few non-members for an attack's list, or it cannot judge the candidates.
    """
    if not options.list_members and options.candidates is None:
        return None, None
    plan = Plan(
        fdr=float(options.fdr),
        attacks=len(attacks),
        confidence_level=float(context.confidence_level),
        seed=context.seed,
    )
    chosen, given = {name: find(name) for name in attacks}, options.candidates is not None
    fitted = draw_share(float(options.calibration), data.split.is_member, context.seed)
    total = len(data.split.nonmembers)
    held = (
        ALWAYS_HELD if options.shadows is None else ALWAYS_HELD | {"population_outputs", "population_labels"}
    )
    for name, attack in chosen.items():
        is_fitted = options.class_wise or attack.learns or "calibration" in attack.needed(held)
        left = total - int(fitted[~data.split.is_member].sum()) if is_fitted else total
        plan.require_enough(name, left, halved=not given)
    if not given:
        return plan, None
    candidates = find_candidates(options.candidates, target, data)
    return plan, candidates


def _pool(
    target: Target,
    data: AuditData,
    options: Options,
    context: Context,
    candidates: Candidates | None,
    attacks: Iterable[str],
) -> Pool | None:
    """Return the reference models' answers; train the models now if the options give their number.

    Candidates are among what they are trained on where an attack needs models trained with each image, and
    otherwise only asked about, so that models that were trained before serve for any candidates.
    """
    for name in options.views:
        if name not in VIEWS:
            raise UnknownNameError("view", name, VIEWS)
    shadows = options.shadows
    if shadows is None:
        return None
    asked = data if candidates is None else candidates.beside(data)
    online = [name for name in attacks if find(name).min_references[0]]
    if not isinstance(shadows, Shadows):
        if context.trainer is None:
            raise _unknown_training(target)
        among = {"candidates": candidates.images} if candidates is not None and online else {}
        shadows = context.trainer(target, shadows, views=options.views, **among)
    if candidates is None or candidates.are_known_to(shadows, data):
        return find_pool(shadows, asked)
    if online:
        raise ValueError(
            f"{' and '.join(online)} compare with models trained on each image, and these were not trained "
            "on the candidates: pass the number of models (--shadows N), so that they are trained on some of "
            "them, or name an attack that compares with models without the image, such as lira_offline."
        )
    return find_pool(ask_about(shadows, data, candidates, seed=context.seed), asked)


def _unknown_training(target: Target) -> ValueError:
    return ValueError(
        f"how {target.id} was trained is not known here: pass the answers of reference models, "
        "shadows=train_shadows(...), in place of their number."
    )


def _settings(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], *, class_wise: bool
) -> dict[str, dict[str, Any]]:
    """Return every attack's settings as they are recorded.

    Raises:
        UnknownNameError: no such attack or setting; the closest names are given.
        ValueError: class-wise thresholds are asked for, and an attack has none; or a setting that is true or
            false has another value, such as the word no.
    """
    if class_wise:
        require_class_wise(names)
    chosen = {}
    for name in names:
        attack, own = find(name), settings.get(name, {})
        attack.require_settings(own)
        known = {key: value for key, value in attack.settings.items() if key != "requested_models"}
        for key, value in own.items():
            if isinstance(known.get(key), bool) and not isinstance(_plain(value, None), bool):
                raise ValueError(f"the setting {key} of {name} must be true or false; got {value!r}.")
        chosen[name] = {key: _plain(own.get(key, default), default) for key, default in known.items()}
    return chosen


def _plain(value: Any, default: Any) -> Any:
    """Return a setting as plain JSON; return a whole number as a float if the default is a float."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return float(value) if isinstance(default, float) and type(value) is int else value


def _require_affordable(attack: Attack, settings: dict[str, Any], data: AuditData, max_queries: int) -> None:
    """Refuse an attack that might forward more images than allowed, before the first query."""
    assert attack.cost is not None
    samples = data.split.indices
    most = len(samples) * attack.cost(data.images.read(samples[0]), **settings)
    if most > max_queries:
        raise ValueError(
            f"{attack.name} may forward {most:,} images for {len(samples):,} samples, more than "
            f"max_queries={max_queries:,} (--max-queries). Allow more, lower {' or '.join(settings)}, or "
            "audit fewer samples."
        )


def _require_answers(name: str, target: Target, options: Options) -> None:
    """Refuse an attack for which the target answers with too little; name those that can run here."""
    if reason := find(name).unanswerable(target):
        held = _given(options)
        enough = [
            other
            for other in registered()
            if find(other).unanswerable(target) is None and held >= set(find(other).needed(held))
        ]
        raise ValueError(f"{name} cannot attack {target.id}: {reason}. These can: {', '.join(enough)}.")


def _given(options: Options) -> set[str]:
    """Return the fields of the inputs that an audit has or that the options may give, if all goes well."""
    references = {"reference_outputs", "reference_in"} | OF_POPULATION
    return _held(None, options) | (set() if options.shadows is None else references)


OF_POPULATION = {"population_outputs", "population_labels", "reference_population_outputs"}
"""Fields of `MembershipInputs` that are of images beside members and non-members."""


def _require_inputs(name: str, pool: Pool | None, options: Options) -> None:
    """Refuse an attack that lacks a field or reference models, before any image is forwarded."""
    held = _held(pool, options)
    fewest = _fewest_references(pool)
    attack = find(name)
    missing = [need for need in attack.needed(held) if need not in held]
    if "base_features" in missing:
        raise ValueError(
            f"{name} compares with the public model that the target was fine-tuned from: name it with "
            "base= (--base-model)."
        )
    if pool is not None and missing and set(missing) <= OF_POPULATION:
        raise ValueError(
            f"{name} also compares with images that are neither members nor non-members (a population), "
            "and the shadow models were asked about none: those of hub.train_shadows know only the "
            "split. Choose an attack without a population: `securitynet attacks` says what each needs."
        )
    if missing:
        raise ValueError(
            f"{name} needs {' and '.join(NEEDS[need] for need in missing if need in NEEDS)}: pass "
            "shadows=train_shadows(...) (--shadows N); their pool must have the samples of the split "
            "and, for a population, others."
        )
    if any(n < least for n, least in zip(fewest, attack.min_references, strict=True)):
        raise ValueError(
            f"{name} needs, for every sample, {attack.min_references[0]} or more shadow models trained "
            f"on it and {attack.min_references[1]} or more that were not; the fewest are {fewest[0]} and "
            f"{fewest[1]}. Train more."
        )


def _fewest_references(pool: Pool | None) -> tuple[int, int]:
    """Return the smallest number of IN and of OUT reference models that any sample has."""
    return (0, 0) if pool is None else (pool.counts.fewest_in, pool.counts.fewest_out)


def _held(pool: Pool | None, options: Options) -> set[str]:
    """Return the fields of the inputs that this audit has besides the outputs."""
    held = set(ALWAYS_HELD) | ({"base_features"} if options.base is not None else set())
    if pool is not None:
        held |= {"reference_outputs", "reference_in"}
        if len(pool.outside):
            held |= {"population_outputs", "population_labels", "reference_population_outputs"}
    return held


def _models_used(attack: Attack, pool: Pool | None) -> dict[str, int]:
    """Return how many shadow models an attack's scores are based on, for its record."""
    if pool is None or not any("reference" in need for need in attack.needs):
        return {}
    counts = pool.counts
    return {"shadow_models": counts.models, "fewest_in": counts.fewest_in, "fewest_out": counts.fewest_out,
            "population": len(pool.outside)}  # fmt: skip
