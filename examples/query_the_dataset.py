"""Query the annotations with pandas: which public models of a data set leak, and are they accurate?"""

import securitynet_hub as hub

models = hub.load_annotations().to_pandas()

# A figure that a flag distrusts is no figure: `trusted` gives None for it.
rows = hub.load_annotations().values()
models["auc"] = [row.trusted("mia_modified_entropy_auc") for row in rows]
models["gap"] = [row.trusted("overfit_gap") for row in rows]

leaky = models.dropna(subset=["auc"]).sort_values("auc", ascending=False)
print(leaky[["id", "test_accuracy", "gap", "auc"]].head(5).to_string(index=False))

by_dataset = (
    leaky.astype({"auc": float}).groupby(["dataset", "purpose"])["auc"].agg(["count", "median", "max"])
)
print(by_dataset.round(3).to_string())
