#include "helip/batch_assembler.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "helip/sample_error.h"
#include "support/expect_error.h"

namespace {

using helip::AssembleRequest;
using helip::BatchAssembler;
using helip::ImageTransform;
using helip::ImageTransformOptions;
using helip::MissingImage;

constexpr std::int64_t kSize = 8;

// Rows of text that is no image, but for `missing`, which cannot be read at all.
class Texts : public helip::ImageSource {
 public:
  explicit Texts(std::int64_t missing = -1, std::int64_t ahead = 16)
      : missing_(missing), ahead_(ahead) {}
  std::int64_t rows_ahead() const noexcept override { return ahead_; }
  std::int64_t size() const noexcept override { return 100; }
  void read(std::int64_t row, std::vector<std::byte>& out) const override {
    if (row == missing_) throw helip::SampleError("missing_image", "there is none");
    if (row == 99) throw std::bad_alloc();
    if (row == 98) throw helip::SampleError("unsupported_format", "another may");
    out.assign(10, std::byte('x'));
  }
  void will_need(std::span<const std::int64_t> rows) const noexcept override {
    const std::lock_guard lock(mutex_);
    told_.insert(told_.end(), rows.begin(), rows.end());
  }
  std::vector<std::int64_t> told() const {
    const std::lock_guard lock(mutex_);
    return told_;
  }

 private:
  std::int64_t missing_, ahead_;
  mutable std::mutex mutex_;
  mutable std::vector<std::int64_t> told_;
};

ImageTransform transform() {
  ImageTransformOptions options;
  options.height = options.width = kSize;
  return ImageTransform(options);
}

BatchAssembler assembler(std::int64_t missing = -1) {
  std::vector<ImageTransform> views;
  views.push_back(transform());
  return {std::make_shared<Texts>(missing), std::move(views), {.seed = 1, .threads = 2}};
}

AssembleRequest request(std::vector<std::int64_t> rows, std::vector<std::byte>& out) {
  out.resize(rows.size() * transform().bytes());
  return {.epoch = 0, .rows = std::move(rows), .names = {}, .out = {out.data()}};
}

std::vector<MissingImage> wait(BatchAssembler& batches, std::uint64_t ticket) {
  for (;;) {
    if (auto missing = batches.wait_for(ticket, std::chrono::milliseconds(100))) return *missing;
  }
}

TEST_CASE("places that cannot be filled are named in order, with their reasons", "[assembler]") {
  BatchAssembler batches = assembler(7);
  std::vector<std::byte> out;
  const auto missing = wait(batches, batches.submit(request({3, 7, 5}, out)));
  REQUIRE(missing.size() == 3);
  for (std::size_t place = 0; place < 3; ++place) {
    CHECK(missing[place].place == static_cast<std::int64_t>(place));
    CHECK(missing[place].reason == (place == 1 ? "missing_image" : "unreadable_image"));
  }
}

TEST_CASE("a batch without rows is done at once", "[assembler]") {
  BatchAssembler batches = assembler();
  std::vector<std::byte> out;
  CHECK(wait(batches, batches.submit(request({}, out))).empty());
}

TEST_CASE("requests that do not fit are refused, and the next one works", "[assembler]") {
  BatchAssembler batches = assembler();
  std::vector<std::byte> out;
  const auto refused = [&](const std::string& part, AssembleRequest bad) {
    expect_error(helip::ErrorCode::invalid_argument, part,
                 [&] { (void)batches.submit(std::move(bad)); });
  };
  refused("row 100 must lie in 0 .. 99", request({1, 100}, out));
  refused("row -1 must lie in", request({-1}, out));
  AssembleRequest names = request({1, 2}, out);
  names.names.assign(1, 1);
  refused("2 rows, 1 names", names);
  AssembleRequest none = request({1}, out);
  none.out.clear();
  refused("0 outputs for 1 views", none);
  CHECK(wait(batches, batches.submit(request({1}, out))).size() == 1);
}

TEST_CASE("an allocation that fails is the machine's fault, not the sample's", "[assembler]") {
  BatchAssembler batches = assembler();
  std::vector<std::byte> out;
  const auto ticket = batches.submit(request({99}, out));
  expect_error(helip::ErrorCode::out_of_memory, "lower workers or prefetch",
               [&] { wait(batches, ticket); });
}

TEST_CASE("after clear nothing is waited for", "[assembler]") {
  BatchAssembler batches = assembler();
  std::vector<std::byte> out;
  const auto ticket = batches.submit(request(std::vector<std::int64_t>(64, 1), out));
  batches.clear();
  out.clear();
  out.shrink_to_fit();
  expect_error(helip::ErrorCode::invalid_argument, "fetched or dropped",
               [&] { wait(batches, ticket); });
}

TEST_CASE("places of unsupported formats are given out once each, while a batch is read",
          "[assembler]") {
  using std::chrono::milliseconds;
  BatchAssembler batches = assembler();
  std::vector<std::byte> out;
  const auto ticket = batches.submit(request({1, 98, 2, 98, 98}, out));
  std::vector<std::int64_t> taken;
  for (;;) {
    const auto place = batches.take_unsupported(ticket, milliseconds(100));
    if (!place) continue;
    if (*place < 0) break;
    taken.push_back(*place);
  }
  std::sort(taken.begin(), taken.end());
  CHECK(taken == std::vector<std::int64_t>{1, 3, 4});
  CHECK(wait(batches, ticket).size() == 5);  // the account of a batch has them all the same
  CHECK(batches.take_unsupported(ticket, milliseconds(0)) == -1);

  const auto dropped = batches.submit(request({98}, out));
  batches.clear();
  CHECK(batches.take_unsupported(dropped, milliseconds(0)) == -1);
}

TEST_CASE("the source is told of every row once, of the first ones before a batch is begun",
          "[assembler]") {
  const std::size_t ahead = GENERATE(std::size_t{4}, std::size_t{16}, std::size_t{1000});
  const auto source = std::make_shared<Texts>(-1, static_cast<std::int64_t>(ahead));
  std::vector<ImageTransform> views;
  views.push_back(transform());
  BatchAssembler batches(source, std::move(views), {.seed = 1, .threads = 2});
  for (const std::size_t size : {std::size_t{5}, std::size_t{16}, std::size_t{50}}) {
    std::vector<std::int64_t> rows(size);
    std::iota(rows.rbegin(), rows.rend(), 3);
    std::vector<std::byte> out;
    const std::size_t before = source->told().size();
    const auto ticket = batches.submit(request(rows, out));
    wait(batches, ticket);
    std::vector<std::int64_t> told = source->told();
    told.erase(told.begin(), told.begin() + static_cast<std::ptrdiff_t>(before));
    const std::size_t first = std::min(size, ahead);
    CHECK(
        std::equal(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(first), told.begin()));
    std::sort(told.begin(), told.end());
    std::sort(rows.begin(), rows.end());
    CHECK(told == rows);
  }
}

TEST_CASE("an assembler needs a view", "[assembler]") {
  expect_error(helip::ErrorCode::invalid_argument, "views is empty",
               [] { BatchAssembler(std::make_shared<Texts>(), {}, {}); });
}

}  // namespace
