"""helip doctor tells what is there, and remarks on what is slow with its mend."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from helip import _core
from helip.cli.commands import doctor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def sound() -> dict[str, Any]:
    """A machine on which nothing is slow."""
    return {
        "machine": {
            "kernel": "avx512vnni", "kernels": ["avx512vnni", "portable"], "cores": 8,
            "machine_cores": 8, "bound_cores": 8, "memory_bytes": 64_000_000_000,
            "torch_threads": None, "load": 0.4,
        },
        "codecs": {"JPEG": True, "PNG": True, "WEBP": True},
        "gpus": [],
        "extras": {"embed": []},
    }  # fmt: skip


def test_it_tells_versions_processor_and_extras(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    code, out, _ = run("doctor", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["versions"]["numpy"] == numpy.__version__
    assert facts["versions"]["helip"] == _core.__version__
    assert facts["machine"]["kernel"] == _core.kernel_name()
    assert facts["machine"]["cores"] == _core.usable_processors()
    assert facts["machine"]["memory_bytes"] == _core.usable_memory()
    assert facts["machine"]["torch_threads"] == 3
    assert facts["codecs"]["JPEG"] is True
    assert facts["extras"]["data"] == []
    code, out, _ = run("doctor")
    assert code == 0
    assert re.search(rf"^kernel +{_core.kernel_name()}, of ", out, re.MULTILINE)


def test_an_absent_extra_is_named_with_its_installation(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "lora", ("no-such-package",))
    _, out, _ = run("doctor")
    assert "absent: no-such-package; pip install 'helip[lora]'" in out


def test_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = declared["project"]["optional-dependencies"]
    ours = ("docs", "release", "dev", "faults", "browser", "bench")
    for_users = {name: extras[name] for name in extras if name not in ours}
    names = {
        extra: {re.match(r"[\w.-]+", line)[0] for line in lines} - {"helip"}  # type: ignore[index]
        for extra, lines in for_users.items()
    }
    assert {name: set(packages) for name, packages in doctor.EXTRAS.items()} == names


def test_nothing_is_remarked_where_nothing_is_slow(
    sound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELIP_KERNEL", raising=False)
    assert list(doctor.remarks_on(sound)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine": {"kernel": "portable"}}, "portable kernel, several times slower"),
        ({"machine": {"cores": 2}}, "allows 2 of 8 cores"),
        ({"machine": {"cores": 2}}, "torch starts 8 threads on 2 cores.* OMP_NUM_THREADS=2"),
        ({"machine": {"torch_threads": 1}}, "holds torch to fewer threads than 8 cores"),
        ({"machine": {"torch_threads": 16}}, "torch starts 16 threads on 8 cores"),
        ({"machine": {"load": 5.7}}, "others use about 5.7 of 8 cores.* OMP_NUM_THREADS=2 "),
        (
            {"machine": {"load": 99.0, "torch_threads": 2}},
            "unless told how many; export OMP_NUM_THREADS=1 ",
        ),
        ({"machine": {"memory_bytes": 2_000_000_000}}, "2.0 GB of memory"),
        ({"codecs": {"WEBP": False}}, "without decoders of WEBP"),
        ({"extras": {"embed": ["openvino"]}}, r"pip install 'helip\[embed\]'"),
        ({"gpus": [{"name": "X", "proven": False, "why": ""}]}, "X is unproven.*prove_gpu"),
        ({"gpus": [{"name": "X", "proven": False, "why": "no CUDA"}]}, "X: no CUDA"),
    ],
    ids=str,
)
def test_what_is_slow_is_remarked_with_its_mend(
    sound: dict[str, Any], change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELIP_KERNEL", raising=False)
    facts = copy.deepcopy(sound)
    for name, values in change.items():
        if isinstance(values, dict):
            facts[name].update(values)
        else:
            facts[name] = values
    found = list(doctor.remarks_on(facts))
    assert any(re.search(words, remark) for remark in found), found


def test_a_forced_kernel_is_remarked(
    sound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIP_KERNEL", "avx2")
    assert any("unset it" in remark for remark in doctor.remarks_on(sound))


def test_without_a_gpu_torch_is_not_loaded() -> None:
    code = (
        "import sys; from helip.cli.commands import doctor\n"
        "doctor._GPU_NODES = ()\n"
        "doctor.examine(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
