"""helip's models in MTEB, on tasks of generated pictures."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.sets.evaluation_set import EvaluationSet
from helip.integrations.mteb import MtebEncoder
from helip.models.saving import save_model
from support.evaluate_samples import COLOURS, ColourData, ColourModel, picture, tiny_model
from support.evaluate_samples import tokenizer as colour_tokenizer
from support.evaluate_samples import transform as colour_transform

TEXTS = ["a red thing", "a blue one", "green", "something white", "no more"]
PICTURES = [picture(seed) for seed in range(5)]


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(bundle):
    """Embeddings of the pictures and of the texts, one at a time."""
    with torch.no_grad():
        pixels = [bundle.eval_transform(image)[None] for image in PICTURES]
        images = torch.cat([bundle.model.encode_image(each) for each in pixels])
        texts = torch.cat([bundle.model.encode_text(bundle.tokenizer([text])) for text in TEXTS])
    return images.numpy(), texts.numpy()


@pytest.mark.parametrize("batch_size", [2, 256])
def test_embeddings_are_those_of_the_model_whatever_the_batches(batch_size):
    bundle = tiny_model(seed=3)
    encoder = MtebEncoder(bundle, device="cpu", batch_size=batch_size)
    rows = [{"image": [i], "text": [t], "id": [0]} for i, t in zip(PICTURES, TEXTS, strict=True)]
    images, texts = reference(bundle)
    near = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(encoder.get_image_embeddings(rows), images, **near)
    np.testing.assert_allclose(encoder.get_text_embeddings(rows), texts, **near)
    np.testing.assert_allclose(encoder.get_fused_embeddings(rows), images + texts, **near)
    np.testing.assert_allclose(encoder.encode(rows), images + texts, **near)
    np.testing.assert_allclose(encoder.encode([{"text": TEXTS}]), texts, **near)
    np.testing.assert_allclose(encoder.encode([{"image": PICTURES}]), images, **near)


def test_pictures_are_made_rgb_as_evaluate_does():
    encoder = MtebEncoder(tiny_model(), device="cpu")
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    white = Image.new("RGB", (20, 20), "white")
    found = encoder.encode([{"image": [clear, white]}])
    torch.testing.assert_close(found[0], found[1])  # rows of a batch may round apart


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"audio": [1]}], r"a batch has \['audio'\]; a CLIP embeds text and image"),
        ([], "give each row the same kinds, and at least one row"),
        ([{"text": ["a"]}, {"text": ["b"], "image": [PICTURES[0]]}], r"\[1, 2\] pictures and text"),
    ],
)
def test_rows_that_cannot_be_embedded_are_refused(rows, words):
    with pytest.raises(InvalidArgumentError, match=words):
        MtebEncoder(tiny_model(), device="cpu").encode(rows)


def test_without_mteb_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb.models.model_meta", None)
    with pytest.raises(UnsupportedError, match=r"pip install helip\[eval\]"):
        _ = MtebEncoder(tiny_model(), device="cpu").mteb_model_meta


def test_mteb_is_not_imported_with_the_integrations():
    code = "import sys, helip.integrations as i; i.MtebEncoder; sys.exit('mteb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_results_are_kept_by_weights_and_preprocessing(tmp_path):
    pytest.importorskip("mteb")
    saved = save_model(tiny_model(seed=4), tmp_path / "tuned")
    meta = MtebEncoder(saved, device="cpu").mteb_model_meta
    assert meta.name == "helip/tiny"
    assert set(meta.modalities) == {"text", "image"}
    again = MtebEncoder(save_model(tiny_model(seed=4), tmp_path / "copy"), device="cpu")
    other = MtebEncoder(tiny_model(seed=5), device="cpu")
    turned = MtebEncoder(saved, device="cpu", transform=lambda image: torch.zeros(3, 16, 16))
    half = MtebEncoder(saved, device="cpu", precision="bfloat16")
    assert again.mteb_model_meta.revision == meta.revision
    assert other.mteb_model_meta.revision != meta.revision
    assert turned.mteb_model_meta.revision != meta.revision
    assert half.mteb_model_meta.experiment_kwargs != meta.experiment_kwargs


# Of mteb itself


SHARED = {
    "description": "Generated.", "reference": None, "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"], "dataset": {"path": "none", "revision": "none"}, "date": None,
    "domains": None, "task_subtypes": None, "license": None, "annotations_creators": None,
    "dialect": None, "sample_creation": None, "bibtex_citation": None,
    "modalities": ["image", "text"],
}  # fmt: skip


def measured(encoder, task):
    mteb = pytest.importorskip("mteb")
    found = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)
    return found.task_results[0].get_score()


@pytest.mark.parametrize("flip", [False, True])
def test_mteb_classifies_as_helip_does(flip):
    pytest.importorskip("mteb")
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification
    from mteb.models.models_protocols import EncoderProtocol

    colours = ["red", "blue", "green", "white", "red"]
    names = sorted(set(colours))

    class Colours(AbsTaskZeroShotClassification):
        metadata = TaskMetadata(
            name="Colours", type="ZeroShotClassification", category="i2t", main_score="accuracy",
            **SHARED,
        )  # fmt: skip

        def load_data(self, **_kwargs):
            rows = {
                "image": [Image.new("RGB", (4, 4), COLOURS[colour]) for colour in colours],
                "label": [names.index(colour) for colour in colours],
            }
            self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
            self.data_loaded = True

        def get_candidate_labels(self):
            return [f"this is {name}" for name in names]

    given = {"transform": colour_transform, "tokenizer": colour_tokenizer, "device": "cpu"}
    encoder = MtebEncoder(ColourModel(flip=flip), **given)
    assert isinstance(encoder, EncoderProtocol)
    rows = EvaluationSet(
        data=ColourData([(colour, colour) for colour in colours]), tasks=("zero_shot",),
        templates="this is {}",
    )  # fmt: skip
    ours = evaluate(ColourModel(flip=flip), rows, bootstrap=0, progress=False, **given)
    expected = 2 / 5 if flip else 1.0
    assert ours["zero_shot"]["top1"]["value"] == pytest.approx(expected)
    assert measured(encoder, Colours()) == pytest.approx(expected)


def test_mteb_retrieves_by_the_sum_of_picture_and_text():
    pytest.importorskip("mteb")
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    right = [3, 0, 2]

    class Both(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Both", type="Any2AnyRetrieval", category="it2i", main_score="ndcg_at_10",
            **SHARED,
        )  # fmt: skip

        def load_data(self, **_kwargs):
            ids = [f"q{i}" for i in range(len(right))]
            count = len(ids)
            queries = {"id": ids, "image": PICTURES[:count], "text": TEXTS[:count]}
            corpus = {"id": [f"d{i}" for i in range(5)], "image": PICTURES}
            split = {
                "queries": Dataset.from_dict(queries),
                "corpus": Dataset.from_dict(corpus),
                "relevant_docs": {q: {f"d{d}": 1} for q, d in zip(ids, right, strict=True)},
                "top_ranked": None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    bundle = tiny_model(seed=3)
    images, texts = reference(bundle)
    scores = unit(images[:3] + texts[:3]) @ unit(images).T
    own = scores[np.arange(3), right]
    ranks = (scores >= own[:, None]).sum(axis=1)
    assert len(set(ranks)) > 1
    expected = (1 / np.log2(1 + ranks)).mean()
    encoder = MtebEncoder(bundle, device="cpu")
    assert measured(encoder, Both()) == pytest.approx(expected, abs=1e-4)
