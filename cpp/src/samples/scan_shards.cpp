#include "samples/scan_shards.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "helip/error.h"

namespace helip::samples {
namespace {

namespace fs = std::filesystem;

constexpr auto kReportInterval = std::chrono::milliseconds(100);

struct Stopped {};

std::int64_t bytes_of(const std::vector<fs::path>& paths) {
  std::int64_t sum = 0;
  for (const fs::path& path : paths) {
    std::error_code ignored;  // it shows when the shard is opened
    const auto size = fs::file_size(path, ignored);
    if (!ignored) sum += static_cast<std::int64_t>(size);
  }
  return sum;
}

// Shards are taken in order; the first that fails stops those behind it, and never one before.
class Scanning {
 public:
  Scanning(const std::vector<fs::path>& paths, const FieldNames& names, bool contents)
      : paths_(paths),
        names_(names),
        contents_(contents),
        scans_(paths.size()),
        errors_(paths.size()),
        first_failure_(paths.size()) {}

  void work() {
    for (;;) {
      const std::size_t i = next_.fetch_add(1);
      if (i >= paths_.size() || is_stopped(i)) return;
      try {
        scans_[i] = scan_shard(paths_[i], names_, contents_, [&](std::int64_t bytes) {
          done_.fetch_add(bytes, std::memory_order_relaxed);
          if (is_stopped(i)) throw Stopped();
        });
      } catch (const Stopped&) {
        return;
      } catch (const std::bad_alloc&) {
        fail(i, std::make_exception_ptr(Error(
                    ErrorCode::out_of_memory,
                    "an allocation failed while \"" + paths_[i].string() + "\" was indexed")));
      } catch (...) {
        fail(i, std::current_exception());
      }
    }
  }

  std::int64_t done() const noexcept { return done_.load(std::memory_order_relaxed); }
  void stop() noexcept { stopped_ = true; }
  bool failed() const noexcept { return first_failure_ < paths_.size(); }
  std::vector<ShardScan> result() {
    if (failed()) std::rethrow_exception(errors_[first_failure_]);
    return std::move(scans_);
  }

 private:
  bool is_stopped(std::size_t i) const noexcept {
    return stopped_.load(std::memory_order_relaxed) || i > first_failure_;
  }

  void fail(std::size_t i, std::exception_ptr error) {
    errors_[i] = std::move(error);
    std::size_t first = first_failure_;
    while (i < first && !first_failure_.compare_exchange_weak(first, i)) {
    }
  }

  const std::vector<fs::path>& paths_;
  const FieldNames& names_;
  const bool contents_;
  std::vector<ShardScan> scans_;
  std::vector<std::exception_ptr> errors_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> first_failure_;
  std::atomic<std::int64_t> done_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace

std::vector<ShardScan> scan_shards(const std::vector<fs::path>& paths, const FieldNames& names,
                                   bool contents, int threads, const std::string& stage,
                                   const ProgressCallback& progress) {
  if (paths.empty()) return {};
  const auto cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const auto workers =
      std::min<std::size_t>(static_cast<std::size_t>(threads > 0 ? threads : cores), paths.size());
  const std::int64_t total = bytes_of(paths);
  Scanning scanning(paths, names, contents);
  std::mutex mutex;
  std::condition_variable ended;
  std::size_t running = 0;
  std::vector<std::thread> team;
  team.reserve(workers);
  const auto report = [&] {
    return !progress || progress(Progress{stage, std::min(scanning.done(), total), total});
  };
  if (!report()) throw Error(ErrorCode::cancelled, "indexing was stopped before it began");
  while (team.size() < workers) {
    {
      const std::lock_guard lock(mutex);
      ++running;
    }
    try {
      team.emplace_back([&] {
        scanning.work();
        const std::lock_guard lock(mutex);
        --running;
        ended.notify_all();
      });
    } catch (const std::system_error& error) {
      const std::lock_guard lock(mutex);
      --running;
      // Shards are shared out as they come, so fewer threads than asked for do it as well.
      if (team.empty()) {
        throw Error(ErrorCode::out_of_memory,
                    std::string("no thread could be started: ") + error.what());
      }
      break;
    }
  }
  std::exception_ptr raised;
  bool go_on = true;
  {
    std::unique_lock lock(mutex);
    while (running > 0) {
      if (!progress || !go_on) {
        ended.wait(lock);
      } else if (ended.wait_for(lock, kReportInterval) == std::cv_status::timeout) {
        lock.unlock();
        try {
          go_on = report();
        } catch (...) {
          raised = std::current_exception();
          go_on = false;
        }
        if (!go_on) scanning.stop();
        lock.lock();
      }
    }
  }
  for (std::thread& worker : team) worker.join();
  if (raised) std::rethrow_exception(raised);
  if (!go_on) {
    throw Error(ErrorCode::cancelled, "indexing was stopped after " +
                                          std::to_string(scanning.done()) + " of " +
                                          std::to_string(total) + " bytes");
  }
  std::vector<ShardScan> result = scanning.result();
  report();
  return result;
}

}  // namespace helip::samples
