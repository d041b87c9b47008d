"""Takes out one safeguard of the core after the other, and sees that a test fails without it.

    python tests/mutations/run.py BUILD [--only NAME…] [--jobs 2]

BUILD is a folder for a copy of the sources and its build. What a mutation looks for must be in the
sources once; where it is not, the list below is out of date and the run fails. Exit code 1 where a
safeguard can go unnoticed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutation:
    """Text of a source that is replaced, and the tests of which one must fail."""

    name: str
    source: str
    old: str
    new: str
    tests: str
    program: str = "helip_tests"


FAULTS = "helip_fault_tests"
MUTATIONS = (
    Mutation(
        "the checksum of a manifest is not compared", "io/manifest.cpp",
        "if (!is_whole(text)) throw_damaged", "if (false) throw_damaged",
        "any flipped bit of a manifest*",
    ),
    Mutation(
        "the digest of a column is not compared", "io/column_reader.cpp",
        "if (expected == digests.end() || expected->second != digest.hex()) {",
        "if (expected == digests.end()) {",
        "a bit that is flipped in a file of any format*", FAULTS,
    ),
    Mutation(
        "the digest of a header is not compared", "io/column_reader.cpp",
        "if (digest_hex(shard.header.bytes.data(), shard.header.bytes.size()) != "
        "record.header_digest) {",
        "if (false) {",
        "any flipped bit of a shard*",
    ),
    Mutation(
        "a tensor may lie outside of its file", "io/safetensors.cpp",
        "if (begin > end || end > data_bytes)", "if (begin > end)",
        "a tensor outside the file*",
    ),
    Mutation(
        "an id may be no row", "table/pair_columns.cpp",
        "if (id < 0 || id >= rules.rows) {", "if (id < 0) {",
        "a table with an id that is no row*",
    ),
    Mutation(
        "thresholds of queries come from their positives as well", "mine/bound/sweep_seeds.cpp",
        "if (corpus.queries() > 0) leave_out_positives(row);", "",
        "hard negatives are those of a plain search*",
    ),
    Mutation(
        "the bound of channels is a twentieth too high", "mine/bound/filter_plan.cpp",
        "return static_cast<float>(total * std::pow",
        "return static_cast<float>(1.05 * total * std::pow",
        "pools of any number of channels are those of a plain search",
    ),
    Mutation(
        "near duplicates of positives are kept", "mine/corpus/scorer.cpp",
        "positives_[c].cosine(channel.rows, candidate, positive) > channel.maximum", "false",
        "hard negatives are those of a plain search*",
    ),
    Mutation(
        "a query has other queries as negatives", "mine/method/exact.cpp",
        "if (corpus.is_candidate(row)) job.others", "job.others",
        "hard negatives are those of a plain search*",
    ),
    Mutation(
        "a member may end behind its shard", "samples/sample_index.cpp",
        "if (found.bytes < 0 || found.offset > shard.bytes - found.bytes) {", "if (false) {",
        "a member that lies outside of its shard*",
    ),
    Mutation(
        "the checksum of a tar header is not compared", "tar/tar_header.cpp",
        'if (!checksum_matches(block)) return "no valid header";', "",
        "a checksum of signed bytes*",
    ),
    Mutation(
        "a picture may have any size", "image/decode/decode.cpp",
        "if (size.height > limits.max_pixels / size.width) {", "if (false) {",
        "limits are checked before a pixel has memory*",
    ),
    Mutation(
        "a file is not flushed before it gets its name", "io/file.cpp",
        "  sync();\n  file_.close(temporary_);", "  file_.close(temporary_);",
        "after a loss of power*", FAULTS,
    ),
    Mutation(
        "a directory is not flushed", "io/file.cpp",
        "if (retry([&] { return ::fsync(file.get()); }) != 0 && errno != EINVAL) {", "if (false) {",
        "after a loss of power*", FAULTS,
    ),
    Mutation(
        "a commit does not flush its directory", "io/column_writer.cpp",
        "  sync_directory(directory_);  // where it fails", "  // where it fails",
        "after a loss of power*", FAULTS,
    ),
    Mutation(
        "a failed write does not end its writer", "io/column_writer.cpp",
        "  check_usable();\n  failed_ = true;\n  append_rows", "  check_usable();\n  append_rows",
        "a failed write is final*",
    ),
    Mutation(
        "a store is committed after an append that failed",
        "table/store/embedding_store_writer.cpp",
        "    impl.columns.give_up();\n", "",
        "what reads a store that was cut*",
    ),
    Mutation(
        "a shard that the manifest names is removed", "io/column_writer.cpp",
        "if (obsolete_tail_ && !is_named(*obsolete_tail_)) {", "if (obsolete_tail_) {",
        "a last commit without new rows*",
    ),
    Mutation(
        "a fraction is taken for a whole number", "io/json.h",
        "  if (!fits) {", "  if (false) {",
        "whole numbers of 64 bits*",
    ),
    Mutation(
        "a second writer is let in", "io/file.cpp",
        "if (errno != EWOULDBLOCK) fail(\"lock\", path);", "return;",
        "a directory has one owner*",
    ),
    Mutation(
        "a write that was interrupted is not made again", "io/file.cpp",
        "const auto put = retry([&] { return ::pwrite(file_.get(), cursor, bytes, offset); });",
        "const auto put = ::pwrite(file_.get(), cursor, bytes, offset);",
        "calls to the system that fail*", FAULTS,
    ),
    Mutation(
        "a manifest may name a file elsewhere", "io/manifest.cpp",
        "shard.file.find('/') == std::string::npos &&", "",
        "a manifest that names a file elsewhere*",
    ),
    Mutation(
        "a page that is gone is read as zeros", "io/column_reader.cpp",
        "if (!cut) return;", "return;",
        "a page that was gone is told of*",
    ),
    Mutation(
        "the size of a mapped file is not compared", "io/mapped_files.cpp",
        "if (now.st_size != bytes_) {", "if (false) {",
        "what reads a store that was cut within its last page*",
    ),
    Mutation(
        "a link of an index may lead outside", "mine/graph/product_graph.cpp",
        "return std::int64_t{to} < count;", "return true;",
        "a link that leads outside is damage*",
    ),
    Mutation(
        "an id of a saved index may be any", "mine/graph/index_file.cpp",
        "if (parts->rows.id(row) < 0 || parts->rows.id(row) > kMostId) {", "if (false) {",
        "an id that no pair can have is damage*",
    ),
    Mutation(
        "the size of an element of hnswlib may wrap", "mine/graph/hnswlib_file.cpp",
        "!checked_add(element_bytes, std::uint64_t{8}) ||", "(element_bytes += 8, false) ||",
        "a header whose sizes wrap is refused*",
    ),
    Mutation(
        "the size of an element with its levels may wrap", "mine/graph/hnswlib_file.cpp",
        "!checked_add(least_bytes, std::uint64_t{4}) ||", "(least_bytes += 4, false) ||",
        "a header whose sizes wrap is refused*",
    ),
    Mutation(
        "what is no regular file is opened", "io/file.cpp",
        "if (!S_ISREG(status.st_mode)) refuse", "if (false) refuse",
        "what is no regular file is refused*",
    ),
    Mutation(
        "a column may be larger than its shards", "io/column_reader.cpp",
        "|| column_bytes > bytes()", "",
        "a column of more bytes than its shards*",
    ),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="parts of names of mutations")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    sources = copied(chosen.build.resolve() / "sources")
    build = configured(sources, chosen.build.resolve() / "build")
    if not compiles(build, chosen.jobs):
        sys.exit("the sources do not compile as they are")
    missed = 0
    for mutation in MUTATIONS:
        if chosen.only and not any(part in mutation.name for part in chosen.only):
            continue
        ended = outcome(mutation, sources, build, chosen.jobs)
        missed += not ended.startswith("found")
        print(f"{mutation.name:<62} {ended}", flush=True)
    return int(missed > 0)


def copied(to: Path) -> Path:
    """The files that git knows or would take, so that a build compiles only what changed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
         "CMakeLists.txt", "pyproject.toml", "cpp", "tests/cpp"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, to / name
        if not source.exists():
            continue
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return to


def configured(sources: Path, build: Path) -> Path:
    subprocess.run(
        ["cmake", "-S", sources, "-B", build, "-G", "Ninja", "-DHELIP_TORCH=OFF",
         "-DHELIP_CUDA=OFF", "-DHELIP_BUILD_TESTS=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
         *os.environ.get("CMAKE_OPTIONS", "").split()],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return build


def compiles(build: Path, jobs: int) -> bool:
    targets = ("--target", "helip_tests", FAULTS)
    command = ["cmake", "--build", build, *targets, "-j", str(jobs)]
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


def outcome(mutation: Mutation, sources: Path, build: Path, jobs: int) -> str:
    file = sources / "cpp" / "src" / mutation.source
    text = file.read_text()
    if text.count(mutation.old) != 1:
        return f"NOT MADE: {mutation.source} holds the text {text.count(mutation.old)} times"
    try:
        file.write_text(text.replace(mutation.old, mutation.new))
        if not compiles(build, jobs):
            return "NOT MADE: it does not compile"
        program = build / "tests" / "cpp" / mutation.program
        ran = subprocess.run([program, mutation.tests], capture_output=True, text=True)
        if "No test cases matched" in ran.stderr + ran.stdout or "No tests ran" in ran.stdout:
            return f"NOT TRIED: no test is named {mutation.tests}"
        return "found" if ran.returncode else f"MISSED by {mutation.tests}"
    finally:
        file.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
