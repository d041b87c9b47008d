// mine_in_place IMAGE D_IMAGE TEXT D_TEXT OUT [K [THREADS [MEGABYTES]]]: hard pairs of arrays that
// a program has in its memory. IMAGE and TEXT are files of float32, row after row.
//
// The arrays are read where they lie; helip works on the threads of this program and within the
// memory that it allows. Progress goes to the terminal. Ctrl-C stops, and leaves nothing behind.
#include <helip/helip.h>

#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

volatile std::sig_atomic_t interrupted = 0;

// The threads of the program. One of your own, such as a pool of tasks that it has anyway, takes
// the place of this one.
class Pool final : public helip::Executor {
 public:
  explicit Pool(int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }
  int threads() const noexcept override { return static_cast<int>(threads_.size()); }
  void submit(std::function<void()> task) override {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    ready_.notify_one();
  }

 private:
  void work(const std::stop_token& stop) {
    for (;;) {
      std::unique_lock lock(mutex_);
      if (!ready_.wait(lock, stop, [this] { return !tasks_.empty(); })) return;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::jthread> threads_;  // last, so that they end before what they use
};

std::vector<float> floats_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<float> values(file ? std::filesystem::file_size(path) / sizeof(float) : 0);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!file) {
    throw helip::Error(helip::ErrorCode::io, std::string("cannot read ") + path);
  }
  return values;
}

bool show(const helip::Progress& progress) {
  const double share =
      progress.total > 0 ? static_cast<double>(progress.done) / static_cast<double>(progress.total)
                         : 0.0;
  std::fprintf(stderr, "\r%-24s %3.0f %%", progress.stage.c_str(), 100 * share);
  return interrupted == 0;
}

void mine_to(const char* out, const helip::MatrixView& image, const helip::MatrixView& text,
             const helip::MineOptions& options) {
  const helip::HardPairs pairs = helip::mine(image, text, options, show, out);
  const helip::HardPairStatistics found = pairs.statistics();
  std::fprintf(stderr, "\n");
  std::printf("%lld targets, %lld hard pairs, %lld targets with none\n",
              static_cast<long long>(found.targets), static_cast<long long>(found.pairs),
              static_cast<long long>(found.outliers));
}

std::int64_t number(int argc, char** argv, int place, std::int64_t otherwise) {
  return argc > place ? std::strtoll(argv[place], nullptr, 10) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6 || argc > 9) {
    std::fprintf(stderr,
                 "usage: mine_in_place IMAGE D_IMAGE TEXT D_TEXT OUT [K [THREADS [MEGABYTES]]]\n");
    return 2;
  }
  std::signal(SIGINT, [](int) { interrupted = 1; });
  try {
    helip::check_version();
    const std::vector<float> image = floats_of(argv[1]), text = floats_of(argv[3]);
    const std::int64_t d_image = number(argc, argv, 2, 0), d_text = number(argc, argv, 4, 0);
    if (d_image < 1 || d_text < 1) {
      throw helip::Error(helip::ErrorCode::invalid_argument, "dimensions must be at least 1");
    }
    helip::set_executor(std::make_shared<Pool>(static_cast<int>(number(argc, argv, 7, 2))));
    helip::MineOptions options;
    options.k = number(argc, argv, 6, 50);
    options.memory = number(argc, argv, 8, 256) << 20;  // of its buffers, beyond the arrays
    const auto rows = [](const std::vector<float>& values, std::int64_t dimensions) {
      return static_cast<std::int64_t>(values.size()) / dimensions;
    };
    mine_to(argv[5], helip::MatrixView::of(image, rows(image, d_image), d_image),
            helip::MatrixView::of(text, rows(text, d_text), d_text), options);
    helip::set_executor(nullptr);
  } catch (const helip::Error& error) {
    std::fprintf(stderr, "\n%s: %s\n", helip::name_of(error.code()), error.what());
    return error.code() == helip::ErrorCode::cancelled ? 130 : 1;
  }
  return 0;
}
