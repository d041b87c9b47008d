"""Text encoders of sentence-transformers: ``st:NAME-or-DIRECTORY``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from helip.common.weights_digest import weights_digest
from helip.encoders.loading import Loaded, Network, import_extra, loading, source_of
from helip.encoders.spec import EncoderSpec, MaxLength, read_options

_MEND = (
    "A name is looked up on the Hugging Face hub on first use: connect once, or download the "
    "repository and give st:/path/to/its/directory"
)


def load_text(spec: EncoderSpec, device: torch.device) -> Loaded:
    """A sentence-transformers model with its own pooling and normalisation.

    ``max_length``: tokens a caption is cut to (default: the model's own).
    """
    options = read_options(spec, max_length=MaxLength)
    library = import_extra("sentence_transformers")
    source = source_of(spec)
    with loading(mend=_MEND):
        model = library.SentenceTransformer(source, device=str(device))
    model.float().eval().requires_grad_(False)
    if "max_length" in options:
        model.max_seq_length = options["max_length"]

    def encode(texts: list[str]) -> torch.Tensor:
        return model.encode(
            texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False
        )

    # A pooler that the files lack starts at random, and is not used.
    used = weights_digest(model, names=lambda name: ".pooler." not in name)
    exported = _over_tokens(model, encode)
    if exported is None:
        return Loaded(network=encode, weights=used)
    return Loaded(network=exported[0], tokenize=exported[1], weights=used)


def _over_tokens(model: Any, encode: Callable[[list[str]], torch.Tensor]) -> Any:
    """The model as a network over tokens, and its tokenizer; None where encode() does more than
    these two, such as adding a prompt."""
    # Version 6 has another name for it.
    prepare = getattr(model, "preprocess", None) or model.tokenize

    def tokenize(texts: list[str]) -> dict[str, torch.Tensor]:
        return {
            name: value.cpu()
            for name, value in prepare(texts).items()
            if isinstance(value, torch.Tensor) and value.ndim == 2
        }

    def features(module: Any, *tensors: torch.Tensor) -> torch.Tensor:
        return module(dict(zip(names, tensors, strict=True)))["sentence_embedding"]

    network = Network(model, features)
    captions = ["a", "two dogs near a red house"]
    expected = encode(captions)
    try:
        tokens = tokenize(captions)
        names = list(tokens)
        found = network(*(each.to(expected.device) for each in tokens.values()))
    except Exception:  # a model of another make: whatever it is, encode() knows it
        return None
    same = found.shape == expected.shape and torch.allclose(found, expected, atol=1e-4, rtol=1e-3)
    return (network, tokenize) if same else None
