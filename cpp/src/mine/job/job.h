// One mining job: its options as they are used, its corpus, and what is made once for all targets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/team.h"
#include "helip/error.h"
#include "helip/hard_pairs_writer.h"
#include "helip/mine.h"
#include "helip/progress.h"
#include "mine/corpus/scorer.h"
#include "mine/method/engine.h"

namespace helip::mining {

// What every entry point sets up; allocation failures of the calling thread become Errors.
template <typename Body>
auto guarded(const Body& body) {
  const std::string message =
      "there is not enough memory for the pools; lower k, memory= or the number of threads";
  try {
    return body();
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, message);
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, message);
  }
}

class Job {
 public:
  // Decides what method automatic means. `asked` and the matrices are validated; `scratch`: see
  // Context.
  Job(const MatrixView& image, const MatrixView& text, const MineOptions& asked,
      std::filesystem::path scratch, const ProgressCallback& progress);

  std::int64_t rows() const noexcept { return corpus_.size(); }
  const MineOptions& options() const noexcept { return options_; }
  // Writes the pools of the targets to `sink`. Returns the report on them, JSON; one range after
  // another gets what the first one needed. `checkpoint`: see Context.
  std::string mine(const TargetRange& targets, HardPairSink& sink,
                   Checkpoint* checkpoint = nullptr);

 private:
  void prepare(Checkpoint* checkpoint);

  const MatrixView image_;
  const MatrixView text_;
  MineOptions options_;
  const std::filesystem::path scratch_;
  Corpus corpus_;
  Team team_;
  std::vector<std::uint32_t> groups_;
  std::optional<Context> context_;  // from the first mine() on
};

// These are in mine.cpp, beside the names and the methods that they list.

// The options as used, without those that change nothing in the table.
std::string options_json(const MineOptions& options);
// Pairs, drops and measurements of `targets`; `filters` nullptr: none were used.
std::string report_json(const Report& report, const FilterPlan* filters, const MineOptions& options,
                        const TargetRange& targets, std::int64_t rows);
Report run(const Context& context, const TargetRange& targets, HardPairSink& sink);
// The "filters" of a report, JSON.
std::string describe_filters(const FilterPlan& filters);
// mine() of a store. Fields of `origin.report_json` are added to the report.
HardPairs mine_store_into(const EmbeddingStore& store, const MineOptions& options,
                          const ProgressCallback& progress, const std::filesystem::path& out,
                          HardPairs::Origin origin, ExistingTable existing);
// Where codes go that do not fit into memory: beside the table, or where temporary files go.
std::filesystem::path scratch_folder(const std::filesystem::path& out);

}  // namespace helip::mining
