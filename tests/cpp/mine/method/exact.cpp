// Exact mining: the table is that of a plain float64 search, whatever the data and the machine.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "io/json.h"
#include "mine/kernel/kernel.h"
#include "support/campaign.h"
#include "support/mine_reference.h"

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
  check_data(clustered_data(420, 40, 33, dtype), exact_options(9));
}

TEST_CASE("int8 rows of negative and zero scale are those of their values", "[exact]") {
  const std::int64_t rows = 400;
  const Data data = clustered_data(rows, 20, 12, DType::int8);
  std::vector<float> scale;
  for (std::int64_t i = 0; i < rows; ++i) {
    scale.push_back(i % 11 == 3 ? 0.0F : (i % 5 == 1 ? -0.02F : 0.5F));
  }
  MatrixView image = data.image.view();
  image.scale = scale.data();
  const MineOptions options = exact_options(7);
  const HardPairs pairs = mine(image, data.text.view(), options);
  const PlainRows plain_image(image), plain_text(data.text.view());
  for (std::int64_t i = 0; i < rows; i += 7) {
    std::vector<PlainPair> pool;
    for (std::int64_t j = 0; j < rows; ++j) {
      const double a = plain_image.cosine(i, j), b = plain_text.cosine(i, j);
      if (j == i || a > options.image_max || b > options.text_max || a <= 0.0 || b <= 0.0) continue;
      pool.push_back({a * b, j});
    }
    std::sort(pool.begin(), pool.end(), plain_before);
    REQUIRE(pairs.count(i) == std::min<std::int64_t>(7, static_cast<std::int64_t>(pool.size())));
    for (std::int64_t rank = 0; rank < pairs.count(i); ++rank) {
      REQUIRE(pairs.id(i, rank) == pool[static_cast<std::size_t>(rank)].id);
      REQUIRE(pairs.score(i, rank) ==
              static_cast<float>(pool[static_cast<std::size_t>(rank)].score));
    }
  }
}

TEST_CASE("exact mining equals a plain search for odd shapes", "[exact]") {
  struct Shape {
    std::int64_t rows, image_dim, text_dim, k;
  };
  const Shape shape =
      GENERATE(Shape{1, 3, 2, 4}, Shape{2, 1, 1, 1}, Shape{3, 5, 64, 5}, Shape{12, 33, 7, 1},
               Shape{13, 8, 8, 20}, Shape{97, 130, 65, 3}, Shape{255, 9, 7, 4}, Shape{256, 9, 7, 4},
               Shape{257, 1, 1, 3}, Shape{256, 1, 300, 6}, Shape{300, 12, 40, 299},
               Shape{300, 12, 40, 500}, Shape{577, 65, 63, 1}, Shape{1000, 31, 12, 999});
  INFO(shape.rows << " rows, k = " << shape.k);
  check_data(clustered_data(shape.rows, shape.image_dim, shape.text_dim), exact_options(shape.k));
}

TEST_CASE("exact mining equals a plain search on data of every kind", "[exact]") {
  constexpr std::int64_t kRows = 600;
  const auto data_of = [](auto&& values) {
    return Data{Matrix(values(50, 1U), kRows, 50, DType::float32),
                Matrix(values(30, 2U), kRows, 30, DType::float32)};
  };
  const Data kinds[] = {
      data_of([](auto dim, auto seed) { return clustered_values(kRows, dim, 1, 50.0, seed); }),
      data_of([](auto dim, auto seed) { return anisotropic_values(kRows, dim, 10.0, seed); }),
      data_of([](auto dim, auto seed) { return anisotropic_values(kRows, dim, 300.0, seed); }),
      data_of([](auto dim, auto seed) { return sparse_values(kRows, dim, seed); }),
      data_of([](auto dim, auto seed) {
        return repeated(clustered_values(kRows, dim, 9, 0.6, seed), dim, 40);
      }),
      data_of([](auto dim, auto seed) {  // no similarity is positive but within halves
        auto values = clustered_values(kRows, dim, 1, 0.3, seed);
        for (std::size_t i = 0; i < values.size(); i += 2) values[i] = -values[i];
        for (std::size_t i = 0; i < values.size() / 2; ++i) values[i] = -values[i];
        return values;
      })};
  int kind = 0;
  for (const Data& data : kinds) {
    INFO("kind " << kind++);
    MineOptions options = exact_options(10);
    PlainMiner plain(data, options);
    check_table(plain, mine_data(data, options));
    options.image_max = options.text_max = 1.0;
    options.signed_products = true;
    plain.set_options(options);
    check_table(plain, mine_data(data, options));
  }
}

TEST_CASE("exact mining equals a plain search with every kernel, any threads and memory",
          "[exact]") {
  const Data data = clustered_data(700, 31, 19, DType::float16, 2, 20, 0.5);
  for (const bool is_signed : {false, true}) {
    MineOptions options = exact_options(11);
    options.signed_products = is_signed;
    const PlainMiner plain(data, options);
    std::string first;
    for (const mining::Kernel* kernel : mining::available_kernels()) {
      INFO(kernel->name);
      const ForcedKernel forced(kernel->name);
      options.threads = 1;
      options.memory = 0;
      const HardPairs pairs = mine_data(data, options);
      if (first.empty()) check_table(plain, pairs);
      if (first.empty()) first = bytes_of(pairs);
      REQUIRE(bytes_of(pairs) == first);
      options.threads = 3;
      options.memory = 1;
      REQUIRE(bytes_of(mine_data(data, options)) == first);
    }
  }
}

TEST_CASE("every option alone and together equals a plain search", "[exact]") {
  // Images and texts of one space; 500 rows take the filters, 120 do not.
  const std::int64_t rows = GENERATE(120, 500);
  const auto image = clustered_values(rows, 24, 12, 0.35, 1);
  auto text = image;
  const auto other = clustered_values(rows, 24, 12, 0.5, 3);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] += 0.5 * other[i];
  const Data data{Matrix(image, rows, 24, DType::float32), Matrix(text, rows, 24, DType::float16)};
  MineOptions base = exact_options(8);
  base.image_max = 0.93;
  base.text_max = 0.9;
  PlainMiner plain(data, base);
  const auto check = [&](const char* what, auto&& change) {
    INFO(what << ", " << rows << " rows");
    MineOptions options = base;
    change(options);
    plain.set_options(options);
    check_table(plain, mine_data(data, options));
  };
  check("nothing", [](MineOptions&) {});
  for (const double margin : {-0.3, 0.0, 0.05, 0.5}) {
    check("margin", [&](MineOptions& o) { o.margin = margin; });
  }
  for (const std::int64_t skip : {std::int64_t{1}, std::int64_t{20}, rows, 2 * rows}) {
    check("skip", [&](MineOptions& o) { o.skip = skip; });
  }
  for (const Collapse collapse : {Collapse::image, Collapse::text, Collapse::both}) {
    check("collapse", [&](MineOptions& o) { o.collapse = collapse; });
    check("collapse, k of all rows", [&](MineOptions& o) {
      o.collapse = collapse;
      o.k = rows;
    });
  }
  for (const double least : {0.05, 0.4, 0.9}) {
    check("min_score", [&](MineOptions& o) { o.min_score = least; });
  }
  check("all", [](MineOptions& o) {
    o.margin = 0.02;
    o.skip = 3;
    o.collapse = Collapse::image;
    o.min_score = 0.1;
    o.signed_products = true;
  });
}

TEST_CASE("options of one modality equal a plain search", "[exact]") {
  const Data data = clustered_data(450, 15, 10, DType::float32, 3, 30, 0.3);
  MineOptions options = exact_options(8);
  options.image_max = options.text_max = 0.95;
  options.skip = 2;
  options.modality = Modality::image;
  options.collapse = Collapse::image;
  check_data(data, options);
  options.modality = Modality::text;
  options.collapse = Collapse::text;
  options.signed_products = true;
  check_data(data, options);
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

TEST_CASE("equal rows beyond one block give the lowest ids with every kernel", "[exact]") {
  const std::int64_t rows = 600;
  const std::vector<double> same(static_cast<std::size_t>(rows * 7), 0.3);
  const Data data{Matrix(same, rows, 7, DType::float32), Matrix(same, rows, 7, DType::bfloat16)};
  MineOptions options = exact_options(5);
  options.image_max = options.text_max = 1.0;
  for (const mining::Kernel* kernel : mining::available_kernels()) {
    INFO(kernel->name);
    const ForcedKernel forced(kernel->name);
    const HardPairs pairs = mine_data(data, options);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t rank = 0; rank < 5; ++rank) {
        REQUIRE(pairs.id(i, rank) == (rank < i ? rank : rank + 1));
      }
    }
  }
}

TEST_CASE("rows that are all but equal are told apart where a sample is taken", "[exact]") {
  const std::int64_t rows = GENERATE(2100, 4300);
  const std::int64_t others = GENERATE(0, 3, 40);
  for (const double nudge : {1e-6, 1e-3, 1.0}) {
    // Every pair is scored: of more rows one case, for what they take grows with their square.
    if (rows > 2100 && (others != 3 || nudge != 1e-3) && !is_campaign()) continue;
    INFO(rows << " rows, of which " << others << " differ by " << nudge);
    std::vector<double> image(static_cast<std::size_t>(rows * 64), 1.0);
    for (std::int64_t i = 0; i < others; ++i) {
      image[static_cast<std::size_t>((5 + i * 50) * 64 + i)] += nudge;
    }
    const Data data{Matrix(image, rows, 64, DType::float32),
                    Matrix(std::vector<double>(static_cast<std::size_t>(rows * 2), 0.7), rows, 2,
                           DType::float32)};
    MineOptions options = exact_options(5);
    options.image_max = options.text_max = 1.0;
    const PlainMiner plain(data, options);
    const HardPairs pairs = mine_data(data, options);
    REQUIRE(pairs.statistics().short_targets == 0);
    for (const std::int64_t target : {0L, 5L, 55L, 105L, rows - 1}) {
      check_target(plain, target, pairs);
    }
  }
}

TEST_CASE("thresholds at a similarity of the data are strict with filters too", "[exact]") {
  const Data data = clustered_data(400, 16, 12, DType::float32, 5, 20, 0.4);
  MineOptions options = exact_options(6);
  PlainMiner plain(data, options);
  for (const std::int64_t target : {0, 17, 222}) {
    const auto pool = plain.pool(target);
    options = exact_options(6);
    // The best pair's own score, image and text similarity, and the float64 number below each.
    const std::int64_t best = pool[0].id;
    for (const bool below : {false, true}) {
      const auto at = [&](double value) { return below ? std::nextafter(value, 0.0) : value; };
      options = exact_options(6);
      options.min_score = at(pool[2].score);
      plain.set_options(options);
      const HardPairs few = mine_data(data, options);
      check_table(plain, few);
      REQUIRE(few.count(target) == (below ? 3 : 2));
      options = exact_options(6);
      options.image_max = at(plain.image(target, best));
      options.text_max = 1.0;
      plain.set_options(options);
      HardPairs pairs = mine_data(data, options);
      check_table(plain, pairs);
      options.image_max = 1.0;
      options.text_max = at(plain.text(target, best));
      plain.set_options(options);
      pairs = mine_data(data, options);
      check_table(plain, pairs);
    }
  }
}

TEST_CASE("the table has the same bytes for any number of threads and any memory", "[exact]") {
  const Data data = clustered_data(1900, 20, 12, DType::float16);
  MineOptions options = exact_options(7, 1);
  const std::string wanted = bytes_of(mine_data(data, options));
  for (const int threads : {2, 3, 4}) {
    options.threads = threads;
    REQUIRE(bytes_of(mine_data(data, options)) == wanted);
  }
  // Several bands, and codes on disk.
  for (const std::int64_t memory : {1, 60000, 150000}) {
    INFO(memory << " bytes");
    options.memory = memory;
    const MinePlan planned = plan(data.image.view(), data.text.view(), options);
    REQUIRE(planned.bands > 1);
    REQUIRE(planned.scratch_bytes > 0);
    REQUIRE(bytes_of(mine_data(data, options)) == wanted);
  }
}

TEST_CASE("margin, groups and skipped pairs are the same for any threads and memory", "[exact]") {
  const auto image = clustered_values(1300, 16, 60, 0.25, 1);
  const Data data{Matrix(image, 1300, 16, DType::float32),
                  Matrix(clustered_values(1300, 16, 60, 0.25, 1), 1300, 16, DType::float16)};
  MineOptions options = exact_options(6, 1);
  options.margin = 0.01;
  options.skip = 2;
  options.collapse = Collapse::both;
  options.image_max = options.text_max = 0.97;
  const HardPairs pairs = mine_data(data, options);
  const std::string wanted = bytes_of(pairs);
  check_data(data, options);
  options.threads = 4;
  REQUIRE(bytes_of(mine_data(data, options)) == wanted);
  options.memory = 1;
  REQUIRE(bytes_of(mine_data(data, options)) == wanted);
}

TEST_CASE("plans from a sample find what a plain search does", "[exact]") {
  const DType dtype = GENERATE(DType::float32, DType::int8);
  const std::int64_t rows = 2500;
  const Data data = clustered_data(rows, 70, 60, dtype, 7, 50, 0.8);
  MineOptions options = exact_options(GENERATE(1, 25));
  const PlainMiner plain(data, options);
  std::string wanted;
  for (const mining::Kernel* kernel : mining::available_kernels()) {
    INFO(kernel->name << ", " << name_of(dtype));
    const ForcedKernel forced(kernel->name);
    const HardPairs pairs = mine_data(data, options);
    const auto report = Json::parse(pairs.origin().report_json);
    REQUIRE(report["pairs"] == rows * (rows - 1));
    REQUIRE(report["filters"].contains("dimensions"));
    REQUIRE(report["filters"]["passed"]["score"].get<double>() > 0.0);
    std::string bytes = bytes_of(pairs);
    bytes.resize(bytes.size() - pairs.origin().report_json.size());  // shares may differ
    if (wanted.empty()) {
      wanted = bytes;
      for (std::int64_t i = 0; i < rows; i += 9) check_target(plain, i, pairs);
    }
    REQUIRE(bytes == wanted);
  }
}

TEST_CASE("clusters and thresholds find what a plain search does", "[exact]") {
  const std::int64_t rows = 4500;
  auto image = clustered_values(rows, 48, 80, 0.7, 7);
  auto text = clustered_values(rows, 40, 80, 0.7, 8);
  for (std::int64_t i = 0; i < rows; i += 50) std::fill_n(image.begin() + i * 48, 48, 0.0);
  for (std::int64_t i = 1; i < rows / 2; i += 10) {  // copies of rows far away
    std::copy_n(image.begin() + i * 48, 48, image.begin() + (rows - 1 - i) * 48);
    std::copy_n(text.begin() + i * 40, 40, text.begin() + (rows - 1 - i) * 40);
  }
  const Data data{Matrix(image, rows, 48, DType::float32), Matrix(text, rows, 40, DType::float16)};
  const auto check = [&](const MineOptions& asked) {
    MineOptions options = asked;
    const PlainMiner plain(data, options);
    const HardPairs pairs = mine_data(data, options);
    for (std::int64_t i = 0; i < rows; i += 101) check_target(plain, i, pairs);
    for (std::int64_t i = 1; i < rows; i += 990) check_target(plain, i, pairs);
    options.threads = 3;
    options.memory = 1;
    REQUIRE(bytes_of(mine_data(data, options)) == bytes_of(pairs));
  };
  MineOptions options = exact_options(GENERATE(1, 40));
  check(options);
  options.signed_products = true;
  options.skip = 5;
  check(options);
  options.modality = Modality::image;
  options.image_max = 0.8;
  check(options);
}
