#include "helip/mapped_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>

#include "helip/batch_sampler.h"
#include "helip/embedding_store_writer.h"
#include "helip/mine.h"
#include "helip/pair_index.h"
#include "support/expect_error.h"
#include "support/store_samples.h"
#include "support/table_samples.h"
#include "support/temporary_folder.h"

using namespace helip;

namespace {

namespace fs = std::filesystem;

EmbeddingStore write_store(const fs::path& path) {
  auto writer = EmbeddingStoreWriter::create(path, options());
  append(writer, rows_between(0, 3000));
  return writer.commit();
}

fs::path shard_in(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") return entry.path();
  }
  return {};
}

void cut(const fs::path& folder) { fs::resize_file(shard_in(folder), 4096); }

void expect_cut(const std::function<void()>& call) {
  expect_error(ErrorCode::corrupt, "became shorter while it was read", call);
}

}  // namespace

TEST_CASE("an index whose file was cut short is not saved, in any format") {
  guard_mapped_files();
  const TemporaryFolder folder;
  PairIndex::build(write_store(folder / "s")).save(folder / "i");
  const PairIndex index = PairIndex::open(folder / "i");
  cut(folder / "i");
  expect_cut([&] { index.save(folder / "copy"); });
  expect_cut([&] { index.save_hnswlib(folder / "copy.bin"); });
  CHECK(!fs::exists(folder / "copy" / "manifest.json"));
  CHECK(!fs::exists(folder / "copy.bin"));
}

TEST_CASE("what is asked of a store that was cut short is an error, and the process lives") {
  guard_mapped_files();
  guard_mapped_files();  // once more changes nothing
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  const EmbeddingStore other = write_store(folder / "other");
  MineOptions chosen;
  chosen.k = 3;
  cut(folder / "s");
  expect_cut([&] { (void)mine(store, chosen); });
  expect_cut([&] { (void)mine(store, chosen, {}, folder / "p"); });
  CHECK(!fs::exists(folder / "p" / "manifest.json"));
  expect_cut([&] { (void)store.key(2999); });
  expect_error(ErrorCode::corrupt, "bytes early", [&] { store.verify(); });
  std::vector<double> row(5);
  read_row(store.image(), 2999, row.data());
  CHECK(row == std::vector<double>(5));
  // Another store is none of its business, also one that lies where it lay.
  CHECK(mine(other, chosen).size() == 3000);
}

TEST_CASE("a store that is opened after a cut one is let go is whole") {
  guard_mapped_files();
  const TemporaryFolder folder;
  MineOptions chosen;
  chosen.k = 3;
  for (const std::string name : {"1", "2", "3"}) {
    {
      const EmbeddingStore store = write_store(folder / name);
      CHECK(store.key(2999) == "key-2999");
      cut(folder / name);
      expect_cut([&] { (void)mine(store, chosen); });
    }
    const EmbeddingStore whole = write_store(folder / ("whole-" + name));
    CHECK(mine(whole, chosen).size() == 3000);
  }
}

TEST_CASE("a table that was cut short makes no batches and no copies") {
  guard_mapped_files();
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  MineOptions chosen;
  chosen.k = 3;
  (void)mine(store, chosen, {}, folder / "p");
  const HardPairs pairs = HardPairs::open(folder / "p");
  BatchOptions batches;
  batches.batch_size = 8;
  batches.strategy = BatchStrategy::uniform;
  BatchSampler sampler(pairs, batches);
  CHECK(sampler.batch(0).index.size() == 8);
  fs::resize_file(shard_in(folder / "p"), 4096);
  expect_cut([&] { (void)sampler.batch(1); });
  expect_cut([&] { (void)pairs.statistics(); });
  expect_cut([&] { pairs.save(folder / "copy"); });
  CHECK(!fs::exists(folder / "copy"));
}

TEST_CASE("a fault anywhere else ends the process, or is that of the handler before") {
  const TemporaryFolder folder;
  const std::string path = (folder / "f").string();
  for (const bool handled : {false, true}) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::signal(SIGBUS, handled ? [](int) { ::_exit(7); } : SIG_DFL);
      // In a process where nobody has called it before, it takes that one for the one before.
      guard_mapped_files();
      const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
      (void)!::ftruncate(file, 8192);
      auto* const bytes =
          static_cast<volatile char*>(::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, file, 0));
      (void)!::ftruncate(file, 0);
      ::_exit(bytes[5000]);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    if (handled) {
      CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 7));
    } else {
      CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
    }
  }
}
