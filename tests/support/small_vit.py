"""A small vision transformer of transformers, for tests."""

import torch
import transformers


def small_vit():
    """Return a ViT of three classes for 16 x 16 pixels, the same each time."""
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, patch_size=8,
        image_size=16, num_labels=3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.ViTForImageClassification(config).eval()
