"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

from securitynet_hub.evaluation import launch_page

EXAMPLE = (
    '{"predictions": [0.9, 0.8, 0.3, 0.3], "references": [1, 0, 1, 0], "calibration": [0.1, 0.2, 0.3, 0.4]}'
)

if __name__ == "__main__":
    launch_page("backdoor_input_detection", title="Backdoor input detection", example=EXAMPLE)
