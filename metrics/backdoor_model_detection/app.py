"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

from securitynet_hub.evaluation import launch_page

EXAMPLE = '{"predictions": [0.9, 0.2, 0.5, 0.5], "references": [1, 0, 1, 0], "probabilities": true}'

if __name__ == "__main__":
    launch_page("backdoor_model_detection", title="Backdoored-model detection", example=EXAMPLE)
