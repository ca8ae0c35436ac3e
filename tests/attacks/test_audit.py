import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.processes import run_python

import securitynet_hub
from securitynet_hub import audit, load_images, load_target, read_records
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.membership.boundary import boundary_scores
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.label_only import augmentation_scores
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import measure_attack
from securitynet_hub.attacks.membership.samples import measure_slices
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import RecordError, SkippedWarning, UnknownNameError, WeightsError
from securitynet_hub.data.augmentations import identity, mirror
from securitynet_hub.data.features import image_features
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import SIGNALS

OVERFITTED = "zoo/fashion-mnist/cnn-overfitted-500/1"


@pytest.fixture(scope="module")
def records():
    return audit(OVERFITTED)


def test_one_record_for_each_attack_with_everything_a_reader_needs(records):
    assert [record.attack["name"] for record in records] == list(SIGNALS)
    for record in records:
        assert record.target["id"] == OVERFITTED
        assert record.target["weights_hash"] == load_annotations("zoo")[OVERFITTED].weights_hash
        assert record.target["transform"]["mean"]
        assert record.data["sha256"] == load_images().sha256
        assert record.counts["forwarded"] == 2000
        assert (record.result["n_members"], record.result["n_nonmembers"]) == (500, 1500)
        assert record.environment["device"]
        low, high = record.result["auc_ci"]
        assert 0.5 < low < record.result["auc"] < high


def test_correctness_is_the_accuracy_gap(records):
    """The identity every build checks: AUC = 1/2 + (member accuracy - non-member accuracy) / 2."""
    target, data = load_target(OVERFITTED), known_data(find_annotation(OVERFITTED))
    logits = predict(target, data.images.pixels[data.split.indices])
    right = logits.argmax(1) == data.images.labels[data.split.indices]
    members = data.split.is_member
    expected = 0.5 + (right[members].mean() - right[~members].mean()) / 2
    assert records[0].attack["name"] == "correctness"
    assert records[0].result["auc"] == pytest.approx(expected, abs=1e-12)


def test_the_figures_are_those_of_the_library_functions(records):
    target, data = load_target(OVERFITTED), known_data(find_annotation(OVERFITTED))
    logits = predict(target, data.images.pixels[data.split.indices])
    for record in records:
        signal = SIGNALS[record.attack["name"]]
        scores = signal(logits, data.images.labels[data.split.indices], from_logits=True)
        assert record.result["auc"] == roc_auc(scores, data.split.is_member)


def test_every_overfitted_model_leaks_beyond_its_interval_and_its_twin_leaks_less():
    zoo = load_annotations("zoo")
    for id, row in zoo.items():
        if row.kind != "overfitted":
            continue
        overfitted, twin = (
            audit(each, attacks=["correctness", "modified_entropy"])
            for each in (id, id.replace("overfitted", "regularised"))
        )
        for leaking, regular in zip(overfitted, twin, strict=True):
            assert leaking.result["auc_ci"][0] > 0.5
            assert leaking.result["auc"] > regular.result["auc"]


def test_models_trained_on_sixty_thousand_images_hardly_leak():
    """Twelve clean models: their mean modified-entropy AUC has a standard error of about 0.004."""
    zoo = load_annotations("zoo")
    aucs = [
        audit(id, attacks=["modified_entropy"])[0].result["auc"]
        for id, row in zoo.items()
        if row.kind == "clean"
    ]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.02)


def test_exchanging_members_and_nonmembers_mirrors_the_figures(records):
    data = known_data(find_annotation(OVERFITTED))
    swapped = AuditData(
        images=data.images,
        split=Split(members=data.split.nonmembers, nonmembers=data.split.members),
    )
    for record, mirrored in zip(records, audit(OVERFITTED, data=swapped), strict=True):
        assert mirrored.result["auc"] == pytest.approx(1 - record.result["auc"], abs=1e-12)


def test_records_are_written_and_come_back(tmp_path):
    written = audit(OVERFITTED, attacks=["loss", "entropy"], out=tmp_path)
    read = list(read_records(tmp_path))
    assert {record.id for record in read} == {record.id for record in written}
    audit(OVERFITTED, attacks=["loss"], out=tmp_path)
    assert len(list(read_records(tmp_path))) == 3
    assert len({record.unit for record in read_records(tmp_path)}) == 2


def test_records_equal_their_files(tmp_path):
    (written,) = audit(OVERFITTED, attacks="loss", target_fprs=[np.float32(0.5)], out=tmp_path)
    (read,) = read_records(str(tmp_path))
    assert read == written
    assert len({read, written}) == 1


def test_an_attack_named_twice_is_run_once_and_any_iterable_will_do():
    records = audit(OVERFITTED, attacks=(name for name in ("loss", "entropy", "loss")))
    assert [record.attack["name"] for record in records] == ["loss", "entropy"]


def test_needs_no_cache_folder(tmp_path):
    (tmp_path / "file").touch()
    code = f"import securitynet_hub as hub; print(len(hub.audit({OVERFITTED!r})))"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "file")}
    done = run_python("-c", code, env=environment)
    assert done.stdout.strip() == str(len(SIGNALS)), done.stderr


def test_records_are_plain_json(records):
    text = json.dumps(records[0].as_dict(), allow_nan=False)
    assert json.loads(text)["result"]["tpr_at_fpr"][0]["target_fpr"] == 0.001


TARGET = load_target(OVERFITTED)


@pytest.fixture(scope="module")
def few():
    """Sixty of the samples, the same number of either kind."""
    data = known_data(TARGET.annotation)
    return replace(data, split=Split(members=data.split.members[:30], nonmembers=data.split.nonmembers[:30]))


@pytest.fixture(scope="module")
def shadows(few):
    """What six models might answer for the sixty and for forty others, in two views."""
    rng = np.random.default_rng(4)
    pool = rng.permutation(np.append(few.split.indices, np.arange(2000, 2040)))
    masks = rng.random((6, 100)).argsort(0) < 3
    masks[:, pool >= 2000] = False
    return Shadows(
        images_sha256=few.images.sha256,
        views=("identity", "mirror"),
        pool=pool,
        masks=masks,
        logits=rng.normal(size=(6, 100, 2, 10)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def pixels_and_labels(few):
    return few.images.pixels[few.split.indices], few.images.labels[few.split.indices]


class TestWithoutShadowModels:
    """What public models fall to: nobody trains another one."""

    def test_known_non_members_are_the_population_and_what_a_quantile_is_learned_from(self):
        data = known_data(TARGET.annotation)
        data = replace(
            data, split=Split(members=data.split.members[:100], nonmembers=data.split.nonmembers[:100])
        )
        rows, names = data.split.indices, ["attack_p", "quantile", "pinball"]
        inputs = MembershipInputs(
            outputs=predict(TARGET, data.images.pixels[rows]),
            labels=data.images.labels[rows],
            is_member=data.split.is_member,
            from_logits=True,
            calibration=0.5,
            features=image_features(data.images.pixels[rows], data.images.labels[rows]),
            seed=2,
        )
        for name, record in zip(names, audit(TARGET, attacks=names, data=data, seed=2), strict=True):
            assert record.result["auc"] == measure_attack(name, inputs)["auc"]
            assert (record.result["n_members"], record.result["n_nonmembers"]) == (50, 50)
            assert (record.attack["calibration"], record.attack["seed"]) == (0.5, 2)
            assert record.attack.get("features") == (
                None if name == "attack_p" else {"components": 16, "label": True}
            )

    def test_features_know_the_image_and_the_label(self):
        rng = np.random.default_rng(0)
        pixels, labels = rng.integers(0, 256, (40, 20, 30, 3), np.uint8), rng.integers(0, 3, 40)
        before = pixels.copy()
        features = image_features(pixels, labels, components=4)
        np.testing.assert_array_equal(pixels, before)
        np.testing.assert_array_equal(features[:, 4:], labels[:, None] == np.arange(3))
        np.testing.assert_allclose(features[:, :4].mean(0), 0, atol=1e-9)
        spread = np.cov(features[:, :4].T)
        np.testing.assert_allclose(spread, np.diag(np.diag(spread)), atol=1e-6 * spread[0, 0])
        assert (np.diff(np.diag(spread)) <= 0).all(), "those of most variance first"
        order = rng.permutation(40)
        np.testing.assert_allclose(
            image_features(pixels[order], labels[order], components=4), features[order], atol=1e-6
        )
        np.testing.assert_allclose(  # of small images every pixel is a cell
            image_features(pixels[:, :4, :4], labels, components=99)[:, :3],
            coordinates_of(pixels[:, :4, :4])[:, :3],
            atol=1e-6,
        )
        with pytest.raises(ValueError, match="labels one for each"):
            image_features(pixels, labels[1:])


def coordinates_of(pixels):
    """The same coordinates by the singular values, each direction's largest entry positive."""
    cells = pixels.reshape(len(pixels), -1).astype(float)
    cells -= cells.mean(0)
    directions = np.linalg.svd(cells, full_matrices=False)[2].T
    largest = directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])]
    return cells @ (directions * np.sign(largest))


@pytest.mark.parametrize("id", ["bn-cnn-overfitted-500/1", "cnn-overfitted-250/1"])
def test_neither_batches_nor_training_mode_change_a_score(id, few, tmp_path):
    """A network left in training mode would normalise by each batch: its answers must not show that."""
    target = load_target(f"zoo/fashion-mnist/{id}")
    tables = []
    for size, training in ((256, False), (1, False), (256, True)):
        target.module.train(training)
        folder = tmp_path / f"{size}-{training}"
        audit(target, attacks=["loss", "logit_margin"], data=few, batch_size=size, samples=folder)
        assert target.module.training == training
        tables.append(pd.read_parquet(folder / target.id / "scores.parquet")[["loss", "logit_margin"]])
    for other in tables[1:]:
        np.testing.assert_allclose(other, tables[0], rtol=1e-4, atol=1e-4)


class TestLabelOnly:
    """Attacks that ask about images of their own making, by their names."""

    def test_augmentations(self, few, pixels_and_labels):
        settings = {"noise": {"strengths": [0.1, 0.2], "copies": 2}, "rotation": {"strengths": 8}}
        names = ["translation", "rotation", "noise", "loss"]
        records = audit(TARGET, attacks=names, data=few, settings=settings, seed=3)
        for record, strengths, queries in zip(records, (1, 8, [0.1, 0.2]), (5, 3, 5), strict=False):
            name = record.attack["name"]
            copies = {"copies": 2} if name == "noise" else {}
            found = augmentation_scores(
                TARGET, *pixels_and_labels, kind=name, strengths=strengths, seed=3, **copies
            )
            assert record.result["auc"] == measure_membership(found.scores, few.split.is_member)["auc"]
            assert record.counts == {"forwarded": 60 * queries, "most_for_one_sample": queries}
            assert record.attack["strengths"] == strengths
            assert record.attack["seed"] == 3
            assert "from_logits" not in record.attack
        assert records[3].counts["forwarded"] == 60

    def test_boundary(self, few, pixels_and_labels):
        settings = {"boundary": {"budget": 12, "gradient_queries": 3}}
        forwarded, begun = [], []
        (record,) = audit(
            TARGET,
            attacks="boundary",
            data=few,
            settings=settings,
            max_queries=720,
            on_attack=begun.append,
            on_batch=forwarded.append,
        )
        assert begun == ["boundary"]
        starts = record.attack["starts"]
        assert few.images.labels[starts].tolist() == list(range(10)), "one of each class"
        assert not set(starts) & set(few.split.indices.tolist())
        found = boundary_scores(
            TARGET, *pixels_and_labels, budget=12, gradient_queries=3, starts=few.images.pixels[starts]
        )
        assert record.result["auc"] == measure_membership(found.scores, few.split.is_member)["auc"]
        assert record.counts["forwarded"] == found.total_queries == sum(forwarded)
        assert record.counts["most_for_one_sample"] == 12

    def test_settings_tell_units_apart(self, few):
        units = [
            audit(TARGET, attacks="translation", data=few, settings=settings)[0].unit
            for settings in ({}, {"translation": {"strengths": 1}}, {"translation": {"strengths": 2}})
        ]
        assert units[0] == units[1] != units[2]

    def test_what_costs_too_much_is_refused_before_the_first_query(self, few, monkeypatch, tmp_path):
        monkeypatch.setattr(
            "securitynet_hub.attacks.membership.pool.predict", lambda *_, **__: pytest.fail("asked")
        )
        with pytest.raises(ValueError, match="boundary may forward 30,000 images for 60 samples, more than"):
            audit(TARGET, attacks=["boundary"], data=few, max_queries=29_999, out=tmp_path)
        with pytest.raises(ValueError, match="strengths of a translation must be above zero and whole"):
            audit(TARGET, attacks="translation", data=few, settings={"translation": {"strengths": 0.5}})
        with pytest.raises(ValueError, match="budget and gradient_queries must be whole numbers"):
            audit(TARGET, attacks="boundary", data=few, settings={"boundary": {"budget": 0}})
        assert list(tmp_path.rglob("*.json")) == []

    def test_its_scores_are_written(self, few, tmp_path):
        audit(TARGET, attacks=["translation"], data=few, samples=tmp_path)
        assert (tmp_path / OVERFITTED / "exposed-translation.png").is_file()


class TestViews:
    """Shadow models that answered for several views: the target is asked the same."""

    def test_the_target_is_asked_the_same(self, few, shadows):
        records = audit(TARGET, attacks=["loss", "lira", "rmia", "attack_r"], data=few, shadows=shadows)
        place = {position: row for row, position in enumerate(shadows.pool.tolist())}
        rows = [place[position] for position in few.split.indices.tolist()]
        others = [row for row, position in enumerate(shadows.pool.tolist()) if position >= 2000]
        views = [
            [predict(TARGET, view(few.images.pixels[shadows.pool[part]])) for view in (identity, mirror)]
            for part in (rows, others)
        ]
        inputs = MembershipInputs(
            outputs=np.stack(views[0], 1),
            labels=few.images.labels[few.split.indices],
            is_member=few.split.is_member,
            from_logits=True,
            reference_outputs=shadows.logits[:, rows],
            reference_in=shadows.masks[:, rows],
            population_outputs=np.stack(views[1], 1),
            population_labels=few.images.labels[shadows.pool[others]],
            reference_population_outputs=shadows.logits[:, others],
        )
        for record in records:
            assert record.result["auc"] == measure_attack(record.attack["name"], inputs)["auc"]
            assert record.counts["forwarded"] == 200
        assert records[1].attack["views"] == records[2].attack["views"] == ["identity", "mirror"]
        assert "views" not in records[0].attack
        assert "views" not in records[3].attack

    def test_one_view_is_enough_for_the_others(self, few, shadows):
        (record,) = audit(TARGET, attacks="attack_r", data=few, shadows=shadows)
        assert record.counts["forwarded"] == 100

    def test_views_that_are_not_known_are_refused(self, few, shadows):
        strange = replace(shadows, views=("identity", "sepia"))
        with pytest.raises(ValueError, match="'sepia' is none of identity, mirror"):
            audit(TARGET, attacks="lira", data=few, shadows=strange)
        audit(TARGET, attacks="attack_r", data=few, shadows=strange)  # looks at the first alone


class TestSettings:
    def test_they_reach_the_attack_and_the_record(self, few, shadows):
        settings = {"rmia": {"gamma": 1, "a": "tuned"}, "lira": {"variance": "global_centred"}}
        plain = audit(TARGET, attacks=["rmia", "lira"], data=few, shadows=shadows)
        given = audit(TARGET, attacks=["rmia", "lira"], data=few, shadows=shadows, settings=settings)
        assert (given[0].attack["gamma"], given[0].attack["a"]) == (1.0, "tuned")
        assert given[0].result["tuned"]["a"] in np.linspace(0, 1, 11).round(1)
        assert (plain[1].attack["variance"], given[1].attack["variance"]) == ("per_example", "global_centred")
        for one, other in zip(plain, given, strict=True):
            assert one.unit != other.unit
            assert one.result["auc"] != other.result["auc"]

    def test_one_way_to_write_a_number(self, few, shadows):
        units = {
            audit(TARGET, attacks="rmia", data=few, shadows=shadows, settings={"rmia": {"gamma": gamma}})[
                0
            ].unit
            for gamma in (2, 2.0, np.float64(2), np.int64(2))
        }
        assert len(units) == 1

    def test_class_wise(self, few):
        plain, class_wise = (audit(TARGET, attacks="loss", class_wise=flag)[0] for flag in (False, True))
        assert plain.unit != class_wise.unit
        assert (class_wise.attack["class_wise"], class_wise.attack["calibration"]) == (True, 0.5)
        assert class_wise.result["n_members"] == 250
        assert 0.5 < class_wise.result["accusations"]["balanced_accuracy"] < 1
        with pytest.raises(ValueError, match=r"class-wise thresholds are for correctness.*got logistic"):
            audit(TARGET, attacks=["loss", "logistic"], class_wise=True)

    def test_slices_are_the_classes(self):
        data = known_data(TARGET.annotation)
        (record,) = audit(TARGET, attacks="loss", slices=True)
        rows = data.split.indices
        scores = SIGNALS["loss"](
            predict(TARGET, data.images.pixels[rows]), data.images.labels[rows], from_logits=True
        )
        classes = np.array(data.images.class_names)[data.images.labels[rows]]
        expected = measure_slices(
            scores, data.split.is_member, classes, target_fprs=(0.001, 0.01), simultaneous=True
        )
        assert record.result["slices"] == json.loads(json.dumps(expected))
        assert set(record.result["slices"]) == set(data.images.class_names)
        assert sum(one["n_members"] for one in record.result["slices"].values()) == 500
        assert record.unit != audit(TARGET, attacks="loss")[0].unit

    def test_a_class_of_one_side_has_no_figures(self, few):
        labels = few.images.labels
        members = [row for row in few.split.members.tolist() if labels[row] != 3]
        (record,) = audit(
            TARGET,
            attacks="loss",
            data=replace(few, split=Split(members=np.array(members), nonmembers=few.split.nonmembers)),
            slices=True,
        )
        assert record.result["slices"][few.images.class_names[3]] is None

    def test_others_are_refused(self, few, tmp_path):
        with pytest.raises(UnknownNameError, match="setting of loss 'gamma'"):
            audit(TARGET, attacks="loss", data=few, settings={"loss": {"gamma": 1}}, out=tmp_path)
        with pytest.raises(UnknownNameError, match="setting of noise 'sigma'"):
            audit(TARGET, attacks="noise", data=few, settings={"noise": {"sigma": 1}}, out=tmp_path)
        with pytest.raises(ValueError, match=r"rmia has a setting and is not among .* \(--attacks rmia\)"):
            audit(TARGET, attacks="loss", data=few, settings={"rmia": {"gamma": 1}}, out=tmp_path)
        assert list(tmp_path.rglob("*.json")) == []


class TestRefusals:
    """Each is one sentence, and nothing is written."""

    @pytest.fixture(autouse=True)
    def nothing_written(self, tmp_path):
        yield
        assert list(tmp_path.rglob("*.json")) == []

    def test_unknown_attack(self, tmp_path):
        with pytest.raises(UnknownNameError, match="modified_entropy"):
            audit(OVERFITTED, attacks=["modified-entropy"], out=tmp_path)

    def test_no_attacks(self, tmp_path):
        with pytest.raises(ValueError, match="at least one attack"):
            audit(OVERFITTED, attacks=[], out=tmp_path)

    def test_unknown_model(self, tmp_path):
        with pytest.raises(UnknownNameError, match=OVERFITTED):
            audit("zoo/fashion-mnist/cnn-overfitted-50/1", out=tmp_path)

    def test_public_models_need_data(self):
        target = load_target(OVERFITTED)
        public = next(iter(load_annotations().values()))
        with pytest.raises(ValueError, match="name them with data="):
            audit(replace(target, annotation=replace(public, num_classes=10)))

    def test_no_weights_are_downloaded_for_a_model_without_data(self, monkeypatch):
        monkeypatch.setattr("securitynet_hub.attacks.audit.load_target", lambda id: pytest.fail("loaded"))
        with pytest.raises(ValueError, match="name them with data="):
            audit("pytorchcv/cifar10/resnet20")

    def test_unwritable_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RecordError, match="cannot write records"):
            audit(OVERFITTED, out=tmp_path / "file")

    def test_no_target(self, tmp_path):
        with pytest.raises(ValueError, match="be named by its id or source:reference; got a NoneType"):
            audit(None, out=tmp_path)

    def test_members_of_another_model(self, tmp_path):
        """A swapped members file would make an overfitted model look as if nothing leaked."""
        target = load_target(OVERFITTED)
        row = replace(target.annotation, members_file="splits/members-500-2.json")
        with pytest.raises(WeightsError, match=r"members-500-2\.json is damaged or was replaced"):
            audit(replace(target, annotation=row), out=tmp_path)

    def test_damaged_weights(self, tmp_path):
        row = load_annotations("zoo")[OVERFITTED]
        damaged = replace(row, weights_hash="0" * 64)
        with pytest.raises(WeightsError, match="damaged"):
            audit(load_target(damaged), out=tmp_path)

    def test_positions_that_are_not_there(self):
        with pytest.raises(ValueError, match="only 4000 images"):
            AuditData(
                images=load_images(),
                split=Split(members=np.array([0]), nonmembers=np.array([4000])),
            )

    @pytest.mark.parametrize("setting", [{"target_fprs": [2]}, {"confidence_level": 95}])
    def test_settings_that_are_no_rates(self, setting, tmp_path):
        with pytest.raises(ValueError, match="between 0 and 1"):
            audit(OVERFITTED, attacks=["loss", "entropy"], out=tmp_path, **setting)

    @pytest.mark.parametrize("value", ["no", "yes", 1])
    def test_a_word_is_neither_true_nor_false(self, value):
        with pytest.raises(ValueError, match=r"the setting calibrated of lira must be true or false; got"):
            audit(OVERFITTED, attacks=["lira"], settings={"lira": {"calibrated": value}})


def test_every_public_name_is_there_and_documented():
    for name in securitynet_hub.__all__:
        assert getattr(securitynet_hub, name).__doc__
        assert name in dir(securitynet_hub)
    with pytest.raises(AttributeError, match="no attribute 'attack'"):
        securitynet_hub.attack  # noqa: B018


class TestWhatCannotRun:
    """Of attacks that are named, those run that can; the others are told, with why."""

    def test_the_others_run(self, few, tmp_path):
        told = {}
        names = ["rmia", "boundary", "loss", "hop_skip_jump", "fgsm", "mm_bd"]
        records = audit(
            TARGET,
            attacks=names,
            data=few,
            max_queries=100,
            robust_images=4,
            settings={"mm_bd": {"images_per_class": 1, "steps": 2}},
            out=tmp_path,
            on_skipped=told.__setitem__,
        )
        assert {record.attack["name"] for record in records} == {"loss", "fgsm", "mm_bd"}
        assert {record.attack["name"] for record in read_records(tmp_path)} == {"loss", "fgsm", "mm_bd"}
        assert list(told) == ["rmia", "boundary", "hop_skip_jump"]
        assert "rmia needs reference models and population" in str(told["rmia"])
        assert "more than max_queries=100" in str(told["boundary"])
        assert "the norm L2 alone" in str(told["hop_skip_jump"])

    def test_it_does_not_matter_which_kind_comes_first(self, few):
        with pytest.warns(SkippedWarning, match="lira was not run .*needs reference models"):
            (record,) = audit(TARGET, attacks=["lira", "fgsm"], data=few, robust_images=4)
        assert record.attack["name"] == "fgsm"

    def test_reference_models_that_nobody_can_train_keep_nothing_else_back(self, few):
        told = {}
        names = ["error_agreement", "lira", "loss"]
        records = audit(TARGET, attacks=names, data=few, shadows=4, on_skipped=told.__setitem__)
        assert [record.attack["name"] for record in records] == ["loss"]
        assert "was trained is not known here" in str(told["lira"])
        assert "name the one that the audited model may be derived from" in str(told["error_agreement"])

    def test_an_unknown_name_is_told_before_another_kind_begins(self, few, tmp_path):
        with pytest.raises(UnknownNameError, match="'mirror'"):
            audit(TARGET, attacks=["loss", "fgsm"], data=few, views=["miror"], robust_images=4, out=tmp_path)
        assert list(tmp_path.rglob("*.json")) == []

    def test_an_audit_of_nothing_is_an_error(self, few, tmp_path):
        told = []
        with pytest.raises(ValueError, match="lira needs reference models"):
            audit(
                TARGET,
                attacks=["lira", "hop_skip_jump"],
                data=few,
                out=tmp_path,
                on_skipped=lambda name, error: told.append(name),
            )
        assert told == ["lira", "hop_skip_jump"]
        assert list(tmp_path.rglob("*.json")) == []

    def test_lists_share_their_rate_among_those_that_run(self, few):
        shared, alone = (
            audit(TARGET, attacks=names, data=few, list_members=True, fdr=0.5, on_skipped=lambda *_: None)
            for names in (["lira", "loss"], ["loss"])
        )
        assert shared[0].result["listed"] == alone[0].result["listed"]

    def test_a_folder_for_scores_stands_unused(self, few, tmp_path):
        with pytest.warns(SkippedWarning, match=r"samples= \(--samples\): no attack on membership is run"):
            audit(TARGET, attacks=["fgsm"], data=few, robust_images=4, samples=tmp_path / "kept")
        assert not (tmp_path / "kept").exists()
