// Codes that are kept in a folder: those of the same rows come back, others never do.
#include "mine/bound/kept_codes.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>

#include "io/file.h"
#include "io/manifest.h"
#include "io/mapped_files.h"
#include "mine/bound/prepared_corpus.h"
#include "support/bound_cases.h"
#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/flip_byte.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMuch = std::int64_t{1} << 40;

// A corpus with its codes, kept in a folder.
class Kept {
 public:
  explicit Kept(const Case& made)
      : data_(made.data),
        corpus_(data_.image.view(), data_.text.view(), made.rules, select_kernel()) {
    corpus_.measure(silent_.team);
  }

  const Corpus& corpus() const { return corpus_; }

  KeptCodes codes_in(const fs::path& folder, const std::string& name = "a",
                     const ProgressCallback& progress = {}, bool is_asked = true) const {
    static const ProgressCallback silent;
    const OrderedJson identity{{"store", name}};
    const auto fits = [&](const OrderedJson& there) { return there == identity; };
    return {{folder, is_asked}, corpus_, identity, fits, progress ? progress : silent};
  }

  std::unique_ptr<PreparedCorpus> fresh(KeptCodes* kept = nullptr) {
    FilterPlan plan = choose_filters(corpus_, 5, silent_.team);
    RowOrder order = order_rows(corpus_, plan, silent_.team);
    return prepare(std::move(plan), std::move(order), kept);
  }
  std::unique_ptr<PreparedCorpus> keep(const fs::path& folder) {
    KeptCodes keeper = codes_in(folder);
    return fresh(&keeper);
  }
  std::unique_ptr<PreparedCorpus> found(KeptCodes& kept, RowOrder order) {
    return prepare(kept.plan(), std::move(order), &kept);
  }

 private:
  std::unique_ptr<PreparedCorpus> prepare(FilterPlan plan, RowOrder order, KeptCodes* kept) {
    auto prepared = std::make_unique<PreparedCorpus>(corpus_, std::move(plan), std::move(order), 0,
                                                     kMuch, fs::path(), silent_.team, kept);
    prepared->sweep();
    if (kept != nullptr) kept->publish();
    return prepared;
  }

  const Data data_;
  SilentTeam silent_;
  Corpus corpus_;
};

Case clustered(std::int64_t rows = 600) {
  return {"clustered", clustered_data(rows, 24, 16), Rules()};
}

// Bounds and codes of a place.
std::string bytes_of_place(const Codes& codes, std::int64_t place) {
  std::string bytes;
  const auto append = [&](const auto* data, std::int64_t count) {
    bytes.append(reinterpret_cast<const char*>(data),
                 static_cast<std::size_t>(count) * sizeof *data);
  };
  for (const auto filter : {Codes::kHigh, Codes::kLow, Codes::kSecond}) {
    if (codes.depth(filter) == 0) continue;
    append(&codes.bounds(filter, place), 1);
    append(codes.codes(filter, place), codes.depth(filter));
  }
  const auto bytes_of = [&](std::int64_t depth) {
    return codes.has_fine() ? depth + depth / 2 : depth;
  };
  for (int c = 0; c < codes.channels(); ++c) {
    append(&codes.unit_bounds(c, place), 1);
    append(codes.unit(c, place), bytes_of(codes.unit_depth(c)));
  }
  return bytes;
}

void require_equal(const Codes& some, const Codes& others) {
  REQUIRE(some.size() <= others.size());
  for (std::int64_t place = 0; place < some.size(); ++place) {
    REQUIRE(bytes_of_place(some, place) == bytes_of_place(others, place));
  }
}

std::set<std::string> names_of(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

fs::path file_in(const fs::path& folder) {
  for (const std::string& name : names_of(folder)) {
    if (name.starts_with("codes-")) return folder / name;
  }
  FAIL("no file of codes");
  return {};
}

}  // namespace

TEST_CASE("kept codes come back bit by bit, with lengths, filters and order", "[kept_codes]") {
  std::vector<Case> all = cases(400, 70, 20);
  // Enough rows for filters of leading dimensions, and for clusters.
  all.push_back({"many", clustered_data(6000, 80, 60), Rules()});
  for (Case& made : all) {
    INFO(made.name);
    const TemporaryFolder folder;
    Kept rows(made);
    KeptCodes keeper = rows.codes_in(folder / "c");
    REQUIRE_FALSE(keeper.found());
    const auto fresh = rows.fresh(&keeper);
    KeptCodes kept = rows.codes_in(folder / "c");
    REQUIRE(kept.found());
    const auto same = rows.found(kept, kept.order());

    REQUIRE(same->order().rows == fresh->order().rows);
    REQUIRE(same->order().begins == fresh->order().begins);
    REQUIRE(same->order().near == fresh->order().near);
    REQUIRE(same->order().centres == fresh->order().centres);
    REQUIRE(same->plan().cycles == fresh->plan().cycles);
    REQUIRE(same->plan().basis.vectors == fresh->plan().basis.vectors);
    REQUIRE(same->plan().leading.excess == fresh->plan().leading.excess);
    for (const auto filter : {Codes::kHigh, Codes::kLow, Codes::kSecond}) {
      REQUIRE(same->codes().factor(filter) == fresh->codes().factor(filter));
    }
    require_equal(same->codes(), fresh->codes());
    const RowLengths lengths = kept.lengths();
    REQUIRE(lengths.size() == rows.corpus().channels().size());
    for (std::size_t c = 0; c < lengths.size(); ++c) {
      REQUIRE(lengths[c] == rows.corpus().channels()[c].rows.lengths());
    }
  }
}

TEST_CASE("rows to forget are gone, the codes of all others stay", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  const auto fresh = rows.keep(folder / "c");
  KeptCodes kept = rows.codes_in(folder / "c");
  std::vector<std::uint8_t> marks(600);
  for (const std::uint32_t row : {fresh->order().rows.front(), fresh->order().rows.back(), 17U}) {
    marks[row] = 1;
  }
  kept.forget(marks);
  const RowLengths lengths = kept.lengths();
  REQUIRE(std::isnan(lengths[0][17]));
  REQUIRE(std::isnan(lengths[1][17]));
  REQUIRE(lengths[0][18] == rows.corpus().image()->length(18));

  RowOrder order = kept.order();
  REQUIRE(order.rows.size() + 3 == fresh->order().rows.size());
  REQUIRE(order.begins ==
          std::vector<std::int64_t>{0, static_cast<std::int64_t>(order.rows.size())});
  order.rows.push_back(17);  // again, as a new row
  order.begins.back() += 1;
  const auto grown = rows.found(kept, std::move(order));
  std::vector<std::int64_t> place_of(600);
  for (std::size_t place = 0; place < fresh->order().rows.size(); ++place) {
    place_of[fresh->order().rows[place]] = static_cast<std::int64_t>(place);
  }
  for (std::size_t place = 0; place < grown->order().rows.size(); ++place) {
    const std::uint32_t row = grown->order().rows[place];
    REQUIRE(bytes_of_place(grown->codes(), static_cast<std::int64_t>(place)) ==
            bytes_of_place(fresh->codes(), place_of[row]));
  }
  // One new row is not worth writing all.
  REQUIRE(rows.codes_in(folder / "c").order().rows == fresh->order().rows);
}

TEST_CASE("rows that come reach further, and all errors count for more then", "[kept_codes]") {
  // Rows about one direction, whose mean is taken off, and later some on the other side.
  const auto opposite = [](std::vector<double> values, std::int64_t dims) {
    for (std::int64_t i = 5000 * dims; i < 5050 * dims; ++i)
      values[static_cast<std::size_t>(i)] *= -1;
    return values;
  };
  const auto image = opposite(anisotropic_values(5050, 24, 10.0, 1), 24);
  const auto text = opposite(anisotropic_values(5050, 16, 10.0, 2), 16);
  const auto first = [&](std::int64_t rows) {
    return Case{"",
                {floats({image.begin(), image.begin() + rows * 24}, rows),
                 floats({text.begin(), text.begin() + rows * 16}, rows)},
                Rules()};
  };
  const TemporaryFolder folder;
  Kept before(first(5000)), after(first(5050));
  const auto early = before.keep(folder / "c");
  REQUIRE(!early->plan().unit_means.at(0).empty());
  KeptCodes kept = after.codes_in(folder / "c");
  kept.forget(std::vector<std::uint8_t>(5050));
  RowOrder order = kept.order();
  for (std::uint32_t row = 5000; row < 5050; ++row) order.rows.push_back(row);
  order.begins.back() += 50;
  const auto grown = after.found(kept, std::move(order));
  const Codes &then = early->codes(), &now = grown->codes();
  REQUIRE(grown->order().rows[0] == early->order().rows[0]);
  REQUIRE(now.bounds(Codes::kLow, 0).slack > 1.5F * then.bounds(Codes::kLow, 0).slack);
  REQUIRE(now.unit_bounds(0, 0).error > 1.5F * then.unit_bounds(0, 0).error);
  REQUIRE(now.unit_bounds(1, 0).error > 1.5F * then.unit_bounds(1, 0).error);
}

TEST_CASE("codes of another store are not taken, and make room for its own", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered()), others(clustered(500));
  rows.keep(folder / "c");
  std::ofstream(folder / "c" / ".pending-1-2") << "half";
  KeptCodes second = others.codes_in(folder / "c", "b");
  REQUIRE_FALSE(second.found());
  others.fresh(&second);
  REQUIRE_FALSE(rows.codes_in(folder / "c", "a").found());
  REQUIRE(others.codes_in(folder / "c", "b").order().rows.size() == 500);
  REQUIRE(names_of(folder / "c") ==
          std::set<std::string>{".lock", "manifest.json", file_in(folder / "c").filename()});
}

TEST_CASE("where another process keeps codes, these are not kept", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  make_directory(folder / "c");
  {
    const DirectoryLock other(folder / "c");
    rows.keep(folder / "c");
  }
  REQUIRE_FALSE(rows.codes_in(folder / "c").found());
  // A file that another process has put away meanwhile is none.
  rows.keep(folder / "c");
  fs::remove(file_in(folder / "c"));
  REQUIRE_FALSE(rows.codes_in(folder / "c").found());
}

TEST_CASE("damaged codes are refused, whichever byte it is", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered(300));
  rows.keep(folder / "c");
  for (const fs::path& file : {folder / "c" / "manifest.json", file_in(folder / "c")}) {
    const std::uintmax_t size = fs::file_size(file);
    for (int i = 0; i < 24; ++i) {
      const std::uintmax_t at = size * static_cast<std::uintmax_t>(i) / 24;
      flip_byte(file, at);
      expect_error(ErrorCode::corrupt, "they are made again", [&] {
        KeptCodes kept = rows.codes_in(folder / "c");
        (void)kept.lengths();
        rows.found(kept, kept.order());
      });
      flip_byte(file, at);
    }
  }
  REQUIRE(rows.codes_in(folder / "c").found());
}

TEST_CASE("damaged codes that nobody asked for are made again", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered(300));
  const auto unasked = [&] { return rows.codes_in(folder / "c", "a", {}, false); };
  KeptCodes keeper = unasked();
  const auto fresh = rows.fresh(&keeper);
  for (const bool manifest : {true, false}) {
    for (int i = 0; i < 24; ++i) {
      const fs::path file = manifest ? folder / "c" / "manifest.json" : file_in(folder / "c");
      flip_byte(file, fs::file_size(file) * static_cast<std::uintmax_t>(i) / 24);
      KeptCodes kept = unasked();
      const auto again = kept.found() ? rows.found(kept, kept.order()) : rows.fresh(&kept);
      INFO(file << ", " << i);
      REQUIRE(kept.hindrance() != "");
      require_equal(again->codes(), fresh->codes());
      REQUIRE(unasked().found());
      REQUIRE(unasked().hindrance().empty());
    }
  }
}

TEST_CASE("until they are published codes are nobody's", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  SilentTeam silent;
  {
    KeptCodes keeper = rows.codes_in(folder / "c");
    const FilterPlan plan = choose_filters(rows.corpus(), 5, silent.team);
    const Codes codes(rows.corpus(), plan, order_rows(rows.corpus(), plan, silent.team), {},
                      silent.team, &keeper);
    REQUIRE_FALSE(rows.codes_in(folder / "c").found());
  }
  REQUIRE(names_of(folder / "c") == std::set<std::string>{".lock"});
}

TEST_CASE("keeping that is stopped leaves nothing that counts", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  const ProgressCallback stop = [](const Progress& progress) { return progress.stage != "keep"; };
  KeptCodes keeper = rows.codes_in(folder / "c", "a", stop);
  expect_error(ErrorCode::cancelled, "stage 'keep'", [&] { rows.fresh(&keeper); });
  REQUIRE(names_of(folder / "c") == std::set<std::string>{".lock"});
}

TEST_CASE("reading can be stopped, and the codes stay", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  rows.keep(folder / "c");
  const ProgressCallback stop = [](const Progress& progress) { return progress.stage != "load"; };
  KeptCodes kept = rows.codes_in(folder / "c");
  Team team(2, stop);
  const RowOrder order = kept.order();
  expect_error(ErrorCode::cancelled, "stage 'load'",
               [&] { Codes(rows.corpus(), kept.plan(), order, {}, team, &kept); });
  REQUIRE(rows.codes_in(folder / "c").found());
}

TEST_CASE("of those that made the same codes the first keeps them", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  KeptCodes first = rows.codes_in(folder / "c"), second = rows.codes_in(folder / "c");
  rows.fresh(&first);
  const fs::path kept = file_in(folder / "c");
  const auto written = fs::last_write_time(kept);
  rows.fresh(&second);
  REQUIRE(file_in(folder / "c") == kept);
  REQUIRE(fs::last_write_time(kept) == written);
}

TEST_CASE("filters that were chosen for few of the rows are chosen again", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept few(clustered(300)), twice(clustered(600)), more(clustered(601));
  few.keep(folder / "c");
  REQUIRE(twice.codes_in(folder / "c").found());
  REQUIRE_FALSE(more.codes_in(folder / "c").found());
}

TEST_CASE("codes are kept beside a file whose number leaves no room for another", "[kept_codes]") {
  const TemporaryFolder folder;
  const fs::path kept = folder / "c";
  Kept rows(clustered(300));
  rows.keep(kept);
  for (const std::int64_t number : {INT64_MAX - 1, kMostCount - 1, kMostCount - 2}) {
    fs::remove(kept / read_manifest(kept, "helip.codes").shards.front().file);
    std::ofstream(kept / ("codes-" + std::to_string(number) + ".safetensors")) << "mine";
    rows.keep(kept);
    REQUIRE(rows.codes_in(kept).found());
  }
}

TEST_CASE("a folder of something else is refused, and nothing there is touched", "[kept_codes]") {
  const TemporaryFolder folder;
  const Kept rows(clustered(300));
  make_directory(folder / "t");
  Manifest manifest;
  manifest.format = "helip.hard_pairs";
  manifest.generation = manifest.next_shard = 1;
  write_manifest(folder / "t", manifest);
  expect_error(ErrorCode::mismatch, "not a helip.codes",
               [&] { (void)rows.codes_in(folder / "t"); });

  make_directory(folder / "other");
  std::ofstream(folder / "other" / "manifest.json") << "{}";
  expect_error(ErrorCode::corrupt, "else give the codes another folder",
               [&] { (void)rows.codes_in(folder / "other"); });

  make_directory(folder / "notes");
  std::ofstream(folder / "notes" / "codes-2024.csv") << "mine";
  expect_error(ErrorCode::invalid_argument, "holds \"codes-2024.csv\" and no codes",
               [&] { (void)rows.codes_in(folder / "notes"); });
  REQUIRE(names_of(folder / "notes") == std::set<std::string>{"codes-2024.csv"});

  std::ofstream(folder / "file") << "mine";
  REQUIRE_THROWS_AS((void)rows.codes_in(folder / "file"), Error);
}

TEST_CASE("codes that another job replaces meanwhile are mapped all the same", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  const auto fresh = rows.keep(folder / "c");
  KeptCodes kept = rows.codes_in(folder / "c");
  fs::remove(file_in(folder / "c"));
  const auto found = rows.found(kept, kept.order());
  REQUIRE(kept.found());
  require_equal(found->codes(), fresh->codes());
}

TEST_CASE("codes that are mapped take no scratch disk", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows(clustered());
  const auto fresh = rows.keep(folder / "c");
  SilentTeam silent;
  const auto reserved = [&](KeptCodes& kept) {
    const long long before = reserved_bytes();
    const Codes codes(rows.corpus(), kept.plan(), kept.order(), folder / "", silent.team, &kept);
    require_equal(codes, fresh->codes());
    return reserved_bytes() - before;
  };
  KeptCodes kept = rows.codes_in(folder / "c"), partly = rows.codes_in(folder / "c");
  const std::int64_t bounds = reserved(kept);
  // Those that move into the places of others are no longer those of the file.
  std::vector<std::uint8_t> marks(600);
  marks[fresh->order().rows.back()] = 1;
  partly.forget(marks);
  REQUIRE(reserved(partly) > 2 * bounds);

  // Codes that turn out to be damaged have room all the same.
  KeptCodes damaged = rows.codes_in(folder / "c", "a", {}, false);
  const FilterPlan plan = damaged.plan();
  const RowOrder order = damaged.order();
  flip_byte(file_in(folder / "c"), 5000);
  const long long before = reserved_bytes();
  const Codes codes(rows.corpus(), plan, order, folder / "", silent.team, &damaged);
  REQUIRE_FALSE(damaged.found());
  REQUIRE(reserved_bytes() - before > 2 * bounds);
}

TEST_CASE("codes that are cut while rows are written behind them are an error", "[kept_codes]") {
  guard_mapped_files();
  const TemporaryFolder folder;
  Kept rows(clustered());
  rows.keep(folder / "c");
  KeptCodes kept = rows.codes_in(folder / "c");
  RowOrder order = kept.order();
  kept.forget({});
  const auto cut = [&](const Progress& progress) {
    if (progress.stage == "encode") fs::resize_file(file_in(folder / "c"), 4096);
    return true;
  };
  const ProgressCallback progress = cut;
  Team team(2, progress);
  // One more, whose codes begin on the last page of the file's.
  order.rows.push_back(order.rows.front());
  order.begins.back() += 1;
  const Codes codes(rows.corpus(), kept.plan(), order, {}, team, &kept);
  for (std::int64_t place = 0; place < codes.size(); ++place) (void)bytes_of_place(codes, place);
  expect_error(ErrorCode::corrupt, "", [&] { kept.require_whole(); });
}

TEST_CASE("codes that cannot be of the corpus are refused, though they are whole", "[kept_codes]") {
  const TemporaryFolder folder;
  Kept rows({"", clustered_data(6000, 80, 60), Rules()});  // enough for directions
  const auto fresh = rows.keep(folder / "c");
  const Manifest whole = read_manifest(folder / "c", "helip.codes");
  REQUIRE(whole.attributes["filters"]["leading"][0] > 0);
  const auto refuse = [&](const char* words, const auto& change) {
    Manifest changed = whole;
    change(changed.attributes);
    write_manifest(folder / "c", changed);
    expect_error(ErrorCode::corrupt, words, [&] {
      KeptCodes kept = rows.codes_in(folder / "c");
      (void)kept.lengths();
      rows.found(kept, kept.order());
    });
  };
  refuse("another number of rows", [](Json& facts) { facts["rows"] = 6001; });
  refuse("another number of rows", [](Json& facts) { facts["chosen"] = std::int64_t{1} << 62; });
  refuse("not the lengths of all rows",
         [](Json& facts) { facts["rows"] = facts["chosen"] = 5999; });
  refuse("of other dimensions", [](Json& facts) { facts["filters"]["leading"][1] = 139; });
  for (const std::int64_t count : {std::int64_t{-1}, std::int64_t{1} << 62}) {
    refuse("another length", [&](Json& facts) { facts["filters"]["leading"][0] = count; });
  }
  refuse("dimensions that its basis has not",
         [](Json& facts) { facts["filters"]["dimensions"][1] = 6400; });
  refuse("not positive", [](Json& facts) { facts["scales"]["filters"][1] = 0.0; });
  refuse("not positive", [](Json& facts) { facts["filters"]["factors"][0] = -1.0; });
  for (const double share : {-3e9, 1.5}) {
    refuse("out of range", [&](Json& facts) { facts["filters"]["high_share"] = share; });
  }
  refuse("out of range", [](Json& facts) { facts["scales"]["longest_filters"][0] = -1.0; });
  refuse("out of range", [](Json& facts) { facts["scales"]["longest_units"][1] = -1.0; });
  refuse("", [](Json& facts) { facts["scales"]["longest_units"][0] = nullptr; });
  refuse("", [](Json& facts) { facts["filters"].erase("light"); });
  refuse("", [](Json& facts) { facts.erase("scales"); });
  write_manifest(folder / "c", whole);
  KeptCodes kept = rows.codes_in(folder / "c");
  REQUIRE(rows.found(kept, kept.order())->codes().size() == fresh->codes().size());
}
