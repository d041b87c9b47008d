#include "helip/batch_assembler.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <new>
#include <span>
#include <utility>

#include "base/refuse.h"
#include "base/rethrow.h"
#include "helip/sample_error.h"
#include "load/job_queue.h"

namespace helip {
namespace {

constexpr const char* kUnsupported = "unsupported_format";

// What one thread keeps from image to image.
struct Desk {
  std::vector<std::byte> encoded;
  ImageTransform::Scratch scratch;
};

struct Batch {
  AssembleRequest request;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<MissingImage> missing;
  std::size_t looked_at = 0;  // of missing, by take_unsupported()
  std::size_t done = 0;       // places
  bool dropped = false;

  bool is_over() const noexcept { return dropped || done == request.rows.size(); }
  // The next place of an image in a format that is not decoded here.
  std::optional<std::int64_t> next_unsupported() {
    while (looked_at < missing.size()) {
      const MissingImage& image = missing[looked_at++];
      if (image.reason == kUnsupported) return image.place;
    }
    return std::nullopt;
  }
  void drop() {
    const std::lock_guard lock(mutex);
    dropped = true;
    changed.notify_all();
  }
};

struct Times {
  std::atomic<std::int64_t> reading = 0, decoding = 0;  // nanoseconds
};

using Clock = std::chrono::steady_clock;

// Adds the time of its scope to a count of nanoseconds.
class Stopwatch {
 public:
  explicit Stopwatch(std::atomic<std::int64_t>& total) : total_(total) {}
  ~Stopwatch() {
    const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began_);
    total_.fetch_add(spent.count(), std::memory_order_relaxed);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  std::atomic<std::int64_t>& total_;
  Clock::time_point began_ = Clock::now();
};

}  // namespace

struct BatchAssembler::Impl {
  // The first ones of a batch when it is submitted, later ones while those before are decoded.
  void announce(std::span<const std::int64_t> rows, std::int64_t first) const {
    const auto size = static_cast<std::int64_t>(rows.size());
    if (first >= size) return;
    source->will_need(rows.subspan(static_cast<std::size_t>(first),
                                   static_cast<std::size_t>(std::min(told, size - first))));
  }

  void fill(Batch& batch, std::int64_t place, Desk& desk) {
    const auto at = static_cast<std::size_t>(place);
    const AssembleRequest& request = batch.request;
    const std::int64_t row = request.rows[at];
    const std::int64_t name = request.names.empty() ? row : request.names[at];
    if (place % told == 0) announce(request.rows, place + told);
    try {
      {
        const Stopwatch watch(times.reading);
        source->read(row, desk.encoded);
      }
      const Stopwatch watch(times.decoding);
      for (std::size_t view = 0; view < views.size(); ++view) {
        const ImageTransform::Key key{seed, static_cast<std::uint64_t>(request.epoch),
                                      static_cast<std::uint64_t>(name), view};
        views[view].apply(desk.encoded, key, request.out[view] + at * views[view].bytes(),
                          desk.scratch);
      }
    } catch (const SampleError& error) {
      const std::lock_guard lock(batch.mutex);
      batch.missing.push_back({place, error.reason(), error.what()});
      if (error.reason() == kUnsupported) batch.changed.notify_one();
    }
    const std::lock_guard lock(batch.mutex);
    if (++batch.done == request.rows.size()) batch.changed.notify_all();
  }

  std::shared_ptr<Batch> batch_of(std::uint64_t ticket) const {
    const std::lock_guard lock(mutex);
    const auto found = batches.find(ticket);
    return found == batches.end() ? nullptr : found->second;
  }

  std::shared_ptr<const ImageSource> source;
  std::int64_t told = 0;
  std::vector<ImageTransform> views;
  std::uint64_t seed = 0;
  std::vector<Desk> desks;  // [threads]
  Times times;
  mutable std::mutex mutex;  // of batches
  std::map<std::uint64_t, std::shared_ptr<Batch>> batches;
  JobQueue jobs;  // last: it ends before what it works on
};

BatchAssembler::BatchAssembler(std::shared_ptr<const ImageSource> source,
                               std::vector<ImageTransform> views, AssembleOptions options) try
    : impl_(new Impl{.source = source,
                     .told = source->rows_ahead(),
                     .views = std::move(views),
                     .seed = options.seed,
                     .desks = {},
                     .times = {},
                     .mutex = {},
                     .batches = {},
                     .jobs = JobQueue(options.threads)}) {
  if (impl_->views.empty()) {
    throw Error(ErrorCode::invalid_argument, "views is empty; give one transform at the least");
  }
  impl_->desks.resize(static_cast<std::size_t>(impl_->jobs.size()));
} catch (...) {
  rethrow_as_error();
}

BatchAssembler::~BatchAssembler() = default;
BatchAssembler::BatchAssembler(BatchAssembler&&) noexcept = default;
BatchAssembler& BatchAssembler::operator=(BatchAssembler&&) noexcept = default;

int BatchAssembler::threads() const noexcept { return impl_->jobs.size(); }

std::uint64_t BatchAssembler::submit(AssembleRequest request) try {
  const std::size_t rows = request.rows.size();
  if ((!request.names.empty() && request.names.size() != rows) ||
      request.out.size() != impl_->views.size()) {
    refuse("a request has ", rows, " rows, ", request.names.size(), " names and ",
           request.out.size(), " outputs for ", impl_->views.size(),
           " views; names must be as many as rows, or none, and outputs as many as views");
  }
  for (const std::int64_t row : request.rows) {
    if (row < 0 || row >= impl_->source->size()) {
      refuse("row ", row, " must lie in 0 .. ", impl_->source->size() - 1,
             ", the rows of the source");
    }
  }
  auto batch = std::make_shared<Batch>();
  batch->request = std::move(request);
  Impl& self = *impl_;
  self.announce(batch->request.rows, 0);
  // Its place first: once the job is submitted nothing may throw.
  std::map<std::uint64_t, std::shared_ptr<Batch>> entry;
  entry.emplace(0, batch);
  auto place_of_batch = entry.extract(entry.begin());
  place_of_batch.key() = self.jobs.submit(
      static_cast<std::int64_t>(rows), [&self, batch](std::int64_t place, int worker) {
        self.fill(*batch, place, self.desks[static_cast<std::size_t>(worker)]);
      });
  const std::lock_guard lock(self.mutex);
  return self.batches.insert(std::move(place_of_batch)).position->first;
} catch (...) {
  rethrow_as_error();
}

std::optional<std::vector<MissingImage>> BatchAssembler::wait_for(
    std::uint64_t ticket, std::chrono::milliseconds patience) {
  try {
    if (!impl_->jobs.wait_for(ticket, patience)) return std::nullopt;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory,
                "an allocation failed while reading a batch; lower workers or prefetch");
  }
  std::unique_lock lock(impl_->mutex);
  const auto done = impl_->batches.extract(ticket);
  lock.unlock();
  Batch& batch = *done.mapped();
  batch.drop();
  std::vector<MissingImage> missing = batch.missing;
  std::sort(missing.begin(), missing.end(),
            [](const auto& left, const auto& right) { return left.place < right.place; });
  return missing;
}

std::optional<std::int64_t> BatchAssembler::take_unsupported(std::uint64_t ticket,
                                                             std::chrono::milliseconds patience) {
  impl_->jobs.require_home();
  const std::shared_ptr<Batch> batch = impl_->batch_of(ticket);
  if (batch == nullptr) return -1;
  std::unique_lock lock(batch->mutex);
  std::optional<std::int64_t> place;
  batch->changed.wait_for(lock, patience, [&] {
    if (!batch->dropped) place = batch->next_unsupported();
    if (!place && batch->is_over()) place = -1;
    return place.has_value();
  });
  return place;
}

AssembleTime BatchAssembler::time() const noexcept {
  const auto seconds = [](const std::atomic<std::int64_t>& nanoseconds) {
    return 1e-9 * static_cast<double>(nanoseconds.load(std::memory_order_relaxed));
  };
  return {seconds(impl_->times.reading), seconds(impl_->times.decoding)};
}

void BatchAssembler::clear() {
  impl_->jobs.clear();
  const std::lock_guard lock(impl_->mutex);
  for (const auto& [ticket, batch] : impl_->batches) batch->drop();
  impl_->batches.clear();
}

}  // namespace helip
