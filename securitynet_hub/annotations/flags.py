"""The closed vocabulary of flags: what to know of a row, and which of its columns not to trust."""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """Say what a flag means and which columns to leave out of statistics where it stands."""

    meaning: str
    distrust: tuple[str, ...] = ()


_TRAIN = ("train_accuracy", "overfit_gap")
_STEALING = tuple(
    f"{kind}stealing_{figure}" for kind in ("", "wrn_", "imagenet_") for figure in ("accuracy", "agreement")
)
_MIA = ("mia_correctness_auc", "mia_modified_entropy_auc")
MEASURED = (*_TRAIN, "test_accuracy", *_STEALING, *_MIA)
"""The columns that upstream measured."""
_VENUE = ("paper_venue", "paper_venue_type")
_ABOUT_PAPER = (*_VENUE, "paper_year", "paper_countries", "paper_num_authors")

FLAGS: dict[str, Flag] = {
    "not-evaluated": Flag(
        "Upstream writes 0 (benchmark table) or nan (security table) for figures that were never "
        "measured. They are null here."
    ),
    "gap-without-train-accuracy": Flag(
        "Upstream's overfit gap was computed from a missing train accuracy and is minus the test "
        "accuracy. It is null here."
    ),
    "train-accuracy-placeholder": Flag(
        "The train accuracy is the same constant for every SVHN model: a placeholder. It is kept; "
        "do not use it or the gap.",
        _TRAIN,
    ),
    "train-accuracy-on-subset": Flag(
        "The train accuracy is over train_eval_size training images, not the whole training set."
    ),
    "evaluation-broken": Flag(
        "Figures contradict the publication by far (OrganMNIST3D) or come from constant answers "
        "(SynapseMNIST3D), probably by wrong input scaling.",
        MEASURED,
    ),
    "evaluation-suspect": Flag(
        "Same code path as the broken evaluations, and figures off the publication: probably "
        "wrong input scaling.",
        MEASURED,
    ),
    "constant-predictor": Flag(
        "Model and stolen copy agree on every test image and so, near certainly, both give "
        "one constant answer: nothing was stolen.",
        _STEALING,
    ),
    "stealing-failed": Flag(
        "The stolen copy reaches less than a tenth of the model's accuracy: a failed run.",
        _STEALING,
    ),
    "preprocessing-differs": Flag(
        "Evaluated with another image transform than the publisher's: accuracies lie a few points "
        "below reported_accuracy. Kept as evaluated."
    ),
    "input-size-suspect": Flag("Published for images larger than 224 pixels, probably evaluated at 224."),
    "dataset-changed-since": Flag("Sizes are those of MedMNIST 2.x; MedMNIST 3.0 changed this data set."),
    "dataset-noncommercial": Flag("The data set's licence excludes commercial use (CC BY-NC 4.0)."),
    "dataset-renamed": Flag("The data set is spelled as its publisher spells it."),
    "family-renamed": Flag("Upstream cut the family at the first digit of the name; completed."),
    "architecture-renamed": Flag("The publisher's name for this network is another one."),
    "countries-normalised": Flag("Countries are spelled alike and sorted."),
    "paper-corrected": Flag(
        "Upstream cites the wrong paper; the link is corrected. Venue, year, countries and number "
        "of authors still describe the paper that upstream cites.",
        _ABOUT_PAPER,
    ),
    "paper-doubtful": Flag(
        "The cited paper is probably not where this network comes from.",
        ("paper_url", *_ABOUT_PAPER),
    ),
    "venue-doubtful": Flag("The paper appeared at a conference, not only on arXiv.", _VENUE),
    "weights-link-resolved": Flag(
        "Upstream links a repository; weights_url is the file in it that carries these weights."
    ),
    "weights-link-corrected": Flag(
        "Upstream links the record of the data; weights_url is in the record of the weights."
    ),
    "weights-link-unresolved": Flag(
        "No file is known for this row yet: weights_url is null, weights_page is upstream's link."
    ),
    "weights-hash-missing": Flag("No hash is known, so that a download cannot be verified."),
    "weights-member-assumed": Flag(
        "The file name inside the archive follows the upstream name and was not seen."
    ),
    "weights-versions-differ": Flag(
        "The publisher replaced the weights later. weights_url is the file current when "
        "upstream measured, weights_newer_url the later one."
    ),
    "seed-inferred": Flag(
        "Upstream lists three runs under one name; that the k-th is seed k is likely, not proven."
    ),
    "license-unclear": Flag("The licence of the weights is not established."),
    "not-in-securitynet": Flag(
        "Not a row of SecurityNet's release, and not known to be one of the paper's models: added "
        "from its publisher's own list. Nothing was measured; reported_accuracy is the publisher's."
    ),
    "preprocessing-nonstandard": Flag(
        "The publisher marks these weights, converted from timm's, as needing another image transform than "
        "its usual one. They get timm's mean and std of 0.5 and the publisher's bilinear resize."
    ),
    "image-size-from-code": Flag(
        "The publisher's table gives no input size; it is the default of the network's code."
    ),
    "weights-hard-to-load": Flag("Others report that these weights do not load as their siblings do."),
    "weights-noncommercial": Flag(
        "The publisher puts these weights under a licence of their own (SWAG) that excludes commercial use."
    ),
    "paper-link-repeats-repository": Flag("Upstream's paper link is the repository again. It is null here."),
    "paper-link-not-a-url": Flag("Upstream's paper link is not a URL. It is null here."),
    "paper-at-workshop": Flag("The paper is a workshop paper of that venue.", ("paper_venue",)),
    "title-truncated": Flag("The title lacks its beginning.", ("title",)),
    "title-differs": Flag("The title is not the paper's own.", ("title",)),
    "title-with-extras": Flag("The title carries words that are not part of the paper's title."),
    "link-to-dataset": Flag("The weights link is a data set."),
    "link-to-project-page": Flag("The weights link is a project page, not a repository."),
    "link-to-umbrella-repository": Flag("The weights link is a repository of many projects."),
    "weights-links-empty": Flag("The repository announces weights, but its links are empty."),
    "project-not-reviewed": Flag("Nobody has looked into this project yet."),
}
"""The closed vocabulary of flags; every row's flags and corrections use only these."""
