#include "serving_index.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>
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
  live_.load()->add(image, text, ids, threads_);
}

void ServingIndex::remove(const std::vector<std::int64_t>& ids) {
  const std::lock_guard lock(changes_);
  live_.load()->remove(ids);
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
  live_ = std::make_shared<helip::PairIndex>(helip::PairIndex::open(path_of(generation)));
  generation_ = generation;
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
