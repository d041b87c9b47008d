// What an update does with each row of a store that changed.
#include "mine/job/row_roles.h"

#include <catch2/catch_test_macros.hpp>

#include "helip/embedding_store_writer.h"
#include "helip/mine.h"
#include "mine/corpus/rules.h"
#include "support/mine_reference.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("a row is new, or lost one of its pool, or meets the new rows alone", "[row_roles]") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", helip::options());
  append(writer, rows_between(0, 40));
  writer.delete_rows({5});
  const EmbeddingStore before = writer.commit();
  const HardPairs pairs = mine(before, exact_options(3));
  append(writer, rows_between(40, 44));
  writer.delete_rows({7, 41});
  const EmbeddingStore store = writer.commit();

  const auto earlier = store.earlier_state(40, before.fingerprint());
  REQUIRE(earlier.has_value());
  const Outdated outdated = outdated_since(store, *earlier);
  REQUIRE(outdated.marks.size() == 44);
  REQUIRE(outdated.deleted == 2);
  REQUIRE(outdated.replaced == 0);
  REQUIRE(outdated.marks[7] == 1);
  REQUIRE(outdated.marks[5] == 0);  // it was deleted when the table was mined

  SilentTeam silent;
  Corpus corpus(store.image(), store.text(), Rules(), select_kernel());
  corpus.measure(silent.team);
  const RowRoles roles = sort_rows(corpus, pairs, outdated);
  for (const std::size_t row : {5, 7, 41}) REQUIRE(roles.of[row] == RowRole::none);
  for (const std::size_t row : {40, 42, 43}) REQUIRE(roles.of[row] == RowRole::added);
  std::int64_t stale = 0;
  for (std::int64_t row = 0; row < 40; ++row) {
    bool lost = false;
    for (std::int64_t rank = 0; rank < pairs.count(row); ++rank) lost |= pairs.id(row, rank) == 7;
    if (row == 5 || row == 7) continue;
    const bool full = pairs.count(row) == pairs.k();
    stale += lost && full ? 1 : 0;
    REQUIRE(roles.of[static_cast<std::size_t>(row)] ==
            (lost && full ? RowRole::stale : RowRole::kept));
  }
  REQUIRE(stale > 0);
  REQUIRE(roles[RowRole::stale] == stale);
  REQUIRE(roles[RowRole::kept] == 38 - stale);
}
