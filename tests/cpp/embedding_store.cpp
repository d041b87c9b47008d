#include "helip/embedding_store.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "expect_error.h"
#include "temporary_folder.h"

using namespace helip;

namespace {

struct Rows {
  std::vector<std::string> keys;
  std::vector<float> image;
  std::vector<float> text;
  std::int64_t d_image = 5;
  std::int64_t d_text = 3;

  MatrixView image_view() const {
    return {image.data(), static_cast<std::int64_t>(keys.size()),
            d_image,      DType::float32,
            4 * d_image,  nullptr};
  }
  MatrixView text_view() const {
    return {text.data(), static_cast<std::int64_t>(keys.size()), d_text, DType::float32, 4 * d_text,
            nullptr};
  }
};

Rows rows_between(int first, int last) {
  Rows rows;
  for (int i = first; i < last; ++i) {
    std::mt19937 random(static_cast<unsigned>(i));
    const auto next = [&] { return static_cast<float>(random() % 2001) / 1000.0F - 1.0F; };
    rows.keys.push_back("key-" + std::to_string(i));
    for (int j = 0; j < 5; ++j) rows.image.push_back(next());
    for (int j = 0; j < 3; ++j) rows.text.push_back(next());
  }
  return rows;
}

void append(EmbeddingStoreWriter& writer, const Rows& rows) {
  writer.append(rows.keys, rows.image_view(), rows.text_view());
}

StoreOptions options(DType dtype = DType::float32) { return {5, 3, dtype, 4096}; }

}  // namespace

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
      const Rows expected = rows_between(i, i + 1);
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
    Rows rows = rows_between(4, 8);
    change(rows);
    expect_error(ErrorCode::invalid_argument, part, [&] { append(writer, rows); });
    CHECK(writer.size() == 4);
  };
  refuse("image row 6", [](Rows& r) { r.image[10] = std::numeric_limits<float>::quiet_NaN(); });
  refuse("text row 5", [](Rows& r) { r.text[3] = std::numeric_limits<float>::infinity(); });
  refuse("70000", [](Rows& r) { r.text[3] = 70000.0F; });
  refuse("row 2", [](Rows& r) { r.keys[1] = "key-2"; });
  refuse("row 4", [](Rows& r) { r.keys[1] = "key-4"; });
  refuse("key of row 7", [](Rows& r) { r.keys[3].clear(); });
  refuse("[4, 4]", [](Rows& r) { r.d_image = 4; });
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
                 [&] { EmbeddingStoreWriter::create(folder / "s", bad); });
  };
  refuse("image_dim is 0", {0, 3, DType::float32, 4096});
  refuse("text_dim is -1", {5, -1, DType::float32, 4096});
  refuse("shard_rows is 1000", {5, 3, DType::float32, 1000});
  refuse("float64", {5, 3, DType::float64, 4096});
}

TEST_CASE("zero rows are legal, and metadata is kept until it is replaced") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options(DType::int8));
  Rows zeros = rows_between(0, 1);
  zeros.image.assign(5, 0.0F);
  append(writer, zeros);
  CHECK(writer.commit(R"({"encoder":"a"})").metadata_json() == R"({"encoder":"a"})");
  CHECK(writer.commit().metadata_json() == R"({"encoder":"a"})");
  expect_error(ErrorCode::invalid_argument, "JSON", [&] { writer.commit("{nope"); });
  std::vector<double> image(5, 1.0);
  read_row(EmbeddingStore::open(folder / "s").image(), 0, image.data());
  CHECK(image == std::vector<double>(5, 0.0));
}
