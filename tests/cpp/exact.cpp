// Exact mining: the table is that of a plain float64 search, whatever the data and the machine.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <nlohmann/json.hpp>

#include "mine/kernel.h"
#include "mine_reference.h"

using namespace helip;
using namespace helip::testing;

namespace {

HardPairs mine_data(const Data& data, const MineOptions& options) {
  return mine(data.image.view(), data.text.view(), options);
}

void check_data(const Data& data, const MineOptions& options) {
  check_table(data, options, mine_data(data, options));
}

}  // namespace

TEST_CASE("exact mining equals a plain search in every dtype", "[exact]") {
  const DType dtype =
      GENERATE(DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int8);
  INFO(name_of(dtype));
  check_data(clustered_data(230, 24, 17, dtype), exact_options(9));
}

TEST_CASE("exact mining equals a plain search for odd shapes", "[exact]") {
  struct Shape {
    std::int64_t rows, image_dim, text_dim, k;
  };
  const Shape shape = GENERATE(Shape{1, 3, 2, 4}, Shape{2, 1, 1, 1}, Shape{3, 5, 64, 5},
                               Shape{12, 33, 7, 1}, Shape{13, 8, 8, 20}, Shape{97, 130, 65, 3},
                               Shape{300, 12, 40, 299}, Shape{300, 12, 40, 500});
  INFO(shape.rows << " rows, k = " << shape.k);
  check_data(clustered_data(shape.rows, shape.image_dim, shape.text_dim), exact_options(shape.k));
}

TEST_CASE("exact mining equals a plain search when buffers overflow many times", "[exact]") {
  check_data(clustered_data(700, 6, 5, DType::float32, 3, 4, 0.5), exact_options(2));
}

TEST_CASE("exact mining equals a plain search with every kernel", "[exact]") {
  const Data data = clustered_data(260, 31, 19, DType::float16);
  for (const mining::Kernel* kernel : mining::available_kernels()) {
    INFO(kernel->name);
    const ForcedKernel forced(kernel->name);
    check_data(data, exact_options(11));
  }
}

TEST_CASE("a data set of equal rows gives the lowest ids", "[exact]") {
  const std::int64_t rows = 400;
  const std::vector<double> same(static_cast<std::size_t>(rows * 7), 0.3);
  const Data data{Matrix(same, rows, 7, DType::float32), Matrix(same, rows, 7, DType::float32)};
  MineOptions options = exact_options(5);
  REQUIRE(mine_data(data, options).count(0) == 0);  // all are near duplicates
  options.image_max = options.text_max = 1.0;
  const HardPairs pairs = mine_data(data, options);
  for (std::int64_t i = 0; i < rows; ++i) {
    std::int64_t wanted = 0;
    for (std::int64_t rank = 0; rank < 5; ++rank, ++wanted) {
      if (wanted == i) ++wanted;
      REQUIRE(pairs.id(i, rank) == wanted);
      REQUIRE(pairs.score(i, rank) == 1.0F);
    }
  }
}

TEST_CASE("ties between many copies are broken by id", "[exact]") {
  std::vector<double> image = clustered_values(500, 16, 5, 0.6, 4);
  std::vector<double> text = clustered_values(500, 16, 5, 0.6, 5);
  for (std::size_t i = 0; i < 500; ++i) {  // 25 different rows, 20 copies of each
    std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(i % 25 * 16), 16,
                image.begin() + static_cast<std::ptrdiff_t>(i * 16));
    std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(i % 25 * 16), 16,
                text.begin() + static_cast<std::ptrdiff_t>(i * 16));
  }
  const Data data{Matrix(image, 500, 16, DType::float32), Matrix(text, 500, 16, DType::float32)};
  MineOptions options = exact_options(GENERATE(1, 7, 30));
  check_data(data, options);
  options.image_max = options.text_max = 1.0;
  check_data(data, options);
}

TEST_CASE("thresholds are strict at the exact value", "[exact]") {
  // Cosine of (5, 0) and (3, 4): 15 / 25.
  const Data data{Matrix({5, 0, 3, 4}, 2, 2, DType::float32),
                  Matrix({1, 1, 1, 1}, 2, 2, DType::float32)};
  MineOptions options = exact_options(1);
  options.text_max = 1.0;
  options.image_max = 0.6;
  REQUIRE(mine_data(data, options).count(0) == 1);  // 0.6 does not exceed 0.6
  options.image_max = std::nextafter(0.6, 0.0);
  REQUIRE(mine_data(data, options).count(0) == 0);
  options.image_max = 1.0;
  options.min_score = std::nextafter(0.6, 0.0) - 1e-9;
  REQUIRE(mine_data(data, options).count(0) == 1);
  options.min_score = 0.61;
  REQUIRE(mine_data(data, options).count(0) == 0);
}

TEST_CASE("near duplicates that float32 cannot tell do not displace hard pairs", "[exact]") {
  // 300 rows whose cosine with row 0 exceeds the threshold by 1e-9, then five that count.
  const std::int64_t rows = 306, dim = 40;
  std::vector<double> image = clustered_values(rows, dim, rows, 0.0, 11);
  for (std::int64_t i = 0; i < rows; ++i) {
    double* row = image.data() + i * dim;
    row[0] = 0.0;
    double length = 0.0;
    for (std::int64_t j = 1; j < dim; ++j) length += row[j] * row[j];
    const double cosine = i == 0 ? 1.0 : i <= 300 ? 0.9 + 1e-9 : 0.5;
    for (std::int64_t j = 1; j < dim; ++j) {
      row[j] *= std::sqrt((1.0 - cosine * cosine) / length);
    }
    row[0] = cosine;
  }
  const std::vector<double> text(static_cast<std::size_t>(rows * 2), 1.0);
  const Data data{Matrix(image, rows, dim, DType::float64), Matrix(text, rows, 2, DType::float64)};
  MineOptions options = exact_options(2);
  options.image_max = 0.9;
  options.text_max = 1.0;
  const HardPairs pairs = mine_data(data, options);
  REQUIRE(pairs.count(0) == 2);
  REQUIRE(pairs.id(0, 0) > 300);
  check_table(data, options, pairs);
}

TEST_CASE("thresholds in the middle of the data are those of a plain search", "[exact]") {
  MineOptions options = exact_options(10);
  options.image_max = GENERATE(0.0, 0.5, 0.9);
  options.text_max = GENERATE(0.4, 0.8);
  options.min_score = GENERATE(0.0, 0.2);
  check_data(clustered_data(200, 16, 12), options);
}

TEST_CASE("one modality alone is scored by its cosine and its threshold", "[exact]") {
  const Data data = clustered_data(220, 15, 10);
  MineOptions options = exact_options(8);
  options.signed_products = GENERATE(false, true);
  options.modality = Modality::image;
  options.text_max = 0.0;  // must not matter
  check_table(data, options, mine(data.image.view(), MatrixView{}, options));
  options.modality = Modality::text;
  options.text_max = 0.8;
  options.image_max = 0.0;
  check_table(data, options, mine(MatrixView{}, data.text.view(), options));
}

TEST_CASE("two negative similarities make a hard pair only with signed products", "[exact]") {
  const Data data{Matrix({1, 0, -1, 0.5}, 2, 2, DType::float32),
                  Matrix({1, 0, -1, 0.5}, 2, 2, DType::float32)};
  MineOptions options = exact_options(1);
  REQUIRE(mine_data(data, options).count(0) == 0);
  options.signed_products = true;
  REQUIRE(mine_data(data, options).count(0) == 1);
  check_data(clustered_data(250, 9, 9), options);
}

TEST_CASE("tiny and huge rows have the cosines of their directions", "[exact]") {
  for (const auto& [dtype, tiny, huge] :
       {std::tuple{DType::float64, 1e-310, 1e300}, std::tuple{DType::float32, 1e-42, 1e38},
        std::tuple{DType::bfloat16, 1e-38, 1e38}}) {
    INFO(name_of(dtype));
    std::vector<double> image = clustered_values(60, 8, 3, 0.5, 8);
    std::vector<double> text = clustered_values(60, 8, 3, 0.5, 9);
    for (std::size_t i = 0; i < image.size(); ++i) {
      const std::size_t row = i / 8;
      if (row % 3 == 1) image[i] *= tiny;
      if (row % 3 == 2) text[i] *= huge / 8;
    }
    check_data({Matrix(image, 60, 8, dtype), Matrix(text, 60, 8, dtype)}, exact_options(6));
  }
}

TEST_CASE("zero rows are outliers and nobody's hard pair", "[exact]") {
  std::vector<double> image = clustered_values(100, 8, 3, 0.5, 8);
  for (std::size_t i = 0; i < image.size(); ++i) {
    if (i / 8 % 4 == 0) image[i] = 0.0;
  }
  const Data data{Matrix(image, 100, 8, DType::float16),
                  Matrix(clustered_values(100, 8, 3, 0.5, 9), 100, 8, DType::float16)};
  const HardPairs pairs = mine_data(data, exact_options(40));
  check_table(data, exact_options(40), pairs);
  REQUIRE(pairs.count(4) == 0);
}

TEST_CASE("the table has the same bytes for any number of threads and any memory", "[exact]") {
  const Data data = clustered_data(900, 20, 12, DType::float16);
  MineOptions options = exact_options(7, 1);
  const std::string wanted = bytes_of(mine_data(data, options));
  for (const int threads : {2, 3, 4}) {
    options.threads = threads;
    REQUIRE(bytes_of(mine_data(data, options)) == wanted);
  }
  for (const std::int64_t memory : {1, 60000, 150000, 400000}) {
    INFO(memory << " bytes");
    options.memory = memory;
    REQUIRE(plan(data.image.view(), data.text.view(), options).bands > 1);
    REQUIRE(bytes_of(mine_data(data, options)) == wanted);
  }
}

TEST_CASE("each ordered pair that is dropped is counted once", "[exact]") {
  const Data data = clustered_data(150, 10, 8, DType::float32, 6, 3, 0.2);
  MineOptions options = exact_options(5);
  options.min_score = 0.3;
  options.image_max = 0.95;
  Drops drops;
  for (std::int64_t i = 0; i < 150; ++i) plain_pool(data, i, options, &drops);
  const auto report = nlohmann::json::parse(mine_data(data, options).origin().report_json);
  REQUIRE(report["pairs_scored"] == 150 * 149);
  REQUIRE(report["drops"]["image_duplicate"] == drops.image);
  REQUIRE(report["drops"]["text_duplicate"] == drops.text);
  REQUIRE(report["drops"]["nonpositive"] == drops.nonpositive);
  REQUIRE(report["drops"]["below_min_score"] == drops.small);
}
