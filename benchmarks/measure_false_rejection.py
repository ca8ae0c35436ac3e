"""Whether detectors of inputs reject as few clean images as they promise.

``python benchmarks/measure_false_rejection.py`` measures it. On networks of the zoo, clean and backdoored,
each detector scores clean test images that it does not use itself. They are cut into blocks of 20: the
threshold for a false-rejection rate of 5 % is chosen on 19 images of a block, and the last one is judged. So
every image counts once, the trials of a network are independent given the detector's own images, and the
number of rejections is at most binomial with a probability of 1 in 20. The p-value is that of the exact
one-sided binomial test. It takes a minute of one core.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest
from tables import writing

from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.measures import rejection_threshold
from securitynet_hub.attacks.backdoor.registry import detectors
from securitynet_hub.data.images import load_images
from securitynet_hub.models.loading import load_target
from securitynet_hub.zoo.train import SHIPPED_TEST

NETWORKS = ("cnn-clean/1", "bn-cnn-clean/2", "cnn-dark-bar/11", "bn-cnn-corner-patch/7")
SETTINGS = {"strip": {"num_overlays": 25}}
REFERENCE, BLOCK, RATE = 300, 20, 0.05
COMMAND = "python benchmarks/measure_false_rejection.py"


def main() -> None:
    """Measure, and keep the table."""
    images = load_images()
    columns = ["detector", "networks", "clean images judged", "rejected", "share", "p-value of more than 5 %"]
    with writing("backdoor-inputs-false-rejection", COMMAND, columns) as row:
        for name, detector in detectors().items():
            if detector.judges != "inputs" or detector.costly:
                continue
            rejected, judged, networks = 0, 0, 0
            for number, network in enumerate(NETWORKS):
                target = load_target(f"zoo/fashion-mnist/{network}")
                drawn = images.pixels[np.random.default_rng(number).permutation(np.array(SHIPPED_TEST))]
                inputs = DetectorInputs(clean=drawn[:REFERENCE], inputs=drawn[REFERENCE:1000], seed=number)
                if detector.why_not(target, inputs) is not None:
                    continue
                scores = detector.run(target, inputs, **SETTINGS.get(name, {})).scores
                networks += 1
                for block in np.split(scores, len(scores) // BLOCK):
                    threshold = rejection_threshold(block[:-1], RATE)
                    rejected, judged = rejected + int(block[-1] > threshold), judged + 1
            p_value = binomtest(rejected, judged, RATE, alternative="greater").pvalue
            row(name, str(networks), str(judged), str(rejected), f"{rejected / judged:.3f}", f"{p_value:.2f}")


if __name__ == "__main__":
    main()
