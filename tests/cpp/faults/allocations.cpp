// Stores, tables, samples, batches and pictures under allocations that fail: one kind of error
// comes back, and what was there before is as it was.
#include "support/failing_allocation_trials.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "helip/data.h"
#include "helip/helip.h"
#include "support/batch_samples.h"
#include "support/image_samples.h"
#include "support/storage_trials.h"
#include "support/table_samples.h"

using namespace helip;
using namespace helip::trials;

namespace {

ImageTransform transform() {
  ImageTransformOptions chosen;
  chosen.height = chosen.width = 16;
  return ImageTransform(chosen);
}

class Pictures : public ImageSource {
 public:
  Pictures() : bytes_(jpeg_of(sample_image({24, 20}))) {}
  std::int64_t size() const noexcept override { return 100; }
  void read(std::int64_t, std::vector<std::byte>& out) const override { out = bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

TEST_CASE("allocations that fail: what writes to the disk or reads it") {
  for (const StorageTrial& trial : storage_trials()) {
    DYNAMIC_SECTION(trial.name) { every_allocation(trial.prepare); }
  }
}

TEST_CASE("allocations that fail: a table of arrays") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    return {[arrays = SampleTable()] { (void)arrays.make().statistics(); }};
  });
}

TEST_CASE("allocations that fail: pairs that grow") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto pairs = std::make_shared<GrowingPairs>(100, kK);
    return {[pairs, targets = numbers(1, 4)] {
      (void)pairs->pools(targets);
      (void)pairs->known_targets();
      (void)pairs->table({});
    }};
  });
}

TEST_CASE("allocations that fail: an order by locality") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const HardPairs pairs = test::groups_of_rows(20, 5);
    return {[pairs] { (void)locality_order(pairs); }};
  });
}

TEST_CASE("allocations that fail: batches of pictures") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto source = std::make_shared<Pictures>();
    const auto out = std::make_shared<std::vector<float>>(8 * 3 * 16 * 16);
    return {[source, out] {
      std::vector<ImageTransform> views;
      AssembleRequest request;
      unfailing([&] {
        views.push_back(transform());
        request.rows = numbers(0, 8);
        request.out = {reinterpret_cast<std::byte*>(out->data())};
      });
      BatchAssembler assembler(source, std::move(views), {0, 2});
      const auto ticket = assembler.submit(std::move(request));
      const auto missing = assembler.wait_for(ticket, std::chrono::seconds(60));
      const NoFailingAllocations now;
      REQUIRE(missing);
      CHECK(missing->empty());
    }};
  });
}

TEST_CASE("allocations that fail: a picture") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto bytes = std::make_shared<std::vector<std::byte>>(jpeg_of(sample_image({64, 48})));
    const auto out = std::make_shared<std::vector<float>>(3 * 16 * 16);
    return {[bytes, out] {
      const ImageTransform made = transform();
      ImageTransform::Scratch scratch;
      made.apply(*bytes, {}, out->data(), scratch);
    }};
  });
}

TEST_CASE("allocations that fail: batches of each strategy") {
  const auto strategy = GENERATE(BatchStrategy::uniform, BatchStrategy::shared, BatchStrategy::walk,
                                 BatchStrategy::communities);
  every_allocation([strategy](const TemporaryFolder&) -> Trial {
    const HardPairs pairs = test::groups_of_rows(20, 5);
    return {[pairs, strategy] {
      BatchOptions chosen;
      chosen.batch_size = 16;
      chosen.strategy = strategy;
      BatchSampler sampler(pairs, chosen);
      (void)sampler.batch(0);
      sampler.set_epoch(1);
      (void)sampler.batch(2);
    }};
  });
}
