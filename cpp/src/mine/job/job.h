// One mining job: its options as they are used, its corpus, and what is made once for all targets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/team.h"
#include "helip/embedding_store.h"
#include "helip/hard_negatives.h"
#include "helip/hard_pairs_writer.h"
#include "helip/mine_options.h"
#include "helip/negatives_input.h"
#include "helip/parts.h"
#include "helip/progress.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/method/method.h"

namespace helip::mining {

// Throws invalid_argument where a job would keep codes in the folder of its table, parts or
// checkpoint.
void check_codes_folder(const std::filesystem::path& codes, const std::filesystem::path& out);
// Throws invalid_argument for a number of parts or shares that leaves one of them without a target.
void check_number(const char* of, std::int64_t count, std::int64_t rows);
// Where the codes of a store are kept, if anywhere.
std::optional<CodesFolder> codes_folder(const MineOptions& options, const EmbeddingStore& store);

class Job {
 public:
  // Decides what method automatic means. `asked` and the matrices are validated; `scratch`: see
  // MethodContext. `queries`: that are mined in the rows of the matrices, nullptr: the rows are.
  Job(Matrices matrices, const MineOptions& asked, std::filesystem::path scratch,
      const ProgressCallback& progress, const NegativesInput* queries = nullptr);

  std::int64_t targets() const noexcept { return corpus_.targets(); }
  const MineOptions& options() const noexcept { return options_; }
  // Keeps the codes of this store where options() say. Before mine().
  void keep_codes_of(const EmbeddingStore& store);
  // Makes what is kept, unless it was found.
  void make_codes();
  // Prepared when it is first asked for, with these: see MethodContext.
  MethodContext& context(MethodCheckpoint* checkpoint = nullptr, SharedRounds* rounds = nullptr) {
    if (!context_) prepare(checkpoint, rounds);
    return *context_;
  }
  // After pairs were compared: keeps what is to be kept. Throws Error(corrupt) where files of the
  // matrices became shorter meanwhile.
  void end_sweep();
  // Writes the pools of the targets to `sink`. Returns the report on them, JSON; one range after
  // another gets what the first one needed. `checkpoint`: see MethodContext; `dropped`: mine.h.
  std::string mine(const TargetRange& targets, HardPairSink& sink,
                   MethodCheckpoint* checkpoint = nullptr, DroppedPairs* dropped = nullptr);
  // Every target.
  std::string mine_all(HardPairSink& sink, MethodCheckpoint* checkpoint = nullptr,
                       DroppedPairs* dropped = nullptr) {
    return mine({0, targets(), 0, targets()}, sink, checkpoint, dropped);
  }

 private:
  void prepare(MethodCheckpoint* checkpoint, SharedRounds* rounds);

  const Matrices matrices_;
  MineOptions options_;
  const std::filesystem::path scratch_;
  const ProgressCallback& progress_;
  Corpus corpus_;
  Team team_;
  std::vector<std::uint32_t> groups_;
  std::optional<KeptCodes> codes_;
  std::optional<MethodContext> context_;  // from the first mine() on
};

// Mines matrices, whatever their rows are, to a table; `out` empty: in memory. Fields of
// `origin.report_json` are added to the report. `store`: that they are of, if any; its codes are
// kept.
HardPairs mine_table(const Matrices& matrices, const MineOptions& asked,
                     const ProgressCallback& progress, const std::filesystem::path& out,
                     HardPairs::Origin origin, ExistingTable existing = ExistingTable::refuse,
                     DroppedPairs* dropped = nullptr, const EmbeddingStore* store = nullptr);

// mine() and mine_negatives() with options.parts > 1.
HardPairs mine_in_parts(const EmbeddingStore& store, const MineOptions& options,
                        const ProgressCallback& progress, const std::filesystem::path& out);
HardNegatives mine_in_parts(const NegativesInput& input, const MineOptions& options,
                            const ProgressCallback& progress, const std::filesystem::path& out);

// Where its parts lie: "<out>.parts", with a directory "part-00001-of-00016" each.
std::filesystem::path parts_folder(const std::filesystem::path& out);
std::filesystem::path part_path(const std::filesystem::path& folder, std::int64_t index,
                                std::int64_t count);

}  // namespace helip::mining
