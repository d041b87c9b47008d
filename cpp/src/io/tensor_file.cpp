#include "io/tensor_file.h"

#include <algorithm>
#include <utility>

#include "io/checksum.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPage = 4096;  // the first tensor begins on one
constexpr std::int64_t kBlock = std::int64_t{4} << 20;
constexpr std::int64_t kReadBytes = std::int64_t{256} << 10;  // stay in a cache for their checksum
constexpr std::int64_t kSyncBytes = std::int64_t{64} << 20;   // so that no sync takes long

std::int64_t product_of(const std::vector<std::int64_t>& shape) noexcept {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) elements *= extent;
  return elements;
}

// Whole pages that hold what a header says of these tensors: their names, and at most 160 bytes
// more each.
std::int64_t header_bytes_of(const std::vector<Tensor>& tensors) {
  std::size_t bytes = 16;
  for (const Tensor& tensor : tensors) bytes += tensor.name.size() + 160;
  return (static_cast<std::int64_t>(bytes) + kPage - 1) / kPage * kPage;
}

}  // namespace

std::int64_t Tensor::bytes() const noexcept { return product_of(shape) * size_of(dtype); }

PendingTensors::PendingTensors(const fs::path& directory, const std::vector<Tensor>& tensors,
                               const std::function<void(std::int64_t)>& advance, bool wait)
    : file_(directory) {
  std::vector<TensorInfo> layout;
  const std::int64_t header_bytes = header_bytes_of(tensors);
  std::int64_t end = header_bytes;
  for (const Tensor& tensor : tensors) {
    layout.push_back({tensor.name, tensor.dtype, tensor.shape, end, end + tensor.bytes()});
    end += tensor.bytes();
  }
  record_.rows = 1;
  record_.bytes = end;

  file_.reserve(end);
  const std::string header = make_safetensors_header(layout, header_bytes);
  file_.write_at(header.data(), header.size(), 0);
  record_.header_digest = digest_hex(header.data(), header.size());
  std::int64_t since_sync = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto* data = static_cast<const char*>(tensors[i].data);
    Digest digest;
    for (std::int64_t done = 0; done < tensors[i].bytes(); done += kBlock) {
      const std::int64_t bytes = std::min(kBlock, tensors[i].bytes() - done);
      digest.update(data + done, static_cast<std::size_t>(bytes));
      file_.write_at(data + done, static_cast<std::size_t>(bytes), layout[i].begin + done);
      since_sync += bytes;
      if (since_sync < kSyncBytes) continue;
      if (wait) {
        file_.sync();
      } else {
        file_.begin_sync();
      }
      if (advance) advance(since_sync);
      since_sync = 0;
    }
    record_.digests[tensors[i].name] = digest.hex();
  }
}

ShardRecord PendingTensors::publish(const std::string& name) {
  file_.publish(name);
  record_.file = name;
  return record_;
}

ShardRecord write_tensors(const fs::path& directory, const std::string& name,
                          const std::vector<Tensor>& tensors,
                          const std::function<void(std::int64_t)>& advance) {
  return PendingTensors(directory, tensors, advance, true).publish(name);
}

TensorFile::TensorFile(fs::path path, ShardRecord record)
    : path_(std::move(path)),
      record_(std::move(record)),
      file_(open_for_reading(path_)),
      header_(read_safetensors_header(file_, path_)) {
  if (file_size(file_, path_) != record_.bytes ||
      digest_hex(header_.bytes.data(), header_.bytes.size()) != record_.header_digest) {
    damaged("its header is not the one that the manifest names");
  }
}

void TensorFile::damaged(const std::string& what) const { throw_damaged(path_, what); }

bool TensorFile::has(const std::string& name) const noexcept {
  return std::any_of(header_.tensors.begin(), header_.tensors.end(),
                     [&](const TensorInfo& info) { return info.name == name; });
}

std::int64_t TensorFile::elements(const std::string& name, DType dtype) const {
  const TensorInfo& info = header_.at(name, path_);
  if (info.dtype != dtype) {
    damaged("tensor \"" + name + "\" is " + name_of(info.dtype) + ", not " + name_of(dtype));
  }
  return product_of(info.shape);
}

const TensorInfo& TensorFile::checked(const std::string& name, DType dtype,
                                      std::int64_t elements) const {
  const std::int64_t found = this->elements(name, dtype);
  if (found != elements) {
    damaged("tensor \"" + name + "\" has " + std::to_string(found) + " elements, not " +
            std::to_string(elements));
  }
  return header_.at(name, path_);
}

void TensorFile::compare_digest(const std::string& name, const std::string& digest) const {
  const auto recorded = record_.digests.find(name);
  if (recorded == record_.digests.end() || recorded->second != digest) {
    damaged("tensor \"" + name + "\" has another checksum than the manifest names");
  }
}

void TensorFile::read(const std::string& name, DType dtype, std::int64_t elements,
                      void* out) const {
  const TensorInfo& info = checked(name, dtype, elements);
  auto* data = static_cast<char*>(out);
  Digest digest;
  for (std::int64_t at = info.begin; at < info.end; at += kReadBytes) {
    const auto bytes = static_cast<std::size_t>(std::min(kReadBytes, info.end - at));
    read_exactly(file_, data, bytes, at, path_);
    digest.update(data, bytes);
    data += bytes;
  }
  compare_digest(name, digest.hex());
}

void TensorFile::compare(const std::string& name, DType dtype, std::int64_t elements,
                         const void* data) const {
  const TensorInfo& info = checked(name, dtype, elements);
  compare_digest(name, digest_hex(data, static_cast<std::size_t>(info.end - info.begin)));
}

}  // namespace helip
