#include "io/shard.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/refuse.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostBytes = std::int64_t{1} << 62;
constexpr std::size_t kCopyBlock = std::size_t{4} << 20;

}  // namespace

std::int64_t round_up(std::int64_t value, std::int64_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

std::string shard_name(std::int64_t number) {
  const std::string digits = std::to_string(number);
  return "shard-" + std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits +
         ".safetensors";
}

bool is_shard_name(const std::string& name) noexcept {
  return name.starts_with("shard-") && name.ends_with(".safetensors");
}

void ShardLayout::add(std::string name, DType dtype, std::vector<std::int64_t> shape, bool align) {
  const std::int64_t gap = round_up(end_, kColumnAlignment) - end_;
  if (align && gap > 0) {
    put(std::string(kPaddingPrefix) + std::to_string(fillers_++), DType::uint8, {gap});
  }
  put(std::move(name), dtype, std::move(shape));
}

void ShardLayout::put(std::string name, DType dtype, std::vector<std::int64_t> shape) {
  std::int64_t bytes = size_of(dtype);
  for (const std::int64_t extent : shape) bytes *= extent;
  tensors_.push_back({std::move(name), dtype, std::move(shape), end_, end_ + bytes});
  end_ += bytes;
}

ShardWriter::ShardWriter(fs::path directory, const std::vector<ColumnSpec>& columns, bool with_keys,
                         std::int64_t capacity)
    : columns_(columns),
      with_keys_(with_keys),
      capacity_(capacity),
      directory_(std::move(directory)),
      staging_(directory_) {
  std::int64_t end = kShardHeaderBytes;
  for (const ColumnSpec& column : columns_) {
    offsets_.push_back(end);
    std::int64_t bytes = capacity_;
    if (!checked_multiply(bytes, column.row_bytes()) || bytes > kMostBytes - end) {
      refuse("a shard of ", capacity_,
             " rows has more bytes than a file can; use fewer shard_rows");
    }
    end = round_up(end + bytes, kColumnAlignment);
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
  ShardLayout layout;
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
  const std::string header = make_safetensors_header(layout.tensors(), kShardHeaderBytes);
  file.write_at(header.data(), header.size(), 0);
  record.header_digest = digest_hex(header.data(), header.size());
  file.publish(name);
  return record;
}

}  // namespace helip
