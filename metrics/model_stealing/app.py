"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

import json

from securitynet_hub.evaluation import load_metric

EXAMPLE = '{"predictions": [0, 1, 1, 0], "references": [0, 1, 0, 1], "target_predictions": [0, 1, 1, 1]}'


def compute(inputs: str) -> str:
    return json.dumps(load_metric("model_stealing").compute(**json.loads(inputs)), indent=1)


if __name__ == "__main__":
    import gradio

    code = gradio.Code(EXAMPLE, language="json", label="inputs")
    gradio.Interface(
        compute, code, gradio.Code(language="json", label="figures"), title="Model stealing"
    ).launch()
