"""Audit a classifier of the Hugging Face Hub (or of any id that load_target knows) and write a report.

``python audit_a_hub_model.py ID FOLDER``. Without arguments a model of the embedded zoo is audited,
which needs no network. For another model, say which images it was trained on.
"""

import sys
from pathlib import Path

import securitynet_hub as hub
from securitynet_hub.auditing import known_data
from securitynet_hub.report.page import write_report
from securitynet_hub.report.reading import read_entries
from securitynet_hub.targets import find_annotation

id, folder = (sys.argv[1:] + ["zoo/fashion-mnist/cnn-overfitted-500/1", "audit"][len(sys.argv) - 1 :])[:2]
out = Path(folder)

# The zoo knows its members. Of a Hub model say what you know: images of its training set, and others that it
# cannot have seen, as hub.AuditData(images=hub.load_images(...), split=hub.Split(...)).
data = known_data(find_annotation("zoo/fashion-mnist/cnn-overfitted-500/1"))

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
