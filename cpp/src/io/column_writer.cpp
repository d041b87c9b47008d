#include "io/column_writer.h"

#include <algorithm>
#include <utility>

#include "helip/error.h"
#include "io/column_reader.h"
#include "io/safetensors.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kHeaderBytes = kColumnAlignment;
constexpr std::size_t kCopyBlock = std::size_t{4} << 20;

std::int64_t aligned(std::int64_t value) {
  return (value + kColumnAlignment - 1) / kColumnAlignment * kColumnAlignment;
}

std::string shard_name(std::int64_t number) {
  const std::string digits = std::to_string(number);
  return "shard-" + std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits +
         ".safetensors";
}

bool is_shard_name(const std::string& name) {
  return name.starts_with("shard-") && name.ends_with(".safetensors");
}

// Lays tensors one after the other, each at the alignment, with filler tensors between.
class Layout {
 public:
  void add(std::string name, DType dtype, std::vector<std::int64_t> shape, bool align = true) {
    std::int64_t bytes = size_of(dtype);
    for (const std::int64_t extent : shape) bytes *= extent;
    if (align && end_ != aligned(end_)) {
      const std::int64_t gap = aligned(end_) - end_;
      tensors_.push_back({std::string(kPaddingPrefix) + std::to_string(fillers_++),
                          DType::uint8,
                          {gap},
                          end_,
                          end_ + gap});
      end_ += gap;
    }
    tensors_.push_back({std::move(name), dtype, std::move(shape), end_, end_ + bytes});
    end_ += bytes;
  }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  std::int64_t end() const { return end_; }

 private:
  std::vector<TensorInfo> tensors_;
  std::int64_t end_ = kHeaderBytes;
  int fillers_ = 0;
};

}  // namespace

ShardWriter::ShardWriter(fs::path directory, const std::vector<ColumnSpec>& columns, bool with_keys,
                         std::int64_t capacity)
    : columns_(columns),
      with_keys_(with_keys),
      capacity_(capacity),
      directory_(std::move(directory)),
      staging_(directory_) {
  std::int64_t end = kHeaderBytes;
  for (const ColumnSpec& column : columns_) {
    offsets_.push_back(end);
    end = aligned(end + capacity_ * column.row_bytes());
  }
  digests_.resize(columns_.size());
}

void ShardWriter::append(std::int64_t n, const std::vector<const void*>& data,
                         const std::string* keys) {
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const auto bytes = static_cast<std::size_t>(n * columns_[c].row_bytes());
    staging_.write_at(data[c], bytes, offsets_[c] + rows_ * columns_[c].row_bytes());
    digests_[c].update(data[c], bytes);
  }
  for (std::int64_t i = 0; with_keys_ && i < n; ++i) {
    key_bytes_ += keys[i];
    key_offsets_.push_back(key_bytes_.size());
  }
  rows_ += n;
}

ShardRecord ShardWriter::publish(const std::string& name) {
  Layout layout;
  for (const ColumnSpec& column : columns_) {
    layout.add(column.name, column.dtype, column.shape(rows_));
  }
  if (with_keys_) {
    layout.add(kKeyOffsetsTensor, DType::uint64, {rows_ + 1});
    layout.add(kKeysTensor, DType::uint8, {static_cast<std::int64_t>(key_bytes_.size())}, false);
  }
  ShardRecord record;
  record.file = name;
  record.rows = rows_;
  record.bytes = layout.end();

  const bool in_place = rows_ == capacity_;
  std::optional<PendingFile> copy;
  if (!in_place) copy.emplace(directory_);
  PendingFile& file = in_place ? staging_ : *copy;
  file.reserve(layout.end());
  file.truncate(layout.end());
  std::vector<char> block(in_place ? 0 : kCopyBlock);
  for (const TensorInfo& info : layout.tensors()) {
    const auto bytes = static_cast<std::size_t>(info.end - info.begin);
    const auto column = std::find_if(columns_.begin(), columns_.end(),
                                     [&](const auto& spec) { return spec.name == info.name; });
    if (column != columns_.end()) {
      const auto c = static_cast<std::size_t>(column - columns_.begin());
      for (std::size_t done = 0; !in_place && done < bytes;) {
        const std::size_t part = std::min(bytes - done, block.size());
        staging_.read_at(block.data(), part, offsets_[c] + static_cast<std::int64_t>(done));
        file.write_at(block.data(), part, info.begin + static_cast<std::int64_t>(done));
        done += part;
      }
      record.digests[info.name] = digests_[c].hex();
    } else if (info.name == kKeyOffsetsTensor) {
      file.write_at(key_offsets_.data(), bytes, info.begin);
      record.digests[info.name] = digest_hex(key_offsets_.data(), bytes);
    } else if (info.name == kKeysTensor) {
      file.write_at(key_bytes_.data(), bytes, info.begin);
      record.digests[info.name] = digest_hex(key_bytes_.data(), bytes);
    } else {
      const std::string zeros(bytes, '\0');
      file.write_at(zeros.data(), bytes, info.begin);
      record.digests[info.name] = digest_hex(zeros.data(), bytes);
    }
  }
  const std::string header = make_safetensors_header(layout.tensors(), kHeaderBytes);
  file.write_at(header.data(), header.size(), 0);
  record.header_digest = digest_hex(header.data(), header.size());
  file.publish(name);
  return record;
}

ColumnWriter::ColumnWriter(fs::path directory, Manifest empty, bool with_keys)
    : directory_(std::move(directory)), manifest_(std::move(empty)), with_keys_(with_keys) {
  if (fs::exists(directory_ / kManifestName)) {
    throw Error(ErrorCode::invalid_argument, "\"" + directory_.string() +
                                                 "\" already holds a committed " +
                                                 "manifest; choose another path or remove it");
  }
  make_directory(directory_);
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    const bool ours =
        name == ".lock" || name.starts_with(PendingFile::kPrefix) || is_shard_name(name);
    if (!ours) {
      throw Error(ErrorCode::invalid_argument, "\"" + directory_.string() +
                                                   "\" is not empty (it holds \"" + name +
                                                   "\"); choose a new directory");
    }
  }
  lock_.emplace(directory_);
  for (const auto& entry : fs::directory_iterator(directory_)) {
    if (entry.path().filename() != ".lock") remove_file(entry.path());
  }
}

ColumnWriter::ColumnWriter(fs::path directory, const std::string& format, bool with_keys)
    : directory_(std::move(directory)), with_keys_(with_keys) {
  read_manifest(directory_, format);  // before the lock file is made in somebody else's directory
  lock_.emplace(directory_);
  manifest_ = read_manifest(directory_, format);
  rows_ = committed_rows_ = manifest_.rows();
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    const bool listed = std::any_of(manifest_.shards.begin(), manifest_.shards.end(),
                                    [&](const auto& shard) { return shard.file == name; });
    // Left by a writer that was killed; no manifest names it.
    if (!listed && (is_shard_name(name) || name.starts_with(PendingFile::kPrefix)))
      remove_file(entry.path());
  }
  first_uncommitted_shard_ = static_cast<std::int64_t>(manifest_.shards.size());
}

ColumnWriter ColumnWriter::replacing(fs::path directory, Manifest empty, bool with_keys) {
  ColumnWriter writer(std::move(directory), empty.format, with_keys);
  for (const ShardRecord& shard : writer.manifest_.shards) {
    writer.replaced_.push_back(writer.directory_ / shard.file);
  }
  empty.generation = writer.manifest_.generation;
  empty.next_shard = writer.manifest_.next_shard;
  writer.manifest_ = std::move(empty);
  writer.rows_ = writer.committed_rows_ = 0;
  writer.first_uncommitted_shard_ = 0;
  return writer;
}

ColumnWriter::~ColumnWriter() {
  if (!owns_) return;
  tail_.reset();
  for (std::size_t i = static_cast<std::size_t>(first_uncommitted_shard_);
       i < manifest_.shards.size(); ++i) {
    remove_file(directory_ / manifest_.shards[i].file);
  }
  if (!committed()) {
    remove_file(directory_ / ".lock");
    std::error_code ignored;
    fs::remove(directory_, ignored);
  }
}

ColumnWriter::ColumnWriter(ColumnWriter&& other) noexcept
    : directory_(std::move(other.directory_)),
      lock_(std::move(other.lock_)),
      manifest_(std::move(other.manifest_)),
      with_keys_(other.with_keys_),
      owns_(std::exchange(other.owns_, false)),
      rows_(other.rows_),
      committed_rows_(other.committed_rows_),
      first_uncommitted_shard_(other.first_uncommitted_shard_),
      tail_(std::move(other.tail_)),
      obsolete_tail_(std::move(other.obsolete_tail_)),
      replaced_(std::move(other.replaced_)) {}

void ColumnWriter::open_shard() {
  tail_.emplace(directory_, manifest_.columns, with_keys_, manifest_.shard_rows);
}

void ColumnWriter::reload_tail() {
  const ColumnReader reader(directory_, manifest_.format);
  const std::int64_t first = rows_ / manifest_.shard_rows * manifest_.shard_rows;
  const std::int64_t n = rows_ - first;
  open_shard();
  std::vector<const void*> data;
  for (const ColumnSpec& column : manifest_.columns) {
    data.push_back(reader.column(column.name).row(first));
  }
  std::vector<std::string> keys;
  for (std::int64_t i = 0; with_keys_ && i < n; ++i) keys.emplace_back(reader.key(first + i));
  tail_->append(n, data, keys.data());
  obsolete_tail_ = directory_ / manifest_.shards.back().file;
}

void ColumnWriter::append(std::int64_t n, const std::vector<const void*>& data,
                          const std::string* keys) {
  std::vector<const void*> cursor = data;
  for (std::int64_t done = 0; done < n;) {
    if (!tail_) {
      // The committed tail is copied only now: a commit of other things leaves it as it is.
      if (rows_ % manifest_.shard_rows != 0) {
        reload_tail();
      } else {
        open_shard();
      }
    }
    const std::int64_t part = std::min(n - done, tail_->room());
    tail_->append(part, cursor, keys == nullptr ? nullptr : keys + done);
    for (std::size_t c = 0; c < cursor.size(); ++c) {
      cursor[c] = static_cast<const char*>(cursor[c]) + part * manifest_.columns[c].row_bytes();
    }
    done += part;
    rows_ += part;
    if (tail_->room() > 0) continue;
    // A full shard takes the place of the committed tail that it grew from.
    const auto index = static_cast<std::size_t>((rows_ - 1) / manifest_.shard_rows);
    ShardRecord record = tail_->publish(shard_name(manifest_.next_shard++));
    tail_.reset();
    manifest_.shards.resize(index);
    first_uncommitted_shard_ = std::min(first_uncommitted_shard_, static_cast<std::int64_t>(index));
    manifest_.shards.push_back(std::move(record));
  }
}

void ColumnWriter::commit(const std::function<void(Manifest&)>& finish) { publish(finish, false); }

void ColumnWriter::close(const std::function<void(Manifest&)>& finish) { publish(finish, true); }

void ColumnWriter::publish(const std::function<void(Manifest&)>& finish, bool last) {
  Manifest next = manifest_;
  next.generation += 1;
  std::optional<fs::path> tail_path;
  const auto full = static_cast<std::size_t>(rows_ / next.shard_rows);
  if (tail_ && rows_ != committed_rows_) {
    next.shards.resize(full);
    const std::string name = shard_name(next.next_shard++);
    next.shards.push_back(tail_->publish(name));
    tail_path = directory_ / name;
  }
  if (last) tail_.reset();
  try {
    finish(next);
    write_manifest(directory_, next);
  } catch (...) {
    if (tail_path) remove_file(*tail_path);
    throw;
  }
  manifest_ = std::move(next);
  committed_rows_ = rows_;
  first_uncommitted_shard_ = static_cast<std::int64_t>(manifest_.shards.size());
  // A reader that holds an older generation keeps its mapping; the names may go.
  if (obsolete_tail_ && (tail_path || !tail_)) {
    remove_file(*obsolete_tail_);
    obsolete_tail_.reset();
  }
  if (tail_path) obsolete_tail_ = tail_path;
  for (const fs::path& shard : replaced_) remove_file(shard);
  replaced_.clear();
}

}  // namespace helip
