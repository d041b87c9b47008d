// Memory-mapped columns of a directory of shards, each column one contiguous range of addresses.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/machine.h"
#include "helip/export.h"
#include "helip/matrix.h"
#include "io/manifest.h"
#include "io/mapped_files.h"
#include "io/safetensors.h"

namespace helip {

// Mapped ranges and the strings of one shard's keys. Immutable after construction.
class HELIP_FOR_DATA ColumnReader final : public MappedFiles {
 public:
  // Checks the manifest and every shard header; maps lazily. Where memory pages are larger than the
  // format's 4096 bytes, pieces of a column cannot be mapped one behind the other: files are read.
  ColumnReader(std::filesystem::path directory, const std::string& format,
               std::int64_t page_bytes = memory_page_bytes());
  ~ColumnReader();
  ColumnReader(const ColumnReader&) = delete;
  ColumnReader& operator=(const ColumnReader&) = delete;

  const std::filesystem::path& directory() const noexcept { return directory_; }
  const Manifest& manifest() const noexcept { return manifest_; }
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  // Throws corrupt when the column is absent or has another dtype or width than `spec`.
  [[nodiscard]] MatrixView column(const std::string& name) const;
  [[nodiscard]] std::string_view key(std::int64_t row) const;

  // Compares checksums of the columns named, of every byte when empty. `advance(bytes)` is called
  // now and then and may throw to stop. A shard that a newer generation has replaced meanwhile is
  // read where it is mapped.
  void verify(const std::vector<std::string>& columns,
              const std::function<void(std::int64_t)>& advance) const;
  // Throws corrupt where a file has another size than when it was opened, or was written to since
  // and does not fit its checksums, or was cut short under the mapping (mapped_files.h). Costs a
  // call of the system a file; of the file that a row lies in, one.
  void require_whole() const override;
  void require_whole(std::int64_t row) const;
  [[nodiscard]] std::int64_t bytes() const;

 private:
  struct Mapping;
  struct Shard;

  void verify_shard(std::size_t index, const std::vector<std::string>& columns,
                    const std::function<void(std::int64_t)>& advance) const;
  // Reads the file where there is one, else where it is mapped.
  void verify_shard(std::size_t index, const Descriptor* file,
                    const std::vector<std::string>& columns,
                    const std::function<void(std::int64_t)>& advance) const;
  void require_whole_shard(std::size_t index) const;
  void require_uncut(const Shard& shard) const;
  [[nodiscard]] const char* mapped(std::size_t shard, const TensorInfo& info) const noexcept;
  void require_memory() const;
  void map_shard(std::size_t index);
  void map_column(std::size_t index);

  std::filesystem::path directory_;
  Manifest manifest_;
  std::int64_t page_bytes_;
  std::int64_t rows_ = 0;
  std::vector<Shard> shards_;
  std::vector<Mapping> mappings_;  // one a column
};

// Opens the newest generation, again if a writer replaced it in between.
[[nodiscard]] HELIP_FOR_DATA std::shared_ptr<const ColumnReader> open_columns(
    const std::filesystem::path& directory, const std::string& format);

}  // namespace helip
