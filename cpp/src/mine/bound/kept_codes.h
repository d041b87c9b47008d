// Lengths, filters, order and codes of the rows of a store, kept in a folder, so that a later job
// of the same rows need not make them again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/team.h"
#include "helip/progress.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "io/mapped_files.h"
#include "io/tensor_file.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

// Of what is kept: raised with each change of how filters, the order or codes are made.
inline constexpr int kCodesVersion = 3;

// What the codes of all rows have in common: their scales, and the greatest lengths of what was
// rounded to them; of the three filters and of the unit vectors of each channel.
struct CodeScales {
  double filters[3] = {1.0, 1.0, 1.0};
  double longest_filters[3] = {0.0, 0.0, 0.0};
  double longest_units[kMostChannels] = {};

  void take_longest(const CodeScales& other) noexcept;
};

// Where codes are kept.
struct CodesFolder {
  std::filesystem::path path;
  // By the caller. Else it is that of the store itself: what goes wrong there is no error, and it
  // takes no more than a quarter of the free bytes of its disk.
  bool is_asked = true;
};

// What each row has so many bytes of, one after the other.
struct CodeSection {
  std::int8_t* rows;
  std::int64_t stride;
};

// The codes of a file where they are mapped: at the start of memory that its owner gives back after
// end(). What processes of a machine map they share.
class MappedCodes final : public MappedFiles {
 public:
  MappedCodes(const TensorFile& tensors, std::int64_t offset, void* begin, std::int64_t bytes);
  void require_whole() const override;
  void end() noexcept;

 private:
  std::filesystem::path file_path_;
  MappedFile file_;
  MappedRange range_;
  bool was_cut_ = false;
};

class KeptCodes {
 public:
  // What lies in the folder is taken where it is of this program and kernel, of filters that were
  // chosen for half of the rows at least, and `fits(its identity)`. Else the folder is made, and
  // what is made of the corpus is kept there as of `identity`. `progress`: of reading and writing.
  // Throws Error: io, corrupt, mismatch and invalid_argument (something else lies there), but for
  // a folder that nobody asked for.
  KeptCodes(CodesFolder folder, const Corpus& corpus, OrderedJson identity,
            const std::function<bool(const OrderedJson&)>& fits, const ProgressCallback& progress);

  bool found() const noexcept { return file_.has_value(); }
  // Why nothing could be taken from a folder that nobody asked for, or kept there; empty: it could.
  const std::string& hindrance() const noexcept { return hindrance_; }
  // Marks rows [corpus.size()] that were deleted or changed since, before what was found is read.
  void forget(std::vector<std::uint8_t> rows);

  // Of what was found. All that is read throws Error(corrupt) where it cannot be that of the
  // corpus.
  FilterPlan plan() const;
  // Without the rows to forget; its clusters are gone then.
  RowOrder order() const;
  RowLengths lengths() const;
  // Codes and bounds of the rows of order(), before errors became slacks, into sections of rows()
  // rows at least, as stage "load". The first section begins with a page; its first mapped_bytes()
  // are mapped. Returns how many rows these are: 0 where they are damaged and nobody asked for
  // them, and found() is false from then on.
  std::int64_t read(const std::vector<CodeSection>& sections, CodeScales& scales, Team& team);
  // 0 where the first section, of so many bytes a row, is read: what the system cannot map, and
  // rows that move into the places of rows to forget, which would be copies in memory.
  std::int64_t mapped_bytes(std::int64_t stride) const;
  // What the first section is mapped from, nullptr where it was read.
  const std::shared_ptr<MappedCodes>& mapped() const noexcept { return mapped_; }
  // After what was read was used. Throws Error(corrupt) where the file became shorter meanwhile.
  void require_whole() const;
  std::int64_t rows() const;  // that are read, with those to forget

  // Writes what publish() makes those of the folder. Does nothing where another process is writing
  // there, or has kept the same.
  void keep(const FilterPlan& plan, const RowOrder& order, const CodeScales& scales,
            const std::vector<CodeSection>& sections);
  // Waits for the disk. Nothing was kept, or it is published: does nothing.
  void publish();

 private:
  struct Pending {
    DirectoryLock lock;
    PendingTensors tensors;
    Manifest manifest;
    std::string name;
  };

  // Calls body(), whose errors are thrown where somebody asked for the folder, and else are the
  // hindrance.
  template <typename Body>
  void guarded(const Body& body);
  void open(const std::function<bool(const OrderedJson&)>& fits);
  void find(const std::function<bool(const OrderedJson&)>& fits);
  std::int64_t read_found(const std::vector<CodeSection>& sections, CodeScales& scales, Team& team);
  void write(const FilterPlan& plan, const RowOrder& order, const CodeScales& scales,
             const std::vector<CodeSection>& sections);
  [[noreturn]] void refuse_to_keep(const Error& error, std::int64_t bytes) const;
  [[noreturn]] void damaged(const std::string& what) const;
  template <typename Read>
  auto checked(const Read& read) const;
  RowOrder whole_order() const;
  Basis read_basis(const std::string& name) const;
  std::vector<float> read_mean(const std::string& name, std::int64_t dimensions) const;
  bool holds_the_same() const;

  const std::filesystem::path folder_;
  const bool is_asked_;
  const Corpus& corpus_;
  const OrderedJson identity_;
  const ProgressCallback& progress_;
  Json facts_;  // of the manifest
  std::int64_t rows_ = 0;
  std::optional<TensorFile> file_;
  std::vector<std::uint8_t> forgotten_;
  std::shared_ptr<MappedCodes> mapped_;
  std::string hindrance_;
  bool is_damaged_ = false;
  std::optional<Pending> pending_;
};

}  // namespace helip::mining
