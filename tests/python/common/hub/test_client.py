"""Pushing and pulling: what is uploaded, and one clear error for each way that a hub refuses."""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.hub.client import located, push, without_links
from helip.common.hub.options import PullOptions, PushOptions
from support.hub_server import TOKEN, hub_for_tests

OWNED = ("*.bin.json", "a.json")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_for_tests(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture
def files(tmp_path):
    for name, text in (("a.json", "{}\n"), ("b.safetensors", "bytes"), ("c.txt", "words")):
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in ("a.json", "b.safetensors")}


def upload(files, repo_id="me/x", *, card=None, **options):
    call = PushOptions(progress=False, **options)
    return push(files, repo_id, "model", call, card=card, owned=OWNED)


def pull(name="me/x", patterns=("*",), **options) -> Path:
    return located(name, "model", PullOptions(progress=False, **options), patterns)


def test_the_listed_files_are_uploaded_and_no_other(hub, files):
    address = upload(files, card=lambda repository: f"# {repository}\n")
    found = hub.repos["models/me/x"].files()
    assert found == {"a.json": b"{}\n", "b.safetensors": b"bytes", "README.md": b"# me/x\n"}
    assert address.startswith(f"{hub.url}/me/x/commit/")
    assert {path.name: path.read_bytes() for path in pull().iterdir()} == found


def test_a_name_without_an_owner_is_of_whom_the_token_is(hub, files):
    upload(files, "x", card=lambda repository: repository)
    assert hub.repos["models/me/x"].files()["README.md"] == b"me/x"


def test_a_new_repository_is_private_where_that_is_asked(hub, files):
    upload(files, "me/open", private=False)
    upload(files, "me/closed", private=True)
    assert not hub.repos["models/me/open"].private
    assert hub.repos["models/me/closed"].private


def test_a_branch_is_made_and_the_main_one_stays(hub, files):
    upload(files, revision="tuned", commit_message="Tune it")
    repo = hub.repos["models/me/x"]
    assert repo.files() == {} and set(repo.files("tuned")) == set(files)
    assert repo.messages[-1] == "Tune it"
    assert {path.name for path in pull(revision="tuned").iterdir()} == set(files)


def test_a_second_push_takes_out_what_it_owns_and_does_not_give_again(hub, files, tmp_path):
    (tmp_path / "old.bin.json").write_text("{}")
    (tmp_path / "theirs.md").write_text("notes")
    others = {name: tmp_path / name for name in ("old.bin.json", "theirs.md")}
    upload(files | others)
    upload(files)
    assert set(hub.repos["models/me/x"].files()) == {*files, "theirs.md"}


def test_the_same_files_again_make_no_commit(hub, files):
    upload(files)
    upload(files)
    assert len(hub.repos["models/me/x"].messages) == 2  # the first is of the empty repository


@pytest.mark.parametrize("name", ["a/b/c", "me/x--y", ".x", "me/x.git", "", "x" * 97, 7])
def test_an_invalid_repo_id_is_refused_before_anything_is_asked(hub, files, name):
    with pytest.raises(InvalidArgumentError, match=r"repo_id is .* must be NAME or OWNER/NAME"):
        upload(files, name)
    assert not hub.requests


def test_without_a_token_nothing_is_asked(hub, files, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no access token .* set HF_TOKEN") as caught:
        upload(files)
    assert caught.value.errno == errno.EACCES and not hub.requests
    upload(files, token=TOKEN)
    assert hub.repos


def test_offline_nothing_is_asked(hub, files, monkeypatch):
    upload(files)
    there = pull()
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StorageError, match=r"HF_HUB_OFFLINE is set.*unset it") as caught:
        upload(files)
    assert caught.value.errno == errno.ENETDOWN
    assert pull() == there, "what was downloaded before serves"
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE is set, and me/absent is not whole"):
        pull("me/absent")
    assert not hub.requests


def test_a_wrong_token_is_told_and_not_shown(hub, files):
    with pytest.raises(StorageError, match=r"token.*\(401\).*set HF_TOKEN") as caught:
        upload(files, token="hf_wrong")
    assert caught.value.errno == errno.EACCES and "hf_wrong" not in str(caught.value)


def test_a_token_that_may_not_write_is_told(hub, files):
    hub.faults["/api/models/me/x/commit"] = 403
    with pytest.raises(StorageError, match=r"may not upload to me/x .*\(403\)") as caught:
        upload(files)
    assert caught.value.errno == errno.EACCES


def test_a_refusal_that_is_told_in_words_alone_is_the_same(hub, files, monkeypatch):
    def refuse(*_, **__):
        words = "Network error: HTTP status client error (403 Forbidden), domain: here"
        raise ConnectionError(words)

    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", refuse)
    with pytest.raises(StorageError, match=r"may not upload to me/x .*\(403\)") as caught:
        upload(files)
    assert caught.value.errno == errno.EACCES


def test_what_is_not_there_is_told(hub, files):
    with pytest.raises(StorageError, match=r"has no repository me/absent.*\(404\)") as caught:
        pull("me/absent")
    assert caught.value.errno == errno.ENOENT
    upload(files)
    with pytest.raises(StorageError, match=r"me/x at .* has no branch, tag or commit 'v9'"):
        pull(revision="v9")


@pytest.mark.parametrize("part", ["/repos/create", "/preupload/", "/validate-yaml", "/commit/"])
def test_a_busy_hub_is_asked_again(hub, files, part):
    hub.faults[part], hub.times[part] = 503, 1
    upload(files, card=lambda repository: "---\nlicense: mit\n---\n")
    assert set(hub.repos["models/me/x"].files()) == {*files, "README.md"}


@pytest.mark.parametrize("part", ["/repos/create", "/commit/"])
def test_a_hub_that_stays_busy_is_told(hub, files, part):
    hub.faults[part] = 503
    with pytest.raises(StorageError, match="answered 503, also when it was asked again"):
        upload(files)
    assert sum(part in request for request in hub.requests) == 3


def test_a_hub_that_is_not_there_is_told(hub, files):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StorageError, match=r"cannot upload to me/x at http://127.0.0.1:\d+: "):
        upload(files, endpoint=address)


def test_a_path_of_this_machine_is_not_uploaded(hub, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(f'{{"from": "{tmp_path}/data"}}')
    with pytest.raises(InvalidArgumentError, match=r"a.json names .* a path of this machine"):
        upload(files)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match=r"README.md names .* a path of this machine"):
        upload(files, card=lambda repository: f"see {tmp_path}/notes")
    assert not hub.repos, "no empty repository stays behind"


def test_of_processes_that_share_a_snapshot_the_slower_takes_what_is_there(tmp_path, monkeypatch):
    snapshot = tmp_path / "datasets--me--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "blob").write_text("words")
    (snapshot / "a.json").symlink_to(tmp_path / "blob")
    options, rename = PullOptions(cache_dir=tmp_path / "cache"), Path.rename

    def late(path, target):
        shutil.copytree(path, target)  # the other one is done now
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    place = without_links(snapshot, options, ("*.json",))
    assert [path.name for path in place.iterdir()] == ["a.json"]
    assert (place / "a.json").read_text() == "words"


def test_a_folder_goes_before_a_repository(hub, tmp_path):
    assert pull(str(tmp_path)) == tmp_path
    for absent in (str(tmp_path / "absent"), "./absent", Path("absent"), "a/b/c"):
        with pytest.raises(StorageError, match=r"there is no folder .*a repository is NAME or"):
            pull(absent)
    assert not hub.requests
