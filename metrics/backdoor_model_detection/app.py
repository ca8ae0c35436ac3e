"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

import json

from securitynet_hub.evaluation import load_metric

EXAMPLE = '{"predictions": [0.9, 0.2, 0.5, 0.5], "references": [1, 0, 1, 0], "probabilities": true}'


def compute(inputs: str) -> str:
    return json.dumps(load_metric("backdoor_model_detection").compute(**json.loads(inputs)), indent=1)


if __name__ == "__main__":
    import gradio

    code = gradio.Code(EXAMPLE, language="json", label="inputs")
    gradio.Interface(
        compute, code, gradio.Code(language="json", label="figures"), title="Backdoored-model detection"
    ).launch()
