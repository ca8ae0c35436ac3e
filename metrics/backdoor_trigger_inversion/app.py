"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

import json

from securitynet_hub.evaluation import load_metric

EXAMPLE = '{"predictions": [10, 50, 60, 70, 80]}'


def compute(inputs: str) -> str:
    return json.dumps(load_metric("backdoor_trigger_inversion").compute(**json.loads(inputs)), indent=1)


if __name__ == "__main__":
    import gradio

    code = gradio.Code(EXAMPLE, language="json", label="inputs")
    gradio.Interface(
        compute, code, gradio.Code(language="json", label="figures"), title="Backdoor trigger inversion"
    ).launch()
