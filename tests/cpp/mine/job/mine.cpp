// The entry points of mining: checks, cancellation, plans, reranking, chosen targets.
#include "helip/mine.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cfenv>
#include <chrono>
#include <cstring>
#include <limits>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "helip/error.h"
#include "io/json.h"
#include "support/data_store.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;
using Catch::Matchers::ContainsSubstring;

namespace {

namespace fs = std::filesystem;

// The message of the Error that `body` must throw.
template <typename Body>
std::string refused(ErrorCode code, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    REQUIRE(error.code() == code);
    return error.what();
  }
  FAIL("nothing was thrown");
  return {};
}

std::string refused_options(const Data& data, const MineOptions& options) {
  return refused(ErrorCode::invalid_argument,
                 [&] { mine(data.image.view(), data.text.view(), options); });
}

}  // namespace

TEST_CASE("more rows than there are places for are refused", "[mine]") {
  const float value = 1.0F;  // what lies behind it is not read
  const MatrixView rows{&value, std::int64_t{1} << 31, 1, DType::float32, 4};
  REQUIRE_THAT(refused(ErrorCode::unsupported, [&] { mine(rows, rows, exact_options(3)); }),
               ContainsSubstring("2147483648 rows") && ContainsSubstring("at most 2147483647"));
}

TEST_CASE("options outside their bounds are refused with value and bound", "[mine]") {
  const Data data = clustered_data(10, 4, 4);
  const auto with = [&](auto&& change) {
    MineOptions options = exact_options(3);
    change(options);
    return refused_options(data, options);
  };
  REQUIRE_THAT(with([](auto& o) { o.k = 0; }),
               ContainsSubstring("k is 0") && ContainsSubstring("at least 1"));
  REQUIRE_THAT(with([](auto& o) { o.image_max = 1.5; }), ContainsSubstring("image_max is 1.5"));
  REQUIRE_THAT(with([](auto& o) { o.text_max = -0.1; }), ContainsSubstring("text_max"));
  REQUIRE_THAT(with([](auto& o) { o.min_score = std::nan(""); }), ContainsSubstring("min_score"));
  REQUIRE_THAT(with([](auto& o) { o.refresh = 0; }), ContainsSubstring("refresh is 0"));
  REQUIRE_THAT(with([](auto& o) { o.skip = -1; }), ContainsSubstring("skip is -1"));
  REQUIRE_THAT(with([](auto& o) { o.margin = 2.5; }), ContainsSubstring("margin is 2.5"));
  REQUIRE_THAT(with([](auto& o) { o.margin = std::nan(""); }), ContainsSubstring("margin"));
  REQUIRE_THAT(with([](auto& o) { o.threads = -1; }), ContainsSubstring("threads is -1"));
  REQUIRE_THAT(with([](auto& o) { o.memory = -1; }), ContainsSubstring("memory is -1"));
  REQUIRE_THAT(with([](auto& o) {
                 o.method = MiningMethod::sample;
                 o.candidates = 11;
               }),
               ContainsSubstring("candidates is 11") && ContainsSubstring("10 rows"));
}

TEST_CASE("margin and collapse are refused where they mean nothing", "[mine]") {
  const Data data = clustered_data(10, 4, 4);
  MineOptions options = exact_options(3);
  options.margin = 0.1;
  options.modality = Modality::image;
  REQUIRE_THAT(refused_options(data, options), ContainsSubstring("modality is 'image'"));
  options.modality = Modality::both;
  REQUIRE_THAT(refused_options(clustered_data(10, 4, 5), options),
               ContainsSubstring("4 dimensions") && ContainsSubstring("5"));
  options = exact_options(3);
  options.collapse = Collapse::text;
  options.modality = Modality::image;
  REQUIRE_THAT(refused_options(data, options),
               ContainsSubstring("collapse is 'text'") && ContainsSubstring("modality 'image'"));
  options.modality = Modality::both;
  options.text_max = 1.0;
  REQUIRE_THAT(refused_options(data, options), ContainsSubstring("text_max is 1"));
}

TEST_CASE("matrices that do not belong together are refused", "[mine]") {
  const Data data = clustered_data(10, 4, 4);
  const Data longer = clustered_data(11, 4, 4);
  REQUIRE_THAT(refused_options({data.image, longer.text}, exact_options(2)),
               ContainsSubstring("10 rows") && ContainsSubstring("11 rows"));
  MatrixView wrong = data.image.view();
  wrong.dtype = DType::int32;
  REQUIRE_THAT(refused(ErrorCode::invalid_argument,
                       [&] { mine(wrong, data.text.view(), exact_options(2)); }),
               ContainsSubstring("int32"));
}

TEST_CASE("NaN and infinity are refused with modality and first row", "[mine]") {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const DType dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16}) {
      std::vector<double> text = clustered_values(3000, 4, 3, 0.5, 2);
      text[1234 * 4 + 2] = text[2999 * 4] = bad;
      const Data data{Matrix(clustered_values(3000, 4, 3, 0.5, 2), 3000, 4, dtype),
                      Matrix(text, 3000, 4, dtype)};
      REQUIRE_THAT(refused_options(data, exact_options(2)),
                   ContainsSubstring("text") && ContainsSubstring("row 1234"));
    }
  }
}

TEST_CASE("an empty data set gives an empty table", "[mine]") {
  const Data data = clustered_data(0, 4, 4);
  for (const MiningMethod method :
       {MiningMethod::automatic, MiningMethod::exact, MiningMethod::sample, MiningMethod::hnsw,
        MiningMethod::partition}) {
    MineOptions options;
    options.method = method;
    REQUIRE(mine(data.image.view(), data.text.view(), options).size() == 0);
    REQUIRE(mine(MatrixView{}, MatrixView{}, options).size() == 0);
  }
}

TEST_CASE("a callback that returns false stops mining soon", "[mine]") {
  const Data data = clustered_data(6000, 512, 256);
  for (const MiningMethod method :
       {MiningMethod::exact, MiningMethod::sample, MiningMethod::hnsw, MiningMethod::partition}) {
    MineOptions options = exact_options(50);
    options.method = method;
    std::chrono::steady_clock::time_point refused_at;
    const auto message = refused(ErrorCode::cancelled, [&] {
      mine(data.image.view(), data.text.view(), options, [&](const Progress& progress) {
        REQUIRE(progress.done <= progress.total);
        refused_at = std::chrono::steady_clock::now();
        return progress.stage == "check" || progress.done == 0;
      });
    });
    REQUIRE_THAT(message, ContainsSubstring("stopped"));
    REQUIRE(std::chrono::steady_clock::now() - refused_at < std::chrono::seconds(1));
  }
}

TEST_CASE("an exception of the callback reaches the caller", "[mine]") {
  const Data data = clustered_data(500, 8, 8);
  REQUIRE_THROWS_AS(mine(data.image.view(), data.text.view(), exact_options(5),
                         [](const Progress&) -> bool { throw std::logic_error("mine"); }),
                    std::logic_error);
}

TEST_CASE("progress begins at none and ends at all of a stage's rows", "[mine]") {
  const Data data = clustered_data(500, 8, 8);
  std::vector<Progress> seen;
  mine(data.image.view(), data.text.view(), exact_options(5), [&](const Progress& progress) {
    seen.push_back(progress);
    return true;
  });
  REQUIRE(seen.front().stage == "check");
  REQUIRE(seen.front().done == 0);
  REQUIRE(seen.back().stage == "mine");
  REQUIRE(seen.back().done == 500);
  REQUIRE(seen.back().total == 500);
}

TEST_CASE("the options of a table name the method but not threads or memory", "[mine]") {
  const Data data = clustered_data(50, 8, 8);
  MineOptions options;
  options.k = 5;
  options.threads = 2;
  options.memory = 1 << 20;
  const auto used =
      Json::parse(mine(data.image.view(), data.text.view(), options).origin().options_json);
  REQUIRE(used["method"] == "exact");
  REQUIRE(used["k"] == 5);
  REQUIRE_FALSE(used.contains("threads"));
  REQUIRE_FALSE(used.contains("memory"));
}

TEST_CASE("the options of a table name the filters", "[mine]") {
  const Data data = clustered_data(50, 8, 8);
  MineOptions options = exact_options(5);
  const auto used = [&] {
    return Json::parse(mine(data.image.view(), data.text.view(), options).origin().options_json);
  };
  REQUIRE(used()["margin"].is_null());
  REQUIRE(used()["skip"] == 0);
  REQUIRE(used()["collapse"] == "none");
  options.margin = 0.25;
  options.skip = 3;
  options.collapse = Collapse::both;
  REQUIRE(used()["margin"] == 0.25);
  REQUIRE(used()["skip"] == 3);
  REQUIRE(used()["collapse"] == "both");
}

TEST_CASE("chosen targets get the pools of the whole table", "[mine]") {
  const Data data = clustered_data(400, 14, 14);
  MineOptions options = exact_options(6);
  std::vector<std::int64_t> few{399, 0, 17, 17, 250};
  std::vector<std::int64_t> many;  // enough to take the filters
  for (std::int64_t i = 399; i >= 0; i -= 3) many.push_back(i);
  many.insert(many.end(), {5, 5, 399});
  const auto check = [&] {
    const PlainMiner plain(data, options);
    for (const auto& targets : {few, many}) {
      for (const std::int64_t memory : {std::int64_t{0}, std::int64_t{1}}) {
        INFO(targets.size() << " targets, memory " << memory);
        options.memory = memory;
        const HardPairBand band =
            mine_targets(data.image.view(), data.text.view(), targets, options);
        REQUIRE(band.first == 0);
        for (std::size_t i = 0; i < targets.size(); ++i) {
          check_pool(plain.pool(targets[i]), 6, band.ids.data() + i * 6, band.scores.data() + i * 6,
                     band.counts[i]);
        }
      }
    }
    options.memory = 0;
  };
  check();
  options.skip = 4;
  options.margin = 0.1;
  check();
  options.margin.reset();
  options.image_max = options.text_max = 0.9;
  options.collapse = Collapse::image;
  check();
  REQUIRE_THAT(
      refused(ErrorCode::invalid_argument,
              [&] { return mine_targets(data.image.view(), data.text.view(), {400}, options); }),
      ContainsSubstring("row 400"));
}

TEST_CASE("chosen targets of many rows get the pools of the whole table", "[mine]") {
  auto image = clustered_values(4300, 40, 60, 0.6, 1);
  for (std::int64_t i = 0; i < 4300; i += 9) std::fill_n(image.begin() + i * 40, 40, 0.0);
  const Data data{Matrix(image, 4300, 40, DType::float32),
                  Matrix(clustered_values(4300, 30, 60, 0.6, 2), 4300, 30, DType::float32)};
  const MineOptions options = exact_options(6);
  const PlainMiner plain(data, options);
  std::vector<std::int64_t> targets, zeros;
  for (std::int64_t i = 0; i < 4300; i += 47) targets.push_back(i * 13 % 4300);
  for (std::int64_t i = 0; i < 4300; i += 45) zeros.push_back(i);
  const HardPairBand band = mine_targets(data.image.view(), data.text.view(), targets, options);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    check_pool(plain.pool(targets[i]), 6, band.ids.data() + i * 6, band.scores.data() + i * 6,
               band.counts[i]);
  }
  const HardPairBand none = mine_targets(data.image.view(), data.text.view(), zeros, options);
  REQUIRE(std::count(none.counts.begin(), none.counts.end(), 0) ==
          static_cast<std::int64_t>(zeros.size()));
}

TEST_CASE("reranking everything gives the exact pools", "[mine]") {
  const Data data = clustered_data(120, 14, 14, DType::float16);
  MineOptions options = exact_options(6);
  options.skip = 2;
  options.margin = 0.1;
  const PlainMiner plain(data, options);
  std::vector<std::int64_t> targets, candidates;
  for (std::int64_t i = 0; i < 120; i += 3) {
    targets.push_back(i);
    for (std::int64_t j = 119; j >= 0; --j) candidates.push_back(j);
    candidates.insert(candidates.end(), {-1, 5, 5});  // none, and a duplicate
  }
  const MatrixView view{candidates.data(), static_cast<std::int64_t>(targets.size()), 123,
                        DType::int64, 123 * 8};
  const HardPairBand band = rerank(data.image.view(), data.text.view(), targets, view, options);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    check_pool(plain.pool(targets[i]), 6, band.ids.data() + i * 6, band.scores.data() + i * 6,
               band.counts[i]);
  }
  candidates[7] = 120;
  REQUIRE_THAT(
      refused(ErrorCode::invalid_argument,
              [&] { return rerank(data.image.view(), data.text.view(), targets, view, options); }),
      ContainsSubstring("candidate 120"));
}

TEST_CASE("reranking few candidates equals reranking with all lengths known", "[mine]") {
  const Data data = clustered_data(400, 14, 9);
  const MineOptions options = exact_options(3);
  const std::vector<std::int64_t> candidates{4, 9, 20, 6};
  const HardPairBand band = rerank(data.image.view(), data.text.view(), {0},
                                   {candidates.data(), 1, 4, DType::int64, 32}, options);
  const std::vector<std::uint32_t> allowed{4, 6, 9, 20};
  check_pool(PlainMiner(data, options).pool(0, nullptr, &allowed), 3, band.ids.data(),
             band.scores.data(), band.counts[0]);
}

TEST_CASE("a plan says what exact mining of a small data set costs", "[mine]") {
  const Data data = clustered_data(1000, 32, 16);
  MineOptions options;
  options.k = 10;
  const MinePlan small = plan(data.image.view(), data.text.view(), options);
  REQUIRE(small.method == MiningMethod::exact);
  REQUIRE(small.pairs == 1000 * 999);
  REQUIRE(small.seconds > 0);
  REQUIRE(small.bands == 1);
  REQUIRE(small.disk_bytes >= 1000 * 10 * 8);
  REQUIRE_FALSE(small.reason.empty());
}

TEST_CASE("rerank stops where its callback says so, and is done where it does not", "[mine]") {
  const Data data = clustered_data(50, 6, 4);
  const std::vector<std::int64_t> targets{3, 9}, candidates{1, 2, 4, 5};
  const MatrixView view{candidates.data(), 2, 2, DType::int64, 16};
  const auto ranked = [&](const ProgressCallback& progress) {
    return rerank(data.image.view(), data.text.view(), targets, view, exact_options(2), progress);
  };
  REQUIRE(ranked([](const Progress&) { return true; }).ids == ranked({}).ids);
  expect_error(ErrorCode::cancelled, "'rerank'",
               [&] { return ranked([](const Progress& now) { return now.stage != "rerank"; }); });
}

TEST_CASE("a job with kept codes gives the same bytes, and begins with what was kept", "[mine]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", clustered_data(6000, 24, 16));
  for (const MiningMethod method :
       {MiningMethod::exact, MiningMethod::sample, MiningMethod::hnsw, MiningMethod::partition}) {
    INFO(name_of(method));
    MineOptions options = exact_options(6);
    options.method = method;
    options.candidates = method == MiningMethod::sample ? 3000 : 0;
    options.text_max = 0.9;
    const HardPairs plain =
        mine(store, options, {}, folder / (std::string("plain-") + name_of(method)));
    options.codes = folder / (std::string("codes-of-") + name_of(method));
    int kept = 0;
    const auto count = [&](const Progress& progress) {
      kept += progress.stage == "keep" ? 1 : 0;
      return true;
    };
    // The first makes them; another finds them, also in memory that they do not fit.
    const auto again = [&](const std::string& name) {
      return bytes_of(mine(store, options, count, folder / (name + name_of(method)))) ==
             bytes_of(plain);
    };
    REQUIRE(again("first"));
    REQUIRE(fs::exists(options.codes / "manifest.json"));
    const int made = kept;
    REQUIRE(made >= 1);
    REQUIRE(again("second"));
    options.memory = method == MiningMethod::hnsw ? 0 : 1;  // a graph must fit
    REQUIRE(again("third"));
    if (method == MiningMethod::exact) {
      options.parts = 3;
      REQUIRE(again("parts"));
    }
    REQUIRE(kept == made);
    // Options that they do not depend on may differ.
    options.parts = 1;
    options.recall = 0.9;
    options.seed = 3;
    mine(store, options, count);
    REQUIRE(kept == made);
    // Those of another job make room.
    options.parts = 1;
    options.k = 7;
    MineOptions other = options;
    other.codes.clear();
    REQUIRE(bytes_of(mine(store, options, count)) == bytes_of(mine(store, other)));
  }
}

TEST_CASE("how the caller rounds changes no byte, and stays as it is", "[mine]") {
  const Data data = clustered_data(1500, 24, 16, DType::float32, 5, 60, 0.5);
  MineOptions options;
  options.k = 8;
  options.threads = 2;
  const auto bytes = [&] {
    const HardPairs table = mine(data.image.view(), data.text.view(), options);
    std::string all(static_cast<std::size_t>(table.size() * options.k) * 4, '\0');
    std::memcpy(all.data(), table.scores().data, all.size());
    for (std::int64_t target = 0; target < table.size(); ++target) {
      for (std::int64_t rank = 0; rank < options.k; ++rank) {
        all += std::to_string(table.id(target, rank)) + " ";
      }
    }
    return all;
  };
  for (const MiningMethod method : {MiningMethod::exact, MiningMethod::partition}) {
    options.method = method;
    const std::string expected = bytes();
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      INFO(name_of(method) << ", rounding " << mode);
      REQUIRE(std::fesetround(mode) == 0);
#if defined(__SSE2__)
      _mm_setcsr(_mm_getcsr() | 0x8040);  // subnormal numbers as zeros
#endif
      const std::string found = bytes();
      const int after = std::fegetround();
      std::fesetenv(FE_DFL_ENV);
      CHECK(found == expected);
      CHECK(after == mode);
    }
  }
}

TEST_CASE("bare arrays keep no codes", "[mine]") {
  const Data data = clustered_data(10, 4, 4);
  MineOptions options = exact_options(3);
  options.codes = "somewhere";
  REQUIRE_THAT(refused_options(data, options),
               ContainsSubstring("codes is \"somewhere\"") && ContainsSubstring("mine a store"));
}
