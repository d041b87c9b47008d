#include "helip/sample_index.h"

#include <fcntl.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/empty_state.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "io/byte_progress.h"
#include "io/column_writer.h"
#include "io/json.h"
#include "samples/byte_ranges.h"
#include "samples/sample_state.h"
#include "samples/scan_shards.h"
#include "samples/shard_file.h"
#include "samples/shard_list.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using json = Json;
using samples::SampleRows;

constexpr const char* kFormat = "helip.sample_index";
constexpr const char* kOffsets = "offsets";
constexpr const char* kSizes = "sizes";
constexpr const char* kDigestsColumn = "digests";
constexpr std::int64_t kShardRows = 262144;
constexpr std::int64_t kSaveRows = 65536;
constexpr std::int64_t kRowBytes = kSampleFields * 12 + samples::kDigests * 8;
// The system cuts off what is asked of it at once by the longest read of the disk, or more.
constexpr std::int64_t kLongestHint = std::int64_t{1} << 20;

Manifest empty_manifest() {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = kShardRows;
  manifest.columns = {{kOffsets, DType::int64, kSampleFields},
                      {kSizes, DType::int32, kSampleFields},
                      {kDigestsColumn, DType::uint64, samples::kDigests}};
  return manifest;
}

void check_options(const SampleIndexOptions& options) {
  if (options.threads < 0) {
    refuse("threads is ", options.threads, ", but must be 0 (all cores) or more");
  }
  for (const std::string& extension : options.image_extensions) {
    if (!extension.empty() && extension.front() != '.' &&
        extension.find('/') == std::string::npos) {
      continue;
    }
    refuse('"', extension, "\" is no extension of pictures; give one such as jpg or seg.png");
  }
}

[[noreturn]] void damaged(const fs::path& path, const std::string& what) {
  throw_damaged(path, what, "build the index again");
}

// Which shards of `previous` hold for these paths as they are now; -1 for those to be read.
std::vector<std::int64_t> shards_to_keep(const std::vector<fs::path>& paths,
                                         const SampleIndexOptions& options,
                                         const SampleIndex::State* previous) {
  std::vector<std::int64_t> kept(paths.size(), -1);
  if (previous == nullptr || previous->options.image_extensions != options.image_extensions) {
    return kept;
  }
  try {
    previous->check({});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt) throw;
    return kept;  // a damaged row must not live on under a new checksum
  }
  std::unordered_map<std::string, std::size_t> by_path;
  const std::vector<SampleShard>& shards = previous->shards;
  for (std::size_t i = 0; i < shards.size(); ++i) by_path[shards[i].path.string()] = i;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const auto found = by_path.find(paths[i].string());
    if (found == by_path.end()) continue;
    const SampleShard& shard = shards[found->second];
    if (options.contents && shard.contents.empty()) continue;
    const samples::FileStamp now = samples::stamp_of(paths[i]);
    if (now == samples::FileStamp{shard.bytes, shard.modified}) {
      kept[i] = static_cast<std::int64_t>(found->second);
    }
  }
  return kept;
}

samples::ShardScan copy_of(const SampleIndex::State& state, std::int64_t number) {
  const SampleShard& shard = state.shards[static_cast<std::size_t>(number)];
  return {shard, state.copy(shard.first_row, shard.rows)};
}

std::shared_ptr<const SampleIndex::State> joined(std::vector<samples::ShardScan> parts,
                                                 const SampleIndexOptions& options,
                                                 std::int64_t scanned) {
  auto state = std::make_shared<SampleIndex::State>();
  state->options = options;
  state->scanned = scanned;
  SampleRows rows;
  for (samples::ShardScan& part : parts) {
    part.shard.first_row = rows.size();
    state->shards.push_back(std::move(part.shard));
    if (rows.size() == 0) {
      rows = std::move(part.rows);
    } else {
      rows.append(part.rows);
    }
  }
  if (rows.size() == 0) {
    refuse(parts.size(), " shards have no samples; check that the source is right");
  }
  state->take(std::move(rows));
  state->check_unique();
  return state;
}

void check_shard(const SampleShard& shard, const SampleIndex::State& state) {
  if (samples::is_url(shard.path)) return;  // whoever reads it looks at it
  samples::FileStamp now;
  try {
    now = samples::stamp_of(shard.path);
  } catch (const Error& error) {
    throw Error(ErrorCode::io,
                "a shard of \"" + state.path.string() +
                    "\" cannot be read (where they were moved, " +
                    "give their folder as root): \"" + shard.path.string() + "\"",
                error.system_errno());
  }
  samples::check_stamp(shard, now, state.remedy());
}

// By the number of the field.
constexpr const char* kReasonsOfAbsence[] = {"missing_image", "missing_caption", "missing_caption",
                                             "missing_label"};
constexpr const char* kNouns[] = {"picture", "text", ".json", "class"};

SampleError unreadable_sample(const SampleIndex::State& state, std::int64_t row, const char* reason,
                              const std::string& what) {
  return {reason, "sample '" + std::string(state.key(row)) + "' (row " + std::to_string(row) +
                      "): " + what};
}

// The system reads ahead no more by itself, which beside pages in memory it does for any read.
void expect_no_sequence(const Descriptor& file) {
  (void)::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM);
}

samples::OpenFiles::Lease open_shard(const SampleIndex::State& state, std::int64_t number) {
  const SampleShard& shard = state.shards[static_cast<std::size_t>(number)];
  return state.files.lease(number, [&] {
    Descriptor file = samples::open_shard_file(shard.path);
    samples::check_stamp(shard, samples::stamp_of(file, shard.path), state.remedy());
    if (state.prefetched) expect_no_sequence(file);
    return file;
  });
}

}  // namespace

SampleIndex::SampleIndex() noexcept : state_(empty_state<State>()) {}
SampleIndex::SampleIndex(std::shared_ptr<const State> state) : state_(std::move(state)) {}
SampleIndex::SampleIndex(const SampleIndex&) noexcept = default;
SampleIndex::SampleIndex(SampleIndex&& other) noexcept
    : state_(std::exchange(other.state_, empty_state<State>())) {}
SampleIndex& SampleIndex::operator=(const SampleIndex&) noexcept = default;
SampleIndex& SampleIndex::operator=(SampleIndex&& other) noexcept {
  state_ = std::exchange(other.state_, empty_state<State>());
  return *this;
}
SampleIndex::~SampleIndex() = default;

SampleIndex SampleIndex::build(const std::vector<fs::path>& shards,
                               const SampleIndexOptions& options, const ProgressCallback& progress,
                               const SampleIndex* previous) try {
  check_options(options);
  std::vector<fs::path> paths;
  for (const fs::path& shard : shards) paths.push_back(absolute_path(shard));
  const std::vector<std::int64_t> kept =
      shards_to_keep(paths, options, previous == nullptr ? nullptr : previous->state_.get());
  std::vector<fs::path> changed;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (kept[i] < 0) changed.push_back(paths[i]);
  }
  std::vector<samples::ShardScan> scans =
      samples::scan_shards(changed, samples::FieldNames(options.image_extensions), options.contents,
                           options.threads, "index", progress);

  std::vector<samples::ShardScan> parts;
  std::size_t next_scan = 0;
  for (const std::int64_t old : kept) {
    parts.push_back(old < 0 ? std::move(scans[next_scan++]) : copy_of(*previous->state_, old));
  }
  return SampleIndex(joined(std::move(parts), options, static_cast<std::int64_t>(changed.size())));
} catch (...) {
  rethrow_as_error();
}

SampleIndex SampleIndex::scan(const fs::path& file, const SampleShard& as,
                              const SampleIndexOptions& options) try {
  check_options(options);
  auto state = std::make_shared<State>();
  state->options = options;
  state->scanned = 1;
  samples::ShardScan scan = samples::scan_shard(
      file, samples::FieldNames(options.image_extensions), options.contents, [](std::int64_t) {},
      as.path);
  scan.shard.modified = as.modified;
  scan.shard.tag = as.tag;
  state->shards.push_back(std::move(scan.shard));
  state->take(std::move(scan.rows));
  return SampleIndex(std::move(state));
} catch (...) {
  rethrow_as_error();
}

SampleIndex SampleIndex::join(const std::vector<std::pair<SampleIndex, std::int64_t>>& shards) try {
  if (shards.empty()) refuse("no shards given to join; give one at the least");
  SampleIndexOptions options = shards.front().first.options();
  std::vector<samples::ShardScan> parts;
  std::int64_t scanned = 0;
  for (const auto& [index, number] : shards) {
    const State& from = *index.state_;
    if (number < 0 || number >= from.counts.shards) {
      refuse("shard ", number, " is outside 0 .. ", from.counts.shards - 1);
    }
    if (from.options.image_extensions != options.image_extensions) {
      refuse("indexes of different image extensions cannot be joined; build them alike");
    }
    scanned += from.scanned;
    parts.push_back(copy_of(from, number));
    options.contents = options.contents && !parts.back().shard.contents.empty();
  }
  return SampleIndex(joined(std::move(parts), options, scanned));
} catch (...) {
  rethrow_as_error();
}

SampleIndex SampleIndex::open(const fs::path& path, const fs::path& root, bool check_shards) try {
  auto state = std::make_shared<State>();
  state->reader = open_columns(path, kFormat);
  state->path = path;
  const ColumnReader& reader = *state->reader;
  if (reader.manifest().columns != empty_manifest().columns) {
    damaged(path, "its columns are not those of an index of samples");
  }
  state->rows = reader.rows();
  state->offsets = static_cast<const std::int64_t*>(reader.column(kOffsets).data);
  state->sizes = static_cast<const std::int32_t*>(reader.column(kSizes).data);
  state->digests = static_cast<const std::uint64_t*>(reader.column(kDigestsColumn).data);
  try {
    const bool as_it_is = root.empty() || samples::is_url(root);
    state->set_attributes(reader.manifest().attributes, as_it_is ? root : absolute_path(root));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    damaged(path, error.what());
  }
  if (check_shards) {
    for (const SampleShard& shard : state->shards) check_shard(shard, *state);
  }
  return SampleIndex(std::move(state));
} catch (...) {
  rethrow_as_error();
}

void SampleIndex::save(const fs::path& path, const ProgressCallback& progress) const try {
  const State& state = *state_;
  if (state.rows == 0)
    refuse("an index of no rows cannot be saved; it was moved from, or never made");
  const fs::path root = samples::common_root(state.shards);
  const json attributes = state.attributes(root);
  ColumnWriter writer = ColumnWriter::replacing(path, empty_manifest(), true);
  ByteProgress bytes("save", state.rows * kRowBytes, progress);
  std::vector<std::string> keys;
  for (std::int64_t first = 0; first < state.rows; first += kSaveRows) {
    const std::int64_t count = std::min(kSaveRows, state.rows - first);
    keys.clear();
    for (std::int64_t i = 0; i < count; ++i) keys.emplace_back(state.key(first + i));
    writer.append(count,
                  {state.offsets + first * kSampleFields, state.sizes + first * kSampleFields,
                   state.digests + first * samples::kDigests},
                  keys.data());
    bytes.advance(count * kRowBytes);
  }
  writer.close([&](Manifest& manifest) { manifest.attributes = attributes; });
} catch (...) {
  rethrow_as_error();
}

void SampleIndex::verify(bool contents, int threads, const ProgressCallback& progress) const try {
  const State& state = *state_;
  if (contents && !state.options.contents) {
    refuse("the index has no digests of contents to compare; build it with contents");
  }
  state.check(progress);
  std::vector<fs::path> paths;
  for (const SampleShard& shard : state.shards) {
    if (samples::is_url(shard.path)) return;
    check_shard(shard, state);
    paths.push_back(shard.path);
  }
  const std::vector<samples::ShardScan> scans =
      samples::scan_shards(paths, samples::FieldNames(state.options.image_extensions), contents,
                           threads, "verify", progress);
  for (std::size_t i = 0; i < scans.size(); ++i) {
    const SampleShard& then = state.shards[i];
    const SampleShard& now = scans[i].shard;
    samples::check_stamp(then, {now.bytes, now.modified}, state.remedy());
    const char* what = nullptr;
    if (now.headers != then.headers) what = "its headers";
    SampleRows rows = state.copy(then.first_row, then.rows);
    if (contents && now.contents != then.contents) what = "its contents";
    if (what == nullptr && scans[i].rows.digests != rows.digests) what = "its members";
    if (what != nullptr) {
      fail(ErrorCode::mismatch, then.path.string(), " was changed after it was indexed (", what,
           " are others, size and time are not); ", state.remedy());
    }
    if (scans[i].rows != rows) {
      damaged(state.path, "its rows are not those of " + then.path.string());
    }
  }
} catch (...) {
  rethrow_as_error();
}

std::int64_t SampleIndex::size() const noexcept { return state_->rows; }
std::string_view SampleIndex::key(std::int64_t row) const { return state_->key(row); }

SampleMember SampleIndex::member(std::int64_t row, SampleField field) const {
  const SampleMember member = state_->member(row, field);
  if (state_->reader) state_->reader->require_whole(row);
  return member;
}

SampleMember SampleIndex::State::member(std::int64_t row, SampleField field) const {
  if (row < 0 || row >= rows) refuse("row ", row, " is outside 0 .. ", rows - 1);
  const std::int64_t at = row * kSampleFields + static_cast<std::int64_t>(field);
  SampleMember member;
  member.shard = shard_of(row);
  if (offsets[at] >= 0) {
    member.state = MemberState::present;
    member.offset = offsets[at];
    member.bytes = sizes[at];
  } else if (offsets[at] == samples::kRefused) {
    member.state = MemberState::refused;
  }
  return member;
}

void SampleIndex::will_need(std::span<const std::int64_t> rows) const noexcept {
  try {
    const std::vector<samples::ByteRange> ranges = samples::ranges_of(
        state_->shards,
        [this](std::int64_t row, SampleField field) { return state_->member(row, field); }, rows);
    if (!ranges.empty()) state_->prefetched = true;
    for (const samples::ByteRange& range : ranges) {
      const auto lease = open_shard(*state_, range.shard);
      expect_no_sequence(lease.file());  // it may have been open before
      for (std::int64_t at = range.begin; at < range.end; at += kLongestHint) {
        (void)::posix_fadvise(lease.file().get(), at, std::min(kLongestHint, range.end - at),
                              POSIX_FADV_WILLNEED);
      }
    }
  } catch (...) {  // read() will say what is wrong
  }
}

SampleMember SampleIndex::readable(std::int64_t row, SampleField field) const {
  const State& state = *state_;
  const SampleMember found = member(row, field);
  const SampleShard& shard = state.shards[static_cast<std::size_t>(found.shard)];
  const auto number = static_cast<std::size_t>(field);
  const auto unreadable = [&](const char* reason, const std::string& what) {
    return unreadable_sample(state, row, reason, what);
  };
  if (found.state == MemberState::absent) {
    throw unreadable(kReasonsOfAbsence[number],
                     std::string("it has no ") + kNouns[number] + " in " + shard.path.string());
  }
  if (found.state == MemberState::refused) {
    throw unreadable(kReasonsOfAbsence[number],
                     std::string("its ") + kNouns[number] +
                         " is a link, a sparse file or a device, which are not followed");
  }
  const std::int64_t limit =
      field == SampleField::image ? samples::kImageLimit : samples::kTextLimit;
  if (found.bytes > limit) {
    const char* most = found.bytes == samples::kSizeCap ? "at least " : "";
    throw unreadable("too_large", std::string("its ") + kNouns[number] + " has " + most +
                                      std::to_string(found.bytes) + " bytes, more than " +
                                      std::to_string(limit));
  }
  if (found.bytes < 0 || found.offset > shard.bytes - found.bytes) {
    damaged(state.path, "row " + std::to_string(row) + " lies outside of its shard");
  }
  return found;
}

void SampleIndex::read(std::int64_t row, SampleField field, std::vector<std::byte>& out) const try {
  const State& state = *state_;
  const SampleMember found = readable(row, field);  // before anything is allocated
  const SampleShard& shard = state.shards[static_cast<std::size_t>(found.shard)];
  out.resize(static_cast<std::size_t>(found.bytes));
  std::size_t got = 0;
  try {
    const auto lease = open_shard(state, found.shard);
    got = read_up_to(lease.file(), out.data(), out.size(), found.offset, shard.path);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::mismatch) throw;
    throw unreadable_sample(state, row, "io", error.what());
  }
  if (got < out.size()) {
    throw unreadable_sample(state, row, "io",
                            shard.path.string() + " ends within its member at offset " +
                                std::to_string(found.offset) +
                                "; the file was cut short after it was opened");
  }
} catch (...) {
  rethrow_as_error();
}

bool SampleIndex::may_be_image(std::int64_t row, std::string_view bytes) const {
  return may_be_same_image(digest_of_image(row), samples::digest_of(bytes));
}

std::uint64_t SampleIndex::digest_of_image(std::int64_t row) const try {
  (void)state_->key(row);  // throws where there is no such row
  return state_->digests[row * samples::kDigests];
} catch (...) {
  rethrow_as_error();
}
std::uint64_t SampleIndex::digest_of_caption(std::int64_t row) const try {
  (void)state_->key(row);
  return state_->digests[row * samples::kDigests + 1];
} catch (...) {
  rethrow_as_error();
}

const std::string& SampleIndex::fingerprint() const noexcept { return state_->fingerprint; }
const SampleCounts& SampleIndex::counts() const noexcept { return state_->counts; }
const std::vector<SampleShard>& SampleIndex::shards() const noexcept { return state_->shards; }
const SampleIndexOptions& SampleIndex::options() const noexcept { return state_->options; }
std::int64_t SampleIndex::scanned() const noexcept { return state_->scanned; }
const fs::path& SampleIndex::path() const noexcept { return state_->path; }
std::int64_t SampleIndex::generation() const noexcept {
  return state_->reader ? state_->reader->manifest().generation : 0;
}

}  // namespace helip
