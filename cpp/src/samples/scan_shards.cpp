#include "samples/scan_shards.h"

#include <atomic>
#include <exception>
#include <new>
#include <utility>

#include "base/refuse.h"
#include "base/team.h"

namespace helip::samples {
namespace {

namespace fs = std::filesystem;

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
  Scanning(const std::vector<fs::path>& paths, const FieldNames& names, bool contents, Team& team)
      : paths_(paths),
        names_(names),
        contents_(contents),
        team_(team),
        scans_(paths.size()),
        errors_(paths.size()),
        first_failure_(paths.size()) {}

  void scan(std::size_t i) {
    const auto is_stopped = [&] { return team_.stopped() || i > first_failure_; };
    if (is_stopped()) return;
    try {
      scans_[i] = scan_shard(paths_[i], names_, contents_, [&](std::int64_t bytes) {
        team_.add_work(bytes);
        if (is_stopped()) throw Stopped();
      });
    } catch (const Stopped&) {
    } catch (...) {
      errors_[i] = std::current_exception();
      std::size_t first = first_failure_;
      while (i < first && !first_failure_.compare_exchange_weak(first, i)) {
      }
    }
  }

  std::vector<ShardScan> result() {
    const std::size_t failed = first_failure_;
    if (failed == paths_.size()) return std::move(scans_);
    try {
      std::rethrow_exception(errors_[failed]);
    } catch (const std::bad_alloc&) {
      fail(ErrorCode::out_of_memory, "an allocation failed while \"", paths_[failed].string(),
           "\" was indexed");
    }
  }

 private:
  const std::vector<fs::path>& paths_;
  const FieldNames& names_;
  const bool contents_;
  Team& team_;
  std::vector<ShardScan> scans_;
  std::vector<std::exception_ptr> errors_;
  std::atomic<std::size_t> first_failure_;
};

}  // namespace

std::vector<ShardScan> scan_shards(const std::vector<fs::path>& paths, const FieldNames& names,
                                   bool contents, int threads, const std::string& stage,
                                   const ProgressCallback& progress) {
  if (paths.empty()) return {};
  const std::int64_t total = bytes_of(paths);
  Team team(threads, progress, {.activity = "indexing", .unit = "byte"});
  Scanning scanning(paths, names, contents, team);
  team.begin_stage(stage, total, total);
  team.for_blocks(
      static_cast<std::int64_t>(paths.size()), 1,
      [&](std::int64_t i, std::int64_t, int) { scanning.scan(static_cast<std::size_t>(i)); });
  std::vector<ShardScan> result = scanning.result();
  team.end_stage();
  return result;
}

}  // namespace helip::samples
