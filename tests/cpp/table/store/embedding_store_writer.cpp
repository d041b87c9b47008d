#include "helip/embedding_store_writer.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

using namespace helip;

TEST_CASE("a store gives back what was appended, to the precision of its dtype") {
  const std::vector<std::pair<DType, double>> cases{{DType::float32, 0.0},
                                                    {DType::float16, 0x1p-11},
                                                    {DType::bfloat16, 0x1p-8},
                                                    {DType::int8, 0.5 / 127}};
  for (const auto& [dtype, tolerance] : cases) {
    INFO(name_of(dtype));
    const TemporaryFolder folder;
    auto writer = EmbeddingStoreWriter::create(folder / "s", options(dtype));
    append(writer, rows_between(0, 3000));
    append(writer, rows_between(3000, 6000));
    writer.commit();
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    REQUIRE(store.size() == 6000);
    for (int i = 0; i < 6000; ++i) {
      const StoreRows expected = rows_between(i, i + 1);
      std::vector<double> image(5);
      std::vector<double> text(3);
      read_row(store.image(), i, image.data());
      read_row(store.text(), i, text.data());
      for (std::size_t j = 0; j < 5; ++j) {
        REQUIRE(std::fabs(image[j] - static_cast<double>(expected.image[j])) <= tolerance * 1.001);
      }
      for (std::size_t j = 0; j < 3; ++j) {
        REQUIRE(std::fabs(text[j] - static_cast<double>(expected.text[j])) <= tolerance * 1.001);
      }
      REQUIRE(store.key(i) == "key-" + std::to_string(i));
    }
    store.verify();
  }
}

TEST_CASE("the fingerprint follows keys and contents, not the batches or the stops of the writer") {
  const TemporaryFolder folder;
  auto once = EmbeddingStoreWriter::create(folder / "once", options());
  append(once, rows_between(0, 5000));
  const std::string expected = once.commit().fingerprint();
  {
    auto first = EmbeddingStoreWriter::create(folder / "twice", options());
    append(first, rows_between(0, 10));
    CHECK(first.commit().fingerprint() != expected);
  }
  auto second = EmbeddingStoreWriter::append_to(folder / "twice");
  append(second, rows_between(10, 5000));
  const EmbeddingStore twice = second.commit();
  CHECK(twice.fingerprint() == expected);
  CHECK(twice.generation() == 2);
  std::vector<std::string> keys;
  for (int i = 0; i < 5000; ++i) keys.push_back("key-" + std::to_string(i));
  CHECK(twice.keys_fingerprint() == keys_fingerprint(keys));
  std::swap(keys[0], keys[1]);
  CHECK(twice.keys_fingerprint() != keys_fingerprint(keys));
}

TEST_CASE("rows that a store cannot hold are refused by name, and nothing is taken") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options(DType::float16));
  append(writer, rows_between(0, 4));
  const auto refuse = [&](const std::string& part, auto change) {
    StoreRows rows = rows_between(4, 8);
    change(rows);
    expect_error(ErrorCode::invalid_argument, part, [&] { append(writer, rows); });
    CHECK(writer.size() == 4);
  };
  refuse("image row 6",
         [](StoreRows& r) { r.image[10] = std::numeric_limits<float>::quiet_NaN(); });
  refuse("text row 5", [](StoreRows& r) { r.text[3] = std::numeric_limits<float>::infinity(); });
  refuse("70000", [](StoreRows& r) { r.text[3] = 70000.0F; });
  refuse("row 2", [](StoreRows& r) { r.keys[1] = "key-2"; });
  refuse("row 4", [](StoreRows& r) { r.keys[1] = "key-4"; });
  refuse("key of row 7", [](StoreRows& r) { r.keys[3].clear(); });
  refuse("[4, 4]", [](StoreRows& r) { r.d_image = 4; });
  append(writer, rows_between(4, 8));
  CHECK(writer.commit().size() == 8);
}

TEST_CASE("a key of an earlier generation is known") {
  const TemporaryFolder folder;
  {
    auto writer = EmbeddingStoreWriter::create(folder / "s", options());
    append(writer, rows_between(0, 10));
    writer.commit();
  }
  auto writer = EmbeddingStoreWriter::append_to(folder / "s");
  expect_error(ErrorCode::invalid_argument, "row 7", [&] { append(writer, rows_between(7, 8)); });
}

TEST_CASE("options out of their bounds are refused") {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& part, StoreOptions bad) {
    expect_error(ErrorCode::invalid_argument, part,
                 [&] { (void)EmbeddingStoreWriter::create(folder / "s", bad); });
  };
  refuse("image_dim is 0", {0, 3, DType::float32, 4096});
  refuse("text_dim is -1", {5, -1, DType::float32, 4096});
  refuse("shard_rows is 1000", {5, 3, DType::float32, 1000});
  refuse("float64", {5, 3, DType::float64, 4096});
}

TEST_CASE("a shard of more bytes than a file can have is refused before it is begun") {
  const TemporaryFolder folder;
  StoreOptions wide = options();
  wide.shard_rows = std::int64_t{1} << 61;
  auto writer = EmbeddingStoreWriter::create(folder / "s", wide);
  expect_error(ErrorCode::invalid_argument, "use fewer shard_rows",
               [&] { append(writer, rows_between(0, 3)); });
}

TEST_CASE("zero rows are legal, and metadata is kept until it is replaced") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options(DType::int8));
  StoreRows zeros = rows_between(0, 1);
  zeros.image.assign(5, 0.0F);
  append(writer, zeros);
  CHECK(writer.commit(R"({"encoder":"a"})").metadata_json() == R"({"encoder":"a"})");
  CHECK(writer.commit().metadata_json() == R"({"encoder":"a"})");
  expect_error(ErrorCode::invalid_argument, "JSON", [&] { writer.commit("{nope"); });
  std::vector<double> image(5, 1.0);
  read_row(EmbeddingStore::open(folder / "s").image(), 0, image.data());
  CHECK(image == std::vector<double>(5, 0.0));
}

TEST_CASE("deleted rows keep their numbers, keys and values, and are marked in the views") {
  const TemporaryFolder folder;
  {
    auto writer = EmbeddingStoreWriter::create(folder / "s", options());
    append(writer, rows_between(0, 10));
    CHECK(writer.commit().image().deleted == nullptr);
    CHECK(writer.delete_rows({7, 2, 7}) == 2);
    CHECK(writer.delete_keys({"key-2", "key-4"}) == 1);
    append(writer, rows_between(10, 12));
    CHECK(writer.delete_keys({"key-11"}) == 1);
    writer.commit();
  }
  const EmbeddingStore store = EmbeddingStore::open(folder / "s");
  CHECK(store.size() == 12);
  CHECK(store.deleted() == std::vector<std::int64_t>{2, 4, 7, 11});
  CHECK(store.key(2) == "key-2");
  for (std::int64_t row = 0; row < 12; ++row) {
    const bool gone = row == 2 || row == 4 || row == 7 || row == 11;
    CHECK((store.image().deleted[row] != 0) == gone);
    CHECK((store.text().deleted[row] != 0) == gone);
  }
  store.verify();
  auto again = EmbeddingStoreWriter::append_to(folder / "s");
  CHECK(again.delete_rows({2, 3}) == 1);
  expect_error(ErrorCode::invalid_argument, "row 2", [&] { append(again, rows_between(2, 3)); });
  CHECK(again.commit().deleted() == std::vector<std::int64_t>{2, 3, 4, 7, 11});
}

TEST_CASE("what cannot be deleted is refused by name, and nothing is deleted") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  append(writer, rows_between(0, 10));
  expect_error(ErrorCode::invalid_argument, "row 10", [&] { writer.delete_rows({1, 10}); });
  expect_error(ErrorCode::invalid_argument, "row -1", [&] { writer.delete_rows({-1}); });
  expect_error(ErrorCode::invalid_argument, "key \"x\"",
               [&] { writer.delete_keys({"key-1", "x"}); });
  CHECK(writer.commit().deleted().empty());
}

TEST_CASE(
    "deleted rows are part of the fingerprint, and a store without any has that it always had") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  append(writer, rows_between(0, 6));
  const EmbeddingStore whole = writer.commit();
  writer.delete_rows({1});
  const EmbeddingStore one = writer.commit();
  writer.delete_rows({2});
  const EmbeddingStore two = writer.commit();
  CHECK(one.fingerprint() != whole.fingerprint());
  CHECK(two.fingerprint() != one.fingerprint());
  CHECK(two.keys_fingerprint() == whole.keys_fingerprint());
  CHECK(whole.fingerprint() == "1bbc3139bd5729b912604c8aca7c1068");
  CHECK(writer.commit().fingerprint() == two.fingerprint());  // nothing new
}

TEST_CASE("a reader that does not know deleted rows refuses the store") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  append(writer, rows_between(0, 6));
  writer.commit();
  writer.delete_rows({1});
  writer.commit();
  std::ifstream file(folder / "s" / "manifest.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  CHECK(text.find("\"requires\": [\n  \"deleted_rows\"\n ]") != std::string::npos);
}

TEST_CASE("the last commit leaves nothing beside the store while its writer lives") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  append(writer, rows_between(0, 50));
  writer.commit();
  append(writer, rows_between(50, 100));
  CHECK(writer.finish().size() == 100);
  for (const auto& entry : std::filesystem::directory_iterator(folder / "s")) {
    CHECK_FALSE(entry.path().filename().string().starts_with(".pending"));
  }
  // What is appended all the same goes into a new generation.
  append(writer, rows_between(100, 110));
  const EmbeddingStore store = writer.commit();
  CHECK(store.size() == 110);
  store.verify();
}

TEST_CASE("a last commit without new rows keeps those of the one before") {
  for (const bool before : {false, true}) {  // whether the last commit of rows was a last one too
    const TemporaryFolder folder;
    auto writer = EmbeddingStoreWriter::create(folder / "s", options());
    append(writer, rows_between(0, 50));
    before ? writer.finish() : writer.commit();
    writer.delete_rows({3});
    CHECK(writer.finish().size() == 50);
    CHECK(writer.commit().size() == 50);
    append(writer, rows_between(50, 60));
    CHECK(writer.finish().size() == 60);
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    store.verify();
    CHECK(store.deleted() == std::vector<std::int64_t>{3});
  }
}

TEST_CASE("an append that failed ends the writer of a store, and what was committed stays") {
  using Kind = FailingCalls::Kind;
  for (const Kind kind : {Kind::pwrite, Kind::fsync}) {
    const TemporaryFolder folder;
    {
      auto writer = EmbeddingStoreWriter::create(folder / "s", options());
      append(writer, rows_between(0, 100));
      writer.commit();
      {
        const FailingCalls calls(kind, 0, EIO, true);
        expect_error(ErrorCode::io, "error", [&] { append(writer, rows_between(100, 6100)); });
      }
      for (const auto& call : std::vector<std::function<void()>>{
               [&] { append(writer, rows_between(100, 200)); }, [&] { writer.delete_rows({0}); },
               [&] { writer.commit(); }}) {
        expect_error(ErrorCode::io, "an earlier write", call);
      }
    }
    auto again = EmbeddingStoreWriter::append_to(folder / "s");
    CHECK(again.size() == 100);
    append(again, rows_between(100, 6100));
    const EmbeddingStore whole = again.commit();
    whole.verify();
    auto other = EmbeddingStoreWriter::create(folder / "t", options());
    append(other, rows_between(0, 6100));
    CHECK(whole.fingerprint() == other.commit().fingerprint());
  }
}

TEST_CASE("a matrix without data or with rows that overlap is refused") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  const StoreRows rows = rows_between(0, 2);
  expect_error(ErrorCode::invalid_argument, "image of shape [2, 5] has no data", [&] {
    writer.append(rows.keys, {nullptr, 2, 5, DType::float32, 20}, rows.text_view());
  });
  expect_error(ErrorCode::invalid_argument, "text has a stride of 8", [&] {
    writer.append(rows.keys, rows.image_view(), {rows.text.data(), 2, 3, DType::float32, 8});
  });
  CHECK(writer.size() == 0);
}

TEST_CASE("a writer that was moved from says so") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  auto taken = std::move(writer);
  CHECK(writer.size() == 0);  // NOLINT(bugprone-use-after-move)
  CHECK(writer.options().image_dim == 0);
  expect_error(ErrorCode::invalid_argument, "moved from",
               [&] { append(writer, rows_between(0, 1)); });
  expect_error(ErrorCode::invalid_argument, "moved from", [&] { writer.commit(); });
  append(taken, rows_between(0, 1));
  CHECK(taken.commit().size() == 1);
}

TEST_CASE("a store has any number of matrices, of which readers must know") {
  const TemporaryFolder folder;
  const StoreRows rows = rows_between(0, 9);
  const DType dtype = GENERATE(DType::float32, DType::int8);
  StoreOptions asked = options(dtype);
  asked.digests = GENERATE(false, true);
  asked.matrices = {{"audio", 3}, {"scale", 5}};
  const std::vector<std::uint64_t> digests(asked.digests ? 9 : 0, 7);
  auto writer = EmbeddingStoreWriter::create(folder / "store", asked);
  writer.append(rows.keys, rows.image_view(), rows.text_view(), digests, digests,
                {rows.text_view(), rows.image_view()});
  writer.delete_rows({4});
  const EmbeddingStore store = writer.commit();
  REQUIRE(store.matrix_names() == std::vector<std::string>{"image", "text", "audio", "scale"});
  REQUIRE((store.image_digests() != nullptr) == asked.digests);
  const auto same = [&](const MatrixView& a, const MatrixView& b) {
    REQUIRE(a.cols == b.cols);
    REQUIRE(a.deleted == b.deleted);
    const std::string_view bytes(static_cast<const char*>(a.row(8)),
                                 static_cast<std::size_t>(a.cols * size_of(dtype)));
    REQUIRE(bytes == std::string_view(static_cast<const char*>(b.row(8)), bytes.size()));
    REQUIRE((a.scale == nullptr || a.scale[8] == b.scale[8]));
  };
  same(store.matrix("audio"), store.text());
  same(store.matrix("scale"), store.image());
  store.verify();
  expect_error(ErrorCode::invalid_argument, "no matrix 'video'; it has image, text, audio, scale",
               [&] { (void)store.matrix("video"); });
  expect_error(ErrorCode::invalid_argument, "rows of 1 matrices beside image and text",
               [&] { writer.append({"new"}, {}, {}, {}, {}, {rows.text_view()}); });
  std::ifstream file(folder / "store" / "manifest.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  CHECK(text.find("\"requires\": [\n  \"matrices\",\n  \"deleted_rows\"\n ]") != std::string::npos);
}

TEST_CASE("a matrix of a store has a name of its own") {
  const TemporaryFolder folder;
  const auto refused = [&](std::vector<StoreMatrix> matrices, const char* words) {
    StoreOptions asked = options();
    asked.matrices = std::move(matrices);
    expect_error(ErrorCode::invalid_argument, words,
                 [&] { (void)EmbeddingStoreWriter::create(folder / "store", asked); });
  };
  refused({{"image", 3}}, "two matrices 'image'");
  refused({{"a", 3}, {"a", 4}}, "two matrices 'a'");
  refused({{"a.b", 3}}, "the name 'a.b'; use 1 .. 64 letters");
  refused({{"", 3}}, "the name ''");
  refused({{"a", 0}}, "matrix 'a' has 0 columns; it must have 1 .. 1048576");
}
