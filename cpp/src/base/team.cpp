#include "base/team.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "helip/error.h"

namespace helip::mining {
namespace {

constexpr auto kReportInterval = std::chrono::milliseconds(100);

int default_threads() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

Team::Team(int threads, const ProgressCallback& progress)
    : threads_(threads > 0 ? threads : default_threads()), progress_(progress) {}

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
  if (!progress_(Progress{stage_, done, stage_rows_})) {
    throw Error(ErrorCode::cancelled, "mining was stopped in stage '" + stage_ + "' at row " +
                                          std::to_string(done) + " of " +
                                          std::to_string(stage_rows_));
  }
}

void Team::run(const std::function<void(int)>& body) {
  std::mutex mutex;
  std::condition_variable finished;
  int running = 0;
  std::exception_ptr failure;
  stop_ = false;

  const auto fail = [&](std::exception_ptr error) {  // under the mutex
    if (!failure) failure = std::move(error);
    stop_ = true;
  };
  const auto work = [&](int worker) {
    std::exception_ptr error;
    try {
      body(worker);
    } catch (const std::bad_alloc&) {
      error = std::make_exception_ptr(
          Error(ErrorCode::out_of_memory,
                "an allocation failed while mining; lower memory= or the number of threads"));
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    if (error) fail(error);
    --running;
    finished.notify_all();
  };

  std::vector<std::thread> workers;
  workers.reserve(static_cast<std::size_t>(threads_));
  for (int worker = 0; worker < threads_; ++worker) {
    {
      const std::lock_guard lock(mutex);
      ++running;
    }
    try {
      workers.emplace_back(work, worker);
    } catch (const std::system_error& error) {
      const std::lock_guard lock(mutex);
      --running;
      // Every job is shared out dynamically, so fewer threads than asked for do it as well.
      if (worker == 0) {
        fail(std::make_exception_ptr(Error(
            ErrorCode::out_of_memory, std::string("no thread could be started: ") + error.what())));
      }
      break;
    }
  }

  {
    std::unique_lock lock(mutex);
    while (running > 0) {
      if (!progress_ || stop_) {
        finished.wait(lock);
      } else if (finished.wait_for(lock, kReportInterval) == std::cv_status::timeout) {
        lock.unlock();
        std::exception_ptr refused;
        try {
          report();
        } catch (...) {
          refused = std::current_exception();
        }
        lock.lock();
        if (refused) fail(refused);
      }
    }
  }
  for (std::thread& worker : workers) worker.join();
  if (failure) std::rethrow_exception(failure);
}

void Team::for_blocks(std::int64_t count, std::int64_t grain,
                      const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  if (count <= 0) return;
  std::atomic<std::int64_t> next{0};
  run([&](int worker) {
    while (!stopped()) {
      const std::int64_t begin = next.fetch_add(grain);
      if (begin >= count) return;
      body(begin, std::min(count, begin + grain), worker);
    }
  });
}

}  // namespace helip::mining
