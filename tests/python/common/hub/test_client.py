"""Pushing and pulling: what is uploaded, and one clear error for each way that a hub refuses."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.hub.client import downloading, located, push_folder, without_links
from helip.common.hub.options import PullOptions, PushCall
from support.hub_server import TOKEN, ask_at, hub_for_tests

OWNED = ("*.json", "*.safetensors")
FILES = {"a.json", "b.safetensors"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_for_tests(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "made").mkdir()
    for name, text in (("a.json", "{}\n"), ("b.safetensors", "bytes"), ("c.txt", "words")):
        (tmp_path / "made" / name).write_text(text)
    return tmp_path / "made"


def upload(folder, repo_id="me/x", *, card=None, owned=OWNED, **options):
    call = PushCall(repo_id, progress=False, card=card is not None, **options)
    return push_folder(folder, call, "model", owned, card=card)


def pull(name="me/x", patterns=("*",), **options) -> Path:
    return located(name, "model", PullOptions(progress=False, **options), patterns)


def test_the_listed_files_are_uploaded_and_no_other(hub, folder):
    address = upload(folder, card=lambda repository: f"# {repository}\n")
    found = hub.repos["models/me/x"].files()
    assert found == {"a.json": b"{}\n", "b.safetensors": b"bytes", "README.md": b"# me/x\n"}
    assert address.startswith(f"{hub.url}/me/x/commit/")
    assert {path.name: path.read_bytes() for path in pull().iterdir()} == found


def test_a_name_without_an_owner_is_of_whom_the_token_is(hub, folder):
    upload(folder, "x", card=lambda repository: repository)
    assert hub.repos["models/me/x"].files()["README.md"] == b"me/x"


def test_a_new_repository_is_private_where_that_is_asked(hub, folder):
    upload(folder, "me/open", private=False)
    upload(folder, "me/closed", private=True)
    assert not hub.repos["models/me/open"].private
    assert hub.repos["models/me/closed"].private


def test_a_branch_is_made_and_the_main_one_stays(hub, folder):
    upload(folder, revision="tuned", commit_message="Tune it")
    repo = hub.repos["models/me/x"]
    assert repo.files() == {} and set(repo.files("tuned")) == FILES
    assert repo.messages[-1] == "Tune it"
    assert {path.name for path in pull(revision="tuned").iterdir()} == FILES


def test_a_second_push_takes_out_what_it_owns_and_does_not_give_again(hub, folder):
    (folder / "old.json").write_text("{}")
    upload(folder, owned=("*.json", "*.txt", "*.safetensors"))
    (folder / "old.json").unlink()
    upload(folder)
    assert set(hub.repos["models/me/x"].files()) == {*FILES, "c.txt"}


def test_the_same_files_again_make_no_commit(hub, folder):
    upload(folder)
    upload(folder)
    assert len(hub.repos["models/me/x"].messages) == 2  # the first is of the empty repository


def test_subfolders_stay_here_and_those_of_the_repository_stay_there(hub, folder):
    for name in ("old/a.json", "vocab.old/private.safetensors"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("private")
    upload(folder)
    repo = hub.repos["models/me/x"]
    assert set(repo.files()) == FILES
    repo.files().update({"other/mine.json": b"{}", "[b].json": b"{}"})
    (folder / "[a].json").write_text("{}\n")
    upload(folder)
    assert set(repo.files()) == {*FILES, "[a].json", "other/mine.json"}


@pytest.mark.parametrize("name", ["a/b/c", "me/x--y", ".x", "me/x.git", "", "x" * 97])
def test_an_invalid_repo_id_is_refused_before_anything_is_asked(hub, folder, name):
    with pytest.raises(InvalidArgumentError, match=r"repo_id is .* must be NAME or OWNER/NAME"):
        upload(folder, name)
    assert not hub.requests


def test_without_a_token_nothing_is_asked(hub, folder, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no access token .* set HF_TOKEN") as caught:
        upload(folder)
    assert caught.value.errno == errno.EACCES and not hub.requests
    upload(folder, token=TOKEN)
    assert hub.repos


def test_offline_nothing_is_asked(hub, folder, monkeypatch):
    upload(folder)
    there = pull()
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StorageError, match=r"HF_HUB_OFFLINE is set.*unset it") as caught:
        upload(folder)
    assert caught.value.errno == errno.ENETDOWN
    assert pull() == there, "what was downloaded before serves"
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE is set, and me/absent is not whole"):
        pull("me/absent")
    assert not hub.requests


def test_a_wrong_token_is_told_and_not_shown(hub, folder):
    with pytest.raises(StorageError, match=r"upload to me/x .*401 .*set HF_TOKEN") as caught:
        upload(folder, token="hf_wrong")
    assert caught.value.errno == errno.EACCES and "hf_wrong" not in str(caught.value)


def test_a_token_that_may_not_write_is_told(hub, folder):
    hub.faults["/api/models/me/x/commit"] = 403
    with pytest.raises(StorageError, match=r"cannot upload to me/x .* 403 ") as caught:
        upload(folder)
    assert caught.value.errno == errno.EACCES


def test_what_is_not_there_is_told(hub, folder):
    with pytest.raises(StorageError, match=r"cannot download me/absent.* 404 ") as caught:
        pull("me/absent")
    assert caught.value.errno == errno.ENOENT
    upload(folder)
    with pytest.raises(StorageError, match=r"Revision Not Found.*v9"):
        pull(revision="v9")


@pytest.mark.parametrize(
    ("status", "words", "number"),
    [(503, "Service Unavailable", errno.EIO), (429, "Too Many Requests", errno.EAGAIN)],
)
def test_a_busy_hub_is_told_in_its_words(hub, folder, status, words, number):
    hub.faults["/commit/"] = status
    with pytest.raises(
        StorageError,
        match=rf"cannot upload to me/x at .*{status} {words}.* as the test wishes",
    ) as caught:
        upload(folder)
    assert caught.value.errno == number and "\n" not in str(caught.value)


def test_a_hub_that_is_not_there_is_told(hub, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StorageError, match=r"cannot upload to me/x at http://127.0.0.1:\d+: "):
        upload(folder, endpoint=address)


def test_a_card_that_cannot_be_made_leaves_no_repository_behind(hub, folder):
    def fail(repository):
        raise InvalidArgumentError(f"no card of {repository}")

    with pytest.raises(InvalidArgumentError, match="no card of me/x"):
        upload(folder, card=fail)
    assert not hub.repos


def test_a_card_that_cannot_be_made_of_the_whole_name_says_so_itself(hub, folder):
    def fail(repository):
        if repository == "me/x":
            raise InvalidArgumentError("no card of it")
        return repository

    with pytest.raises(InvalidArgumentError, match=r"^no card of it$"):
        upload(folder, "x", card=fail)


def test_a_folder_that_cannot_be_read_is_no_fault_of_the_hub(hub, folder):
    with pytest.raises(StorageError, match=r"\] cannot read .*absent"):
        upload(folder / "absent")
    assert not hub.requests


@pytest.mark.parametrize("name", ["a.json", "README.md"])
def test_what_names_the_machine_is_refused_before_anything_is_asked(hub, folder, name):
    words = json.dumps({"from": str(Path.home() / "acme")})
    (folder / name).write_text(words)
    told = rf"{name} names .*, a path of this machine, and would be public"
    with pytest.raises(InvalidArgumentError, match=told):
        push_folder(folder, PushCall("me/x", progress=False), "model", OWNED)
    (folder / name).write_text("{}")
    with pytest.raises(InvalidArgumentError, match=r"README\.md names"):
        upload(folder, card=lambda repository: words)
    assert not hub.requests


def test_vocabularies_are_no_words_of_anybody(hub, folder):
    for name in ("vocab.json", "tokenizer.json"):
        (folder / name).write_text(json.dumps({str(Path.home()): 1}))
    upload(folder)
    assert set(hub.repos["models/me/x"].files()) == {*FILES, "vocab.json", "tokenizer.json"}


@pytest.mark.parametrize("linked", [True, False], ids=["shared", "copied"])
def test_of_processes_that_share_a_snapshot_the_slower_takes_what_is_there(
    tmp_path, monkeypatch, linked
):
    snapshot = tmp_path / "datasets--me--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "blob").write_text("words")
    (snapshot / "a.json").symlink_to(tmp_path / "blob")
    link = os.link

    def late(source, target):
        if not Path(target).exists():
            link(tmp_path / "blob", target)  # the other one is done now
        if linked:
            return link(source, target)
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", late)
    place = without_links(snapshot, PullOptions(cache_dir=tmp_path / "cache"), ("*.json",))
    assert [path.name for path in place.iterdir()] == ["a.json"]
    assert (place / "a.json").read_text() == "words"


def test_a_folder_goes_before_a_repository(hub, tmp_path):
    assert pull(str(tmp_path)) == tmp_path
    for absent in (str(tmp_path / "absent"), "./absent", Path("absent"), "a/b/c"):
        with pytest.raises(StorageError, match=r"there is no folder .*a repository is NAME or"):
            pull(absent)
    assert not hub.requests


@pytest.fixture
def no_waiting(hub, monkeypatch):
    """The library waits before it asks again, and must not."""

    def sleep(seconds):
        raise AssertionError(f"waits for {seconds} s")

    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=sleep))


def test_a_hub_out_of_reach_is_asked_once_and_the_cache_is_taken(
    hub, folder, monkeypatch, no_waiting, caplog
):
    upload(folder, "me/there")
    there = huggingface_hub.hf_hub_download("me/there", "a.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ask_at(monkeypatch, f"http://127.0.0.1:{free.getsockname()[1]}")
    with downloading("it", "give another"):
        assert huggingface_hub.hf_hub_download("me/there", "a.json") == there
    with (
        pytest.raises(
            StorageError, match=r"it could not be .* reached \(.*; give another$"
        ) as caught,
        downloading("it", "give another"),
    ):
        try:
            huggingface_hub.hf_hub_download("me/absent", "a.json")
        except Exception as error:
            raise RuntimeError("of a model library") from error
    assert "\n" not in str(caught.value) and not caplog.records
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_hub_that_accepts_and_does_not_answer_is_out_of_reach(hub, monkeypatch, no_waiting):
    monkeypatch.setattr("helip.common.hub.client._ANSWERS_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ask_at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with (
            pytest.raises(StorageError, match=r"has not answered within .*; mend it"),
            downloading("it", "mend it"),
        ):
            huggingface_hub.hf_hub_download("me/absent", "a.json")


def test_what_the_hub_refuses_is_said_and_other_errors_pass(hub):
    with (
        pytest.raises(
            StorageError, match=r"it could not .*: 404 .* Not Found.*; mend it$"
        ) as caught,
        downloading("it", "mend it"),
    ):
        huggingface_hub.hf_hub_download("me/absent", "a.json")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(KeyError, match="own"), downloading("it", "mend it"):
        raise KeyError("own")
