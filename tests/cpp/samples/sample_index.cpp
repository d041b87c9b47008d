#include "helip/sample_index.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "helip/embedding_store.h"
#include "io/file.h"
#include "io/manifest.h"
#include "support/expect_error.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"

using helip::ErrorCode;
using helip::MemberState;
using helip::SampleField;
using helip::SampleIndex;
using helip::SampleIndexOptions;

namespace {

namespace fs = std::filesystem;

fs::path write_shard(const TemporaryFolder& folder, const std::string& name,
                     const std::vector<int>& numbers, const std::string& body = "picture") {
  std::string bytes;
  for (const int number : numbers) {
    const std::string key = "k" + std::to_string(number);
    bytes += tar_member(key + ".jpg", body + key);
    bytes += tar_member(key + ".txt", "text of " + key);
  }
  return write_file(folder / name, bytes + tar_end());
}

std::string text_of(const SampleIndex& index, std::int64_t row, SampleField field) {
  std::vector<std::byte> out;
  index.read(row, field, out);
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

std::string reason_of(const SampleIndex& index, std::int64_t row, SampleField field) {
  try {
    std::vector<std::byte> out;
    index.read(row, field, out);
  } catch (const helip::SampleError& error) {
    CHECK(error.code() == ErrorCode::sample);
    CHECK(std::string(error.what()).find(index.key(row)) != std::string::npos);
    return error.reason();
  }
  return "none";
}

// The same time of change as before, so that only contents tell.
void rewrite_unseen(const fs::path& path, std::size_t at, const std::string& bytes) {
  struct stat status{};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  std::FILE* file = std::fopen(path.c_str(), "r+b");
  std::fseek(file, static_cast<long>(at), SEEK_SET);
  std::fwrite(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
  const timespec times[] = {status.st_atim, status.st_mtim};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

}  // namespace

TEST_CASE("an index gives keys, members and bytes in order of shards") {
  const TemporaryFolder folder;
  const auto second = write_shard(folder, "b.tar", {2});
  const auto first = write_shard(folder, "a.tar", {1, 3});
  const SampleIndex index = SampleIndex::build({second, first});
  REQUIRE(index.size() == 3);
  CHECK(index.key(0) == "k2");
  CHECK(index.key(1) == "k1");
  CHECK(index.key(2) == "k3");
  CHECK(index.member(2, SampleField::image).shard == 1);
  CHECK(index.member(2, SampleField::image).bytes == 9);
  CHECK(text_of(index, 2, SampleField::image) == "picturek3");
  CHECK(text_of(index, 0, SampleField::text) == "text of k2");
  CHECK(index.member(0, SampleField::json).state == MemberState::absent);
  CHECK(index.fingerprint().starts_with(helip::keys_fingerprint({"k2", "k1", "k3"}) + "-"));
  CHECK(index.shards().at(1).first_row == 1);
  CHECK(index.counts().rows == 3);
  CHECK(index.counts().missing_image == 0);
  expect_error(ErrorCode::invalid_argument, "row 3 is outside 0 .. 2",
               [&] { (void)index.member(3, SampleField::image); });
  expect_error(ErrorCode::invalid_argument, "row -1", [&] { (void)index.key(-1); });
}

TEST_CASE("what a sample lacks is a sample's error, with the reason") {
  const TemporaryFolder folder;
  const auto path =
      write_file(folder / "t.tar", tar_header("a.png", 0, '2') + tar_member("b.txt", "b") +
                                       tar_member("c.json", "{}") + tar_end());
  const SampleIndex index = SampleIndex::build({path});
  CHECK(index.member(0, SampleField::image).state == MemberState::refused);
  CHECK(reason_of(index, 0, SampleField::image) == "missing_image");
  CHECK(reason_of(index, 1, SampleField::image) == "missing_image");
  CHECK(reason_of(index, 0, SampleField::text) == "missing_caption");
  CHECK(reason_of(index, 0, SampleField::label) == "missing_label");
  CHECK(index.counts().ignored.at("link") == 1);
  CHECK(index.counts().missing_image == 3);
  CHECK(index.counts().missing_caption == 1);
}

TEST_CASE("too large a member is refused before anything is read") {
  const TemporaryFolder folder;
  const std::int64_t image = (std::int64_t{256} << 20) + 1, text = (std::int64_t{16} << 20) + 1;
  // The bodies are holes.
  write_file(folder / "t.tar", tar_header("a.jpg", image));
  const auto behind = static_cast<std::uintmax_t>(512 + helip::tar::padded(image));
  fs::resize_file(folder / "t.tar", behind);
  std::FILE* file = std::fopen((folder / "t.tar").c_str(), "ab");
  const std::string header = tar_header("a.txt", text);
  std::fwrite(header.data(), 1, header.size(), file);
  std::fclose(file);
  fs::resize_file(folder / "t.tar",
                  behind + static_cast<std::uintmax_t>(512 + helip::tar::padded(text) + 1024));
  const SampleIndex index = SampleIndex::build({folder / "t.tar"});
  CHECK(index.member(0, SampleField::image).bytes == image);
  CHECK(reason_of(index, 0, SampleField::image) == "too_large");
  CHECK(reason_of(index, 0, SampleField::text) == "too_large");
}

TEST_CASE("keys are unique over all shards, names within one") {
  const TemporaryFolder folder;
  const auto a = write_shard(folder, "a.tar", {1, 2}), b = write_shard(folder, "b.tar", {3, 2, 1});
  expect_error(ErrorCode::invalid_argument, "'k2'", [&] { (void)SampleIndex::build({a, b}); });
  expect_error(ErrorCode::invalid_argument, "b.tar at offset",
               [&] { (void)SampleIndex::build({a, b}); });
  const auto c = write_file(folder / "c.tar", tar_member("a.txt", "1") + tar_member("b.txt", "2") +
                                                  tar_member("./a.txt", "3") + tar_end());
  expect_error(ErrorCode::invalid_argument, "offset 0 and at offset 2048",
               [&] { (void)SampleIndex::build({c}); });
  expect_error(ErrorCode::invalid_argument, "no samples",
               [&] { (void)SampleIndex::build({write_file(folder / "d.tar", tar_end())}); });
}

TEST_CASE("the error is that of the first damaged shard, on any number of threads") {
  const TemporaryFolder folder;
  std::vector<fs::path> paths;
  for (int i = 0; i < 40; ++i) {
    const std::string name = std::to_string(i) + ".tar";
    paths.push_back(i == 7 || i > 20 ? write_file(folder / name, "garbage")
                                     : write_shard(folder, name, {i}));
  }
  for (const int threads : {1, 2, 8, 100}) {
    SampleIndexOptions options;
    options.threads = threads;
    expect_error(ErrorCode::corrupt, "/7.tar", [&] { (void)SampleIndex::build(paths, options); });
  }
}

TEST_CASE("a saved index is the same bytes on any number of threads, and opens as it was") {
  const TemporaryFolder folder;
  std::vector<fs::path> paths;
  for (int i = 0; i < 20; ++i) {
    paths.push_back(write_shard(folder, std::to_string(i) + ".tar", {3 * i, 3 * i + 1}));
  }
  SampleIndexOptions options;
  options.contents = true;
  std::vector<std::string> manifests;
  for (const int threads : {1, 3}) {
    options.threads = threads;
    const auto path = folder / ("index" + std::to_string(threads));
    SampleIndex::build(paths, options).save(path);
    manifests.push_back(helip::read_small_file(path / "manifest.json", 1 << 20));
  }
  CHECK(manifests[0] == manifests[1]);  // which has the digests of all columns
  const SampleIndex built = SampleIndex::build(paths, options);
  const SampleIndex opened = SampleIndex::open(folder / "index1");
  const SampleIndex copied = SampleIndex::from_bytes(built.to_bytes());
  for (const SampleIndex* other : {&opened, &copied}) {
    REQUIRE(other->size() == built.size());
    CHECK(other->fingerprint() == built.fingerprint());
    CHECK(other->counts().missing_image == built.counts().missing_image);
    CHECK(other->shards().at(19).headers == built.shards().at(19).headers);
    for (std::int64_t row = 0; row < built.size(); ++row) {
      CHECK(other->key(row) == built.key(row));
      CHECK(text_of(*other, row, SampleField::text) == text_of(built, row, SampleField::text));
    }
    other->verify(true);
  }
  CHECK(opened.path() == folder / "index1");
  CHECK(opened.generation() == 1);
}

TEST_CASE("bytes of an index whose keys are damaged are refused") {
  const TemporaryFolder folder;
  const fs::path shard =
      write_file(folder / "s.tar", tar_member("a.txt", "x") + tar_member("b.txt", "y") + tar_end());
  std::string bytes = SampleIndex::build({shard}).to_bytes();
  // The last are two keys of a byte each, and before them three offsets of eight.
  const std::size_t offsets = bytes.size() - 2 - 3 * 8;
  REQUIRE(SampleIndex::from_bytes(bytes).key(1) == "b");
  for (const char second : {'\0', '\2', '\x7f'}) {
    bytes[offsets + 8] = second;  // an empty key, or one that goes on behind the end
    expect_error(ErrorCode::corrupt, "the keys of an index are damaged",
                 [&] { (void)SampleIndex::from_bytes(bytes); });
  }
}

TEST_CASE("counts in the bytes of an index that wrap are refused") {
  const TemporaryFolder folder;
  const fs::path shard = write_file(folder / "s.tar", tar_member("a.txt", "x") + tar_end());
  const std::string bytes = SampleIndex::build({shard}).to_bytes();
  // Of the header, of rows, whose columns have 4, 2 and 1 values each, and of keys.
  for (const std::size_t at : {0, 8, 16}) {
    for (const std::uint64_t count :
         {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 62, std::uint64_t{1} << 63,
          (std::uint64_t{1} << 62) + 1, (std::uint64_t{1} << 63) + 1}) {
      INFO(at << ": " << count);
      std::string changed = bytes;
      std::memcpy(changed.data() + at, &count, sizeof count);
      expect_error(ErrorCode::corrupt, "open the data set again",
                   [&] { (void)SampleIndex::from_bytes(changed); });
    }
  }
}

TEST_CASE("a member that lies outside of its shard is refused before it is read") {
  const TemporaryFolder folder;
  const fs::path shard = write_file(folder / "s.tar", tar_member("a.txt", "x") + tar_end());
  std::string bytes = SampleIndex::build({shard}).to_bytes();
  REQUIRE(SampleIndex::from_bytes(bytes).readable(0, SampleField::text).bytes == 1);
  // Behind the key, two of its offsets, digests and sizes lie the offsets of the members.
  const std::size_t offsets = bytes.size() - 1 - 2 * 8 - 2 * 8 - helip::kSampleFields * (4 + 8);
  bytes[offsets + 8 * static_cast<std::size_t>(SampleField::text) + 2] = 1;
  expect_error(ErrorCode::corrupt, "row 0 lies outside of its shard",
               [&] { (void)SampleIndex::from_bytes(bytes).readable(0, SampleField::text); });
}

TEST_CASE("counts that no index can have are damage, whatever the checksums say") {
  const TemporaryFolder folder;
  SampleIndex::build({write_shard(folder, "a.tar", {1}), write_shard(folder, "b.tar", {2})})
      .save(folder / "index");
  const helip::Manifest sound = helip::read_manifest(folder / "index", "helip.sample_index");
  const auto refuse = [&](const char* words, const auto& change) {
    helip::Manifest manifest = sound;
    change(manifest.attributes);
    helip::write_manifest(folder / "index", manifest);
    expect_error(ErrorCode::corrupt, words, [&] { (void)SampleIndex::open(folder / "index"); });
  };
  using helip::Json;
  static constexpr std::int64_t kMuch = std::int64_t{1} << 62;
  refuse("members that were left out", [](Json& all) {
    for (Json& shard : all["shards"]) shard["ignored"] = {{"other", kMuch}};  // whose sum wraps
  });
  refuse("members that were left out",
         [](Json& all) { all["shards"][0]["ignored"] = {{"other", -1}}; });
  refuse("rows or bytes", [](Json& all) {
    for (Json& shard : all["shards"]) shard["bytes"] = kMuch;
  });
  refuse("rows or bytes", [](Json& all) { all["shards"][0]["rows"] = INT64_MAX; });
  refuse("lack something", [](Json& all) { all["missing_image"] = -1; });
  refuse("lack something", [](Json& all) { all["missing_caption"] = 3; });
}

TEST_CASE("a shard may be dated beyond the nanoseconds of 64 bits") {
  const TemporaryFolder folder;
  const fs::path path = write_shard(folder, "a.tar", {1});
  const timespec times[] = {{0, 0}, {15'000'000'000, 0}};  // the year 2445
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  SampleIndex::build({path}).save(folder / "index");
  CHECK(SampleIndex::open(folder / "index").size() == 1);
}

TEST_CASE("a shard that was changed is refused at opening, with what to do") {
  const TemporaryFolder folder;
  const auto path = write_shard(folder, "a.tar", {1});
  SampleIndex::build({path}).save(folder / "index");
  const SampleIndex before = SampleIndex::open(folder / "index");
  write_shard(folder, "a.tar", {1, 2});
  expect_error(ErrorCode::mismatch, "a.tar was changed",
               [&] { (void)SampleIndex::open(folder / "index"); });
  expect_error(ErrorCode::mismatch, "helip index",
               [&] { (void)SampleIndex::open(folder / "index"); });
  expect_error(ErrorCode::mismatch, "a.tar was changed",
               [&] { text_of(before, 0, SampleField::text); });
  fs::remove(path);
  expect_error(ErrorCode::io, "root", [&] { (void)SampleIndex::open(folder / "index"); });
  CHECK(SampleIndex::open(folder / "index", {}, false).size() == 1);
  CHECK(reason_of(SampleIndex::open(folder / "index", {}, false), 0, SampleField::text) == "io");
}

TEST_CASE("verify tells changes that size and time do not show") {
  const TemporaryFolder folder;
  const auto path = write_shard(folder, "a.tar", {1, 2}, std::string(1498, 'p'));
  SampleIndexOptions options;
  options.contents = true;
  const SampleIndex with = SampleIndex::build({path}, options);
  const SampleIndex without = SampleIndex::build({path});
  without.verify();
  expect_error(ErrorCode::invalid_argument, "contents", [&] { without.verify(true); });
  rewrite_unseen(path, 513, "X");
  without.verify();
  with.verify();
  expect_error(ErrorCode::mismatch, "its contents", [&] { with.verify(true); });
  rewrite_unseen(path, 0, with_field(tar_header("k9.jpg", 1500), 100, "0000600"));
  expect_error(ErrorCode::mismatch, "its headers", [&] { without.verify(); });
}

TEST_CASE("verify tells another end of an image without a digest of all contents") {
  const TemporaryFolder folder;
  const auto path = write_shard(folder, "a.tar", {1, 2}, std::string(1498, 'p'));
  const SampleIndex index = SampleIndex::build({path});
  rewrite_unseen(path, 512 + 1499, "X");
  expect_error(ErrorCode::mismatch, "its members are others", [&] { index.verify(); });
}

TEST_CASE("an index follows its shards, and reads only those that are new or changed") {
  const TemporaryFolder folder;
  std::vector<fs::path> paths;
  for (int i = 0; i < 4; ++i) {
    paths.push_back(write_shard(folder, std::to_string(i) + ".tar", {10 * i, 10 * i + 1}));
  }
  SampleIndex::build(paths).save(folder / "index");
  const SampleIndex old = SampleIndex::open(folder / "index");
  const SampleIndex same = SampleIndex::build(paths, {}, {}, &old);
  CHECK(same.scanned() == 0);
  write_shard(folder, "1.tar", {10, 12, 14}, "other pictures");
  paths.erase(paths.begin() + 2);
  paths.insert(paths.begin(), write_shard(folder, "new.tar", {99}));
  const SampleIndex now = SampleIndex::build(paths, {}, {}, &old);
  const SampleIndex fresh = SampleIndex::build(paths);
  CHECK(now.scanned() == 2);
  now.save(folder / "index");
  fresh.save(folder / "fresh");
  const SampleIndex a = SampleIndex::open(folder / "index"),
                    b = SampleIndex::open(folder / "fresh");
  CHECK(a.generation() == 2);
  CHECK(a.to_bytes() == b.to_bytes());
  a.verify();
  // Other options make other rows.
  SampleIndexOptions png;
  png.image_extensions = {"png"};
  CHECK(SampleIndex::build(paths, png, {}, &a).scanned() == 4);
  // Contents were not read before.
  SampleIndexOptions contents;
  contents.contents = true;
  CHECK(SampleIndex::build(paths, contents, {}, &a).scanned() == 4);
  // A damaged index is of no use for the next.
  std::string bytes = helip::read_small_file(folder / "index" / "shard-00001.safetensors", 1 << 20);
  bytes[4096] = static_cast<char>(bytes[4096] ^ 1);
  write_file(folder / "index" / "shard-00001.safetensors", bytes);
  const SampleIndex damaged = SampleIndex::open(folder / "index");
  CHECK(SampleIndex::build(paths, {}, {}, &damaged).scanned() == 4);
  expect_error(ErrorCode::corrupt, "checksum", [&] { damaged.verify(); });
}

TEST_CASE("shards that were moved are found below another root") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "from/x");
  std::vector<fs::path> paths{write_shard(folder, "from/a.tar", {1}),
                              write_shard(folder, "from/x/b.tar", {2})};
  SampleIndex::build(paths).save(folder / "index");
  fs::rename(folder / "from", folder / "to");
  expect_error(ErrorCode::io, "root", [&] { (void)SampleIndex::open(folder / "index"); });
  const SampleIndex index = SampleIndex::open(folder / "index", folder / "to");
  CHECK(text_of(index, 1, SampleField::text) == "text of k2");
}

TEST_CASE("a build can be stopped, and leaves nothing behind") {
  const TemporaryFolder folder;
  const auto path = write_shard(folder, "a.tar", {1});
  expect_error(ErrorCode::cancelled, "stopped", [&] {
    (void)SampleIndex::build({path}, {}, [](const helip::Progress&) { return false; });
  });
}

TEST_CASE("pipes and folders are no shards") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe.tar").c_str(), 0600) == 0);
  expect_error(ErrorCode::invalid_argument, "regular file",
               [&] { (void)SampleIndex::build({folder / "pipe.tar"}); });
  expect_error(ErrorCode::io, "absent.tar",
               [&] { (void)SampleIndex::build({folder / "absent.tar"}); });
}

TEST_CASE("an index that was moved from, or never made, has no rows") {
  const TemporaryFolder folder;
  SampleIndex index = SampleIndex::build({write_shard(folder, "a.tar", {1, 2})});
  const SampleIndex taken = std::move(index);
  for (const SampleIndex& empty : {index, SampleIndex()}) {  // NOLINT(bugprone-use-after-move)
    CHECK(empty.size() == 0);
    CHECK(empty.shards().empty());
    CHECK(empty.fingerprint().empty());
    CHECK(empty.path().empty());
    CHECK_NOTHROW(empty.will_need(std::vector<std::int64_t>{0}));
    CHECK_NOTHROW(empty.verify());
    expect_error(ErrorCode::invalid_argument, "row 0", [&] { (void)empty.key(0); });
    expect_error(ErrorCode::invalid_argument, "row 0",
                 [&] { (void)empty.member(0, SampleField::image); });
    expect_error(ErrorCode::invalid_argument, "no rows", [&] { empty.save(folder / "i"); });
  }
  CHECK(taken.key(1) == "k2");
}

TEST_CASE("saving an index can be stopped, and leaves what was there") {
  const TemporaryFolder folder;
  const SampleIndex one = SampleIndex::build({write_shard(folder, "a.tar", {1})});
  one.save(folder / "i");
  const SampleIndex two = SampleIndex::build({write_shard(folder, "b.tar", {1, 2})});
  expect_error(ErrorCode::cancelled, "save",
               [&] { two.save(folder / "i", [](const helip::Progress&) { return false; }); });
  CHECK(SampleIndex::open(folder / "i").size() == 1);
}

TEST_CASE("shards that are scanned one by one and joined are what one build gives") {
  const TemporaryFolder folder;
  const std::vector<fs::path> paths{
      write_shard(folder, "a.tar", {1, 2}), write_shard(folder, "b.tar", {3}),
      write_shard(folder, "c.tar", {}), write_shard(folder, "d.tar", {4})};
  const SampleIndex whole = SampleIndex::build(paths);
  std::vector<std::pair<SampleIndex, std::int64_t>> parts;
  for (const fs::path& path : paths) {
    helip::SampleShard as;
    as.path = "https://host/x/" + path.filename().string();
    as.modified = 7;
    as.tag = "\"tag\"";
    parts.emplace_back(SampleIndex::scan(path, as), 0);
  }
  const SampleIndex joined = SampleIndex::join(parts);
  CHECK(joined.scanned() == 4);
  CHECK(joined.fingerprint() == whole.fingerprint());
  CHECK(joined.counts().rows == whole.counts().rows);
  REQUIRE(joined.shards().size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const helip::SampleShard& shard = joined.shards()[i];
    CHECK(shard.path == "https://host/x/" + paths[i].filename().string());
    CHECK(shard.headers == whole.shards()[i].headers);
    CHECK(shard.first_row == whole.shards()[i].first_row);
    CHECK(shard.modified == 7);
    CHECK(shard.tag == "\"tag\"");
  }

  joined.save(folder / "index");
  const SampleIndex opened = SampleIndex::open(folder / "index");  // looks at no URL
  CHECK(opened.shards()[3].path == "https://host/x/d.tar");
  CHECK(opened.shards()[3].tag == "\"tag\"");
  opened.verify();
  const SampleIndex moved = SampleIndex::open(folder / "index", "s3://bucket/y");
  CHECK(moved.shards()[3].path == "s3://bucket/y/d.tar");
  const SampleIndex copied = SampleIndex::from_bytes(joined.to_bytes());
  CHECK(copied.shards()[3].path == "https://host/x/d.tar");
  // In another order.
  const SampleIndex again = SampleIndex::join({{opened, 3}, {opened, 0}});
  CHECK(again.key(0) == "k4");
  CHECK(again.key(2) == "k2");
}

TEST_CASE("what cannot be joined, or read at a URL, is refused") {
  const TemporaryFolder folder;
  const fs::path path = write_shard(folder, "a.tar", {1});
  const auto at = [&](const std::string& url) {
    helip::SampleShard as;
    as.path = url;
    return SampleIndex::scan(path, as);
  };
  const SampleIndex one = at("https://host/a.tar");
  expect_error(ErrorCode::invalid_argument, "no shards given", [] { (void)SampleIndex::join({}); });
  expect_error(ErrorCode::invalid_argument, "shard 1 is outside 0 .. 0",
               [&] { (void)SampleIndex::join({{one, 1}}); });
  expect_error(ErrorCode::invalid_argument, "https://host/a.tar at offset",
               [&] { (void)SampleIndex::join({{one, 0}, {one, 0}}); });
  SampleIndexOptions other;
  other.image_extensions = {"jpg"};
  expect_error(ErrorCode::invalid_argument, "different image extensions", [&] {
    (void)SampleIndex::join(
        {{one, 0}, {SampleIndex::build({write_shard(folder, "b.tar", {2})}, other), 0}});
  });
  helip::SampleShard elsewhere;
  elsewhere.path = "https://other/b.tar";
  const SampleIndex two = SampleIndex::join(
      {{one, 0}, {SampleIndex::scan(write_shard(folder, "b.tar", {2}), elsewhere), 0}});
  expect_error(ErrorCode::invalid_argument, "must lie at one host",
               [&] { two.save(folder / "i"); });
  CHECK(reason_of(one, 0, SampleField::image) == "io");
  write_file(folder / "broken.tar", std::string(1024, 'x'));
  helip::SampleShard broken;
  broken.path = "https://host/broken.tar";
  expect_error(ErrorCode::corrupt, "https://host/broken.tar",
               [&] { (void)SampleIndex::scan(folder / "broken.tar", broken); });
}

TEST_CASE("a picture may be that of a row if its size and its end are") {
  const TemporaryFolder folder;
  const SampleIndex index = SampleIndex::build({write_shard(folder, "a.tar", {1, 2})});
  CHECK(index.may_be_image(0, "picturek1"));
  CHECK_FALSE(index.may_be_image(0, "picturek2"));
  CHECK_FALSE(index.may_be_image(0, "picturek11"));
  CHECK(index.readable(1, SampleField::text).bytes == 10);
}
