#include "helip/embedding_store.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/expect_error.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

using namespace helip;

TEST_CASE("a store knows the states that it had") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  struct Then {
    std::int64_t rows;
    std::string fingerprint;
    std::vector<std::int64_t> deleted;
  };
  std::vector<Then> states;
  const auto commit = [&] {
    const EmbeddingStore store = writer.commit();
    states.push_back({store.size(), store.fingerprint(), store.deleted()});
  };
  int rows = 0;
  // Within a shard, up to its end, beyond it.
  for (const int size : {100, 3000, 4096, 4100, 9000}) {
    append(writer, rows_between(rows, size));
    rows = size;
    commit();
    writer.delete_rows({size / 2, size - 1});
    commit();
  }
  const EmbeddingStore store = EmbeddingStore::open(folder / "s");
  for (const Then& then : states) {
    INFO(then.rows << " rows, " << then.deleted.size() << " deleted");
    const auto found = store.earlier_state(then.rows, then.fingerprint);
    REQUIRE(found);
    CHECK(found->deleted == then.deleted);
    CHECK(found->replaced.empty());
    CHECK_FALSE(store.earlier_state(then.rows - 1, then.fingerprint));
  }
  CHECK_FALSE(store.earlier_state(9001, store.fingerprint()));
  CHECK_FALSE(store.earlier_state(100, "0"));
}

TEST_CASE("a store that was moved from, or never opened, has no rows") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  append(writer, rows_between(0, 6));
  EmbeddingStore store = writer.commit();
  const EmbeddingStore taken = std::move(store);
  EmbeddingStore assigned;
  assigned = std::move(store);  // NOLINT(bugprone-use-after-move)
  for (const EmbeddingStore& empty : {store, assigned, EmbeddingStore()}) {
    CHECK(empty.size() == 0);
    CHECK(empty.generation() == 0);
    CHECK(empty.image().rows == 0);
    CHECK(empty.deleted().empty());
    CHECK(empty.fingerprint().empty());
    CHECK(empty.path().empty());
    CHECK(empty.metadata_json() == "{}");
    CHECK_FALSE(empty.earlier_state(1, "x"));
    CHECK_NOTHROW(empty.verify());
    expect_error(ErrorCode::invalid_argument, "row 0", [&] { (void)empty.key(0); });
  }
  CHECK(taken.key(5) == "key-5");
}

TEST_CASE("the verification of a store tells how far it is, and stops when it is asked to") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", options());
  append(writer, rows_between(0, 6));
  const EmbeddingStore store = writer.commit();
  std::int64_t done = 0;
  store.verify([&](const Progress& state) {
    CHECK(state.stage == "verify");
    CHECK(state.done > done);
    CHECK(state.done <= state.total);
    done = state.done;
    return true;
  });
  CHECK(done > 0);
  expect_error(ErrorCode::cancelled, "stopped in stage 'verify'",
               [&] { store.verify([](const Progress&) { return false; }); });
}
