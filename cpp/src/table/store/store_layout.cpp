#include "table/store/store_layout.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "base/refuse.h"
#include "base/text.h"
#include "io/file.h"
#include "io/shard.h"
#include "table/store/fingerprint.h"
#include "table/store/row_ranges.h"

namespace helip {

namespace {

constexpr std::string_view kMatrixPrefix = "matrix.";
constexpr std::string_view kScaleSuffix = ".scale";

void check_matrix_name(const StoreOptions& options, std::size_t at) {
  const std::string& name = options.matrices[at].name;
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), is_plain)) {
    refuse("a matrix has the name '", excerpt(name), "'; use 1 .. 64 letters, digits, '_' and '-'");
  }
  bool taken = name == kImageColumn || name == kTextColumn;
  for (std::size_t i = 0; i < at; ++i) taken |= options.matrices[i].name == name;
  if (taken) refuse("there are two matrices '", name, "'; give each a name of its own");
}

}  // namespace

std::string column_of(const StoreMatrix& matrix) {
  return std::string(kMatrixPrefix) + matrix.name;
}
std::string scale_column_of(const StoreMatrix& matrix) {
  return column_of(matrix) + std::string(kScaleSuffix);
}

void check_store_options(const StoreOptions& options) {
  constexpr std::int64_t kDimLimit = 1 << 20;
  for (std::size_t i = 0; i < options.matrices.size(); ++i) {
    check_matrix_name(options, i);
    const auto& [name, dim] = options.matrices[i];
    if (dim < 1 || dim > kDimLimit) {
      refuse("matrix '", name, "' has ", dim, " columns; it must have 1 .. ", kDimLimit);
    }
  }
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
  if (options.digests) {
    columns.push_back({kImageDigestColumn, DType::uint64});
    columns.push_back({kCaptionDigestColumn, DType::uint64});
  }
  for (const StoreMatrix& matrix : options.matrices) {
    columns.push_back({column_of(matrix), options.dtype, matrix.dim});
    if (options.dtype == DType::int8) columns.push_back({scale_column_of(matrix), DType::float32});
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
    for (const ColumnSpec& column : manifest.columns) {
      if (column.name == kCaptionDigestColumn) options.digests = true;
      if (!column.name.starts_with(kMatrixPrefix)) continue;
      const std::string name = column.name.substr(kMatrixPrefix.size());
      if (!name.ends_with(kScaleSuffix)) options.matrices.push_back({name, column.cols});
    }
  }
  if (manifest.columns != store_columns(options)) {
    throw_damaged(path, "its columns are not those of a store");
  }
  return options;
}

void describe_store(Manifest& manifest, const DataFingerprint& data, const Json& metadata,
                    const Tombstones& tombstones, const Json& replaced) {
  const std::string keys = data.keys();
  std::string fingerprint = content_fingerprint(manifest, keys);
  manifest.features.clear();
  if (!store_options_of(manifest, {}).matrices.empty()) manifest.features.push_back(kMatrices);
  manifest.attributes = {
      {"keys_fingerprint", keys}, {"data_fingerprint", data.text()}, {"metadata", metadata}};
  if (!tombstones.empty()) {
    fingerprint = fingerprint_without(fingerprint, tombstones.digests().back());
    manifest.features.push_back(kDeletedRows);
    manifest.attributes[kDeletedAttribute] = tombstones.to_json();
  }
  if (!replaced.empty()) manifest.attributes[kReplacedAttribute] = replaced;
  manifest.attributes["fingerprint"] = fingerprint;
}

std::vector<Replacement> replacements_of(const Manifest& manifest) {
  std::vector<Replacement> all;
  const auto found = manifest.attributes.find(kReplacedAttribute);
  if (found == manifest.attributes.end()) return all;
  const std::size_t batches = tombstones_of(manifest).batches();
  for (const Json& json : *found) {
    all.push_back({json.at("fingerprint").get<std::string>(), integer_of(json.at("rows")),
                   unsigned_of(json.at("deleted_batches")),
                   json.at("replaced").get<std::string>()});
    for_each_range(all.back().replaced, manifest.rows(), [](std::int64_t, std::int64_t) {});
    if (all.back().deleted_batches > batches) {
      throw std::invalid_argument("it was before more deletions than there are");
    }
  }
  return all;
}

Json to_json(const Replacement& replacement) {
  return {{"fingerprint", replacement.fingerprint},
          {"rows", replacement.rows},
          {"deleted_batches", replacement.deleted_batches},
          {"replaced", replacement.replaced}};
}

Tombstones tombstones_of(const Manifest& manifest) {
  if (std::count(manifest.features.begin(), manifest.features.end(), kDeletedRows) == 0) return {};
  return {manifest.attributes.at(kDeletedAttribute), manifest.rows()};
}

}  // namespace helip
