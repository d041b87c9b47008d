// An index by C finds what one by C++ finds.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <string>
#include <vector>

#include "c/c_handles.h"
#include "support/c_samples.h"
#include "support/temporary_folder.h"

using namespace helip;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Answer {
  std::vector<std::int64_t> ids = std::vector<std::int64_t>(20 * 4, -7);
  std::vector<float> scores = std::vector<float>(20 * 4);
  std::vector<std::int32_t> counts = std::vector<std::int32_t>(20);
};

Answer ask(const helip_index* index) {
  const StoreRows rows = rows_between(1000, 1020);
  const helip_matrix image = c_image(rows), text = c_text(rows);
  Answer answer;
  REQUIRE(helip_index_query(index, &image, &text, 4, 0, 0, nullptr, nullptr, nullptr,
                            answer.ids.data(), answer.scores.data(),
                            answer.counts.data()) == HELIP_OK);
  return answer;
}

helip_index* built(int rows) {
  const StoreRows given = rows_between(0, rows);
  const helip_matrix image = c_image(given), text = c_text(given);
  helip_index* index = nullptr;
  REQUIRE(helip_index_build(&image, &text, nullptr, nullptr, 0, nullptr, &index) == HELIP_OK);
  return index;
}

}  // namespace

TEST_CASE("an index by C answers as one by C++", "[c]") {
  helip_index* index = built(300);
  const StoreRows rows = rows_between(0, 300), more = rows_between(300, 340);
  const StoreRows asked = rows_between(1000, 1020);
  PairIndex ours = PairIndex::build(rows.image_view(), rows.text_view());
  const auto expected = [&] { return ours.query(asked.image_view(), asked.text_view(), 4); };
  CHECK(ask(index).ids == expected().ids);
  CHECK(ask(index).scores == expected().scores);
  CHECK(ask(index).counts == expected().counts);

  std::vector<std::int64_t> ids(40);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = 5000 + static_cast<std::int64_t>(i);
  const helip_matrix image = c_image(more), text = c_text(more);
  REQUIRE(helip_index_add(index, &image, &text, ids.data(), 0, nullptr) == HELIP_OK);
  ours.add(more.image_view(), more.text_view(), ids);
  CHECK(ask(index).ids == expected().ids);
  CHECK(helip_index_add(index, &image, &text, ids.data(), 0, nullptr) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("5000"));

  REQUIRE(helip_index_replace(index, &image, &text, ids.data(), 0, nullptr) == HELIP_OK);
  ours.replace(more.image_view(), more.text_view(), ids);
  REQUIRE(helip_index_remove(index, ids.data(), 3) == HELIP_OK);
  ours.remove({5000, 5001, 5002});
  CHECK(ask(index).ids == expected().ids);
  CHECK(helip_index_remove(index, ids.data(), 1) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("id 5000, number 0"));
  CHECK(helip_index_remove(index, ids.data(), -1) == HELIP_ERROR_INVALID_ARGUMENT);

  const auto even = [](void* user, std::int64_t id) {
    return static_cast<std::int32_t>(id % *static_cast<const std::int64_t*>(user) == 0);
  };
  std::int64_t two = 2;
  std::vector<std::int64_t> found(3 * 4);
  const std::vector<std::int64_t> of{7, 8, 5010};
  REQUIRE(helip_index_near(index, of.data(), 3, 4, 0, 0, nullptr, even, &two, found.data(), nullptr,
                           nullptr) == HELIP_OK);
  const PairFilter same_filter = [](std::int64_t id) { return id % 2 == 0; };
  CHECK(found == ours.near(of, 4, 0, 0, {}, same_filter).ids);

  auto info = helip_index_info{};
  info.struct_size = sizeof info;
  REQUIRE(helip_index_get_info(index, &info) == HELIP_OK);
  CHECK(info.pairs == 337);
  CHECK(info.image_dim == 5);
  CHECK(info.text_dim == 3);
  CHECK(info.bytes == ours.bytes());

  const TemporaryFolder folder;
  const std::string path = folder / "index";
  REQUIRE(helip_index_save(index, path.c_str(), nullptr) == HELIP_OK);
  helip_index* opened = nullptr;
  REQUIRE(helip_index_open(path.c_str(), nullptr, &opened) == HELIP_OK);
  CHECK(ask(opened).ids == ask(index).ids);
  helip_index_free(opened);
  helip_index_free(index);
  helip_index_free(nullptr);
}

TEST_CASE("an index of a store has its rows as ids", "[c]") {
  const TemporaryFolder folder;
  {
    auto writer = EmbeddingStoreWriter::create(folder / "s", options());
    append(writer, rows_between(0, 100));
    writer.commit();
  }
  helip_store* store = nullptr;
  helip_index *of_store = nullptr, *of_rows = built(100);
  REQUIRE(helip_store_open((folder / "s").c_str(), &store) == HELIP_OK);
  REQUIRE(helip_index_build_store(store, nullptr, 0, nullptr, &of_store) == HELIP_OK);
  CHECK(ask(of_store).ids == ask(of_rows).ids);
  helip_index_free(of_store);
  helip_index_free(of_rows);
  helip_store_free(store);
}

TEST_CASE("bad questions are refused, and leave the caller's memory", "[c]") {
  helip_index* index = built(50);
  const StoreRows rows = rows_between(0, 2);
  helip_matrix image = c_image(rows), text = c_text(rows);
  std::vector<std::int64_t> ids(8, -7);
  const auto asked = [&](std::int64_t k, std::int64_t breadth = 0) {
    return helip_index_query(index, &image, &text, k, breadth, 0, nullptr, nullptr, nullptr,
                             ids.data(), nullptr, nullptr);
  };
  CHECK(asked(0) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("k is 0"));
  CHECK(asked(4, 2) == HELIP_ERROR_INVALID_ARGUMENT);
  image.cols = 4;
  CHECK(asked(4) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("4 dimensions") || ContainsSubstring("5"));
  CHECK(ids == std::vector<std::int64_t>(8, -7));
  image.cols = 5;
  CHECK(asked(4) == HELIP_OK);
  CHECK(helip_index_query(nullptr, &image, &text, 4, 0, 0, nullptr, nullptr, nullptr, ids.data(),
                          nullptr, nullptr) == HELIP_ERROR_INVALID_ARGUMENT);
  auto made = initialised(helip_index_options_init);
  made.degree = 1;
  helip_index* none = nullptr;
  CHECK(helip_index_build(&image, &text, &made, nullptr, 0, nullptr, &none) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  const std::int64_t negative[] = {-1, 2};
  CHECK(helip_index_build(&image, &text, nullptr, negative, 0, nullptr, &none) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(none == nullptr);
  helip_index_free(index);
}
