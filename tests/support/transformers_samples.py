"""A small CLIPModel of transformers."""

from __future__ import annotations

import torch
import transformers


def clip_model(seed: int = 0, **text):
    torch.manual_seed(seed)
    shared = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "quick_gelu"}
    config = transformers.CLIPConfig(
        projection_dim=16,
        vision_config={
            "image_size": 16, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64, **shared
        },
        text_config={
            "vocab_size": 49408, "max_position_embeddings": 8, "hidden_size": 16,
            "intermediate_size": 32, "eos_token_id": 49407, "bos_token_id": 49406, **shared, **text
        },
    )  # fmt: skip
    return transformers.CLIPModel(config).eval()
