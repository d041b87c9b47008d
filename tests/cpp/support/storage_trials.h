// Calls that write to the disk or read it, each with what must hold afterwards, however it ended.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "helip/data.h"
#include "helip/helip.h"
#include "mine/bound/codes.h"
#include "mine/corpus/mine_options.h"
#include "support/failing_allocations.h"
#include "support/image_samples.h"
#include "support/mine_reference.h"
#include "support/store_samples.h"
#include "support/table_samples.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"
#include "support/trial.h"

namespace helip::trials {

namespace fs = std::filesystem;

inline constexpr int kRows = 60;
inline constexpr std::int64_t kK = 4;

inline void write_store(const fs::path& path, int rows = kRows, DType dtype = DType::float32) {
  auto writer = EmbeddingStoreWriter::create(path, options(dtype));
  append(writer, unfailing([&] { return rows_between(0, rows); }));
  writer.finish(unfailing([] { return std::string("{}"); }));
}

// The store is whole, and has one of these numbers of rows.
inline void check_store(const fs::path& path, const std::vector<std::int64_t>& sizes) {
  const EmbeddingStore store = EmbeddingStore::open(path);
  store.verify();
  CHECK(std::find(sizes.begin(), sizes.end(), store.size()) != sizes.end());
}

inline bool is_committed(const fs::path& path) {
  return unfailing([&] { return fs::exists(path / "manifest.json"); });
}

inline bool same(const HardPairs& a, const HardPairs& b) {
  if (a.size() != b.size() || a.k() != b.k()) return false;
  for (std::int64_t row = 0; row < a.size(); ++row) {
    if (a.count(row) != b.count(row)) return false;
    for (std::int64_t rank = 0; rank < a.count(row); ++rank) {
      if (a.id(row, rank) != b.id(row, rank) || a.score(row, rank) != b.score(row, rank)) {
        return false;
      }
    }
  }
  return true;
}

inline MineOptions options_by(MiningMethod method = MiningMethod::exact) {
  MineOptions chosen;
  chosen.method = method;
  chosen.k = kK;
  chosen.threads = 2;
  return chosen;
}

// Mining to a folder: whole, or not there, and the next call gives the table of a call that nothing
// came in between of.
inline Trial mined_to(const fs::path& out, const HardPairs& expected,
                      std::function<HardPairs()> call) {
  return {[call] { (void)call(); },
          [call, out, expected](bool done) {
            CHECK((!done || is_committed(out)));
            if (!done) {
              // What was committed before the end of the call is refused, or is there.
              try {
                (void)call();
              } catch (const Error& error) {
                CHECK(error.code() == ErrorCode::invalid_argument);
              }
            }
            const HardPairs found = HardPairs::open(out);
            found.verify();
            CHECK(same(found, expected));
          },
          true};
}

inline fs::path write_tars(const TemporaryFolder& folder) {
  std::string bytes;
  const auto jpeg = jpeg_of(sample_image({24, 20}));
  const std::string picture(reinterpret_cast<const char*>(jpeg.data()), jpeg.size());
  for (int i = 0; i < 12; ++i) {
    const std::string key = "k" + std::to_string(i);
    bytes += tar_member(key + ".jpg", picture) + tar_member(key + ".txt", "text of " + key);
  }
  return write_file(folder / "s.tar", bytes + tar_end());
}

inline std::vector<std::int64_t> numbers(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(last - first));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

inline testing::Data indexed() { return testing::clustered_data(2 * kRows, 8, 6); }

inline MatrixView part(const testing::Matrix& matrix, std::int64_t first, std::int64_t last) {
  MatrixView view = matrix.view();
  view.data = view.row(first);
  view.rows = last - first;
  return view;
}

// Rows whose codes are kept.
struct CodedRows {
  CodedRows() { corpus.measure(team); }
  // Whether those of the folder are as those that are made anew.
  bool same_in(const fs::path& folder) {
    const mining::Codes anew(corpus, mining::FilterPlan(), order, {}, team),
        found = codes_in(folder);
    bool same = found.size() == anew.size();
    for (std::int64_t place = 0; same && place < anew.size(); ++place) {
      const auto bytes = [&](const mining::Codes& codes) {
        return std::string_view(reinterpret_cast<const char*>(codes.unit(0, place)),
                                static_cast<std::size_t>(codes.unit_depth(0)));
      };
      same = bytes(found) == bytes(anew) &&
             found.unit_bounds(0, place).error == anew.unit_bounds(0, place).error;
    }
    return same;
  }
  mining::Codes codes_in(const fs::path& folder) {
    return mining::entry_point([&] {
      mining::KeptCodes kept(
          {folder}, corpus, identity, [](const OrderedJson&) { return true; }, silent);
      mining::Codes codes(corpus, mining::FilterPlan(), order, {}, team, &kept);
      kept.publish();
      return codes;
    });
  }

  const testing::Data data = testing::clustered_data(20, 8, 6);
  const ProgressCallback silent;
  const OrderedJson identity{{"store", "s"}};
  Team team{1, silent};
  mining::Corpus corpus{data.image.view(), data.text.view(), mining::Rules(),
                        mining::select_kernel()};
  mining::RowOrder order{{3, 1, 2, 0}, {0, 4}, {}, {}};
};

struct StorageTrial {
  std::string name;
  std::function<Trial(const TemporaryFolder&)> prepare;
};

inline std::vector<StorageTrial> storage_trials() {
  std::vector<StorageTrial> all;
  all.push_back({"a new store", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "s";
                   return {[path] { write_store(path); },
                           [path](bool done) {
                             if (done || is_committed(path)) check_store(path, {kRows});
                             if (!is_committed(path)) write_store(path);
                           }};
                 }});
  all.push_back({"rows for a store", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "s";
                   write_store(path);
                   return {[path] {
                             auto writer = EmbeddingStoreWriter::append_to(path);
                             append(writer,
                                    unfailing([] { return rows_between(kRows, 2 * kRows); }));
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
                 }});
  all.push_back({"deletion of rows", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "s";
                   write_store(path);
                   return {[path] {
                             auto writer = EmbeddingStoreWriter::append_to(path);
                             const auto keys = unfailing(
                                 [] { return std::vector<std::string>{"key-3", "key-7"}; });
                             writer.delete_keys(keys);
                             writer.commit(unfailing([] { return std::string(); }));
                           },
                           [path](bool) { check_store(path, {kRows}); }};
                 }});
  all.push_back({"a store that is opened and verified", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "s";
                   write_store(path);
                   return {[path] {
                     const EmbeddingStore store = EmbeddingStore::open(path);
                     store.verify();
                     (void)store.key(3);
                   }};
                 }});
  all.push_back({"a store of parts", [](const TemporaryFolder& folder) -> Trial {
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
                 }});
  all.push_back({"a table that is saved", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "p";
                   const HardPairs pairs = SampleTable().make();
                   return {[path, pairs] { pairs.save(path); },
                           [path, pairs](bool done) {
                             if (!done && !is_committed(path)) pairs.save(path);
                             const HardPairs found = HardPairs::open(path);
                             found.verify();
                             CHECK(same(found, pairs));
                           }};
                 }});
  all.push_back({"a table that is opened and verified", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "p";
                   SampleTable().make().save(path);
                   return {[path] { HardPairs::open(path).verify(); }};
                 }});
  all.push_back({"an index of samples", [](const TemporaryFolder& folder) -> Trial {
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
                 }});
  all.push_back({"samples that are read", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path tar = write_tars(folder), out = folder / "x";
                   SampleIndex::build({tar}, {}).save(out);
                   return {[out, root = fs::path()] {
                     const SampleIndex index = SampleIndex::open(out, root);
                     std::vector<std::byte> bytes;
                     index.read(3, SampleField::image, bytes);
                     index.read(3, SampleField::text, bytes);
                     index.verify();
                   }};
                 }});
  all.push_back({"mining in parts", [](const TemporaryFolder& folder) -> Trial {
                   write_store(folder / "s");
                   const EmbeddingStore store = EmbeddingStore::open(folder / "s");
                   const fs::path out = folder / "p";
                   MineOptions chosen = options_by();
                   chosen.parts = 2;
                   return mined_to(out, mine(store, options_by()),
                                   [store, out, chosen] { return mine(store, chosen, {}, out); });
                 }});
  all.push_back({"mining with checkpoints", [](const TemporaryFolder& folder) -> Trial {
                   write_store(folder / "s");
                   const EmbeddingStore store = EmbeddingStore::open(folder / "s");
                   const fs::path out = folder / "p";
                   MineOptions chosen = options_by(MiningMethod::partition);
                   const HardPairs expected = mine(store, chosen);
                   chosen.checkpoint = 0.0;
                   return mined_to(out, expected,
                                   [store, out, chosen] { return mine(store, chosen, {}, out); });
                 }});
  all.push_back({"codes that are kept", [](const TemporaryFolder& folder) -> Trial {
                   const auto rows = std::make_shared<CodedRows>();
                   const fs::path path = folder / "c";
                   return {[=] { (void)rows->codes_in(path); },
                           [=](bool done) {
                             CHECK((!done || is_committed(path)));
                             CHECK(rows->same_in(path));
                             CHECK(is_committed(path));
                           },
                           true};
                 }});
  all.push_back({"kept codes that are taken", [](const TemporaryFolder& folder) -> Trial {
                   const auto rows = std::make_shared<CodedRows>();
                   const fs::path path = folder / "c";
                   (void)rows->codes_in(path);
                   return {[=] { (void)rows->codes_in(path); },
                           [=](bool) { CHECK(rows->same_in(path)); }};
                 }});
  all.push_back({"parts of a table", [](const TemporaryFolder& folder) -> Trial {
                   write_store(folder / "s");
                   const EmbeddingStore store = EmbeddingStore::open(folder / "s");
                   const fs::path first = folder / "1", second = folder / "2", out = folder / "p";
                   const std::vector<fs::path> parts{first, second};
                   return mined_to(out, mine(store, options_by()),
                                   [store, first, second, parts, out] {
                                     if (is_committed(out)) return HardPairs::open(out);
                                     (void)mine_part(store, 1, 2, options_by(), first);
                                     (void)mine_part(store, 2, 2, options_by(), second);
                                     return merge_parts(parts, out);
                                   });
                 }});
  all.push_back({"a table brought up to date", [](const TemporaryFolder& folder) -> Trial {
                   const fs::path path = folder / "s", out = folder / "p";
                   write_store(path, kRows - 10);
                   (void)mine(EmbeddingStore::open(path), options_by(), {}, out);
                   auto writer = EmbeddingStoreWriter::append_to(path);
                   append(writer, rows_between(kRows - 10, kRows));
                   const EmbeddingStore store = writer.commit();
                   return mined_to(out, mine(store, options_by()), [store, out] {
                     return update(HardPairs::open(out), store, {}, {}, out);
                   });
                 }});
  all.push_back({"an index that is saved", [](const TemporaryFolder& folder) -> Trial {
                   const auto data = std::make_shared<testing::Data>(indexed());
                   const fs::path path = folder / "i";
                   const auto index = std::make_shared<PairIndex>(PairIndex::build(
                       part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2));
                   return {[=] { index->save(path); },
                           [=](bool) {
                             if (!is_committed(path)) index->save(path);
                             CHECK(PairIndex::open(path).size() == kRows);
                           }};
                 }});
  all.push_back({"an index that is opened", [](const TemporaryFolder& folder) -> Trial {
                   const auto data = std::make_shared<testing::Data>(indexed());
                   const fs::path path = folder / "i";
                   PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {},
                                    2)
                       .save(path);
                   return {[=] { (void)PairIndex::open(path); }};
                 }});
  all.push_back({"an index that is saved for hnswlib", [](const TemporaryFolder& folder) -> Trial {
                   const auto data = std::make_shared<testing::Data>(indexed());
                   const fs::path path = folder / "i";
                   const auto index = std::make_shared<PairIndex>(PairIndex::build(
                       part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2));
                   return {[=] { index->save_hnswlib(path); },
                           [=](bool) {
                             const bool there = unfailing([&] { return fs::exists(path); });
                             if (!there) index->save_hnswlib(path);
                             CHECK(PairIndex::open_hnswlib(path, data->image.view().cols).size() ==
                                   kRows);
                           }};
                 }});
  all.push_back(
      {"an index of hnswlib that is opened", [](const TemporaryFolder& folder) -> Trial {
         const auto data = std::make_shared<testing::Data>(indexed());
         const fs::path path = folder / "i";
         PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2)
             .save_hnswlib(path);
         return {[=] { (void)PairIndex::open_hnswlib(path, data->image.view().cols, {}, 2); }};
       }});
  return all;
}

}  // namespace helip::trials
