// Groups of near duplicates, as plain passing on of marks finds them.
#include "mine/pool/groups.h"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <set>
#include <vector>

#include "mine/kernel/kernel.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

std::vector<std::uint32_t> groups_of(const Data& data, const MineOptions& options, int threads = 2,
                                     std::int64_t memory = std::int64_t{1} << 30) {
  SilentTeam silent(threads);
  const TemporaryFolder folder;
  return duplicate_groups(data.image.view(), data.text.view(), options, memory, folder / "",
                          silent.team);
}

// Rows in chains: each is close to the one before it, and those at the ends are not to each other.
std::vector<double> chained_values(std::int64_t rows, std::int64_t cols, std::int64_t length,
                                   double step, unsigned seed) {
  auto values = clustered_values(rows, cols, rows, 0.0, seed);
  const auto steps = clustered_values(rows, cols, rows, 0.0, seed + 1);
  for (std::int64_t i = 0; i < rows; ++i) {
    if (i % length == 0) continue;
    for (std::int64_t d = 0; d < cols; ++d) {
      const auto at = static_cast<std::size_t>(i * cols + d);
      values[at] = values[at - static_cast<std::size_t>(cols)] + step * steps[at];
    }
  }
  return values;
}

}  // namespace

TEST_CASE("groups equal those of a plain search, without filters and with them", "[groups]") {
  for (const std::int64_t rows : {2, 200, 700}) {
    const Data data{Matrix(chained_values(rows, 20, 5, 0.3, 1), rows, 20, DType::float32),
                    Matrix(chained_values(rows, 14, 7, 0.3, 2), rows, 14, DType::float16)};
    for (const Collapse collapse : {Collapse::image, Collapse::text, Collapse::both}) {
      for (const double maximum : {0.5, 0.9, 0.96}) {
        MineOptions options;
        options.collapse = collapse;
        options.image_max = maximum;
        options.text_max = maximum - 0.03;
        INFO(rows << " rows, collapse " << name_of(collapse) << ", maximum " << maximum);
        const auto wanted = PlainMiner(data, options).groups();
        REQUIRE(groups_of(data, options) == wanted);
        const std::set<std::uint32_t> different(wanted.begin(), wanted.end());
        if (rows > 2 && maximum > 0.8 && collapse == Collapse::image) {
          REQUIRE(different.size() > 1);
          REQUIRE(static_cast<std::int64_t>(different.size()) < rows);
        }
      }
    }
  }
}

TEST_CASE("groups are the same for every kernel, threads and memory", "[groups]") {
  const Data data{Matrix(chained_values(600, 20, 5, 0.35, 3), 600, 20, DType::bfloat16),
                  Matrix(chained_values(600, 9, 7, 0.3, 4), 600, 9, DType::int8)};
  MineOptions options;
  options.collapse = Collapse::both;
  options.image_max = 0.85;
  options.text_max = 0.8;
  const auto wanted = PlainMiner(data, options).groups();
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    const ForcedKernel forced(kernel->name);
    REQUIRE(groups_of(data, options, 1) == wanted);
    REQUIRE(groups_of(data, options, 4, 1) == wanted);
  }
}

TEST_CASE("equal rows are one group, zero rows are none's", "[groups]") {
  for (const std::int64_t rows : {100, 600}) {
    auto image = repeated(clustered_values(rows, 12, 5, 0.5, 5), 12, 1);
    for (const std::int64_t row : {3L, rows - 1}) std::fill_n(image.begin() + row * 12, 12, 0.0);
    const Data data{Matrix(image, rows, 12, DType::float32), Matrix()};
    MineOptions options;
    options.collapse = Collapse::image;
    options.modality = Modality::image;
    const auto groups = groups_of(data, options);
    for (std::int64_t i = 0; i < rows; ++i) {
      const bool zero = i == 3 || i == rows - 1;
      REQUIRE(groups[static_cast<std::size_t>(i)] == (zero ? i : 0));
    }
  }
}

TEST_CASE("a threshold of zero joins whatever is positive", "[groups]") {
  for (const std::int64_t rows : {150, 400}) {
    const Data data = clustered_data(rows, 30, 25, DType::float32, 6, 40, 0.1);
    MineOptions options;
    options.collapse = Collapse::both;
    options.image_max = options.text_max = 0.0;
    REQUIRE(groups_of(data, options) == PlainMiner(data, options).groups());
    options.image_max = 0.6;
    REQUIRE(groups_of(data, options) == PlainMiner(data, options).groups());
  }
}
