#include "helip/mapped_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/machine.h"
#include "helip/batch_sampler.h"
#include "helip/embedding_store_writer.h"
#include "helip/locality_order.h"
#include "helip/mine.h"
#include "helip/pair_cosines.h"
#include "helip/pair_index.h"
#include "helip/parts.h"
#include "helip/streaming.h"
#include "helip/update.h"
#include "io/mapped_files.h"
#include "support/child_process.h"
#include "support/expect_error.h"
#include "support/sanitizers.h"
#include "support/store_samples.h"
#include "support/table_samples.h"
#include "support/temporary_folder.h"

using namespace helip;
using helip::testing::in_child;
using helip::testing::status_of_child;

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

// Eight bytes before the end of what the file holds: within a page, which raises no signal.
void cut_within_page(const fs::path& folder) {
  if (memory_page_bytes() > 4096) SKIP("files are not mapped here");
  const fs::path shard = shard_in(folder);
  REQUIRE((fs::file_size(shard) - 8) % 4096 != 0);
  fs::resize_file(shard, fs::file_size(shard) - 8);
}

MineOptions three() {
  MineOptions chosen;
  chosen.k = 3;
  return chosen;
}

// Touches a page of a mapped file that is gone.
int touch_gone(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  (void)!::ftruncate(file, 8192);
  auto* const bytes =
      static_cast<volatile char*>(::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, file, 0));
  (void)!::ftruncate(file, 0);
  return bytes[5000];
}

}  // namespace

TEST_CASE("what reads a store that was cut within its last page is an error") {
  const TemporaryFolder folder;
  const MineOptions chosen = three();
  auto appends = EmbeddingStoreWriter::create(folder / "s", options());
  append(appends, rows_between(0, 2900));
  const HardPairs before = mine(appends.commit(), chosen);
  append(appends, rows_between(2900, 3000));
  const EmbeddingStore store = appends.finish();
  const MatrixView image = store.image(), text = store.text();
  const PairCosines cosines(image, text, 1);
  const std::vector<std::int64_t> targets{0, 1}, candidates{1, 2, 0, 2};
  const MatrixView asked = MatrixView::of(candidates.data(), 2, 2);
  const std::vector<std::int64_t> ids{7, 8};
  const auto two = [](MatrixView view) {
    view.rows = 2;
    return view;
  };
  PairIndex index(PairIndex::build(store));
  StreamingMiner miner(5, 3, {});
  auto writer = EmbeddingStoreWriter::create(folder / "t", options());
  const std::string told = std::to_string(fs::file_size(shard_in(folder / "s")) - 8) +
                           " bytes now, and had " +
                           std::to_string(fs::file_size(shard_in(folder / "s")));
  cut_within_page(folder / "s");
  const std::vector<std::function<void()>> calls{
      [&] { (void)mine(store, chosen); },
      [&] { (void)mine(store, chosen, {}, folder / "p"); },
      [&] { (void)mine_part(store, 1, 2, chosen, folder / "p"); },
      [&] { (void)update(before, store, {}, {}, folder / "p"); },
      [&] { (void)rerank(image, text, targets, asked, chosen); },
      [&] { (void)mine_targets(image, text, targets, chosen); },
      [&] { (void)PairCosines(image, text, 1); },
      [&] { (void)cosines.of(PairSides::image_image, 0, candidates, 2); },
      [&] { (void)PairIndex::build(store); },
      [&] { (void)index.query(image, text, 1); },
      [&] { index.add(image, text); },
      [&] { miner.remember(ids, two(image), two(text)); },
      [&] { (void)miner.add(ids, two(image), two(text)); },
      [&] { writer.append({"a", "b"}, two(image), two(text)); },
  };
  for (std::size_t i = 0; i < calls.size(); ++i) {
    INFO("call " << i);
    expect_error(ErrorCode::corrupt, told, calls[i]);
  }
  CHECK(!fs::exists(folder / "p" / "manifest.json"));
  CHECK(index.size() == 3000);
  CHECK(miner.size() == 0);
  expect_error(ErrorCode::io, "an earlier write to", [&] { (void)writer.commit(); });
  // The end of the file is that of the last key.
  expect_error(ErrorCode::corrupt, told, [&] { (void)store.key(2999); });
  CHECK(store.key(0) == "key-0");
}

TEST_CASE("what reads a table or an index that was cut within its last page is an error") {
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  (void)mine(store, three(), {}, folder / "p");
  (void)mine_part(store, 1, 2, three(), folder / "part");
  PairIndex::build(store).save(folder / "i");
  const HardPairs pairs = HardPairs::open(folder / "p");
  const HardPairsPart part = HardPairsPart::open(folder / "part");
  PairIndex index = PairIndex::open(folder / "i");
  BatchOptions batches;
  batches.batch_size = 8;
  batches.strategy = BatchStrategy::uniform;
  BatchSampler sampler(pairs, batches);
  for (const char* name : {"p", "part", "i"}) cut_within_page(folder / name);
  const std::vector<std::function<void()>> calls{
      [&] { (void)sampler.batch(0); },
      [&] { (void)pairs.statistics(); },
      [&] { pairs.save(folder / "copy"); },
      [&] { pairs.save_csv(folder / "copy.csv"); },
      [&] { (void)locality_order(pairs, {}); },
      [&] { (void)HardPairs::from_arrays(pairs.ids(), pairs.scores(), pairs.counts(), {}); },
      [&] { (void)update(pairs, store, {}, {}, folder / "copy"); },
      [&] { (void)part.band(0, 10); },
      [&] { (void)index.query(store.image(), store.text(), 1); },
      [&] { index.save(folder / "copy"); },
      [&] { index.save_hnswlib(folder / "copy.bin"); },
      [&] { index.add(store.image(), store.text()); },
      [&] { index.save(folder / "copy"); },  // as before
  };
  for (std::size_t i = 0; i < calls.size(); ++i) {
    INFO("call " << i);
    expect_error(ErrorCode::corrupt, "it became shorter while it was read", calls[i]);
  }
  CHECK(!fs::exists(folder / "copy"));
  CHECK(!fs::exists(folder / "copy.csv"));
  CHECK(!fs::exists(folder / "copy.bin"));
  CHECK(index.size() == 3000);
}

TEST_CASE("a file that has lost its name is known by its descriptor") {
  guard_mapped_files();
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  const fs::path shard = shard_in(folder / "s");
  const int open = ::open(shard.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(open >= 0);
  fs::remove(shard);
  CHECK(mine(store, three()).size() == 3000);
  REQUIRE(::ftruncate(open, 4097) == 0);
  expect_error(ErrorCode::corrupt, "4097 bytes now", [&] { (void)mine(store, three()); });
  ::close(open);
}

TEST_CASE("beyond half of the descriptors none is kept, and files are known by their names") {
  const TemporaryFolder folder;
  for (const char* name : {"cut", "gone"}) (void)write_store(folder / name);
  struct rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int next = ::dup(0);
  struct rlimit few = before;
  few.rlim_cur = 2 * static_cast<rlim_t>(next + 1);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const EmbeddingStore cut = EmbeddingStore::open(folder / "cut");
  const EmbeddingStore gone = EmbeddingStore::open(folder / "gone");
  const int then = ::dup(0);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(then == next + 1);
  cut_within_page(folder / "cut");
  expect_error(ErrorCode::corrupt, "became shorter", [&] { (void)mine(cut, three()); });
  fs::remove(shard_in(folder / "gone"));
  CHECK(mine(gone, three()).size() == 3000);
  ::close(next);
  ::close(then);
}

TEST_CASE("a file that was written to is compared with its checksums") {
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  const fs::path shard = shard_in(folder / "s");
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(1));
  CHECK(mine(store, three()).size() == 3000);
  const auto size = fs::file_size(shard);
  cut_within_page(folder / "s");
  fs::resize_file(shard, size);
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(1));
  expect_error(ErrorCode::corrupt, "checksum", [&] { (void)mine(store, three()); });
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

TEST_CASE("a page that was gone is told of, also where the file is whole again") {
  guard_mapped_files();
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  const fs::path shard = shard_in(folder / "s");
  const fs::path copy = folder / "copy";
  fs::copy_file(shard, copy);
  cut(folder / "s");
  std::vector<double> row(5);
  read_row(store.image(), 2999, row.data());
  std::ofstream(shard, std::ios::binary) << std::ifstream(copy, std::ios::binary).rdbuf();
  REQUIRE(fs::file_size(shard) == fs::file_size(copy));
  expect_cut([&] { (void)mine(store, three()); });
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
  for (const bool handled : {false, true}) {
    const int status = status_of_child([&] {
      std::signal(SIGBUS, handled ? [](int) { ::_exit(7); } : SIG_DFL);
      // In a process where nobody has called it before, it takes that one for the one before.
      guard_mapped_files();
      return touch_gone(folder / "f");
    });
    if (handled) {
      CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 7));
    } else {
      CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
    }
  }
}

namespace {

struct sigaction handler_before;
volatile int outcome = 0;

void pass_back(int number, siginfo_t* information, void* context) {
  if ((handler_before.sa_flags & SA_SIGINFO) != 0) {
    handler_before.sa_sigaction(number, information, context);
  }
}

}  // namespace

TEST_CASE("a guard that another handler took the place of is put back") {
  const TemporaryFolder folder;
  const EmbeddingStore store = write_store(folder / "s");
  // What maps a store, or asks whether it is whole, puts it back; the rest is that handler's.
  for (const bool opens : {true, false}) {
    const int status = in_child([&] {
      const EmbeddingStore other = write_store(folder / (opens ? "1" : "2"));
      guard_mapped_files();
      outcome = 3;  // of a fault that the guard did not get
      std::signal(SIGBUS, [](int) { ::_exit(outcome); });
      if (opens) {
        (void)EmbeddingStore::open(folder / "s");
      } else {
        (void)mine(store, three());
      }
      cut(folder / (opens ? "1" : "2"));
      try {
        (void)mine(other, three());
        return 1;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::corrupt) return 2;
      }
      outcome = 7;
      return touch_gone(folder / "f");
    });
    CHECK(status == 7);
  }
}

TEST_CASE("a fault that is handed round in a circle ends the process") {
  const TemporaryFolder folder;
  const int status = status_of_child([&] {
    std::signal(SIGBUS, SIG_DFL);
    guard_mapped_files();
    struct sigaction action{};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = &pass_back;  // as faulthandler and others do
    if (::sigaction(SIGBUS, &action, &handler_before) != 0) return 1;
    (void)write_store(folder / "s");
    return touch_gone(folder / "f");
  });
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
}

TEST_CASE("a SIGBUS that was sent does what it did before the guard") {
  for (const bool ignored : {false, true}) {
    const int status = status_of_child([&] {
      std::signal(SIGBUS, ignored ? SIG_IGN : SIG_DFL);
      guard_mapped_files();
      ::kill(::getpid(), SIGBUS);
      return 7;
    });
    if (ignored) {
      CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 7));
    } else {
      CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
    }
  }
}

TEST_CASE("a fault of a readable page that a later handler does not mend ends the process") {
  const int status = status_of_child([&] {
    std::signal(SIGBUS, SIG_DFL);
    guard_mapped_files();
    std::signal(SIGBUS, [](int) {});
    guard_mapped_files();
    siginfo_t fault{};
    fault.si_signo = SIGBUS;
    fault.si_code = BUS_ADRALN;
    fault.si_addr = &fault;
    // To the handler, to the default, and to nobody.
    for (int i = 0; i < 3; ++i) ::syscall(SYS_rt_sigqueueinfo, ::getpid(), SIGBUS, &fault);
    return 1;
  });
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
}

TEST_CASE("the descriptor of a mapped file is closed only while it is that of the file") {
  const TemporaryFolder folder;
  (void)write_store(folder / "s");
  const int still_open = in_child([&] {
    const int next = ::dup(0);
    ::close(next);
    {
      const EmbeddingStore store = EmbeddingStore::open(folder / "s");
      for (int file = next; file < next + 16; ++file) ::dup2(0, file);
    }
    for (int file = next; file < next + 16; ++file) {
      if (::fcntl(file, F_GETFD) < 0) return 1;
    }
    return 0;
  });
  CHECK(still_open == 0);
}

namespace {

volatile char* gone_page = nullptr;

struct NoFiles final : MappedFiles {
  void require_whole() const override {}
};

}  // namespace

TEST_CASE("ranges that come and go claim no fault but their own") {
  const int wrong = in_child([] {
    // The page that is gone lies below all ranges.
    auto* const bytes = static_cast<char*>(
        ::mmap(nullptr, std::size_t{1} << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    gone_page = bytes;
    std::signal(SIGBUS, [](int) {
      void* const page = ::mmap(const_cast<char*>(gone_page), 4096, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      *static_cast<char*>(page) = 7;
    });
    guard_mapped_files();
    const int file = ::open("/proc/self/exe", O_RDONLY);  // no page of it lies so far behind
    std::atomic<bool> stop = false;
    std::thread ranges([&] {
      const NoFiles files;
      while (!stop) const MappedRange range(bytes + (1 << 19), 1 << 19, files);
    });
    int missed = 0;
    for (int fault = 0; fault < 20000; ++fault) {
      (void)::mmap(bytes, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, file, off_t{1} << 40);
      missed += *gone_page == 7 ? 0 : 1;
    }
    stop = true;
    ranges.join();
    return missed == 0 ? 0 : 1;
  });
  CHECK(wrong == 0);
}

// See thread_pool.cpp.
#if !defined(HELIP_ADDRESS_SANITIZER)
TEST_CASE("a child that is forked while another thread opens stores opens one") {
  const TemporaryFolder folder;
  (void)write_store(folder / "s");
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    const NoFiles files;
    while (!stop) const MappedRange range(&stop, 1, files);
  });
  int failed = 0;
  for (int round = 0; round < 100; ++round) {
    failed += in_child(
        [&] { return EmbeddingStore::open(folder / "s").key(2999) == "key-2999" ? 0 : 1; });
  }
  stop = true;
  busy.join();
  CHECK(failed == 0);
}
#endif
