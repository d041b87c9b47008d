#include "io/manifest.h"

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <iterator>
#include <string>

#include "io/checksum.h"
#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/temporary_folder.h"

using namespace helip;
namespace fs = std::filesystem;

namespace {

Manifest sample() {
  Manifest manifest;
  manifest.format = "helip.test";
  manifest.generation = 3;
  manifest.shard_rows = 4;
  manifest.next_shard = 2;
  manifest.columns = {{"a", DType::float32, 7}, {"b", DType::int32, 0}};
  manifest.shards = {{"shard-00000.safetensors", 4, 100, "h0", {{"a", "x"}}},
                     {"shard-00001.safetensors", 2, 80, "h1", {{"a", "y"}}}};
  manifest.attributes = {{"note", "fünf"}};
  return manifest;
}

std::string text_of(const fs::path& folder) {
  std::ifstream stream(folder / kManifestName, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void put(const fs::path& folder, const std::string& text) {
  std::ofstream(folder / kManifestName, std::ios::binary) << text;
}

// A manifest with a field changed and its checksum mended.
void put_changed(const fs::path& folder, const std::string& field, const Json& value) {
  auto root = Json::parse(text_of(folder));
  root[field] = value;
  root.erase("checksum");
  const std::string body = root.dump(1);
  root["checksum"] = digest_hex(body.data(), body.size());
  put(folder, root.dump(1) + "\n");
}

}  // namespace

TEST_CASE("a manifest that was written is read back") {
  const TemporaryFolder folder;
  write_manifest(folder / "", sample());
  const Manifest read = read_manifest(folder / "", "helip.test");
  CHECK(read.generation == 3);
  CHECK(read.rows() == 6);
  CHECK(read.columns == sample().columns);
  CHECK(read.shards[1].file == "shard-00001.safetensors");
  CHECK(read.shards[1].digests.at("a") == "y");
  CHECK(read.attributes == sample().attributes);
}

TEST_CASE("any flipped bit of a manifest is found") {
  const TemporaryFolder folder;
  write_manifest(folder / "", sample());
  const std::string text = text_of(folder / "");
  for (std::size_t byte = 0; byte < text.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = text;
      flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
      put(folder / "", flipped);
      REQUIRE_THROWS_AS((void)read_manifest(folder / "", "helip.test"), Error);
    }
  }
}

TEST_CASE("every truncation of a manifest is refused") {
  const TemporaryFolder folder;
  write_manifest(folder / "", sample());
  const std::string text = text_of(folder / "");
  for (std::size_t n = 0; n < text.size(); ++n) {
    put(folder / "", text.substr(0, n));
    REQUIRE_THROWS_AS((void)read_manifest(folder / "", "helip.test"), Error);
  }
}

TEST_CASE("a manifest of another format, of a newer version or with an unknown need is refused") {
  const TemporaryFolder folder;
  write_manifest(folder / "", sample());
  expect_error(ErrorCode::mismatch, "helip.test",
               [&] { (void)read_manifest(folder / "", "other"); });
  put_changed(folder / "", "version", 2);
  expect_error(ErrorCode::unsupported, "upgrade",
               [&] { (void)read_manifest(folder / "", "helip.test"); });
  write_manifest(folder / "", sample());
  put_changed(folder / "", "requires", {"magic"});
  expect_error(ErrorCode::unsupported, "upgrade",
               [&] { (void)read_manifest(folder / "", "helip.test"); });
}

TEST_CASE("a manifest that names a file elsewhere is refused") {
  const TemporaryFolder folder;
  for (const char* name : {"../secret", "/etc/passwd", "", ".lock"}) {
    Manifest manifest = sample();
    manifest.shards[0].file = name;
    write_manifest(folder / "", manifest);
    expect_error(ErrorCode::corrupt, "plain name",
                 [&] { (void)read_manifest(folder / "", "helip.test"); });
  }
}

TEST_CASE("numbers that leave no room for the next are refused, and sums that wrap") {
  const TemporaryFolder folder;
  constexpr std::int64_t kMost = std::int64_t{1} << 62;
  const auto refuse = [&](const char* words) {
    expect_error(ErrorCode::corrupt, words,
                 [&] { (void)read_manifest(folder / "", "helip.test"); });
  };
  for (const char* field : {"generation", "next_shard"}) {
    for (const std::int64_t value : {INT64_MAX, kMost + 1, std::int64_t{-1}}) {
      write_manifest(folder / "", sample());
      put_changed(folder / "", field, value);
      refuse((std::string(field) + " is " + std::to_string(value) + ", outside").c_str());
    }
  }
  // Nor are they written.
  for (std::int64_t Manifest::* field : {&Manifest::generation, &Manifest::next_shard}) {
    Manifest last = sample();
    last.*field = kMost;
    write_manifest(folder / "", last);
    CHECK(read_manifest(folder / "", "helip.test").*field == kMost);
    ++(last.*field);
    expect_error(ErrorCode::unsupported, "at most 2^62",
                 [&] { write_manifest(folder / "", last); });
    CHECK(read_manifest(folder / "", "helip.test").*field == kMost);
  }
  Manifest manifest = sample();
  manifest.shards[0].bytes = -1;
  write_manifest(folder / "", manifest);
  refuse("bytes is -1");
  manifest.shards[0].bytes = manifest.shards[1].bytes = kMost;
  write_manifest(folder / "", manifest);
  refuse("the number of rows or of bytes overflows");
}

TEST_CASE("rows that do not add up are refused") {
  const TemporaryFolder folder;
  write_manifest(folder / "", sample());
  put_changed(folder / "", "rows", 7);
  expect_error(ErrorCode::corrupt, "sum", [&] { (void)read_manifest(folder / "", "helip.test"); });
  Manifest gap = sample();
  gap.shards[0].rows = 3;
  write_manifest(folder / "", gap);
  expect_error(ErrorCode::corrupt, "not full",
               [&] { (void)read_manifest(folder / "", "helip.test"); });
}

TEST_CASE("metadata must be a JSON object, and not nested without end") {
  expect_error(ErrorCode::invalid_argument, "not JSON", [] { (void)parse_json_object("{", "it"); });
  expect_error(ErrorCode::invalid_argument, "object", [] { (void)parse_json_object("[1]", "it"); });
  expect_error(ErrorCode::invalid_argument, "nesting",
               [] { (void)parse_json_object(std::string(1000, '['), "it"); });
}

TEST_CASE("a damaged manifest is refused before it is parsed") {
  const TemporaryFolder folder;
  write_manifest(folder / "", sample());
  std::string text = text_of(folder / "");
  std::string zeros = "[0";
  for (int i = 0; i < 1000; ++i) zeros += ",0";
  text.insert(text.find("fünf") - 1, zeros + "],");
  put(folder / "", text);
  expect_error(ErrorCode::corrupt, "checksum does not match",
               [&] { (void)read_manifest(folder / "", "helip.test"); });
}

TEST_CASE("a checksum within the attributes is not taken for that of the manifest") {
  const TemporaryFolder folder;
  Manifest manifest = sample();
  manifest.attributes = {{"checksum", "x"}, {"note", "\n \"checksum\": \"00\",\n"}};
  write_manifest(folder / "", manifest);
  CHECK(read_manifest(folder / "", "helip.test").attributes == manifest.attributes);
}

TEST_CASE("a manifest that was replaced is there even where its directory cannot be made durable") {
  const TemporaryFolder folder;
  const FailingCalls calls(FailingCalls::Kind::directory_fsync, 0);
  expect_error(ErrorCode::io, "sync the directory", [&] { write_manifest(folder / "", sample()); });
  CHECK(read_manifest(folder / "", "helip.test").generation == 3);
}

TEST_CASE("a path that cannot be looked at is an error of the library's own") {
  expect_error(ErrorCode::io, "cannot look at",
               [] { (void)read_manifest(std::string(300, 'x'), "helip.test"); });
}
