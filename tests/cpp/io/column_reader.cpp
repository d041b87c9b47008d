#include "io/column_reader.h"

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "io/column_writer.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;
namespace fs = std::filesystem;

namespace {

constexpr const char* kFormat = "helip.test";

Manifest empty() {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = 4096;
  manifest.columns = {{"x", DType::int32, 3}};
  return manifest;
}

void append(ColumnWriter& writer, std::int64_t rows) {
  std::vector<std::int32_t> x(static_cast<std::size_t>(3 * rows));
  std::iota(x.begin(), x.end(), 0);
  std::vector<std::string> keys;
  for (std::int64_t i = 0; i < rows; ++i) keys.push_back("k" + std::to_string(i));
  writer.append(rows, {x.data()}, keys.data());
}

}  // namespace

TEST_CASE("a generation that is open can be verified after a newer one took its files away") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 5000);
  writer.commit([](Manifest&) {});
  const ColumnReader old(folder / "c", kFormat);
  append(writer, 100);
  writer.commit([](Manifest&) {});
  REQUIRE_FALSE(fs::exists(folder / "c" / old.manifest().shards.back().file));
  CHECK_NOTHROW(old.verify({}, {}));
  CHECK(old.key(4999) == "k4999");
}

TEST_CASE("a shard that is gone without a newer generation is an error") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 100);
  writer.commit([](Manifest&) {});
  const ColumnReader reader(folder / "c", kFormat);
  fs::remove(folder / "c" / reader.manifest().shards.back().file);
  expect_error(ErrorCode::io, "cannot open", [&] { reader.verify({}, {}); });
}

TEST_CASE("a column or a row that is not there is named") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 10);
  writer.commit([](Manifest&) {});
  const ColumnReader reader(folder / "c", kFormat);
  expect_error(ErrorCode::corrupt, "column \"y\" is absent", [&] { (void)reader.column("y"); });
  expect_error(ErrorCode::invalid_argument, "row 10 is outside 0 .. 9",
               [&] { (void)reader.key(10); });
}

TEST_CASE("a column of more bytes than its shards is refused before addresses are reserved") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 10);
  writer.commit([](Manifest&) {});
  const Manifest sound = read_manifest(folder / "c", kFormat);
  // Of 12 bytes each: more than 63 bits, as many but for the last page, and a few pages too many.
  for (const std::int64_t rows : {INT64_MAX / 6, INT64_MAX / 12, std::int64_t{4096}}) {
    INFO(rows);
    Manifest manifest = sound;
    manifest.shard_rows = manifest.shards.front().rows = rows;
    write_manifest(folder / "c", manifest);
    expect_error(ErrorCode::corrupt, "column \"x\" has more bytes than its shards",
                 [&] { (void)ColumnReader(folder / "c", kFormat); });
  }
}

TEST_CASE("where memory pages are larger than those of the format, files are read and not mapped") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 5000);  // two shards
  writer.commit([](Manifest&) {});
  const ColumnReader mapped(folder / "c", kFormat);
  const ColumnReader read(folder / "c", kFormat, 65536);
  const MatrixView expected = mapped.column("x");
  const MatrixView found = read.column("x");
  REQUIRE(found.rows == expected.rows);
  CHECK(std::memcmp(found.data, expected.data, 5000 * 3 * sizeof(std::int32_t)) == 0);
  for (const std::int64_t row : {0, 4095, 4096, 4999}) CHECK(read.key(row) == mapped.key(row));
  CHECK_NOTHROW(read.verify({}, {}));
  // What is read does not change with the file.
  fs::resize_file(folder / "c" / read.manifest().shards.front().file, 0);
  CHECK(static_cast<const std::int32_t*>(found.data)[3] == 3);
  CHECK_NOTHROW(read.require_whole());
}

TEST_CASE("where files are read, one that is larger than memory is refused before it is read") {
  const TemporaryFolder folder;
  ColumnWriter writer(folder / "c", empty(), true);
  append(writer, 10);
  writer.commit([](Manifest&) {});
  constexpr std::int64_t kTooMany = std::int64_t{1} << 50;
  Manifest manifest = read_manifest(folder / "c", kFormat);
  manifest.shards.front().bytes = kTooMany;
  write_manifest(folder / "c", manifest);
  expect_error(ErrorCode::out_of_memory, "memory pages of 65536 bytes are larger than the 4096",
               [&] { (void)ColumnReader(folder / "c", kFormat, 65536); });
}
