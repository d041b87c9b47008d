#include "helip/sample_index.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/empty_state.h"
#include "base/refuse.h"
#include "io/byte_progress.h"
#include "io/column_writer.h"
#include "io/json_text.h"
#include "samples/byte_ranges.h"
#include "samples/sample_state.h"
#include "samples/scan_shards.h"
#include "samples/shard_file.h"
#include "samples/shard_list.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
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

void check_shard(const SampleShard& shard, const SampleIndex::State& state) {
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
  samples::check_stamp(shard, now, state.mend());
}

const char* reason_of_absence(SampleField field) {
  switch (field) {
    case SampleField::image: return "missing_image";
    case SampleField::text:
    case SampleField::json: return "missing_caption";
    case SampleField::label: return "missing_label";
  }
  return "missing";
}

const char* noun_of(SampleField field) {
  switch (field) {
    case SampleField::image: return "picture";
    case SampleField::text: return "text";
    case SampleField::json: return ".json";
    case SampleField::label: return "class";
  }
  return "member";
}

// For SampleIndex::to_bytes(): values one after the other, as they lie in memory.
template <typename Value>
void put(std::string& bytes, const Value* values, std::size_t count) {
  bytes.append(reinterpret_cast<const char*>(values), count * sizeof(Value));
}

template <typename Value>
void get(std::string_view& bytes, Value* values, std::size_t count) {
  if (bytes.size() / sizeof(Value) < count) {
    throw Error(ErrorCode::corrupt, "the bytes of an index end too early; open the data set again");
  }
  if (count == 0) return;
  std::memcpy(values, bytes.data(), count * sizeof(Value));
  bytes.remove_prefix(count * sizeof(Value));
}

template <typename Value>
std::vector<Value> get_vector(std::string_view& bytes, std::size_t count) {
  if (bytes.size() / sizeof(Value) < count)
    count = bytes.size() / sizeof(Value) + 1;  // get() throws
  std::vector<Value> values(count);
  get(bytes, values.data(), count);
  return values;
}

// The system reads ahead no more by itself, which beside pages in memory it does for any read.
void expect_no_sequence(const Descriptor& file) {
  (void)::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM);
}

samples::OpenFiles::Lease open_shard(const SampleIndex::State& state, std::int64_t number) {
  const SampleShard& shard = state.shards[static_cast<std::size_t>(number)];
  return state.files.lease(number, [&] {
    Descriptor file = samples::open_shard_file(shard.path);
    samples::check_stamp(shard, samples::stamp_of(file, shard.path), state.mend());
    if (state.announced) expect_no_sequence(file);
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
                               const SampleIndex* previous) {
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

  auto state = std::make_shared<State>();
  state->options = options;
  state->scanned = static_cast<std::int64_t>(changed.size());
  SampleRows rows;
  std::size_t next_scan = 0;
  for (const std::int64_t old : kept) {
    samples::ShardScan scan;
    if (old >= 0) {
      scan.shard = previous->shards()[static_cast<std::size_t>(old)];
      scan.rows = previous->state_->copy(scan.shard.first_row, scan.shard.rows);
    } else {
      scan = std::move(scans[next_scan++]);
    }
    scan.shard.first_row = rows.size();
    state->shards.push_back(std::move(scan.shard));
    if (rows.size() == 0) {
      rows = std::move(scan.rows);
    } else {
      rows.append(scan.rows);
    }
  }
  if (rows.size() == 0) {
    refuse(paths.size(), " shards have no samples; check that the source is right");
  }
  state->take(std::move(rows));
  state->check_unique();
  return SampleIndex(std::move(state));
}

SampleIndex SampleIndex::open(const fs::path& path, const fs::path& root, bool check_shards) {
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
    state->set_attributes(reader.manifest().attributes, root.empty() ? root : absolute_path(root));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    damaged(path, error.what());
  }
  if (check_shards) {
    for (const SampleShard& shard : state->shards) check_shard(shard, *state);
  }
  return SampleIndex(std::move(state));
}

void SampleIndex::save(const fs::path& path, const ProgressCallback& progress) const {
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
}

std::string SampleIndex::to_bytes() const {
  const State& state = *state_;
  const std::string header = state.attributes(samples::common_root(state.shards)).dump();
  const SampleRows copied = state.reader ? state.copy(0, state.rows) : SampleRows();
  const SampleRows& rows = state.reader ? copied : state.own;
  const std::uint64_t counts[] = {header.size(), static_cast<std::uint64_t>(state.rows),
                                  rows.key_bytes.size()};
  std::string bytes;
  bytes.reserve(sizeof counts + header.size() + rows.key_bytes.size() +
                static_cast<std::size_t>(state.rows + 1) * (kRowBytes + 8));
  put(bytes, counts, 3);
  bytes += header;
  put(bytes, rows.offsets.data(), rows.offsets.size());
  put(bytes, rows.sizes.data(), rows.sizes.size());
  put(bytes, rows.digests.data(), rows.digests.size());
  put(bytes, rows.key_offsets.data(), rows.key_offsets.size());
  bytes += rows.key_bytes;
  return bytes;
}

SampleIndex SampleIndex::from_bytes(std::string_view bytes) {
  std::uint64_t counts[3] = {};
  get(bytes, counts, 3);
  const auto header = get_vector<char>(bytes, counts[0]);
  const std::size_t n = counts[1];
  SampleRows rows;
  rows.offsets = get_vector<std::int64_t>(bytes, n * kSampleFields);
  rows.sizes = get_vector<std::int32_t>(bytes, n * kSampleFields);
  rows.digests = get_vector<std::uint64_t>(bytes, n * samples::kDigests);
  rows.key_offsets = get_vector<std::uint64_t>(bytes, n + 1);
  rows.key_bytes = bytes;
  const bool ascending = std::is_sorted(rows.key_offsets.begin(), rows.key_offsets.end());
  if (!ascending || rows.key_offsets.back() != counts[2] || bytes.size() != counts[2]) {
    throw Error(ErrorCode::corrupt, "the keys of an index are damaged; open the data set again");
  }
  auto state = std::make_shared<State>();
  try {
    state->rows = rows.size();
    state->set_attributes(parse_json({header.data(), header.size()}), {});
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::corrupt, std::string("the bytes of an index are damaged: ") +
                                        error.what() + "; open the data set again");
  }
  state->take(std::move(rows));
  return SampleIndex(std::move(state));
}

void SampleIndex::verify(bool contents, int threads, const ProgressCallback& progress) const {
  const State& state = *state_;
  if (contents && !state.options.contents) {
    refuse("the index has no digests of contents to compare; build it with contents");
  }
  state.check(progress);
  std::vector<fs::path> paths;
  for (const SampleShard& shard : state.shards) {
    check_shard(shard, state);
    paths.push_back(shard.path);
  }
  const std::vector<samples::ShardScan> scans =
      samples::scan_shards(paths, samples::FieldNames(state.options.image_extensions), contents,
                           threads, "verify", progress);
  for (std::size_t i = 0; i < scans.size(); ++i) {
    const SampleShard& then = state.shards[i];
    const SampleShard& now = scans[i].shard;
    samples::check_stamp(then, {now.bytes, now.modified}, state.mend());
    const char* what = nullptr;
    if (now.headers != then.headers) what = "its headers";
    SampleRows rows = state.copy(then.first_row, then.rows);
    if (contents && now.contents != then.contents) what = "its contents";
    if (what == nullptr && scans[i].rows.digests != rows.digests) what = "its members";
    if (what != nullptr) {
      fail(ErrorCode::mismatch, then.path.string(), " was changed after it was indexed (", what,
           " are others, size and time are not); ", state.mend());
    }
    if (scans[i].rows != rows) {
      damaged(state.path, "its rows are not those of " + then.path.string());
    }
  }
}

std::int64_t SampleIndex::size() const noexcept { return state_->rows; }
std::string_view SampleIndex::key(std::int64_t row) const { return state_->key(row); }

SampleMember SampleIndex::member(std::int64_t row, SampleField field) const {
  const State& state = *state_;
  if (row < 0 || row >= state.rows) {
    refuse("row ", row, " is outside 0 .. ", state.rows - 1);
  }
  const std::int64_t at = row * kSampleFields + static_cast<std::int64_t>(field);
  SampleMember member;
  member.shard = state.shard_of(row);
  if (state.offsets[at] >= 0) {
    member.state = MemberState::present;
    member.offset = state.offsets[at];
    member.bytes = state.sizes[at];
  } else if (state.offsets[at] == samples::kRefused) {
    member.state = MemberState::refused;
  }
  return member;
}

void SampleIndex::will_need(std::span<const std::int64_t> rows) const noexcept {
  try {
    const std::vector<samples::ByteRange> ranges = samples::ranges_of(*this, rows);
    if (!ranges.empty()) state_->announced = true;
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

void SampleIndex::read(std::int64_t row, SampleField field, std::vector<std::byte>& out) const {
  const State& state = *state_;
  const SampleMember found = member(row, field);
  const SampleShard& shard = state.shards[static_cast<std::size_t>(found.shard)];
  const auto unreadable = [&](const char* reason, const std::string& what) {
    return SampleError(reason, "sample '" + std::string(state.key(row)) + "' (row " +
                                   std::to_string(row) + "): " + what);
  };
  if (found.state == MemberState::absent) {
    throw unreadable(reason_of_absence(field),
                     std::string("it has no ") + noun_of(field) + " in " + shard.path.string());
  }
  if (found.state == MemberState::refused) {
    throw unreadable(reason_of_absence(field),
                     std::string("its ") + noun_of(field) +
                         " is a link, a sparse file or a device, which are not followed");
  }
  const std::int64_t limit =
      field == SampleField::image ? samples::kImageLimit : samples::kTextLimit;
  if (found.bytes > limit) {
    const char* most = found.bytes == samples::kSizeCap ? "at least " : "";
    throw unreadable("too_large", std::string("its ") + noun_of(field) + " has " + most +
                                      std::to_string(found.bytes) + " bytes, more than " +
                                      std::to_string(limit));
  }
  // Before anything is allocated.
  if (found.bytes < 0 || found.offset > shard.bytes - found.bytes) {
    damaged(state.path, "row " + std::to_string(row) + " lies outside of its shard");
  }
  out.resize(static_cast<std::size_t>(found.bytes));
  std::size_t got = 0;
  try {
    const auto lease = open_shard(state, found.shard);
    got = read_up_to(lease.file(), out.data(), out.size(), found.offset, shard.path);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::mismatch) throw;
    throw unreadable("io", error.what());
  }
  if (got < out.size()) {
    throw unreadable("io", shard.path.string() + " ends within its member at offset " +
                               std::to_string(found.offset) +
                               "; the file was cut short after it was opened");
  }
}

std::uint64_t SampleIndex::digest_of_image(std::int64_t row) const {
  (void)state_->key(row);  // throws where there is no such row
  return state_->digests[row * samples::kDigests];
}
std::uint64_t SampleIndex::digest_of_caption(std::int64_t row) const {
  (void)state_->key(row);
  return state_->digests[row * samples::kDigests + 1];
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
