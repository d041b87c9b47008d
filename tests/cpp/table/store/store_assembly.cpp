#include "helip/store_assembly.h"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "helip/data_fingerprint.h"
#include "support/expect_error.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

using namespace helip;

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kShard = 4096;

StoreOptions with_digests() {
  StoreOptions chosen = options();
  chosen.digests = true;
  chosen.matrices = {{"audio", 3}};
  return chosen;
}

// Rows whose captions say `caption`.
EmbeddingStore write(const fs::path& path, const std::vector<StoreRows>& parts,
                     const std::string& caption = "a") {
  auto writer = EmbeddingStoreWriter::create(path, with_digests());
  for (const StoreRows& rows : parts) {
    const std::vector<std::uint64_t> images(rows.keys.size(), image_digest(9));
    const std::vector<std::uint64_t> captions(rows.keys.size(), caption_digest(caption));
    writer.append(rows.keys, rows.image_view(), rows.text_view(), images, captions,
                  {rows.text_view()});
  }
  return writer.commit();
}

// A row with the key of `key` and the values of another.
StoreRows replaced_row(int key, int values) {
  StoreRows rows = rows_between(values, values + 1);
  rows.keys = {"key-" + std::to_string(key)};
  return rows;
}

}  // namespace

TEST_CASE("a store put together of runs is the store of these rows") {
  const TemporaryFolder folder;
  const std::vector<EmbeddingStore> parts{write(folder / "a", {rows_between(0, 5000)}),
                                          write(folder / "b", {rows_between(5000, 9000)})};
  const EmbeddingStore made = assemble_store(folder / "all", parts, {{0, 0, 5000}, {1, 0, 4000}},
                                             kShard, R"({"complete": true})");
  const EmbeddingStore whole = write(folder / "whole", {rows_between(0, 9000)});
  CHECK(made.fingerprint() == whole.fingerprint());
  CHECK(made.data_fingerprint() == whole.data_fingerprint());
  CHECK(made.metadata_json() == R"({"complete":true})");
  made.verify();
}

TEST_CASE("a store takes the rows that changed, and keeps full shards where they lie") {
  const TemporaryFolder folder;
  const EmbeddingStore old = write(folder / "s", {rows_between(0, 9000)});
  const EmbeddingStore fresh =
      write(folder / "fresh", {replaced_row(5000, 20000), rows_between(9000, 9010)}, "b");
  const auto written = fs::last_write_time(folder / "s" / "shard-00000.safetensors");
  const EmbeddingStore now = assemble_store(
      folder / "s", {old, fresh}, {{0, 0, 5000}, {1, 0, 1}, {0, 5001, 9000}, {1, 1, 11}}, kShard);
  CHECK(now.size() == 9010);
  CHECK(now.generation() > old.generation());
  CHECK(fs::last_write_time(folder / "s" / "shard-00000.safetensors") == written);
  now.verify();
  const auto same = [](const EmbeddingStore& a, std::int64_t i, const EmbeddingStore& b,
                       std::int64_t j) {
    const auto value = [](const MatrixView& view, std::int64_t row) {
      return static_cast<const float*>(view.data)[row * view.cols];
    };
    return a.key(i) == b.key(j) && value(a.image(), i) == value(b.image(), j) &&
           value(a.text(), i) == value(b.text(), j) &&
           a.caption_digests()[i] == b.caption_digests()[j];
  };
  for (const std::int64_t row : {0, 4095, 4096, 4999, 5001, 8191, 8192, 8999}) {
    CHECK(same(now, row, old, row));
  }
  CHECK(same(now, 5000, fresh, 0));
  CHECK(same(now, 9009, fresh, 10));

  SECTION("it tells which rows have other values since, also over several changes") {
    CHECK(now.earlier_state(9000, old.fingerprint())->replaced == std::vector<std::int64_t>{5000});
    const EmbeddingStore again = write(folder / "again", {replaced_row(7, 30000)}, "c");
    const EmbeddingStore third =
        assemble_store(folder / "s", {now, again}, {{0, 0, 7}, {1, 0, 1}, {0, 8, 9010}}, kShard);
    CHECK(third.earlier_state(9000, old.fingerprint())->replaced ==
          std::vector<std::int64_t>{7, 5000});
    CHECK(third.earlier_state(9010, now.fingerprint())->replaced == std::vector<std::int64_t>{7});
    CHECK(third.earlier_state(9010, third.fingerprint())->replaced.empty());
    third.verify();
  }
  SECTION("rows that are appended later leave that as it is") {
    auto writer = EmbeddingStoreWriter::append_to(folder / "s");
    const StoreRows more = rows_between(9010, 9020);
    const std::vector<std::uint64_t> digests(10, 1);
    writer.append(more.keys, more.image_view(), more.text_view(), digests, digests,
                  {more.text_view()});
    const EmbeddingStore later = writer.commit();
    CHECK(later.earlier_state(9000, old.fingerprint())->replaced ==
          std::vector<std::int64_t>{5000});
  }
}

TEST_CASE("deleted rows stay deleted where rows keep their numbers, and are else in the way") {
  const TemporaryFolder folder;
  write(folder / "s", {rows_between(0, 100)});
  const EmbeddingStore old = [&] {
    auto writer = EmbeddingStoreWriter::append_to(folder / "s");
    writer.delete_rows({3});
    return writer.commit();
  }();
  const EmbeddingStore fresh = write(folder / "fresh", {replaced_row(5, 500)});
  CHECK(assemble_store(folder / "s", {old, fresh}, {{0, 0, 5}, {1, 0, 1}, {0, 6, 100}}, kShard)
            .deleted() == std::vector<std::int64_t>{3});
  const EmbeddingStore now = EmbeddingStore::open(folder / "s");
  expect_error(ErrorCode::invalid_argument, "would come back", [&] {
    (void)assemble_store(folder / "s", {now}, {{0, 50, 100}, {0, 0, 50}}, kShard);
  });
  CHECK(EmbeddingStore::open(folder / "s").fingerprint() == now.fingerprint());
}

TEST_CASE("runs that make no store are refused, and what is there stays") {
  const TemporaryFolder folder;
  const EmbeddingStore old = write(folder / "s", {rows_between(0, 5000)});
  expect_error(ErrorCode::invalid_argument, "is that of row 0 already", [&] {
    (void)assemble_store(folder / "s", {old}, {{0, 0, 5000}, {0, 0, 1}}, kShard);
  });
  expect_error(ErrorCode::invalid_argument, "rows 0 .. 5001 lie outside",
               [&] { (void)assemble_store(folder / "s", {old}, {{0, 0, 5001}}, kShard); });
  expect_error(ErrorCode::invalid_argument, "no source 1",
               [&] { (void)assemble_store(folder / "s", {old}, {{1, 0, 1}}, kShard); });
  expect_error(ErrorCode::invalid_argument, "of no others",
               [&] { (void)assemble_store(folder / "s", {}, {}, kShard); });
  auto writer = EmbeddingStoreWriter::create(folder / "plain", options());
  append(writer, rows_between(0, 10));
  const EmbeddingStore plain = writer.commit();
  expect_error(ErrorCode::mismatch, "digests",
               [&] { (void)assemble_store(folder / "n", {old, plain}, {{0, 0, 1}}, kShard); });
  CHECK(EmbeddingStore::open(folder / "s").fingerprint() == old.fingerprint());
  EmbeddingStore::open(folder / "s").verify();
  CHECK_FALSE(fs::exists(folder / "n" / "manifest.json"));
}
