"""The table of what to run in docs/membership.md, from the results of the scripts that measured each attack.

Run with ``python benchmarks/collect_guide.py`` after any of them, then ``make tables``.
"""

from tables import RESULTS, read, writing

SETS = {
    "emoji pictures": ("emoji", "emoji"),
    "Fashion-MNIST, overfitted": ("overfitted", "fashion-overfitted"),
    "Fashion-MNIST, regularised": ("regularised", "fashion-regularised"),
}
"""Headings, with the names of the networks in ``membership-NAME`` and in the other results."""

RATE = "TPR at 1 % FPR"
ATTACKS = {
    "`modified_entropy`": ("labels", "membership", "`modified_entropy`"),
    "`logistic`": ("known members and non-members", "membership", "`logistic`"),
    "`leverage`": ("the same, and the last layer", "membership-last-layer", "`leverage`"),
    "`inverse_hessian`": ("the same, and the last layer", "membership-last-layer", "`inverse_hessian`"),
    "`base`": ("networks without the image", "membership", "`base`"),
    "`rmia`": ("networks without the image, a population", "membership", "`rmia`"),
    "`base_online`": ("networks with and without the image", "membership", "`base_online`"),
    "`lira`, Bayesian": ("networks with and without the image", "membership", "`lira`, Bayesian"),
}
"""For each line what it needs, and the results and the row that have its figures."""


def measured(results, row, names):
    """Return a row's TPR at 1 % FPR on one set of networks, "-" where it was not measured."""
    name = f"{results}-{names[results != 'membership']}"
    if not (RESULTS / f"{name}.json").exists():
        return "-"
    found = read(name)
    return next((cells[found.columns.index(RATE)] for cells in found.rows if cells[0] == row), "-")


def estimated(names):
    """Return the estimate of LiRA's TPR, and its interval."""
    found = read("membership-tail")
    cells = next(cells for cells in found.rows if cells[0] == names[1])
    estimate, ci = (cells[found.columns.index(name)] for name in ("estimate", "its interval, on average"))
    return f"{estimate.split()[0]} ({ci})"


def main():
    with writing("membership-guide", "python benchmarks/collect_guide.py", ["run", "needs", *SETS]) as write:
        for attack, (needs, results, row) in ATTACKS.items():
            cells = [measured(results, row, names) for names in SETS.values()]
            if set(cells) != {"-"}:
                write(attack, needs, *cells)
        write("LiRA, estimated (interval)", "labels", *map(estimated, SETS.values()))


if __name__ == "__main__":
    main()
