"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

from securitynet_hub.evaluation import launch_page

EXAMPLE = '{"predictions": [10, 50, 60, 70, 80]}'

if __name__ == "__main__":
    launch_page("backdoor_trigger_inversion", title="Backdoor trigger inversion", example=EXAMPLE)
