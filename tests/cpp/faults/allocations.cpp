// Stores, tables, samples, batches and pictures under allocations that fail: one kind of error
// comes back, and what was there before is as it was.
#include "support/failing_allocation_trials.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

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

std::vector<std::int64_t> numbers(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(last - first));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

}  // namespace

TEST_CASE("allocations that fail: what writes to the disk or reads it") {
  for (const StorageTrial& trial : storage_trials()) {
    DYNAMIC_SECTION(trial.name) { every_allocation(trial.prepare); }
  }
}

TEST_CASE("allocations that fail: rows for a store") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path path = folder / "s";
    write_store(path);
    return {[path] {
              auto writer = EmbeddingStoreWriter::append_to(path);
              append(writer, unfailing([] { return rows_between(kRows, 2 * kRows); }));
              writer.commit(unfailing([] { return std::string(R"({"a": 1})"); }));
            },
            [path](bool done) {
              check_store(path, done ? std::vector<std::int64_t>{2 * kRows}
                                     : std::vector<std::int64_t>{kRows, 2 * kRows});
              auto writer = EmbeddingStoreWriter::append_to(path);
              append(writer, rows_between(1000, 1010));
              writer.commit();
              check_store(path, {kRows + 10, 2 * kRows + 10});
            }};
  });
}

TEST_CASE("allocations that fail: deletion of rows") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path path = folder / "s";
    write_store(path);
    return {[path] {
              auto writer = EmbeddingStoreWriter::append_to(path);
              const auto keys =
                  unfailing([] { return std::vector<std::string>{"key-3", "key-7"}; });
              writer.delete_keys(keys);
              writer.commit(unfailing([] { return std::string(); }));
            },
            [path](bool) { check_store(path, {kRows}); }};
  });
}

TEST_CASE("allocations that fail: a store that is opened and verified") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path path = folder / "s";
    write_store(path);
    return {[path] {
      const EmbeddingStore store = EmbeddingStore::open(path);
      store.verify();
      (void)store.key(3);
    }};
  });
}

TEST_CASE("allocations that fail: a store of parts") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "a");
    auto writer = EmbeddingStoreWriter::create(folder / "b", options());
    append(writer, rows_between(kRows, 2 * kRows));
    writer.commit();
    const fs::path a = folder / "a", b = folder / "b", out = folder / "c";
    const std::vector<StoreRun> runs{{0, 0, kRows}, {1, 0, kRows}};
    const auto call = [a, b, out, runs] {
      std::vector<EmbeddingStore> sources;
      unfailing([&] { sources.reserve(2); });
      sources.push_back(EmbeddingStore::open(a));
      sources.push_back(EmbeddingStore::open(b));
      (void)assemble_store(out, sources, runs, 4096);
    };
    return {call, [call, out](bool done) {
              if (done || is_committed(out)) check_store(out, {2 * kRows});
              if (!is_committed(out)) call();
            }};
  });
}

TEST_CASE("allocations that fail: a table of arrays") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    return {[arrays = SampleTable()] { (void)arrays.make().statistics(); }};
  });
}

TEST_CASE("allocations that fail: a table that is saved") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path path = folder / "p";
    const HardPairs pairs = SampleTable().make();
    return {[path, pairs] { pairs.save(path); },
            [path, pairs](bool done) {
              if (!done && !is_committed(path)) pairs.save(path);
              const HardPairs found = HardPairs::open(path);
              found.verify();
              CHECK(same(found, pairs));
            }};
  });
}

TEST_CASE("allocations that fail: a table that is opened and verified") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path path = folder / "p";
    SampleTable().make().save(path);
    return {[path] { HardPairs::open(path).verify(); }};
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

TEST_CASE("allocations that fail: an index of samples") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const std::vector<fs::path> tars{write_tars(folder)};
    const fs::path out = folder / "x";
    const SampleIndexOptions chosen;
    return {[tars, out, chosen] {
              const SampleIndex index = SampleIndex::build(tars, chosen);
              index.save(out);
            },
            [tars, out, chosen](bool) {
              SampleIndex::build(tars, chosen).save(out);
              const SampleIndex found = SampleIndex::open(out);
              found.verify();
              CHECK(found.size() == 12);
            }};
  });
}

TEST_CASE("allocations that fail: samples that are read") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path tar = write_tars(folder), out = folder / "x";
    SampleIndex::build({tar}, {}).save(out);
    return {[out, root = fs::path()] {
      const SampleIndex index = SampleIndex::open(out, root);
      std::vector<std::byte> bytes;
      index.read(3, SampleField::image, bytes);
      index.read(3, SampleField::text, bytes);
      index.verify();
    }};
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
