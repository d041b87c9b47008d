"""The helip command as a user types it: output, files, exit codes, messages."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip
from helip.cli.registry import ENTRIES
from helip.cli.resuming import saying_how_to_continue
from helip.loading.options import BatchOptions
from support.data_samples import write_shard

Run = Callable[..., tuple[int, str, str]]


def test_help_of_every_command_fits_a_screen(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in (
        *("index", "embed", "plan", "mine", "merge", "reshard", "train", "eval"),
        *("diagnose", "report", "inspect", "verify", "demo"),
    ):
        assert name in out
        code, text, _ = run(name, "--help")
        assert code == 0
        assert len(text.splitlines()) <= 50
        assert max(map(len, text.splitlines())) <= 120


def test_the_list_of_commands_has_their_own_first_sentences() -> None:
    for entry in ENTRIES:
        command = entry.load()
        assert command.name == entry.name
        words = (inspect.getdoc(command.work) or "").partition("\n\n")[0]
        assert entry.words() == " ".join(words.split())


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from helip.cli.main import make_app\n"
        "make_app(only='')(['--help'], exit_on_error=False)\n"
        "print(*(name for name in sys.modules if name.startswith('helip.mining')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    "words",
    [
        ("mine", "s", "--out", "p", "--threads", "1"),
        ("embed", "d.csv", "--out", "s", "--threads", "1"),
        ("index", "d.tar", "--out", "i", "--threads", "1"),
        ("mine", "s", "--out", "p", "--config", "c.yaml"),
        ("index", "--config", "helip.yaml", "--out", "i"),
    ],
    ids=" ".join,
)
def test_threads_are_bounded_before_numpy_is_loaded(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "helip.yaml").write_text(
        "helip: 0\ncommand: index\ngiven: {}\noptions:\n  threads: 1\n"
    )
    (tmp_path / "c.yaml").write_text("threads: 1\n")
    code = (
        "import os, sys; from helip.cli import main\n"
        "class Seen:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy':\n"
        "            print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "sys.meta_path.insert(0, Seen())\n"
        f"sys.argv = ['helip', *{words!r}]\n"
        "main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.splitlines()[0] == "1", done.stderr


def test_index_inspect_verify(run: Run, tmp_path: Path) -> None:
    for shard in range(3):
        write_shard(tmp_path / f"{shard}.tar", range(5 * shard, 5 * shard + 5))
    shards, out = tmp_path / "*.tar", tmp_path / "index"
    code, text, _ = run("index", shards, "--out", out, "--contents", "--quiet")
    assert code == 0
    assert re.search(r"^rows +15$", text, re.MULTILINE)
    code, text, _ = run("index", shards, "--out", out, "--contents", "--quiet", "--json")
    facts = json.loads(text)
    assert (facts["rows"], facts["shards"], facts["scanned"]) == (15, 3, 0)
    assert facts["fingerprint"] == helip.open_dataset(out).fingerprint
    code, text, _ = run("inspect", out, "--json")
    assert json.loads(text)["contents"] is True
    assert run("verify", out)[0] == 0
    code, _, err = run("verify", out, "--contents")
    assert (code, "is whole" in err) == (0, True)
    write_shard(tmp_path / "1.tar", range(5, 12))
    code, _, err = run("verify", out)
    assert code == 1
    assert "1.tar was changed" in err
    assert "helip index" in err
    code, text, _ = run("index", shards, "--out", out, "--quiet", "--json")
    assert code == 2  # two rows of one key
    write_shard(tmp_path / "1.tar", range(5, 9))
    code, text, _ = run("index", shards, "--out", out, "--quiet", "--json")
    assert json.loads(text)["scanned"] == 1
    assert run("verify", out)[0] == 0
    assert run("verify", out, "--contents")[0] == 2
    (tmp_path / "2.tar").write_bytes((tmp_path / "2.tar").read_bytes()[:1000])
    code, _, err = run("index", shards, "--out", out, "--quiet")
    assert (code, "2.tar is truncated" in err) == (1, True)
    assert run("index", tmp_path / "none-*.tar", "--out", out)[0] == 2


def test_plan_mine_inspect_verify(run: Run, store: Path, tmp_path: Path) -> None:
    code, out, _ = run("plan", store, "-k", 5, "--device", "cpu")
    assert code == 0
    assert "exact" in out
    assert all(f"or {method}" in out for method in ("partition", "hnsw", "sample"))
    code, out, _ = run("plan", store, "--json", "--device", "cpu")
    planned = json.loads(out)
    assert planned["method"] == "exact"
    alternatives = {other["method"]: other for other in planned["alternatives"]}
    assert set(alternatives) == {"partition", "hnsw", "sample"}
    assert all(other["seconds"] > 0 for other in alternatives.values())
    code, out, _ = run("plan", store, "--json", "--method", "sample")
    assert json.loads(out)["alternatives"] == []

    code, out, _ = run("mine", store, "--out", tmp_path / "p", "-k", 5, "--csv", tmp_path / "c.csv")
    assert code == 0
    assert "targets" in out
    assert (tmp_path / "c.csv").read_text().startswith("target,h1")
    code, out, _ = run("inspect", tmp_path / "p", "--json")
    facts = json.loads(out)
    assert facts["targets"] == 60
    assert facts["options"]["method"] == "exact"
    code, out, _ = run("inspect", store, "--json")
    assert json.loads(out)["metadata"] == {"image_encoder": "a", "text_encoder": "b"}
    code, out, _ = run("inspect", store)
    assert "60" in out
    for path in (store, tmp_path / "p"):
        code, _, err = run("verify", path)
        assert code == 0
        assert "is whole" in err


def test_parts_are_mined_one_by_one_and_merged(run: Run, store: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{index}" for index in (1, 2, 3)]
    for index, part in enumerate(parts, start=1):
        code, out, err = run("mine", store, "--out", part, "-k", 5, "--part", f"{index}/3")
        assert code == 0, err
        assert f"part {index}/3" in out
    code, out, _ = run("inspect", parts[1], "--json")
    assert (json.loads(out)["first"], json.loads(out)["last"]) == (20, 40)
    assert run("verify", parts[1])[0] == 0
    code, _, err = run("merge", *parts[:2], "--out", tmp_path / "p")
    assert code == 2
    assert "missing: 3 (targets 40 .. 59)" in err
    code, out, _ = run("merge", *parts, "--out", tmp_path / "p", "--json")
    assert code == 0
    assert json.loads(out)["targets"] == 60
    code, out, _ = run("mine", store, "--out", tmp_path / "q", "-k", 5, "--parts", 4)
    assert code == 0
    assert helip.HardPairs.open(tmp_path / "q").ids.tolist() == (
        helip.HardPairs.open(tmp_path / "p").ids.tolist()
    )
    for arguments, words in (
        (("--part", "4"), "write i/n, such as 3/8"),
        (("--part", "4/3"), "with i from 1 to n"),
        (("--part", "1/3", "--csv", "x.csv"), "merge the parts first"),
        (("--engine", "spark"), 'Choose from: "threads", "local", "ray"'),
    ):
        code, _, err = run("mine", store, "--out", tmp_path / "r", *arguments)
        assert code == 2
        assert words in err


def test_the_plan_tells_filters_and_scratch_space(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(2100, 112)) / np.sqrt(1 + np.arange(112)) + 0.1
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=64, text_dim=48) as writer:
        writer.append([f"k{i}" for i in range(2100)], rows[:, :64], rows[:, 64:])
    code, out, _ = run("plan", tmp_path / "s", "-k", 5, "--device", "cpu", "--memory", "100KB")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["scratch"].endswith("on disk while it runs")
    assert not lines["scratch"].startswith("0 ")
    assert lines["pairs"] == "4,407,900"
    assert "% of the pairs pass" in lines["filter"]
    assert "all dimensions" in out
    assert "× image" in out
    code, out, _ = run("plan", tmp_path / "s", "--json", "--device", "cpu")
    facts = json.loads(out)
    assert facts["scratch_bytes"] == 0
    assert 0 < facts["filters"]["passed"]["score"] < 1


def test_a_plan_without_a_sample_names_no_filters(run: Run, store: Path) -> None:
    _, out, _ = run("plan", store, "-k", 5, "--device", "cpu")
    assert "filter" not in out


def test_mining_takes_margin_skip_and_collapse(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(30, 8)) + 0.4, 2, axis=0)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=8) as writer:
        writer.append([f"k{i}" for i in range(60)], rows, np.roll(rows, 8, axis=1))
    code, out, err = run(
        *("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 4, "--image-max", "0.999"),
        *("--margin", "0.1", "--skip", 2, "--collapse", "image"),
    )
    assert code == 0, err
    options = helip.HardPairs.open(tmp_path / "p").options
    assert (options["margin"], options["skip"], options["collapse"]) == (0.1, 2, "image")
    kept_out = next(line for line in out.splitlines() if line.startswith("kept out"))
    for words in ("near-duplicate images", "copies", "passed over"):
        assert words in kept_out
    code, _, err = run(
        *("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 4, "--image-max", "0.999"),
        *("--margin", "0.1", "--skip", 3, "--collapse", "image"),
    )
    assert code == 1
    assert "skip 2, now 3" in err


def test_mining_again_returns_the_table_and_other_options_are_refused(
    run: Run, store: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert run("mine", store, "--out", tmp_path / "p", "-k", 5)[0] == 0
    code, out, err = run("mine", store, "--out", tmp_path / "p", "-k", 6)
    assert (code, out) == (1, "")
    assert "k 5, now 6" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mine", "{store}", "--out", "{tmp}/p", "-k", "0"], 2, "k is 0"),
        (["mine", "{store}", "--out", "{tmp}/p", "--method", "magic"], 2, "magic"),
        (["mine", "{store}", "--out", "{tmp}/p", "--memory", "much"], 2, "much"),
        (["mine", "{store}", "--out", "{tmp}/p", "--skip", "-1"], 2, "skip is -1"),
        (
            ["mine", "{store}", "--out", "{tmp}/p", "--collapse", "all"],
            2,
            '"none", "image"',
        ),
        (["mine", "{store}", "--out", "{tmp}/p", "--margin", "0.1"], 2, "8 dimensions and text"),
        (["mine", "{tmp}/absent", "--out", "{tmp}/p"], 1, "no store at"),
        (["mine", "{store}"], 2, "--out"),
        (["plan", "{tmp}/absent"], 1, "there is no store"),
        (["inspect", "{tmp}/absent"], 1, "there is no store"),
        (["verify", "{tmp}"], 1, "no manifest"),
        (["report", "{tmp}/p", "--data", "{tmp}/d.csv", "--out", "{tmp}/r.html"], 1, "no table of"),
        (["train", "{tmp}/d.csv", "--model", "ViT-B-33", "--out", "{tmp}/run"], 2, "ViT-B-3"),
        (
            ["train", "d", "--model", "m", "--out", "{tmp}/r", "--pairs", "p", "--stream", "9"],
            2,
            "give no --pairs",
        ),
        (["eval", "{tmp}", "--model", "ViT-B-33"], 2, "ViT-B-3"),
        (["embed", "{tmp}/absent.csv", "--out", "{tmp}/x"], 2, "absent.csv"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, list) else None,
)
def test_wrong_use_is_one_line_and_an_exit_code(
    run: Run, store: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    names = {"store": store, "tmp": tmp_path}
    ended, out, err = run(*(argument.format(**names) for argument in arguments))
    assert ended in (1, 2)
    assert ended == code
    assert message in out + err
    assert "Traceback" not in err
    assert not (tmp_path / "p").exists()


def test_train_mines_from_a_stream_of_so_many_rows(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}

    def train(**options: object) -> None:
        given.update(options)
        raise helip.Error("that is enough")

    monkeypatch.setattr("helip.training.fine_tuning.train", train)
    monkeypatch.setattr("helip.models.bundle.create_model", lambda *_, **__: None)
    (tmp_path / "d.csv").write_text("image,caption\na.png,a\n")
    call = ("train", tmp_path / "d.csv", "--model", "m", "--out", tmp_path / "r")
    code, _, err = run(*call, "--stream", 500)
    assert (code, "that is enough" in err) == (1, True)
    assert isinstance(given["pairs"], helip.StreamingMiner)
    assert given["pairs"].options["memory"] == 500
    assert (given["strategy"], given["schedule"], given["order"]) == ("auto", None, "rows")
    schedule = "epochs=2,draw_temperature=0.05"
    run(*call, "--order", "blocks", "--draw-temperature", 0.5, "--schedule", schedule)
    options = BatchOptions(schedule=given["schedule"])
    assert options.schedule == helip.HardnessSchedule(epochs=2, draw_temperature=0.05)
    assert (given["draw_temperature"], given["order"]) == (0.5, "blocks")


def test_damage_is_named(run: Run, store: Path) -> None:
    shard = store / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 4
    shard.write_bytes(content)
    code, _, err = run("verify", store)
    assert code == 1
    assert 'checksum of "image"' in err


def test_report_writes_a_page(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    lines = ["image,caption"]
    for i in range(12):
        Image.new("RGB", (16, 16), (i * 20, 0, 0)).save(tmp_path / "pictures" / f"{i:02}.png")
        lines.append(f"pictures/{i:02}.png,picture {i}")
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    data = helip.open_dataset(tmp_path / "d.csv")
    random = np.random.default_rng(0)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        rows = random.normal(size=(12, 14)) + 0.4
        writer.append(list(data.keys), rows[:, :8], rows[:, 8:])
    assert run("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 3)[0] == 0
    code, _, err = run(
        *("report", tmp_path / "p", "--data", tmp_path / "d.csv", "--store", tmp_path / "s"),
        *("--out", tmp_path / "page.html", "--rows", 3),
    )
    assert code == 0, err
    assert "picture 3" in (tmp_path / "page.html").read_text()
    page = tmp_path / "page.html"
    call = ("report", tmp_path / "p", "--data", tmp_path / "d.csv", "--out", page)
    keys = [data.keys[7], data.keys[2]]
    code, _, err = run(*call, "--target", keys[0], "--target", keys[1])
    assert code == 0, err
    assert re.findall(r'id="row-(\d+)"', page.read_text()) == ["7", "2"]
    assert "asked for by key" in page.read_text()
    code, _, err = run(*call, "--target", "none")
    assert (code, "target 'none' is no key of the data set" in err) == (2, True)


@pytest.mark.parametrize(
    ("keeps", "part", "said"),
    [
        ("--parts N", None, "begins again; with --parts N what is done is kept"),
        ("--parts N", "1/3", "the same command mines this part again"),
        ("", None, "nothing was saved, and the same command begins again"),
    ],
)
def test_a_stopped_command_says_how_to_go_on(
    keeps: str, part: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(SystemExit) as ended,
        saying_how_to_continue(tmp_path / "p", part, keeps=keeps),
    ):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "helip: stopped"
    assert said in lines[1]


def test_ctrl_c_in_a_command_says_that_the_same_command_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helip_demo.demonstration.run", interrupted)
    code, _, err = run("demo", "--out", tmp_path / "demo")
    assert code == 130
    assert "what was committed stays, the same command goes on from there" in err


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (0, "interrupted; nothing was committed yet, the same command begins again"),
        (3, "interrupted; 3 rows are committed, the same command goes on from there"),
    ],
)
def test_ctrl_c_while_embedding_says_how_many_rows_are_committed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, said: str
) -> None:
    def interrupted(*_: object, out: Path, **__: object) -> None:
        if rows:
            with helip.EmbeddingStore.create(out, image_dim=2, text_dim=2) as writer:
                writer.append([str(row) for row in range(rows)], np.eye(3, 2), np.eye(3, 2))
                writer.commit({"complete": False})
        raise KeyboardInterrupt

    monkeypatch.setattr("helip.encoders.embedding.embed", interrupted)
    write_shard(tmp_path / "0.tar", range(4))
    code, _, err = run("embed", tmp_path / "0.tar", "--out", tmp_path / "s")
    assert (code, err.splitlines()[-1]) == (130, f"helip: {said}")


def test_ctrl_c_while_embedding_has_its_code_where_the_store_cannot_be_opened(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, out: Path, **__: object) -> None:
        out.mkdir()
        (out / "manifest.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr("helip.encoders.embedding.embed", interrupted)
    write_shard(tmp_path / "0.tar", range(4))
    code, _, err = run("embed", tmp_path / "0.tar", "--out", tmp_path / "s")
    assert (code, "interrupted; what was committed stays: " in err) == (130, True)


def test_ctrl_c_in_a_command_that_keeps_nothing_does_not_say_that_it_goes_on(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(helip.EmbeddingStore, "verify", interrupted)
    code, _, err = run("verify", store)
    assert (code, "the same command begins again" in err) == (130, True)
    assert "committed" not in err


def test_an_interrupted_rewriting_of_shards_has_the_code_of_every_interruption(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helip.pairs.resharding.reshard", interrupted)
    shard = write_shard(tmp_path / "d.tar", range(2))
    code, _, err = run("reshard", shard, "--pairs", "p", "--out", tmp_path / "new")
    assert (code, "the same command begins again" in err) == (130, True)


def test_output_that_nobody_reads_to_its_end_is_no_traceback() -> None:
    command = [sys.executable, "-m", "helip", "recipes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout is not None and done.stderr is not None
        done.stdout.close()
        said = done.stderr.read()
    assert done.returncode == 1
    assert said == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_completion_knows_commands_options_and_choices(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    for word in ("diagnose", "image-max", "partition", "hard-per-target"):
        assert word in out
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=out, text=True, check=True)


def test_another_shell_is_refused(run: Run) -> None:
    code, _, err = run("completion", "tcsh")
    assert (code, '"bash", "zsh", "fish"' in err) == (2, True)
