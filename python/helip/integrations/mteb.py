"""helip's models in MTEB (embeddings-benchmark/mteb), whose tasks of pictures are called MIEB.

import mteb
from helip.integrations import MtebEncoder

mteb.evaluate(MtebEncoder("runs/helip"), mteb.get_benchmark("MIEB(eng)"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from helip.common.errors import InvalidArgumentError, needed
from helip.common.options import DeviceOptions, Positive, PrecisionOptions, method_keywords
from helip.data.decoding import to_rgb
from helip.evaluation.encoding import Subject
from helip.evaluation.model_source import GivenModel
from helip.evaluation.options import EvaluateOptions
from helip.models.bundle import ModelBundle

Batches = Iterable[Mapping[str, Any]]  # with lists of strings and of Pillow images


@dataclass(frozen=True, kw_only=True)
class MtebCall(DeviceOptions, PrecisionOptions):
    """What an `MtebEncoder` is made of."""

    model: Any = field(kw_only=False)
    """A ModelBundle, a name or path for create_model, or an open_clip model together with transform
    and tokenizer."""
    transform: Callable[[Any], torch.Tensor] | None = None
    """In place of the model's own."""
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None
    """In place of the model's own."""
    batch_size: Positive = 256
    """Pictures, or strings, that are encoded together."""


class MtebEncoder:
    """A model that ``mteb.evaluate`` takes: mteb's ``EncoderProtocol``, of texts and pictures.

    Rows with a text and a picture get the sum of both embeddings, as mteb's own CLIP models do.
    Instructions that a task has for a text are not used. The revision that mteb keeps results by is
    a digest of the weights and of the preprocessing. Not thread-safe.
    """

    @method_keywords(MtebCall)
    def __init__(self, call: MtebCall) -> None:
        options = EvaluateOptions(
            device=call.device, precision=call.precision, batch_size=call.batch_size
        )
        self._subject = Subject.of(call.model, call.transform, call.tokenizer, options)

    @cached_property
    def mteb_model_meta(self) -> Any:
        """mteb's description of the model; UnsupportedError where mteb is absent."""
        with needed("this needs mteb", "helip[eval]"):
            from mteb.models.model_meta import ModelMeta, ScoringFunction
        subject = self._subject
        bundle = ModelBundle(
            subject.model, None, subject.transform, subject.tokenizer, subject.name
        )
        given = GivenModel(bundle)
        digests = filter(None, (given.weights, given.preprocessing))
        precision = subject.options.precision
        return ModelMeta.create_empty(
            overwrites={
                "name": f"helip/{Path(subject.name).name}",
                "revision": "-".join(digest[:20] for digest in digests) or None,
                "modalities": ["text", "image"],
                "similarity_fn_name": ScoringFunction.COSINE,
                "framework": ["PyTorch"],
                "experiment_kwargs": None if precision == "float32" else {"autocast": precision},
            }
        )

    def encode(self, inputs: Batches, **_task: Any) -> torch.Tensor:
        """float32 [n, d] of the rows of a loader, of whatever they have: text, picture or both."""
        return self._embeddings(inputs, ("text", "image"))

    def get_text_embeddings(self, texts: Batches, **_task: Any) -> torch.Tensor:
        """float32 [n, d] of the texts of the rows alone."""
        return self._embeddings(texts, ("text",))

    def get_image_embeddings(self, images: Batches, **_task: Any) -> torch.Tensor:
        """float32 [n, d] of the pictures of the rows alone."""
        return self._embeddings(images, ("image",))

    def get_fused_embeddings(self, inputs: Batches, **_task: Any) -> torch.Tensor:
        """The same as `encode`."""
        return self.encode(inputs)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all pairs, by mteb."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines row by row, by mteb."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _embeddings(self, batches: Batches, kinds: tuple[str, ...]) -> torch.Tensor:
        subject, pictures = self._subject, []
        texts: list[str] = []

        def images() -> Iterator[Any]:
            for batch in batches:
                if not any(kind in batch for kind in kinds):
                    raise InvalidArgumentError(
                        f"a batch has {sorted(batch)}; a CLIP embeds {' and '.join(kinds)} here, "
                        "so leave out the task"
                    )
                texts.extend(batch.get("text", ()) if "text" in kinds else ())
                yield from batch.get("image", ()) if "image" in kinds else ()

        # Not by mteb's batches, which may be of one picture each.
        shown = images()
        with subject.ready():
            while some := list(islice(shown, subject.options.batch_size)):
                pixels = torch.stack([subject.transform(to_rgb(image)) for image in some])
                pictures.append(subject.images(pixels))
            found = [torch.cat(pictures)] if pictures else []
            found += [subject.texts(texts)] if texts else []
        if len({len(rows) for rows in found}) != 1:
            raise InvalidArgumentError(
                f"the rows have {[len(rows) for rows in found]} pictures and texts; give each row "
                "the same kinds, and at least one row"
            )
        return torch.stack(found).sum(dim=0)
