#include "mine/bound/kept_codes.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "base/machine.h"
#include "helip/error.h"
#include "io/byte_progress.h"
#include "io/damaged_content.h"
#include "io/file.h"
#include "io/manifest.h"
#include "mine/bound/row_order.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "helip.codes";
constexpr std::int64_t kFreePerCodes = 4;  // free bytes of a disk for each that codes take unasked
constexpr std::int64_t kPieceBytes = std::int64_t{16} << 20;
constexpr std::string_view kPrefix = "codes-", kSuffix = ".safetensors";

// The number of a file of codes, such that the next one has room in a manifest; -1 of any other
// file.
std::int64_t number_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return -1;
  name.remove_prefix(kPrefix.size());
  if (name.size() < kSuffix.size()) return -1;
  name.remove_suffix(kSuffix.size());
  std::int64_t number = -1;
  const char* end = name.data() + name.size();
  const auto read = std::from_chars(name.data(), end, number);
  const bool is_whole = read.ec == std::errc() && read.ptr == end;
  return is_whole && number < kMostCount - 1 ? number : -1;
}

std::string numbered(const char* name, std::size_t channel) {
  return std::string(name) + "-" + std::to_string(channel);
}

// A tensor of the file.
struct Piece {
  std::string name;
  std::int8_t* data;
  std::int64_t bytes;
};

// Of `rows` rows, small enough that several threads read them.
std::vector<Piece> pieces_of(const std::vector<CodeSection>& sections, std::int64_t rows) {
  std::vector<Piece> pieces;
  for (std::size_t s = 0; s < sections.size(); ++s) {
    const std::int64_t bytes = rows * sections[s].stride;
    for (std::int64_t begin = 0; begin < bytes; begin += kPieceBytes) {
      pieces.push_back({"codes-" + std::to_string(s) + "-" + std::to_string(begin / kPieceBytes),
                        sections[s].rows + begin, std::min(kPieceBytes, bytes - begin)});
    }
  }
  return pieces;
}

Json plan_json(const FilterPlan& plan) {
  return {{"factors", plan.factors},
          {"length", plan.length},
          {"high_share", plan.high_share},
          {"dimensions", {plan.high, plan.low, plan.second}},
          {"basis", {plan.basis.count, plan.basis.dimensions, plan.basis.excess}},
          {"leading", {plan.leading.count, plan.leading.dimensions, plan.leading.excess}},
          {"light", plan.light},
          {"passed", {plan.passed_first, plan.passed_second, plan.passed_whole, plan.passed_score}},
          {"cycles", plan.cycles}};
}

// In [0, most].
double bounded(const Json& json, double most = std::numeric_limits<double>::max()) {
  const auto value = json.get<double>();
  require_sound(value >= 0.0 && value <= most, "a share or a length is out of range");
  return value;
}

double positive(const Json& json) {
  const auto value = json.get<double>();
  require_sound(std::isfinite(value) && value > 0.0, "a length or a scale is not positive");
  return value;
}

// What processes left that were killed or stopped, and codes that no manifest names any more.
void remove_all_but(const fs::path& folder, const std::string& file) noexcept {
  remove_leftovers(folder, file, [](const std::string& name) { return number_of(name) >= 0; });
}

}  // namespace

// By the descriptor: another job may have put others in the place of the file meanwhile.
MappedCodes::MappedCodes(const TensorFile& tensors, std::int64_t offset, void* begin,
                         std::int64_t bytes)
    : file_path_(tensors.path()), file_(duplicate(tensors.file(), tensors.path()), tensors.path()) {
  const Descriptor& file = tensors.file();
  if (file_size(file, file_path_) < offset + bytes) throw_damaged(file_path_, "it is too short");
  // Private, since rows that come are written right behind those of the file.
  if (::mmap(begin, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_FIXED, file.get(), offset) == MAP_FAILED) {
    throw Error(ErrorCode::io, "cannot map " + quoted(file_path_), errno);
  }
  // To the end of the page, for rows that come are written there.
  const std::int64_t page = memory_page_bytes();
  range_ = MappedRange(begin, (bytes + page - 1) / page * page, *this);
}

void MappedCodes::require_whole() const {
  file_.require_whole(
      [&](const Descriptor*) { throw_damaged(file_path_, "it was written to while it was read"); });
  if (was_cut_ || range_.was_cut())
    throw_damaged(file_path_, "it became shorter while it was read");
}

void MappedCodes::end() noexcept {
  was_cut_ = was_cut_ || range_.was_cut();
  range_ = MappedRange();
}

void CodeScales::take_longest(const CodeScales& other) noexcept {
  for (int f = 0; f < 3; ++f) {
    longest_filters[f] = std::max(longest_filters[f], other.longest_filters[f]);
  }
  for (int c = 0; c < kMostChannels; ++c) {
    longest_units[c] = std::max(longest_units[c], other.longest_units[c]);
  }
}

KeptCodes::KeptCodes(CodesFolder folder, const Corpus& corpus, OrderedJson identity,
                     const std::function<bool(const OrderedJson&)>& fits,
                     const ProgressCallback& progress)
    : folder_(std::move(folder.path)),
      is_asked_(folder.is_asked),
      corpus_(corpus),
      identity_(std::move(identity)),
      progress_(progress) {
  guarded([&] { open(fits); });
}

template <typename Body>
void KeptCodes::guarded(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    if (is_asked_ || error.code() == ErrorCode::cancelled) throw;
    hindrance_ = error.what();
    is_damaged_ = error.code() == ErrorCode::corrupt;  // and are made again
    file_.reset();
    pending_.reset();
  }
}

void KeptCodes::open(const std::function<bool(const OrderedJson&)>& fits) {
  if (has_manifest(folder_)) find(fits);
  if (file_) {
    if (is_asked_) return;
    // What the job begins with is read now, while it can do without.
    (void)plan();
    (void)whole_order();
    (void)lengths();
    return;
  }
  if (!has_manifest(folder_) && directory_exists(folder_)) {
    for (const std::string& name : names_in(folder_)) {
      if (number_of(name) >= 0 || name == kLockName || name.starts_with(PendingFile::kPrefix)) {
        continue;
      }
      throw Error(ErrorCode::invalid_argument,
                  quoted(folder_) + " holds \"" + name +
                      "\" and no codes; give the codes a folder of their own");
    }
  }
  // What refuses to be written to does so now, and not after the codes are made.
  make_directory(folder_);
  if (const auto lock = DirectoryLock::if_free(folder_); lock && !has_manifest(folder_)) {
    remove_all_but(folder_, {});
  }
}

void KeptCodes::damaged(const std::string& what) const {
  throw Error(ErrorCode::corrupt, "the codes kept in " + quoted(folder_) + " are damaged: " + what +
                                      "; remove that folder, and they are made again");
}

template <typename Read>
auto KeptCodes::checked(const Read& read) const {
  return read_or_damaged(read, [this](const char* what) { damaged(what); });
}

void KeptCodes::find(const std::function<bool(const OrderedJson&)>& fits) {
  Manifest manifest;
  try {
    manifest = read_manifest(folder_, kFormat);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::unsupported) return;  // of a later version
    if (error.code() != ErrorCode::corrupt) throw;
    throw Error(ErrorCode::corrupt,
                error.what() + std::string("; if it is of codes, remove the folder, and they are "
                                           "made again, else give the codes another folder"));
  }
  facts_ = manifest.attributes;
  checked([&] {
    const OrderedJson there(facts_.at("identity"));
    for (const char* program : {"codes", "helip", "kernel"}) {
      if (there.value(program, OrderedJson()) != identity_.value(program, OrderedJson())) return;
    }
    rows_ = integer_of(facts_.at("rows"));
    const std::int64_t chosen = integer_of(facts_.at("chosen"));
    if (chosen < (corpus_.size() + 1) / 2 || !fits(there)) return;
    require_sound(rows_ > 0 && rows_ <= corpus_.size() && chosen <= rows_,
                  "it has another number of rows");
    require_sound(manifest.shards.size() == 1, "it has not one file");
    const ShardRecord& record = manifest.shards.front();
    const fs::path path = folder_ / record.file;
    try {
      file_.emplace(path, record);
    } catch (const Error&) {
      // Another process may have put others in their place meanwhile.
      if (path_exists(path)) throw;
    }
  });
}

Basis KeptCodes::read_basis(const std::string& name) const {
  const Json& json = facts_.at("filters").at(name);
  Basis basis;
  basis.count = integer_of(json.at(0));
  basis.dimensions = integer_of(json.at(1));
  basis.excess = json.at(2).get<double>();
  basis.vectors = read_column<float>(*file_, name);
  require_sound(basis.count == 0 || (basis.count > 0 && basis.count <= corpus_.dimensions() &&
                                     basis.dimensions == corpus_.dimensions()),
                "a basis of its filters is of other dimensions");
  require_sound(static_cast<std::int64_t>(basis.vectors.size()) == basis.count * basis.dimensions,
                "a basis of its filters has another length");
  require_sound(std::isfinite(basis.excess) && basis.excess >= 0.0,
                "a basis of its filters is none");
  return basis;
}

std::vector<float> KeptCodes::read_mean(const std::string& name, std::int64_t dimensions) const {
  std::vector<float> mean = read_column<float>(*file_, name);
  require_sound(mean.empty() || static_cast<std::int64_t>(mean.size()) == dimensions,
                "a mean of its rows has another length");
  return mean;
}

FilterPlan KeptCodes::plan() const {
  return checked([&] {
    const Json& json = facts_.at("filters");
    FilterPlan plan;
    for (const Json& factor : json.at("factors")) plan.factors.push_back(positive(factor));
    require_sound(plan.factors.size() == corpus_.channels().size(),
                  "it has not the factors of all channels");
    plan.length = positive(json.at("length"));
    plan.high_share = bounded(json.at("high_share"), 1.0);
    plan.high = integer_of(json.at("dimensions").at(0));
    plan.low = integer_of(json.at("dimensions").at(1));
    plan.second = integer_of(json.at("dimensions").at(2));
    plan.basis = read_basis("basis");
    plan.leading = read_basis("leading");
    for (const std::int64_t depth : {plan.high, plan.low, plan.second}) {
      require_sound(depth >= 0 && depth <= plan.basis.count && depth % 64 == 0,
                    "a filter has dimensions that its basis has not");
    }
    plan.light = json.at("light").get<bool>();
    plan.passed_first = json.at("passed").at(0).get<double>();
    plan.passed_second = json.at("passed").at(1).get<double>();
    plan.passed_whole = json.at("passed").at(2).get<double>();
    plan.passed_score = json.at("passed").at(3).get<double>();
    plan.cycles = json.at("cycles").get<double>();
    plan.mean = read_mean("mean", plan.low > 0 ? plan.basis.count : corpus_.dimensions());
    for (std::size_t c = 0; c < corpus_.channels().size(); ++c) {
      plan.unit_means.push_back(
          read_mean(numbered("unit_mean", c), corpus_.channels()[c].rows.dimensions()));
    }
    return plan;
  });
}

RowOrder KeptCodes::whole_order() const {
  return checked([&] {
    return read_order(*file_, rows_, integer_of(facts_.at("filters").at("leading").at(0)));
  });
}

RowOrder KeptCodes::order() const {
  RowOrder order = whole_order();
  if (forgotten_.empty()) return order;
  std::erase_if(order.rows, [&](std::uint32_t row) { return forgotten_[row] != 0; });
  return unclustered(std::move(order.rows));
}

RowLengths KeptCodes::lengths() const {
  return checked([&] {
    RowLengths lengths;
    for (std::size_t c = 0; c < corpus_.channels().size(); ++c) {
      auto& own = lengths.emplace_back(read_column<double>(*file_, numbered("length", c)));
      require_sound(static_cast<std::int64_t>(own.size()) == rows_,
                    "it has not the lengths of all rows");
      for (std::size_t row = 0; row < std::min(own.size(), forgotten_.size()); ++row) {
        if (forgotten_[row] != 0) own[row] = kUnknownLength;
      }
    }
    return lengths;
  });
}

std::int64_t KeptCodes::rows() const {
  return static_cast<std::int64_t>(whole_order().rows.size());
}

std::int64_t KeptCodes::mapped_bytes(std::int64_t stride) const {
  const std::string first = pieces_of({{nullptr, stride}}, 1).front().name;
  return found() && forgotten_.empty() && file_->has(first) &&
                 file_->offset(first) % memory_page_bytes() == 0
             ? rows() * stride
             : 0;
}

std::int64_t KeptCodes::read(const std::vector<CodeSection>& sections, CodeScales& scales,
                             Team& team) {
  std::int64_t count = 0;
  guarded([&] { count = read_found(sections, scales, team); });
  if (!found()) mapped_.reset();
  return count;
}

std::int64_t KeptCodes::read_found(const std::vector<CodeSection>& sections, CodeScales& scales,
                                   Team& team) {
  const std::vector<std::uint32_t> rows = whole_order().rows;
  const auto count = static_cast<std::int64_t>(rows.size());
  checked([&] {
    const Json& json = facts_.at("scales");
    for (std::size_t f = 0; f < 3; ++f) {
      scales.filters[f] = positive(json.at("filters").at(f));
      scales.longest_filters[f] = bounded(json.at("longest_filters").at(f));
    }
    for (int c = 0; c < kMostChannels; ++c) {
      scales.longest_units[c] = bounded(json.at("longest_units").at(static_cast<std::size_t>(c)));
    }
    const std::vector<Piece> pieces = pieces_of(sections, count);
    const CodeSection& codes = sections.front();
    const std::int64_t mapped = mapped_bytes(codes.stride);
    if (mapped > 0) {
      mapped_ = std::make_shared<MappedCodes>(*file_, file_->offset(pieces.front().name),
                                              codes.rows, mapped);
    }
    team.begin_stage("load", count, static_cast<std::int64_t>(pieces.size()));
    team.for_blocks(static_cast<std::int64_t>(pieces.size()), 1,
                    [&](std::int64_t i, std::int64_t, int) {
                      const Piece& piece = pieces[static_cast<std::size_t>(i)];
                      if (piece.data - codes.rows < mapped && piece.data >= codes.rows) {
                        file_->compare(piece.name, DType::int8, piece.bytes, piece.data);
                      } else {
                        file_->read(piece.name, DType::int8, piece.bytes, piece.data);
                      }
                      team.add_work(1);
                    });
    team.end_stage();
    return true;
  });
  if (forgotten_.empty()) return count;
  std::int64_t place = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (forgotten_[rows[static_cast<std::size_t>(i)]] != 0) continue;
    for (const CodeSection& section : sections) {
      if (i == place) break;
      std::memcpy(section.rows + place * section.stride, section.rows + i * section.stride,
                  static_cast<std::size_t>(section.stride));
    }
    ++place;
  }
  return place;
}

void KeptCodes::require_whole() const {
  if (mapped_) mapped_->require_whole();
}

void KeptCodes::forget(std::vector<std::uint8_t> rows) {
  if (std::ranges::find(rows, 1) == rows.end()) rows.clear();
  forgotten_ = std::move(rows);
}

// Of parts that began at one time, each makes codes, and the first keeps them.
bool KeptCodes::holds_the_same() const {
  if (!has_manifest(folder_)) return false;
  try {
    const Manifest manifest = read_manifest(folder_, kFormat);
    return manifest.attributes.value("identity", Json()) == Json(identity_) &&
           manifest.shards.size() == 1 && path_exists(folder_ / manifest.shards.front().file);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::corrupt || error.code() == ErrorCode::unsupported) return false;
    throw;
  }
}

void KeptCodes::keep(const FilterPlan& plan, const RowOrder& order, const CodeScales& scales,
                     const std::vector<CodeSection>& sections) {
  if (hindrance_.empty() || is_damaged_) guarded([&] { write(plan, order, scales, sections); });
}

void KeptCodes::write(const FilterPlan& plan, const RowOrder& order, const CodeScales& scales,
                      const std::vector<CodeSection>& sections) {
  std::optional<DirectoryLock> lock = DirectoryLock::if_free(folder_);
  if (!lock || (!is_damaged_ && holds_the_same())) return;
  corpus_.require_whole();
  TensorColumns columns;
  // First, on a page of their own.
  for (const Piece& piece : pieces_of(sections, static_cast<std::int64_t>(order.rows.size()))) {
    columns.show(piece.name, std::span(piece.data, static_cast<std::size_t>(piece.bytes)));
  }
  show_order(order, columns);
  columns.show("basis", plan.basis.vectors);
  columns.show("leading", plan.leading.vectors);
  columns.show("mean", plan.mean);
  const std::vector<float> none;
  for (std::size_t c = 0; c < corpus_.channels().size(); ++c) {
    columns.show(numbered("unit_mean", c), c < plan.unit_means.size() ? plan.unit_means[c] : none);
    columns.show(numbered("length", c), corpus_.channels()[c].rows.lengths());
  }
  std::int64_t all = 0, number = 0;
  for (const Tensor& tensor : columns.tensors()) all += tensor.bytes();
  if (const std::int64_t free = free_bytes(folder_); !is_asked_ && all > free / kFreePerCodes) {
    throw Error(ErrorCode::io, "the codes take " + std::to_string(all) +
                                   " bytes, more than a quarter of the " + std::to_string(free) +
                                   " that are free beside the store; give codes= a folder");
  }
  for (const std::string& there : names_in(folder_)) {
    number = std::max(number, number_of(there) + 1);
  }
  ByteProgress progress("keep", all, progress_);
  progress.advance(0);
  Manifest manifest;
  manifest.format = kFormat;
  manifest.generation = manifest.next_shard = number + 1;
  manifest.shard_rows = 1;
  manifest.attributes = {{"identity", identity_},
                         {"rows", corpus_.size()},
                         // That the filters were chosen for.
                         {"chosen", found() ? integer_of(facts_.at("chosen")) : corpus_.size()},
                         {"filters", plan_json(plan)},
                         {"scales",
                          {{"filters", scales.filters},
                           {"longest_filters", scales.longest_filters},
                           {"longest_units", scales.longest_units}}}};
  try {
    PendingTensors tensors(
        folder_, columns.tensors(), [&](std::int64_t written) { progress.advance(written); },
        false);
    pending_.emplace(Pending{std::move(*lock), std::move(tensors), std::move(manifest),
                             std::string(kPrefix) + std::to_string(number) + std::string(kSuffix)});
  } catch (const Error& error) {
    refuse_to_keep(error, all);
  }
}

void KeptCodes::publish() {
  if (!pending_) return;
  guarded([&] {
    Pending& pending = *pending_;
    try {
      pending.manifest.shards = {pending.tensors.publish(pending.name)};
      write_manifest(folder_, pending.manifest);
    } catch (const Error& error) {
      refuse_to_keep(error, pending.tensors.bytes());
    }
    remove_all_but(folder_, pending.name);
  });
  pending_.reset();
}

void KeptCodes::refuse_to_keep(const Error& error, std::int64_t bytes) const {
  if (error.code() != ErrorCode::io) throw error;
  throw Error(ErrorCode::io, error.what() + std::string("; the codes take ") +
                                 std::to_string(bytes) + " bytes, beside those that lie there; " +
                                 "give them another folder, or drop codes");
}

}  // namespace helip::mining
