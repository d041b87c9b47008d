#include "table/store_layout.h"

#include <string>
#include <utility>

#include "base/refuse.h"
#include "io/file.h"
#include "io/shard_layout.h"

namespace helip {

void check_store_options(const StoreOptions& options) {
  constexpr std::int64_t kDimLimit = 1 << 20;
  for (const auto& [name, dim] :
       {std::pair{"image_dim", options.image_dim}, std::pair{"text_dim", options.text_dim}}) {
    if (dim < 1 || dim > kDimLimit) {
      refuse(name, " is ", dim, "; it must lie in 1 .. ", kDimLimit);
    }
  }
  if (options.shard_rows < kColumnAlignment || options.shard_rows % kColumnAlignment != 0) {
    refuse("shard_rows is ", options.shard_rows, "; use a positive multiple of ", kColumnAlignment);
  }
  if (options.dtype != DType::float32 && options.dtype != DType::float16 &&
      options.dtype != DType::bfloat16 && options.dtype != DType::int8) {
    refuse("a store cannot hold ", name_of(options.dtype),
           "; use float32, float16, bfloat16 or int8");
  }
}

std::vector<ColumnSpec> store_columns(const StoreOptions& options) {
  std::vector<ColumnSpec> columns{{kImageColumn, options.dtype, options.image_dim},
                                  {kTextColumn, options.dtype, options.text_dim}};
  if (options.dtype == DType::int8) {
    columns.push_back({kImageScaleColumn, DType::float32});
    columns.push_back({kTextScaleColumn, DType::float32});
  }
  return columns;
}

StoreOptions store_options_of(const Manifest& manifest, const std::filesystem::path& path) {
  StoreOptions options;
  options.shard_rows = manifest.shard_rows;
  if (manifest.columns.size() >= 2) {
    options.dtype = manifest.columns[0].dtype;
    options.image_dim = manifest.columns[0].cols;
    options.text_dim = manifest.columns[1].cols;
  }
  if (manifest.columns != store_columns(options)) {
    throw_damaged(path, "its columns are not those of a store");
  }
  return options;
}

Tombstones tombstones_of(const Manifest& manifest) {
  if (manifest.features.empty()) return {};
  return {manifest.attributes.at(kDeletedAttribute), manifest.rows()};
}

}  // namespace helip
