#include "io/column_writer.h"

#include <catch2/catch_test_macros.hpp>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "io/column_reader.h"
#include "io/file.h"
#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/temporary_folder.h"

using namespace helip;
namespace fs = std::filesystem;

namespace {

constexpr const char* kFormat = "helip.test";
constexpr std::int64_t kShard = 4096;

Manifest empty() {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = kShard;
  manifest.columns = {{"x", DType::int32, 3}, {"y", DType::int8, 0}};
  return manifest;
}

// Rows [first, last): x = 3 numbers from 3 * row, y = row mod 100, key = "k<row>".
void append(ColumnWriter& writer, std::int64_t first, std::int64_t last) {
  std::vector<std::int32_t> x(static_cast<std::size_t>(3 * (last - first)));
  std::iota(x.begin(), x.end(), static_cast<std::int32_t>(3 * first));
  std::vector<std::int8_t> y;
  std::vector<std::string> keys;
  for (std::int64_t i = first; i < last; ++i) {
    y.push_back(static_cast<std::int8_t>(i % 100));
    keys.push_back("k" + std::to_string(i));
  }
  writer.append(last - first, {x.data(), y.data()}, keys.data());
}

void check(const ColumnReader& reader, std::int64_t rows) {
  REQUIRE(reader.rows() == rows);
  const MatrixView x = reader.column("x");
  const MatrixView y = reader.column("y");
  for (std::int64_t i = 0; i < rows; ++i) {
    REQUIRE(static_cast<const std::int32_t*>(x.row(i))[2] == 3 * i + 2);
    REQUIRE(*static_cast<const std::int8_t*>(y.row(i)) == i % 100);
    REQUIRE(reader.key(i) == "k" + std::to_string(i));
  }
  reader.verify({}, {});
}

std::set<std::string> names(const fs::path& folder) {
  std::set<std::string> result;
  for (const auto& entry : fs::directory_iterator(folder)) {
    result.insert(entry.path().filename().string());
  }
  return result;
}

void commit(ColumnWriter& writer) {
  writer.commit([](Manifest&) {});
}

}  // namespace

TEST_CASE("columns read as one range across shards, whatever the batches were") {
  for (const std::int64_t batch : {1, 777, 4096, 5000, 10000}) {
    const TemporaryFolder folder;
    ColumnWriter writer(folder / "c", empty(), true);
    for (std::int64_t i = 0; i < 10000; i += batch) {
      append(writer, i, std::min<std::int64_t>(10000, i + batch));
    }
    commit(writer);
    check(ColumnReader(folder / "c", kFormat), 10000);
  }
}

TEST_CASE("nothing shows before the commit, and an abandoned writer leaves nothing") {
  const TemporaryFolder folder;
  {
    ColumnWriter writer(folder / "c", empty(), true);
    append(writer, 0, 5000);
    expect_error(ErrorCode::io, "no manifest", [&] { (void)ColumnReader(folder / "c", kFormat); });
  }
  CHECK_FALSE(fs::exists(folder / "c"));
}

TEST_CASE("what the last commit leaves is named by the manifest while the writer still lives") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 0, 1500);
  bool gone = false;
  writer.close([&](Manifest&) {
    gone = true;
    for (const std::string& name : names(folder / "c")) {
      if (name.starts_with(PendingFile::kPrefix)) gone = false;
    }
  });
  CHECK(gone);
  check(ColumnReader(folder / "c", kFormat), 1500);
}

TEST_CASE("each commit is a generation, and an older one stays readable while it is open") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 0, 100);
  commit(writer);
  const ColumnReader old(folder / "c", kFormat);
  append(writer, 100, 5000);
  commit(writer);
  CHECK(ColumnReader(folder / "c", kFormat).manifest().generation == 2);
  check(ColumnReader(folder / "c", kFormat), 5000);
  REQUIRE(old.rows() == 100);
  CHECK(old.key(99) == "k99");
}

TEST_CASE("a writer that goes on later gives the same files as one that never stopped") {
  const TemporaryFolder folder;
  {
    ColumnWriter writer(folder / "once", empty(), true);
    append(writer, 0, 9000);
    commit(writer);
  }
  {
    ColumnWriter writer(folder / "twice", empty(), true);
    append(writer, 0, 4500);
    commit(writer);
  }
  {
    ColumnWriter writer(folder / "twice", kFormat, true);
    CHECK(writer.rows() == 4500);
    append(writer, 4500, 9000);
    commit(writer);
  }
  const ColumnReader once(folder / "once", kFormat);
  const ColumnReader twice(folder / "twice", kFormat);
  check(twice, 9000);
  REQUIRE(once.manifest().shards.size() == twice.manifest().shards.size());
  for (std::size_t i = 0; i < once.manifest().shards.size(); ++i) {
    CHECK(once.manifest().shards[i].digests == twice.manifest().shards[i].digests);
  }
  // The tail of the first generation is gone.
  CHECK(names(folder / "twice").size() == 2 + twice.manifest().shards.size());
}

TEST_CASE("an abandoned continuation leaves the committed generation as it was") {
  const TemporaryFolder folder;
  {
    ColumnWriter writer(folder / "c", empty(), true);
    append(writer, 0, 4500);
    commit(writer);
  }
  const auto before = names(folder / "c");
  {
    ColumnWriter writer(folder / "c", kFormat, true);
    append(writer, 4500, 20000);
  }
  CHECK(names(folder / "c") == before);
  check(ColumnReader(folder / "c", kFormat), 4500);
}

TEST_CASE("a commit without new rows writes no new shard") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 0, 10);
  commit(writer);
  const auto before = names(folder / "c");
  commit(writer);
  CHECK(names(folder / "c") == before);
  CHECK(ColumnReader(folder / "c", kFormat).manifest().generation == 2);
  check(ColumnReader(folder / "c", kFormat), 10);
}

TEST_CASE("a set of no rows is legal") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  commit(writer);
  check(ColumnReader(folder / "c", kFormat), 0);
}

TEST_CASE("a second writer and a foreign folder are refused") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 0, 10);
  expect_error(ErrorCode::io, "another process",
               [&] { ColumnWriter(folder / "c", empty(), true); });
  commit(writer);
  expect_error(ErrorCode::io, "another process",
               [&] { ColumnWriter(folder / "c", kFormat, true); });
  expect_error(ErrorCode::invalid_argument, "already holds",
               [&] { ColumnWriter(folder / "c", empty(), true); });
  fs::create_directories(folder / "home/photos");
  expect_error(ErrorCode::invalid_argument, "photos",
               [&] { ColumnWriter(folder / "home", empty(), true); });
  CHECK(fs::exists(folder / "home/photos"));
}

TEST_CASE("any flipped bit of a shard is found by verify, one in its header at open") {
  const TemporaryFolder folder;
  {
    ColumnWriter writer(folder / "c", empty(), true);
    append(writer, 0, 5);
    commit(writer);
  }
  const fs::path shard = folder / "c/shard-00000.safetensors";
  const auto size = fs::file_size(shard);
  for (std::uintmax_t byte = 0; byte < size; ++byte) {
    Descriptor file = open_for_reading(shard);
    char value = 0;
    read_exactly(file, &value, 1, static_cast<std::int64_t>(byte), shard);
    const auto flip = [&](char with) {
      FILE* stream = std::fopen(shard.c_str(), "r+b");
      std::fseek(stream, static_cast<long>(byte), SEEK_SET);
      std::fputc(with, stream);
      std::fclose(stream);
    };
    flip(static_cast<char>(value ^ (1 << (byte % 8))));
    bool found = false;
    try {
      const ColumnReader reader(folder / "c", kFormat);
      REQUIRE(byte >= 4096);  // damage to a header must show at open
      reader.verify({}, {});
    } catch (const Error& error) {
      found = error.code() == ErrorCode::corrupt;
    }
    flip(value);
    INFO("byte " << byte);
    REQUIRE(found);
  }
  check(ColumnReader(folder / "c", kFormat), 5);
}

TEST_CASE("a shard cut short is refused at open") {
  const TemporaryFolder folder;
  {
    ColumnWriter writer(folder / "c", empty(), true);
    append(writer, 0, 5);
    commit(writer);
  }
  fs::resize_file(folder / "c/shard-00000.safetensors", 5000);
  expect_error(ErrorCode::corrupt, "5000 bytes",
               [&] { (void)ColumnReader(folder / "c", kFormat); });
}

TEST_CASE("whatever call fails in a commit, what a manifest names is there") {
  using Kind = FailingCalls::Kind;
  for (const Kind kind : {Kind::pwrite, Kind::fsync, Kind::directory_fsync, Kind::rename}) {
    for (const bool once : {false, true}) {
      for (int at = 0;; ++at) {
        const TemporaryFolder folder;
        {
          ColumnWriter first(folder / "c", empty(), true);
          append(first, 0, 5000);
          commit(first);
        }
        bool failed = false;
        {
          ColumnWriter writer(folder / "c", kFormat, true);
          const FailingCalls calls(kind, at, EIO, once);
          try {
            append(writer, 5000, 13000);
            commit(writer);
          } catch (const Error& error) {
            INFO(error.what());
            CHECK(error.code() == ErrorCode::io);
            failed = true;
          }
          REQUIRE(failed == calls.happened());
        }
        // The commit took place, or it did not; it is whole either way, and can be gone on from.
        const std::int64_t rows = ColumnReader(folder / "c", kFormat).rows();
        INFO("call " << at << " of kind " << static_cast<int>(kind));
        REQUIRE((rows == 13000 || (failed && rows == 5000)));
        check(ColumnReader(folder / "c", kFormat), rows);
        {
          ColumnWriter again(folder / "c", kFormat, true);
          append(again, rows, 14000);
          commit(again);
        }
        check(ColumnReader(folder / "c", kFormat), 14000);
        if (!failed) break;
      }
    }
  }
}

TEST_CASE("a failed write is final") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 0, 100);
  {
    const FailingCalls calls(FailingCalls::Kind::pwrite, 1, ENOSPC, true);
    expect_error(ErrorCode::io, "No space left", [&] { append(writer, 100, 200); });
  }
  expect_error(ErrorCode::io, "an earlier write", [&] { append(writer, 100, 200); });
  expect_error(ErrorCode::io, "an earlier write", [&] { commit(writer); });
}

TEST_CASE("a failed sync is not tried again, since the system may have dropped what it held") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  {
    const FailingCalls calls(FailingCalls::Kind::fsync, 0, EIO, true);
    expect_error(ErrorCode::io, "sync", [&] { append(writer, 0, kShard); });
  }
  expect_error(ErrorCode::io, "an earlier write", [&] { append(writer, kShard, kShard + 1); });
  expect_error(ErrorCode::io, "an earlier write", [&] { commit(writer); });
}

TEST_CASE("attributes that cannot be written leave a writer usable") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 0, 100);
  expect_error(ErrorCode::invalid_argument, "JSON", [&] {
    writer.commit([](Manifest& manifest) { manifest.attributes["text"] = "\xff"; });
  });
  append(writer, 100, 200);
  commit(writer);
  check(ColumnReader(folder / "c", kFormat), 200);
}

TEST_CASE("a writer that failed to begin leaves nothing") {
  const TemporaryFolder folder;
  {
    const FailingCalls calls(FailingCalls::Kind::pwrite, 1);
    ColumnWriter writer(folder / "c", empty(), true);
    expect_error(ErrorCode::io, "write", [&] { append(writer, 0, 100); });
  }
  CHECK_FALSE(fs::exists(folder / "c"));
}
