"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

from securitynet_hub.evaluation import launch_page

EXAMPLE = '{"predictions": [0.9, 0.8, 0.3, 0.3], "references": [1, 0, 1, 0], "target_fprs": [0.5]}'

if __name__ == "__main__":
    launch_page("membership_inference", title="Membership inference", example=EXAMPLE)
