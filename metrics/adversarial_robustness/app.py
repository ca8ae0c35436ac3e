"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

from securitynet_hub.evaluation import launch_page

EXAMPLE = (
    '{"predictions": [0, 1, 1, 0], "references": [0, 1, 1, 1], '
    '"adversarial_predictions": [[0, 0], [0, 1], [1, 0], [1, 1]]}'
)

if __name__ == "__main__":
    launch_page("adversarial_robustness", title="Adversarial robustness", example=EXAMPLE)
