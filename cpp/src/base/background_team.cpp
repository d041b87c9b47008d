#include "base/background_team.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "helip/error.h"

namespace helip::load {
namespace {

struct Job {
  std::int64_t items = 0;
  std::int64_t begun = 0;
  std::int64_t ended = 0;
  BackgroundTeam::Body body;
  std::exception_ptr failure;

  bool over() const noexcept { return ended == begun && (begun == items || failure); }
};

}  // namespace

struct BackgroundTeam::Impl {
  explicit Impl(int count)
      : size(count > 0 ? count
                       : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))) {}

  void start() {
    while (static_cast<int>(threads.size()) < size) {
      try {
        threads.emplace_back([this, worker = static_cast<int>(threads.size())] { work(worker); });
      } catch (const std::system_error& error) {
        if (!threads.empty()) return;  // items are shared out dynamically: fewer threads do it too
        throw Error(ErrorCode::out_of_memory,
                    std::string("no thread could be started: ") + error.what());
      }
    }
  }

  // The first job with an item that nobody has begun.
  Job* next() noexcept {
    while (!waiting.empty()) {
      const auto found = jobs.find(waiting.front());
      if (found != jobs.end() && !found->second.failure &&
          found->second.begun < found->second.items) {
        return &found->second;
      }
      waiting.pop_front();
    }
    return nullptr;
  }

  void work(int worker) {
    std::unique_lock lock(mutex);
    for (;;) {
      Job* job = nullptr;
      wake.wait(lock, [&] { return stopping || (job = next()) != nullptr; });
      if (stopping) return;
      const std::int64_t item = job->begun++;
      lock.unlock();
      std::exception_ptr failure;
      try {
        job->body(item, worker);  // a job outlives its items: see clear() and wait_for()
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      if (failure && !job->failure) job->failure = failure;
      ++job->ended;
      if (job->over()) ended.notify_all();
    }
  }

  // In a forked child nothing of this may be touched: other threads held what they held.
  bool is_elsewhere() const noexcept { return ::getpid() != home; }
  void require_home() const {
    if (is_elsewhere()) {
      throw Error(ErrorCode::unsupported,
                  "reading threads do not survive a fork; iterate over the loader in the process "
                  "that began to, or make another loader in this one");
    }
  }

  const int size;
  const pid_t home = ::getpid();
  std::mutex mutex;
  std::condition_variable wake, ended;
  bool stopping = false;
  std::uint64_t last = 0;
  std::map<std::uint64_t, Job> jobs;  // nodes stay where they are
  std::deque<std::uint64_t> waiting;
  std::vector<std::thread> threads;
};

BackgroundTeam::BackgroundTeam(int threads) : impl_(std::make_unique<Impl>(threads)) {}

BackgroundTeam::~BackgroundTeam() {
  if (impl_->is_elsewhere()) {
    // Its condition variables would wait for threads that are not here.
    (void)impl_.release();
    return;
  }
  clear();
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

int BackgroundTeam::size() const noexcept { return impl_->size; }

std::uint64_t BackgroundTeam::submit(std::int64_t items, Body body) {
  impl_->require_home();
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    number = ++impl_->last;
    Job& job = impl_->jobs[number];
    job.items = items;
    job.body = std::move(body);
    impl_->waiting.push_back(number);
  }
  impl_->start();
  impl_->wake.notify_all();
  return number;
}

bool BackgroundTeam::wait_for(std::uint64_t number, std::chrono::milliseconds patience) {
  impl_->require_home();
  std::unique_lock lock(impl_->mutex);
  const auto found = impl_->jobs.find(number);
  if (found == impl_->jobs.end()) {
    throw Error(ErrorCode::invalid_argument,
                "job " + std::to_string(number) + " is not waited for: it was fetched or dropped");
  }
  if (!impl_->ended.wait_for(lock, patience, [&] { return found->second.over(); })) return false;
  const std::exception_ptr failure = found->second.failure;
  impl_->jobs.erase(found);
  if (failure) std::rethrow_exception(failure);
  return true;
}

void BackgroundTeam::clear() {
  impl_->require_home();
  std::unique_lock lock(impl_->mutex);
  impl_->waiting.clear();
  for (auto& [number, job] : impl_->jobs) job.items = job.begun;
  impl_->ended.wait(lock, [&] {
    return std::all_of(impl_->jobs.begin(), impl_->jobs.end(),
                       [](const auto& entry) { return entry.second.over(); });
  });
  impl_->jobs.clear();
}

}  // namespace helip::load
