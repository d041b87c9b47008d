// Mining by C gives the tables of C++; structures of other versions and bad values are refused.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "c/c_handles.h"
#include "helip/mine.h"
#include "support/c_samples.h"
#include "support/temporary_folder.h"

using namespace helip;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr int kRows = 300;

helip_mine_options options_of(std::int64_t k) {
  auto options = initialised(helip_mine_options_init);
  options.k = k;
  options.method = HELIP_METHOD_EXACT;
  return options;
}

struct Mined {
  explicit Mined(const helip_mine_options* options, const helip_control* control = nullptr,
                 const char* path = nullptr) {
    const StoreRows rows = rows_between(0, kRows);
    const helip_matrix image = c_image(rows), text = c_text(rows);
    status = helip_mine(&image, &text, options, control, path, &pairs);
  }
  ~Mined() { helip_pairs_free(pairs); }
  Mined(const Mined&) = delete;
  Mined& operator=(const Mined&) = delete;

  helip_pairs* pairs = nullptr;
  helip_status status = HELIP_OK;
};

}  // namespace

TEST_CASE("the defaults of C are those of C++", "[c]") {
  const auto options = initialised(helip_mine_options_init);
  const MineOptions ours;
  CHECK(options.struct_size == sizeof options);
  CHECK(options.k == ours.k);
  CHECK(options.method == HELIP_METHOD_AUTO);
  CHECK(options.image_max == ours.image_max);
  CHECK(options.refresh == ours.refresh);
  CHECK(options.recall == ours.recall);
  CHECK(options.parts == ours.parts);
  CHECK(options.checkpoint == ours.checkpoint);
  CHECK(options.use_margin == 0);
}

TEST_CASE("arrays are mined in place, to the table of C++", "[c]") {
  auto options = options_of(7);
  options.skip = 1;
  options.min_score = 0.01;
  const Mined mined(&options);
  REQUIRE(mined.status == HELIP_OK);

  MineOptions ours;
  ours.k = 7;
  ours.method = MiningMethod::exact;
  ours.skip = 1;
  ours.min_score = 0.01;
  const StoreRows rows = rows_between(0, kRows);
  const HardPairs expected = mine(rows.image_view(), rows.text_view(), ours);

  auto info = helip_pairs_info{sizeof(helip_pairs_info), 0, 0};
  REQUIRE(helip_pairs_get_info(mined.pairs, &info) == HELIP_OK);
  CHECK(info.targets == kRows);
  CHECK(info.k == 7);
  helip_matrix ids{}, scores{};
  REQUIRE(helip_pairs_ids(mined.pairs, &ids) == HELIP_OK);
  REQUIRE(helip_pairs_scores(mined.pairs, &scores) == HELIP_OK);
  CHECK(ids.dtype == HELIP_INT32);
  CHECK(std::memcmp(ids.data, expected.ids().data, kRows * 7 * 4) == 0);
  CHECK(std::memcmp(scores.data, expected.scores().data, kRows * 7 * 4) == 0);
}

TEST_CASE("a pool is copied as far as there is room, and its size told", "[c]") {
  const auto options = options_of(5);
  const Mined mined(&options);
  std::vector<std::int64_t> ids(5, -7);
  std::vector<float> scores(5, -7);
  std::int64_t count = 0;
  REQUIRE(helip_pairs_pool(mined.pairs, 3, 2, ids.data(), scores.data(), &count) == HELIP_OK);
  CHECK(count == mined.pairs->object.count(3));
  CHECK(ids[1] == mined.pairs->object.id(3, 1));
  CHECK(scores[1] == mined.pairs->object.score(3, 1));
  CHECK(ids[2] == -7);
  CHECK(helip_pairs_pool(mined.pairs, 3, 0, nullptr, nullptr, &count) == HELIP_OK);
  CHECK(helip_pairs_pool(mined.pairs, kRows, 0, nullptr, nullptr, &count) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("target is 300"));
  CHECK(helip_pairs_pool(mined.pairs, 3, -1, nullptr, nullptr, &count) ==
        HELIP_ERROR_INVALID_ARGUMENT);
}

TEST_CASE("bad options and arrays are refused with the message of C++", "[c]") {
  const auto refused = [](auto&& change) {
    auto options = options_of(5);
    change(options);
    const Mined mined(&options);
    CHECK(mined.status == HELIP_ERROR_INVALID_ARGUMENT);
    CHECK(mined.pairs == nullptr);
    return std::string(helip_last_error());
  };
  CHECK_THAT(refused([](auto& o) { o.k = 0; }), ContainsSubstring("k is 0"));
  CHECK_THAT(refused([](auto& o) { o.method = 9; }), ContainsSubstring("method is 9"));
  CHECK_THAT(refused([](auto& o) { o.modality = -1; }), ContainsSubstring("modality is -1"));
  CHECK_THAT(refused([](auto& o) { o.collapse = 4; }), ContainsSubstring("between 0 and 3"));
  CHECK_THAT(refused([](auto& o) { o.struct_size = 0; }), ContainsSubstring("struct_size is 0"));

  StoreRows rows = rows_between(0, 10);
  rows.image[7] = std::nanf("");
  helip_matrix image = c_image(rows), text = c_text(rows);
  helip_pairs* pairs = nullptr;
  const auto mined = [&] { return helip_mine(&image, &text, nullptr, nullptr, nullptr, &pairs); };
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("row 1"));
  image.dtype = 12;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  image.dtype = HELIP_INT8;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("scale is NULL"));
  image.dtype = HELIP_FLOAT32;
  image.cols = -1;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  image.cols = std::int64_t{1} << 62;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  image.cols = 5;
  image.reserved = 1;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  image = c_image(rows);
  image.data = nullptr;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  image = c_image(rows);
  image.rows = 9;
  CHECK(mined() == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(helip_mine(&image, nullptr, nullptr, nullptr, nullptr, &pairs) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(std::string(helip_last_error()) == "text is NULL; give what it points to");
  CHECK(helip_mine(&image, &text, nullptr, nullptr, nullptr, nullptr) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(helip_mine(&image, &text, nullptr, nullptr, "", &pairs) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(pairs == nullptr);
}

TEST_CASE("a program of a newer header is refused, and of an older one gets the defaults", "[c]") {
  struct Newer {
    helip_mine_options options;
    double more = 1;
  } newer{options_of(5)};
  newer.options.struct_size = sizeof newer;
  const Mined refused(&newer.options);
  CHECK(refused.status == HELIP_ERROR_UNSUPPORTED);
  CHECK_THAT(helip_last_error(), ContainsSubstring("compiled for a newer one"));

  // Nothing behind the size that the caller names is written.
  struct {
    helip_pairs_info info{sizeof(helip_pairs_info), 0, 0};
    std::int64_t behind = -7;
  } place;
  const auto options = options_of(5);
  const Mined mined(&options);
  CHECK(helip_pairs_get_info(mined.pairs, &place.info) == HELIP_OK);
  CHECK(place.behind == -7);
  CHECK(helip_mine_options_init(nullptr, sizeof(helip_mine_options)) ==
        HELIP_ERROR_INVALID_ARGUMENT);
}

TEST_CASE("a callback follows a call, and it or a flag stops it", "[c]") {
  struct Seen {
    int calls = 0;
    int stop_at = 0;
  } seen;
  auto control = initialised(helip_control_init);
  control.user = &seen;
  control.progress = [](void* user, const char* stage, std::int64_t done,
                        std::int64_t total) -> std::int32_t {
    auto& told = *static_cast<Seen*>(user);
    const bool sound = std::strlen(stage) > 0 && done <= total;
    return !sound || ++told.calls == told.stop_at;
  };
  const auto options = options_of(5);
  CHECK(Mined(&options, &control).status == HELIP_OK);
  CHECK(seen.calls > 0);
  seen = {0, 1};
  CHECK(Mined(&options, &control).status == HELIP_ERROR_CANCELLED);

  control.progress = [](void*, const char*, std::int64_t, std::int64_t) -> std::int32_t {
    throw std::runtime_error("a callback in C++ threw");
  };
  CHECK(Mined(&options, &control).status == HELIP_ERROR_INTERNAL);
  CHECK(std::string(helip_last_error()) == "a callback in C++ threw");

  helip_cancel* cancel = nullptr;
  REQUIRE(helip_cancel_create(&cancel) == HELIP_OK);
  control.progress = [](void* user, const char*, std::int64_t, std::int64_t) -> std::int32_t {
    helip_cancel_set(static_cast<helip_cancel*>(user));
    return 0;
  };
  control.user = cancel;
  control.cancel = cancel;
  CHECK(Mined(&options, &control).status == HELIP_ERROR_CANCELLED);
  control.progress = nullptr;
  CHECK(Mined(&options, &control).status == HELIP_ERROR_CANCELLED);  // set already
  helip_cancel_reset(cancel);
  CHECK(Mined(&options, &control).status == HELIP_OK);
  control.struct_size = 1;
  CHECK(Mined(&options, &control).status == HELIP_ERROR_INVALID_ARGUMENT);
  helip_cancel_free(cancel);
  helip_cancel_free(nullptr);
  helip_cancel_set(nullptr);
}

TEST_CASE("a plan tells what mining would cost", "[c]") {
  const StoreRows rows = rows_between(0, kRows);
  const helip_matrix image = c_image(rows), text = c_text(rows);
  const auto options = options_of(5);
  helip_mine_plan plan{};
  CHECK(helip_plan(&image, &text, &options, nullptr, &plan) == HELIP_ERROR_INVALID_ARGUMENT);
  plan.struct_size = sizeof plan;
  REQUIRE(helip_plan(&image, &text, &options, nullptr, &plan) == HELIP_OK);
  CHECK(plan.method == HELIP_METHOD_EXACT);
  CHECK(plan.pairs > 0);
  CHECK(plan.seconds >= 0);
}

TEST_CASE("a table is written, opened, verified, and a path that is taken refused", "[c]") {
  const TemporaryFolder folder;
  const std::string path = folder / "pairs";
  const auto options = options_of(5);
  const Mined mined(&options);
  REQUIRE(helip_pairs_save(mined.pairs, path.c_str(), nullptr) == HELIP_OK);
  CHECK(helip_pairs_save(mined.pairs, path.c_str(), nullptr) == HELIP_ERROR_INVALID_ARGUMENT);
  helip_pairs* opened = nullptr;
  REQUIRE(helip_pairs_open(path.c_str(), nullptr, &opened) == HELIP_OK);
  CHECK(helip_pairs_verify(opened, nullptr) == HELIP_OK);
  const char* json = nullptr;
  REQUIRE(helip_pairs_options(opened, &json) == HELIP_OK);
  CHECK_THAT(json, ContainsSubstring("\"k\":5"));
  REQUIRE(helip_pairs_report(opened, &json) == HELIP_OK);
  REQUIRE(helip_pairs_fingerprint(opened, &json) == HELIP_OK);
  CHECK(std::string(json).empty());  // of bare arrays

  helip_matrix ids{}, scores{}, counts{};
  REQUIRE(helip_pairs_ids(opened, &ids) == HELIP_OK);
  REQUIRE(helip_pairs_scores(opened, &scores) == HELIP_OK);
  REQUIRE(helip_pairs_counts(opened, &counts) == HELIP_OK);
  helip_pairs* copied = nullptr;
  REQUIRE(helip_pairs_from_arrays(&ids, &scores, &counts, nullptr, &copied) == HELIP_OK);
  CHECK(copied->object.id(3, 1) == opened->object.id(3, 1));
  helip_pairs_free(copied);
  helip_pairs_free(opened);

  helip_pairs* none = nullptr;
  CHECK(helip_pairs_open((folder / "absent").c_str(), nullptr, &none) == HELIP_ERROR_IO);
  CHECK(helip_pairs_open(nullptr, nullptr, &none) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(none == nullptr);
}
