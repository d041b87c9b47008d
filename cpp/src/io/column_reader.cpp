#include "io/column_reader.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/machine.h"
#include "base/refuse.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/shard.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kVerifyBlock = std::size_t{4} << 20;

[[noreturn]] void corrupt(const fs::path& file, const std::string& what) {
  throw_damaged(file, what, "restore it from a copy or write it again");
}

}  // namespace

// One reserved range of addresses; pieces of files are laid over it, or read into it where the
// machine's memory pages are larger than those of the format.
struct ColumnReader::Mapping {
  char* base = nullptr;
  std::int64_t reserved = 0;
  bool is_read = false;
  MappedRange range;  // ends before the addresses are given back

  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : base(std::exchange(other.base, nullptr)),
        reserved(std::exchange(other.reserved, 0)),
        is_read(other.is_read),
        range(std::move(other.range)) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    range = MappedRange();
    if (base != nullptr) ::munmap(base, static_cast<std::size_t>(reserved));
  }

  void reserve(std::int64_t bytes, std::int64_t page_bytes, const MappedFiles& files) {
    reserved = round_up(std::max<std::int64_t>(bytes, 1), page_bytes);
    is_read = page_bytes > kColumnAlignment;
    void* address = ::mmap(nullptr, static_cast<std::size_t>(reserved),
                           is_read ? PROT_READ | PROT_WRITE : PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | (is_read ? 0 : MAP_NORESERVE), -1, 0);
    if (address == MAP_FAILED) {
      throw Error(ErrorCode::out_of_memory,
                  "cannot reserve " + std::to_string(reserved) + " bytes of addresses", errno);
    }
    base = static_cast<char*>(address);
    if (!is_read) range = MappedRange(base, reserved, files);
  }

  void place(std::int64_t at, std::int64_t bytes, const Descriptor& file, std::int64_t offset,
             const fs::path& name) {
    if (bytes == 0) return;
    if (is_read) {
      read_exactly(file, base + at, static_cast<std::size_t>(bytes), offset, name);
    } else if (::mmap(base + at, static_cast<std::size_t>(bytes), PROT_READ, MAP_SHARED | MAP_FIXED,
                      file.get(), offset) == MAP_FAILED) {
      throw Error(ErrorCode::io, "cannot map \"" + name.string() + "\"", errno);
    }
  }
};

struct ColumnReader::Shard {
  fs::path path;
  std::int64_t first_row = 0;
  SafetensorsHeader header;
  std::optional<MappedFile> file;  // none where it was read
  Mapping keys;                    // the rest of the file from the first key tensor
  const char* key_bytes = nullptr;
  std::int64_t key_bytes_size = 0;
  const std::uint64_t* key_offsets = nullptr;  // [rows + 1]
};

ColumnReader::ColumnReader(fs::path directory, const std::string& format, std::int64_t page_bytes)
    : directory_(std::move(directory)),
      manifest_(read_manifest(directory_, format)),
      page_bytes_(page_bytes) {
  rows_ = manifest_.rows();
  if (page_bytes_ > kColumnAlignment) require_memory();
  mappings_.resize(manifest_.columns.size());
  for (std::size_t i = 0; i < manifest_.columns.size(); ++i) map_column(i);
  shards_.reserve(manifest_.shards.size());
  for (std::size_t i = 0; i < manifest_.shards.size(); ++i) map_shard(i);
}

ColumnReader::~ColumnReader() = default;

void ColumnReader::require_memory() const {
  const std::int64_t memory = this_machine().memory;
  if (memory > 0 && bytes() > memory) {
    fail(ErrorCode::out_of_memory, '"', directory_.string(), "\" has ", bytes(),
         " bytes, and this machine has ", memory, " of memory. Its memory pages of ", page_bytes_,
         " bytes are larger than the ", kColumnAlignment,
         " of the format, so files are read and not mapped; use a kernel with pages of ",
         kColumnAlignment, " bytes");
  }
}

void ColumnReader::map_column(std::size_t index) {
  const ColumnSpec& spec = manifest_.columns[index];
  std::int64_t column_bytes = rows_;
  if (!checked_multiply(column_bytes, spec.row_bytes()) || column_bytes > bytes()) {
    corrupt(directory_ / kManifestName,
            "column \"" + spec.name + "\" has more bytes than its shards");
  }
  mappings_[index].reserve(column_bytes, page_bytes_, *this);
}

void ColumnReader::map_shard(std::size_t index) {
  const ShardRecord& record = manifest_.shards[index];
  Shard shard;
  shard.path = directory_ / record.file;
  shard.first_row = static_cast<std::int64_t>(index) * manifest_.shard_rows;
  Descriptor file = open_for_reading(shard.path);
  const std::int64_t size = file_size(file, shard.path);
  if (size != record.bytes) {
    corrupt(shard.path, "it has " + std::to_string(size) + " bytes, its manifest says " +
                            std::to_string(record.bytes));
  }
  shard.header = read_safetensors_header(file, shard.path);
  if (digest_hex(shard.header.bytes.data(), shard.header.bytes.size()) != record.header_digest) {
    corrupt(shard.path, "its header's checksum does not match the manifest");
  }
  for (std::size_t c = 0; c < manifest_.columns.size(); ++c) {
    const ColumnSpec& spec = manifest_.columns[c];
    const TensorInfo& info = shard.header.at(spec.name, shard.path);
    if (info.dtype != spec.dtype || info.shape != spec.shape(record.rows)) {
      corrupt(shard.path, "column \"" + spec.name + "\" has another dtype or shape");
    }
    mappings_[c].place(shard.first_row * spec.row_bytes(), info.end - info.begin, file, info.begin,
                       shard.path);
  }
  const auto& tensors = shard.header.tensors;
  const bool has_keys = std::any_of(tensors.begin(), tensors.end(),
                                    [](const auto& info) { return info.name == kKeysTensor; });
  if (has_keys) {
    const TensorInfo& offsets = shard.header.at(kKeyOffsetsTensor, shard.path);
    const TensorInfo& keys = shard.header.at(kKeysTensor, shard.path);
    if (offsets.dtype != DType::uint64 || keys.dtype != DType::uint8 ||
        offsets.shape != std::vector{record.rows + 1} || keys.shape.size() != 1 ||
        offsets.end != keys.begin || offsets.begin % kColumnAlignment != 0) {
      corrupt(shard.path, "the keys have another dtype, shape or place");
    }
    const std::int64_t bytes = keys.end - offsets.begin;
    shard.keys.reserve(bytes, page_bytes_, *this);
    shard.keys.place(0, bytes, file, offsets.begin, shard.path);
    shard.key_offsets = reinterpret_cast<const std::uint64_t*>(shard.keys.base);
    shard.key_bytes = shard.keys.base + (offsets.end - offsets.begin);
    shard.key_bytes_size = keys.end - keys.begin;
  }
  if (page_bytes_ <= kColumnAlignment) shard.file.emplace(std::move(file), shard.path);
  shards_.push_back(std::move(shard));
}

MatrixView ColumnReader::column(const std::string& name) const {
  for (std::size_t i = 0; i < manifest_.columns.size(); ++i) {
    const ColumnSpec& spec = manifest_.columns[i];
    if (spec.name == name) {
      return {mappings_[i].base, rows_, spec.width(), spec.dtype, spec.row_bytes(), nullptr};
    }
  }
  corrupt(directory_ / kManifestName, "column \"" + name + "\" is absent");
}

std::string_view ColumnReader::key(std::int64_t row) const {
  if (row < 0 || row >= rows_) {
    refuse("row ", row, " is outside 0 .. ", rows_ - 1);
  }
  const Shard& shard = shards_[static_cast<std::size_t>(row / manifest_.shard_rows)];
  const auto local = static_cast<std::size_t>(row % manifest_.shard_rows);
  if (shard.key_offsets == nullptr) corrupt(shard.path, "it has no keys");
  const std::uint64_t begin = shard.key_offsets[local];
  const std::uint64_t end = shard.key_offsets[local + 1];
  // What is gone of a file reads as zeros, and so would the end of the key.
  if (begin >= end || end > static_cast<std::uint64_t>(shard.key_bytes_size) ||
      shard.key_bytes[end - 1] == '\0') {
    require_whole();
  }
  if (begin > end || end > static_cast<std::uint64_t>(shard.key_bytes_size)) {
    corrupt(shard.path, "the key of row " + std::to_string(row) + " lies outside the file");
  }
  return {shard.key_bytes + begin, static_cast<std::size_t>(end - begin)};
}

void ColumnReader::verify(const std::vector<std::string>& columns,
                          const std::function<void(std::int64_t)>& advance) const {
  for (std::size_t i = 0; i < shards_.size(); ++i) verify_shard(i, columns, advance);
}

void ColumnReader::verify_shard(std::size_t index, const std::vector<std::string>& columns,
                                const std::function<void(std::int64_t)>& advance) const {
  const Shard& shard = shards_[index];
  std::optional<Descriptor> file;
  try {
    file.emplace(open_for_reading(shard.path));
  } catch (const Error& error) {
    if (error.system_errno() != ENOENT) throw;
    // A newer generation that needs it no more took its name away; the mapping keeps the file.
    if (read_manifest(directory_, manifest_.format).generation == manifest_.generation) throw;
  }
  verify_shard(index, file ? &*file : nullptr, columns, advance);
}

void ColumnReader::verify_shard(std::size_t index, const Descriptor* file,
                                const std::vector<std::string>& columns,
                                const std::function<void(std::int64_t)>& advance) const {
  const Shard& shard = shards_[index];
  if (file != nullptr && columns.empty()) {
    std::string header(shard.header.bytes.size(), '\0');
    read_exactly(*file, header.data(), header.size(), 0, shard.path);
    if (header != shard.header.bytes) corrupt(shard.path, "its header has changed");
  }
  std::vector<char> block(kVerifyBlock);
  for (const TensorInfo& info : shard.header.tensors) {
    if (!columns.empty() && std::find(columns.begin(), columns.end(), info.name) == columns.end()) {
      continue;
    }
    const char* data = file != nullptr ? nullptr : mapped(index, info);
    if (file == nullptr && data == nullptr) continue;  // filler
    Digest digest;
    for (std::int64_t at = info.begin; at < info.end;) {
      const auto bytes = std::min<std::int64_t>(info.end - at, kVerifyBlock);
      if (file != nullptr) {
        // pread, not the mapping: a file cut short under us is an error, not a signal.
        read_exactly(*file, block.data(), static_cast<std::size_t>(bytes), at, shard.path);
        digest.update(block.data(), static_cast<std::size_t>(bytes));
      } else {
        digest.update(data + (at - info.begin), static_cast<std::size_t>(bytes));
      }
      at += bytes;
      if (advance) advance(bytes);
    }
    if (file == nullptr) require_uncut(shard);
    const auto& digests = manifest_.shards[index].digests;
    const auto expected = digests.find(info.name);
    if (expected == digests.end() || expected->second != digest.hex()) {
      corrupt(shard.path, "the checksum of \"" + info.name + "\" does not match");
    }
  }
}

const char* ColumnReader::mapped(std::size_t shard, const TensorInfo& info) const noexcept {
  for (std::size_t c = 0; c < manifest_.columns.size(); ++c) {
    const ColumnSpec& spec = manifest_.columns[c];
    if (spec.name == info.name) {
      return mappings_[c].base + shards_[shard].first_row * spec.row_bytes();
    }
  }
  if (info.name == kKeysTensor) return shards_[shard].key_bytes;
  if (info.name == kKeyOffsetsTensor) {
    return reinterpret_cast<const char*>(shards_[shard].key_offsets);
  }
  return nullptr;
}

void ColumnReader::require_whole() const {
  keep_guard();
  for (std::size_t i = 0; i < shards_.size(); ++i) require_whole_shard(i);
}

void ColumnReader::require_whole(std::int64_t row) const {
  keep_guard();
  require_whole_shard(static_cast<std::size_t>(row / manifest_.shard_rows));
}

void ColumnReader::require_whole_shard(std::size_t index) const {
  const Shard& shard = shards_[index];
  if (!shard.file) return;
  shard.file->require_whole([&](const Descriptor* file) { verify_shard(index, file, {}, {}); });
  require_uncut(shard);
}

void ColumnReader::require_uncut(const Shard& shard) const {
  bool cut = shard.keys.range.was_cut();
  for (const Mapping& mapping : mappings_) cut = cut || mapping.range.was_cut();
  if (!cut) return;
  throw_damaged(directory_, "one of its files became shorter while it was read",
                "restore it from a copy or write it again, and open it anew");
}

std::int64_t ColumnReader::bytes() const {
  std::int64_t sum = 0;
  for (const ShardRecord& shard : manifest_.shards) sum += shard.bytes;
  return sum;
}

std::shared_ptr<const ColumnReader> open_columns(const fs::path& directory,
                                                 const std::string& format) {
  for (std::int64_t seen = 0;;) {
    try {
      return std::make_shared<const ColumnReader>(directory, format);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::io && error.code() != ErrorCode::corrupt) throw;
      const std::int64_t generation = read_manifest(directory, format).generation;
      if (generation == seen) throw;
      seen = generation;
    }
  }
}

}  // namespace helip
