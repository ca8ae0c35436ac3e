"""The page of this metric's Space: its inputs as JSON, its figures as JSON."""

import json

from securitynet_hub.evaluation import load_metric

EXAMPLE = '{"predictions": [0.9, 0.8, 0.3, 0.3], "references": [1, 0, 1, 0], "target_fprs": [0.5]}'


def compute(inputs: str) -> str:
    return json.dumps(load_metric("membership_inference").compute(**json.loads(inputs)), indent=1)


if __name__ == "__main__":
    import gradio

    code = gradio.Code(EXAMPLE, language="json", label="inputs")
    gradio.Interface(
        compute, code, gradio.Code(language="json", label="figures"), title="Membership inference"
    ).launch()
