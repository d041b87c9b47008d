#include "mine/graph/index_file.h"

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "helip/mapped_files.h"
#include "helip/pair_index.h"
#include "io/column_reader.h"
#include "io/column_writer.h"
#include "io/manifest.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

namespace {

PairIndex index_of(std::int64_t rows) {
  const Data data = clustered_data(rows, 6, 4, DType::float16);
  return PairIndex::build(data.image.view(), data.text.view());
}

}  // namespace

TEST_CASE("damage of any file of an index is refused", "[pair_index]") {
  const TemporaryFolder folder;
  index_of(200).save(folder / "index");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "index")) {
    const std::filesystem::path path = entry.path();
    if (path.filename() == ".lock") continue;
    ++files;
    std::ifstream in(path, std::ios::binary);
    const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const auto put = [&](const std::string& bytes) {
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    };
    for (const double share : {0.0, 0.1, 0.3, 0.5, 0.7, 0.999}) {
      INFO(path << " at " << share);
      std::string bytes = whole;
      char& byte = bytes[static_cast<std::size_t>(share * static_cast<double>(whole.size()))];
      byte = static_cast<char>(byte ^ 0x10);
      put(bytes);
      REQUIRE_THROWS_AS(PairIndex::open(folder / "index"), Error);
      put(whole.substr(0, static_cast<std::size_t>(share * static_cast<double>(whole.size()))));
      REQUIRE_THROWS_AS(PairIndex::open(folder / "index"), Error);
    }
    put(whole);
  }
  REQUIRE(files == 2);
  REQUIRE(PairIndex::open(folder / "index").size() == 200);
}

TEST_CASE("a newer format, another format and nothing at all are refused", "[pair_index]") {
  const Data data = clustered_data(50, 6, 4);
  const TemporaryFolder folder;
  expect_error(ErrorCode::io, "index", [&] { return PairIndex::open(folder / "index"); });
  mine(data.image.view(), data.text.view(), exact_options(3)).save(folder / "table");
  expect_error(ErrorCode::mismatch, "helip.hard_pairs",
               [&] { return PairIndex::open(folder / "table"); });
  index_of(50).save(folder / "index");
  Manifest manifest = read_manifest(folder / "index", "helip.pair_index");
  manifest.features = {"of tomorrow"};
  write_manifest(folder / "index", manifest);
  expect_error(ErrorCode::unsupported, "upgrade helip",
               [&] { return PairIndex::open(folder / "index"); });
}

TEST_CASE("options that no index can have are damage, whatever the checksums say", "[pair_index]") {
  const TemporaryFolder folder;
  index_of(50).save(folder / "index");
  const Manifest sound = read_manifest(folder / "index", "helip.pair_index");
  const auto refuse = [&](const char* name, const Json& value) {
    INFO(name << " " << value);
    Manifest manifest = sound;
    manifest.attributes[name] = value;
    write_manifest(folder / "index", manifest);
    expect_error(ErrorCode::corrupt, "is damaged",
                 [&] { return PairIndex::open(folder / "index"); });
  };
  for (const int breadth : {0, -1, 65537}) refuse("breadth", breadth);
  for (const int degree : {3, 33, 1026}) refuse("degree", degree);
  refuse("image_max", 1.5);
  refuse("text_max", nullptr);
  write_manifest(folder / "index", sound);
  REQUIRE(PairIndex::open(folder / "index").size() == 50);
}

TEST_CASE("an index of the graph of before is refused with the mend", "[pair_index]") {
  const TemporaryFolder folder;
  index_of(50).save(folder / "index");
  Manifest manifest = read_manifest(folder / "index", "helip.pair_index");
  manifest.attributes["starts"] = Json::array({1, 2});
  write_manifest(folder / "index", manifest);
  expect_error(ErrorCode::unsupported, "build it again with PairIndex.build",
               [&] { return PairIndex::open(folder / "index"); });
}

TEST_CASE("an id that no pair can have is damage, whatever the checksums say", "[pair_index]") {
  const TemporaryFolder folder;
  index_of(50).save(folder / "index");
  const auto reader = open_columns(folder / "index", "helip.pair_index");
  const auto write = [&](std::int64_t id) {
    std::vector<std::int64_t> ids(50);
    std::iota(ids.begin(), ids.end(), 0);
    ids[7] = id;
    Manifest empty;
    empty.format = reader->manifest().format;
    empty.shard_rows = reader->manifest().shard_rows;
    empty.columns = reader->manifest().columns;
    const std::filesystem::path path = folder / ("with " + std::to_string(id));
    ColumnWriter writer(path, empty, false);
    std::vector<const void*> columns{ids.data()};
    for (const char* name : {"image", "text", "nodes"}) {
      columns.push_back(reader->column(name).data);
    }
    writer.append(50, columns, nullptr);
    writer.close([&](Manifest& manifest) { manifest.attributes = reader->manifest().attributes; });
    return path;
  };
  CHECK(PairIndex::open(write(70)).size() == 50);
  for (const std::int64_t id : {std::int64_t{-1}, INT64_MAX}) {
    expect_error(ErrorCode::corrupt, "the id of pair 7 is " + std::to_string(id),
                 [&] { static_cast<void>(PairIndex::open(write(id))); });
  }
  expect_error(ErrorCode::corrupt, "two pairs have the id 3",
               [&] { static_cast<void>(PairIndex::open(write(3))); });
}

TEST_CASE("a link that leads outside is damage, whatever the checksums say", "[pair_index]") {
  const TemporaryFolder folder;
  index_of(50).save(folder / "index");
  const auto reader = open_columns(folder / "index", "helip.pair_index");
  const MatrixView nodes = reader->column("nodes");
  std::string bytes(static_cast<const char*>(nodes.data),
                    static_cast<std::size_t>(50 * nodes.cols));
  const auto write = [&](const std::string& changed, const char* name) {
    Manifest empty;
    empty.format = reader->manifest().format;
    empty.shard_rows = reader->manifest().shard_rows;
    empty.columns = reader->manifest().columns;
    ColumnWriter writer(folder / name, empty, false);
    writer.append(50,
                  {reader->column("ids").data, reader->column("image").data,
                   reader->column("text").data, changed.data()},
                  nullptr);
    writer.close([&](Manifest& manifest) { manifest.attributes = reader->manifest().attributes; });
    return folder / name;
  };
  CHECK(PairIndex::open(write(bytes, "same")).size() == 50);
  std::string changed = bytes;
  const std::uint32_t outside = 50;
  std::memcpy(changed.data() + 7 * nodes.cols + 4, &outside, 4);
  expect_error(ErrorCode::corrupt, "the links of pair 7 lead outside",
               [&] { static_cast<void>(PairIndex::open(write(changed, "link"))); });
  changed = bytes;
  const std::uint16_t many = 33;
  std::memcpy(changed.data() + 7 * nodes.cols, &many, 2);
  expect_error(ErrorCode::corrupt, "the links of pair 7",
               [&] { static_cast<void>(PairIndex::open(write(changed, "number"))); });
}

TEST_CASE("an index whose file was cut short is not saved, in any format", "[pair_index]") {
  guard_mapped_files();
  const TemporaryFolder folder;
  index_of(3000).save(folder / "i");
  const PairIndex index = PairIndex::open(folder / "i");
  for (const auto& entry : std::filesystem::directory_iterator(folder / "i")) {
    if (entry.path().extension() == ".safetensors") std::filesystem::resize_file(entry, 4096);
  }
  const std::string words = "became shorter while it was read";
  expect_error(ErrorCode::corrupt, words, [&] { index.save(folder / "copy"); });
  expect_error(ErrorCode::corrupt, words, [&] { index.save_hnswlib(folder / "copy.bin"); });
  CHECK(!std::filesystem::exists(folder / "copy" / "manifest.json"));
  CHECK(!std::filesystem::exists(folder / "copy.bin"));
}
