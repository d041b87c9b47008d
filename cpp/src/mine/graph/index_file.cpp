#include "mine/graph/index_file.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/half.h"
#include "base/refuse.h"
#include "helip/error.h"
#include "io/column_writer.h"
#include "io/json.h"
#include "mine/corpus/mine_options.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;
using json = Json;

constexpr const char* kFormat = "helip.pair_index";
constexpr std::int64_t kShardRows = 262144;
constexpr std::int64_t kCopyRows = 4096;

Manifest manifest_of(const IndexParts& parts) {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = kShardRows;
  manifest.columns = {{"ids", DType::int64},
                      {"image", DType::float16, parts.rows.image_dimensions()},
                      {"text", DType::float16, parts.rows.text_dimensions()},
                      {"nodes", DType::int8, parts.graph.node_bytes()}};
  return manifest;
}

// Asks the callback, and throws where it says stop.
void tell(const ProgressCallback& progress, const char* stage, std::int64_t done,
          std::int64_t total) {
  if (!progress || progress({stage, done, total})) return;
  throw Error(ErrorCode::cancelled, std::string("the index was stopped in stage '") + stage +
                                        "' at " + std::to_string(done) + " of " +
                                        std::to_string(total));
}

bool fits_codes(std::int64_t dimensions) {
  return dimensions >= 1 && dimensions <= kMostCodeDimensions;
}

// float16 as it is, anything else as a unit vector.
void keep(const MatrixView& given, const Rows& rows, std::int64_t row, std::vector<float>& unit,
          LoadedRow& buffer, char* out) {
  const std::int64_t dimensions = given.cols;
  const bool deleted = given.deleted != nullptr && given.deleted[row] != 0;
  if (given.dtype == DType::float16 && !deleted) {
    std::memcpy(out, given.row(row), static_cast<std::size_t>(2 * dimensions));
    return;
  }
  unit.resize(static_cast<std::size_t>(dimensions));
  rows.unit(row, unit.data(), buffer);
  for (std::int64_t i = 0; i < dimensions; ++i) {
    const std::uint16_t half = float16_from_float(unit[static_cast<std::size_t>(i)]);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

}  // namespace

IndexFile open_index(const fs::path& path, const Kernel& kernel, const ProgressCallback& progress) {
  const auto reader = open_columns(path, kFormat);
  const Manifest& manifest = reader->manifest();
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorCode::corrupt, "\"" + path.string() + "\" is damaged: " + what);
  };
  if (manifest.attributes.contains("starts")) {
    throw Error(ErrorCode::unsupported,
                "\"" + path.string() +
                    "\" is an index of an earlier version, whose graph was another; build it again "
                    "with PairIndex.build");
  }
  PairIndexOptions options;
  try {
    const json& attributes = manifest.attributes;
    options.image_max = attributes.at("image_max").get<double>();
    options.text_max = attributes.at("text_max").get<double>();
    options.degree = integer_of(attributes.at("degree"));
    options.breadth = integer_of(attributes.at("breadth"));
    options.seed = unsigned_of(attributes.at("seed"));
  } catch (const json::exception& error) {
    throw damaged(error.what());
  }
  if (!are_sound(options)) throw damaged("its options are not those of an index of pairs");
  const auto width = [&](std::size_t column) {
    return column < manifest.columns.size() ? manifest.columns[column].cols : 0;
  };
  const std::int64_t image = width(1), text = width(2);
  if (!fits_codes(image) || !fits_codes(text)) {
    throw damaged("its columns are not those of an index of pairs");
  }
  auto parts = std::make_unique<IndexParts>(options, image, text, kernel);
  if (manifest.columns != manifest_of(*parts).columns) {
    throw damaged("its columns are not those of an index of pairs");
  }
  const std::int64_t bytes = reader->bytes();
  std::int64_t compared = 0;
  reader->verify({}, [&](std::int64_t more) {
    compared += more;
    tell(progress, "open", std::min(compared, bytes), bytes);
  });
  const std::int64_t count = reader->rows();
  if (count > kMostPairs) throw damaged("it has too many pairs");
  parts->rows.show(count, reader->column("ids"), reader->column("image"), reader->column("text"));
  parts->graph.show(reader->column("nodes").data, count);
  for (std::int64_t row = 0; row < count; ++row) {
    if (parts->rows.id(row) < 0 || parts->rows.id(row) > kMostId) {
      throw damaged("the id of pair " + std::to_string(row) + " is " +
                    std::to_string(parts->rows.id(row)));
    }
    if (!parts->graph.is_sound(row, count)) {
      throw damaged("the links of pair " + std::to_string(row) +
                    " lead outside, or the scale of its codes is none");
    }
  }
  std::vector<std::int64_t> ids;
  for (std::int64_t row = 0; row < count; ++row) {
    if (!parts->graph.is_removed(row)) ids.push_back(parts->rows.id(row));
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) throw damaged("two pairs have the id " + std::to_string(*twice));
  parts->reader = reader;
  return {options, std::move(parts)};
}

void save_index(const fs::path& path, const PairIndexOptions& options, const IndexParts& parts,
                const ProgressCallback& progress) {
  const IndexRows& rows = parts.rows;
  ColumnWriter writer(path, manifest_of(parts), false);
  const std::int64_t size = rows.size();
  for (std::int64_t first = 0; first < size; first += kCopyRows) {
    tell(progress, "save", first, size);
    writer.append(std::min(kCopyRows, size - first),
                  {rows.id_bytes().row(first), rows.image().row(first), rows.text().row(first),
                   parts.graph.node(first)},
                  nullptr);
  }
  tell(progress, "save", size, size);
  if (parts.reader) parts.reader->require_whole();
  writer.close([&](Manifest& manifest) {
    manifest.attributes = {{"image_max", options.image_max},
                           {"text_max", options.text_max},
                           {"degree", options.degree},
                           {"breadth", options.breadth},
                           {"seed", options.seed}};
  });
}

void RowBytes::reserve(std::int64_t rows, std::int64_t capacity) {
  if (owned_.data() != nullptr) {
    owned_.grow(capacity * width_);
  } else {
    owned_ = ScratchMemory(capacity * width_);
    if (rows > 0) std::memcpy(owned_.data(), data_, static_cast<std::size_t>(rows * width_));
  }
  data_ = owned_.data();
}

IndexRows::IndexRows(std::int64_t image_dimensions, std::int64_t text_dimensions)
    : image_dimensions_(image_dimensions),
      text_dimensions_(text_dimensions),
      ids_(sizeof(std::int64_t)),
      image_(2 * image_dimensions),
      text_(2 * text_dimensions) {}

std::int64_t IndexRows::bytes_per_row() const noexcept {
  return ids_.width() + image_.width() + text_.width();
}

bool IndexRows::is_zero(std::int64_t i) const noexcept {
  const auto zero = [i](const RowBytes& rows) {
    const char* begin = rows.row(i);
    // Either sign of zero.
    for (std::int64_t at = 0; at < rows.width(); at += 2) {
      if (begin[at] != 0 || (begin[at + 1] & 0x7f) != 0) return false;
    }
    return true;
  };
  return zero(image_) || zero(text_);
}

void IndexRows::show(std::int64_t size, const MatrixView& ids, const MatrixView& image,
                     const MatrixView& text) noexcept {
  size_ = capacity_ = size;
  ids_.show(ids.data);
  image_.show(image.data);
  text_.show(text.data);
}

void IndexRows::show(std::int64_t size, const IndexRows& others) noexcept {
  size_ = capacity_ = size;
  ids_.show(others.ids_.row(0));
  image_.show(others.image_.row(0));
  text_.show(others.text_.row(0));
}

void IndexRows::reserve(std::int64_t capacity) {
  for (RowBytes* rows : {&ids_, &image_, &text_}) rows->reserve(size_, capacity);
  capacity_ = capacity;
}

void IndexRows::write(std::int64_t row, const Corpus& corpus, const MatrixView& image,
                      const MatrixView& text, std::int64_t from, std::int64_t id,
                      Buffers& buffers) {
  std::memcpy(ids_.mutable_row(row), &id, sizeof id);
  keep(image, *corpus.image(), from, buffers.unit, buffers.image, image_.mutable_row(row));
  keep(text, *corpus.text(), from, buffers.unit, buffers.text, text_.mutable_row(row));
}

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  refuse(std::string(name) + " is " + std::to_string(value) + ", but must lie in " +
         std::to_string(least) + " .. " + std::to_string(most));
}

bool are_sound(const PairIndexOptions& options) noexcept {
  const auto share = [](double value) { return value >= 0.0 && value <= 1.0; };
  return options.degree >= kLeastDegree && options.degree <= kMostDegree &&
         options.degree % 2 == 0 && options.breadth >= 1 && options.breadth <= kMostBreadth &&
         share(options.image_max) && share(options.text_max);
}

void check_index_options(const PairIndexOptions& options) {
  check_range("degree", options.degree, kLeastDegree, kMostDegree);
  if (options.degree % 2 != 0) {
    refuse("degree is " + std::to_string(options.degree) + ", but hnswlib's is even; use " +
           std::to_string(options.degree + 1));
  }
  check_range("breadth", options.breadth, 1, kMostBreadth);
}

MineOptions checked_matrices(const MatrixView& image, const MatrixView& text,
                             const PairIndexOptions& options, int threads) {
  MineOptions mine;
  mine.image_max = options.image_max;
  mine.text_max = options.text_max;
  mine.threads = threads;
  validate(Matrices{image, text}, mine);
  return mine;
}

void check_dimensions(const char* name, std::int64_t given, std::int64_t wanted) {
  if (given == wanted) return;
  refuse(std::string(name) + " embeddings have " + std::to_string(given) +
         " dimensions, but those of the index have " + std::to_string(wanted) +
         "; embed with the encoder that the index was built with");
}

std::vector<std::int64_t> checked_ids(const std::vector<std::int64_t>& ids, std::int64_t rows,
                                      std::int64_t first) {
  std::vector<std::int64_t> all = ids;
  if (all.empty()) {
    if (rows > 0 && first > kMostId - (rows - 1)) {
      refuse("the next of " + std::to_string(rows) + " ids would be " + std::to_string(first) +
             ", and the largest may be " + std::to_string(kMostId) + "; give ids");
    }
    all.resize(static_cast<std::size_t>(rows));
    std::iota(all.begin(), all.end(), first);
    return all;
  }
  if (static_cast<std::int64_t>(all.size()) != rows) {
    refuse(std::to_string(all.size()) + " ids were given for " + std::to_string(rows) +
           " pairs; give one for each, or none");
  }
  std::vector<std::int64_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.empty() && sorted.front() < 0) {
    const auto at = std::find(all.begin(), all.end(), sorted.front()) - all.begin();
    refuse("id " + std::to_string(sorted.front()) + " of row " + std::to_string(at) +
           " is negative; -1 stands for no match, so use ids from 0 on");
  }
  if (!sorted.empty() && sorted.back() > kMostId) {
    const auto at = std::find(all.begin(), all.end(), sorted.back()) - all.begin();
    refuse("id " + std::to_string(sorted.back()) + " of row " + std::to_string(at) +
           " is too large; use ids up to " + std::to_string(kMostId));
  }
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    const auto one = std::find(all.begin(), all.end(), *twice);
    const auto other = std::find(one + 1, all.end(), *twice);
    refuse("id " + std::to_string(*twice) + " is that of row " + std::to_string(one - all.begin()) +
           " and of row " + std::to_string(other - all.begin()) +
           "; each pair needs an id of its own");
  }
  return all;
}

}  // namespace helip::mining
