"""Text encoders of sentence-transformers: ``st:NAME-or-DIRECTORY``."""

from __future__ import annotations

import torch

from helip.common.weights_digest import weights_digest
from helip.encoders.loading import import_extra, loading, source_of
from helip.encoders.spec import EncoderSpec, MaxLength, read_options
from helip.encoders.torch_encoder import Loaded

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
    model.float().eval()
    if "max_length" in options:
        model.max_seq_length = options["max_length"]

    def embed(texts: list[str]) -> torch.Tensor:
        return model.encode(
            texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False
        )

    # A pooler that the files lack starts at random, and is not used.
    used = weights_digest(model, names=lambda name: ".pooler." not in name)
    return Loaded(embed, weights=used)
