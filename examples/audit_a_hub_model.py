"""Audit a classifier of the Hugging Face Hub (or of any id that load_target knows) and write a report.

``python audit_a_hub_model.py transformers:OWNER/NAME FOLDER IMAGES``. IMAGES are those that it was trained
on, and others: a data set of the Hub with splits train and test, such as ``uoft-cs/cifar10``, or a folder of
train/CLASS/* and test/CLASS/*. Without arguments it audits a model of the embedded zoo, which knows its
images and needs no network.
"""

import sys
from pathlib import Path

import securitynet_hub as hub
from securitynet_hub.attacks.subject import find_data
from securitynet_hub.records.entries import read_entries
from securitynet_hub.reports.page import write_report

id = sys.argv[1] if len(sys.argv) > 1 else "zoo/fashion-mnist/cnn-overfitted-500/1"
out = Path(sys.argv[2] if len(sys.argv) > 2 else "audit")
data = find_data(sys.argv[3]) if len(sys.argv) > 3 else None

records = hub.audit(
    id,
    attacks=["correctness", "modified_entropy", "hinge"],
    data=data,
    out=out / "records",
    samples=out / "samples",
)
for record in records:
    low, high = record.result["auc_ci"]
    print(f"{record.attack['name']:<18} AUC {record.result['auc']:.3f} ({low:.3f} to {high:.3f})")
print(write_report(read_entries([out / "records"]), out / "report.html", samples=out / "samples"))
