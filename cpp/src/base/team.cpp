#include "base/team.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "base/floating_mode.h"
#include "base/refuse.h"
#include "base/thread_pool.h"

namespace helip {
namespace {

constexpr std::chrono::milliseconds kReportInterval{100};

}  // namespace

// One run().
class Team::Call final : public PoolWork {
 public:
  Call(Team& team, const std::function<void(int)>& body) : team_(team), body_(body) {}

  void work(int worker) noexcept {
    const DefaultFloatingMode mode;
    try {
      body_(worker);
    } catch (...) {
      // Only kept: where memory ran out, nothing can be made of it before the others have ended.
      team_.fail(std::current_exception());
    }
  }

 private:
  void help() noexcept override { work(next_.fetch_add(1)); }

  Team& team_;
  const std::function<void(int)>& body_;
  std::atomic<int> next_{1};
};

Team::Team(int threads, const ProgressCallback& progress, TeamWords words)
    : threads_(threads > 0 ? threads : thread_pool()->default_threads()),
      progress_(progress),
      words_(words),
      due_(std::chrono::steady_clock::now() + kReportInterval) {}

void Team::begin_stage(const std::string& name, std::int64_t rows, std::int64_t work,
                       std::int64_t done) {
  stage_ = name;
  stage_rows_ = rows;
  stage_work_ = std::max<std::int64_t>(work, 1);
  work_done_ = done;
  report();
}

void Team::end_stage() {
  work_done_ = stage_work_;
  report();
}

void Team::report() {
  if (!progress_) return;
  const double share =
      std::min(1.0, static_cast<double>(work_done_.load()) / static_cast<double>(stage_work_));
  const auto done = static_cast<std::int64_t>(static_cast<double>(stage_rows_) * share);
  const bool go_on = progress_(Progress{stage_, done, stage_rows_});
  due_ = std::chrono::steady_clock::now() + kReportInterval;
  if (!go_on) {
    helip::fail(ErrorCode::cancelled, words_.activity, " was stopped in stage '", stage_, "' at ",
                words_.unit, " ", done, " of ", stage_rows_);
  }
}

void Team::report_if_due() noexcept {
  if (std::chrono::steady_clock::now() < due_) return;
  try {
    report();
  } catch (...) {
    fail(std::current_exception());
  }
}

void Team::fail(std::exception_ptr error) noexcept {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(error);
  stop_ = true;
}

void Team::run(const std::function<void(int)>& body, int workers) {
  std::shared_ptr<ThreadPool> pool;
  if (workers > 1) pool = thread_pool();
  stop_ = false;
  failure_ = nullptr;
  caller_ = std::this_thread::get_id();
  Call call(*this, body);
  if (pool) pool->offer(call, workers - 1, workers - 1);
  call.work(0);
  if (pool) {
    pool->withdraw(call);
    if (progress_) {
      while (!pool->wait_for(call, kReportInterval)) (void)stopped();
    } else {
      pool->wait(call);
    }
  }
  caller_ = {};
  if (!failure_) return;
  try {
    std::rethrow_exception(std::exchange(failure_, nullptr));
  } catch (const std::bad_alloc&) {
    helip::fail(ErrorCode::out_of_memory, "an allocation failed while ", words_.activity,
                "; lower memory= or the number of threads");
  }
}

void Team::for_blocks(std::int64_t count, std::int64_t grain,
                      const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  if (count <= 0) return;
  std::atomic<std::int64_t> next{0};
  const std::int64_t blocks = (count + grain - 1) / grain;
  run(
      [&](int worker) {
        while (!stopped()) {
          const std::int64_t begin = next.fetch_add(grain);
          if (begin >= count) return;
          body(begin, std::min(count, begin + grain), worker);
        }
      },
      static_cast<int>(std::min<std::int64_t>(threads_, blocks)));
}

}  // namespace helip
