"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

from securitynet_hub.evaluation import launch_page

EXAMPLE = (
    '{"predictions": [0, 1, 1, 0], "references": [0, 1, 0, 1], "target_predictions": [0, 1, 1, 0], '
    '"independent_predictions": [[0, 1, 0, 0], [0, 0, 0, 1]]}'
)

if __name__ == "__main__":
    launch_page("model_provenance", title="Model provenance", example=EXAMPLE)
