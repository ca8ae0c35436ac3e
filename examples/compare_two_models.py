"""Compare two models: does one give its members away more than the other, beyond chance?"""

import securitynet_hub as hub
from securitynet_hub.attacks.audit import known_data
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.statistics.comparison import auc_difference, paired_auc_difference

overfitted, regularised = "zoo/fashion-mnist/cnn-overfitted-500/1", "zoo/fashion-mnist/cnn-regularised-500/1"


def scores_of(id, signal):
    """Return every sample's score, higher = more likely a member, and its membership."""
    data = known_data(find_annotation(id))
    rows = data.split.indices
    logits = predict(hub.load_target(id), data.images.pixels[rows])
    labels = data.images.labels[rows].astype(int)
    return signal(logits, labels, from_logits=True), data.split.is_member


found = {id: scores_of(id, hub.signals.modified_entropy) for id in (overfitted, regularised)}
for id, (scores, is_member) in found.items():
    low, high = hub.statistics.roc_auc_interval(scores, is_member)
    print(f"{id}: AUC {hub.statistics.roc_auc(scores, is_member):.3f} ({low:.3f} to {high:.3f})")

# Both twins know the same 500 members, so that the samples are paired, which narrows the interval.
(one, is_member), (other, same) = found.values()
assert (is_member == same).all()
print("paired:  ", paired_auc_difference(one, other, is_member))
print("unpaired:", auc_difference(one, is_member, other, same))
