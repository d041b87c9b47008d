#include "serving_index.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace fs = std::filesystem;

ServingIndex::ServingIndex(fs::path folder, int threads)
    : folder_(std::move(folder)), threads_(threads) {
  load(newest());
}

helip::PairMatches ServingIndex::query(const helip::MatrixView& image,
                                       const helip::MatrixView& text, std::int64_t k,
                                       std::int64_t breadth) const {
  return live_.load()->query(image, text, k, breadth, 1);
}

void ServingIndex::add(const helip::MatrixView& image, const helip::MatrixView& text,
                       const std::vector<std::int64_t>& ids) {
  const std::lock_guard lock(changes_);
  if (!spare_) spare_ = copy_of_live();
  spare_->add(image, text, ids, threads_);
  // From here on queries find the pairs.
  std::shared_ptr<helip::PairIndex> behind = live_.exchange(std::exchange(spare_, nullptr));
  // Queries that began before go on in the old copy, and are done within milliseconds.
  while (behind.use_count() > 1) std::this_thread::sleep_for(std::chrono::microseconds(200));
  try {
    behind->add(image, text, ids, threads_);
    spare_ = std::move(behind);
  } catch (const std::exception&) {
    // For want of memory, say. The pairs are served; the next change makes a new spare copy.
  }
}

std::int64_t ServingIndex::save() {
  const std::lock_guard lock(changes_);
  const std::int64_t generation = newest() + 1;
  live_.load()->save(path_of(generation));
  generation_ = generation;
  return generation;
}

std::int64_t ServingIndex::reload() {
  const std::lock_guard lock(changes_);
  load(newest());
  return generation_;
}

void ServingIndex::load(std::int64_t generation) {
  // Two maps of one file share its memory until something is added.
  auto live = std::make_shared<helip::PairIndex>(helip::PairIndex::open(path_of(generation)));
  auto spare = std::make_shared<helip::PairIndex>(helip::PairIndex::open(path_of(generation)));
  live_ = std::move(live);
  spare_ = std::move(spare);
  generation_ = generation;
}

std::shared_ptr<helip::PairIndex> ServingIndex::copy_of_live() const {
  const fs::path place = folder_ / "copy";
  fs::remove_all(place);
  live_.load()->save(place);
  auto copy = std::make_shared<helip::PairIndex>(helip::PairIndex::open(place));
  fs::remove_all(place);  // what is mapped stays until the last map of it goes
  return copy;
}

std::int64_t ServingIndex::newest() const {
  std::int64_t greatest = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    std::int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data(), end, number);
    if (read.ec == std::errc() && read.ptr == end) greatest = std::max(greatest, number);
  }
  return greatest;
}

fs::path ServingIndex::path_of(std::int64_t generation) const {
  return folder_ / std::to_string(generation);
}
