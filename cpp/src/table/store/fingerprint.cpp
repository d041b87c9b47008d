#include "table/store/fingerprint.h"

#include "io/checksum.h"

namespace helip {

std::string content_fingerprint(const Manifest& manifest, const std::string& keys_fingerprint) {
  Digest digest;
  digest.update_field(manifest.format);
  digest.update_field(keys_fingerprint);
  for (const ColumnSpec& column : manifest.columns) {
    digest.update_field(column.name);
    digest.update_field(name_of(column.dtype));
    digest.update_field(std::to_string(column.cols));
  }
  for (const ShardRecord& shard : manifest.shards) {
    digest.update_field(std::to_string(shard.rows));
    for (const ColumnSpec& column : manifest.columns) {
      digest.update_field(shard.digests.at(column.name));
    }
  }
  return digest.hex();
}

std::string content_fingerprint(const ColumnReader& reader, std::int64_t rows) {
  Manifest first = reader.manifest();
  const std::int64_t full = rows / first.shard_rows;
  const std::int64_t rest = rows % first.shard_rows;
  const auto shards = static_cast<std::size_t>(full + (rest > 0 ? 1 : 0));
  first.shards.resize(shards);
  if (rest > 0 && first.shards.back().rows != rest) {
    ShardRecord& tail = first.shards.back();
    tail.rows = rest;
    for (const ColumnSpec& column : first.columns) {
      tail.digests[column.name] =
          digest_hex(reader.column(column.name).row(full * first.shard_rows),
                     static_cast<std::size_t>(rest * column.row_bytes()));
    }
  }
  Digest keys;
  for (std::int64_t row = 0; row < rows; ++row) keys.update_field(reader.key(row));
  return content_fingerprint(first, keys.hex());
}

std::string fingerprint_without(const std::string& content_fingerprint,
                                const std::string& deleted_digest) {
  Digest digest;
  digest.update_field(content_fingerprint);
  digest.update_field(kDeletedRows);
  digest.update_field(deleted_digest);
  return digest.hex();
}

}  // namespace helip
