// An index of pairs in a folder of generations, of which the newest can be loaded while it answers.
#pragma once

#include <helip/helip.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

// `folder` holds generations of the index, directories named 1, 2, 3, ...: the greatest is loaded.
// Any number of threads may call any method; queries wait for none of the others.
class ServingIndex {
 public:
  // `threads` for what is added; the fewer, the less adding slows queries down. Throws
  // helip::Error.
  explicit ServingIndex(std::filesystem::path folder, int threads = 1);

  // In the thread that calls: a server has a thread for each request.
  helip::PairMatches query(const helip::MatrixView& image, const helip::MatrixView& text,
                           std::int64_t k, std::int64_t breadth) const;
  // Queries that begin afterwards find the pairs. All or none are taken.
  void add(const helip::MatrixView& image, const helip::MatrixView& text,
           const std::vector<std::int64_t>& ids);
  // Queries that begin afterwards do not find them. All or none are removed.
  void remove(const std::vector<std::int64_t>& ids);
  // Writes what is served as a new generation; returns its number.
  std::int64_t save();
  // Serves the greatest generation of the folder, which somebody else may have put there. What was
  // added since the last save() is not in it. Returns its number.
  std::int64_t reload();

  std::int64_t size() const { return live_.load()->size(); }
  std::int64_t bytes() const { return live_.load()->bytes(); }
  std::int64_t generation() const noexcept { return generation_.load(); }

 private:
  std::int64_t newest() const;
  std::filesystem::path path_of(std::int64_t generation) const;
  void load(std::int64_t generation);

  const std::filesystem::path folder_;
  const int threads_;
  std::atomic<std::shared_ptr<helip::PairIndex>> live_;
  std::atomic<std::int64_t> generation_ = 0;  // that was loaded or saved last
  std::mutex changes_;  // one change at a time, so that none goes to an old index
};
