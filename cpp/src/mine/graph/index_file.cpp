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

Manifest manifest_of(std::int64_t image_dimensions, std::int64_t text_dimensions,
                     std::int64_t code_bytes, std::int64_t degree) {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = kShardRows;
  manifest.columns = {{"ids", DType::int64},
                      {"image", DType::float16, image_dimensions},
                      {"text", DType::float16, text_dimensions},
                      {"codes", DType::int8, code_bytes},
                      {"links", DType::int32, degree}};
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

constexpr std::int64_t kCopyGrain = 256;

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
  PairIndexOptions options;
  std::vector<std::uint32_t> starts;
  std::int64_t linked = 0;
  try {
    const json& attributes = manifest.attributes;
    options.image_max = attributes.at("image_max").get<double>();
    options.text_max = attributes.at("text_max").get<double>();
    options.degree = integer_of(attributes.at("degree"));
    options.breadth = integer_of(attributes.at("breadth"));
    options.seed = unsigned_of(attributes.at("seed"));
    for (const json& start : attributes.at("starts").get_ref<const json::array_t&>()) {
      const std::uint64_t node = unsigned_of(start);
      if (node >= static_cast<std::uint64_t>(reader->rows())) throw damaged("a start lies outside");
      starts.push_back(static_cast<std::uint32_t>(node));
    }
    linked = integer_of(attributes.at("linked"));
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
  IndexRows rows(image, text, kernel);
  if (manifest.columns != manifest_of(image, text, rows.codec().bytes(), options.degree).columns) {
    throw damaged("its columns are not those of an index of pairs");
  }
  const std::int64_t bytes = reader->bytes();
  std::int64_t compared = 0;
  reader->verify({}, [&](std::int64_t more) {
    compared += more;
    tell(progress, "open", std::min(compared, bytes), bytes);
  });
  const std::int64_t count = reader->rows();
  if (count > kMostPairs || linked < 0 || linked > count) throw damaged("it has too many pairs");
  const MatrixView links = reader->column("links");
  const std::span<const std::uint32_t> all(static_cast<const std::uint32_t*>(links.data),
                                           static_cast<std::size_t>(count * options.degree));
  if (std::any_of(all.begin(), all.end(), [count](std::uint32_t to) {
        return to != Graph::kNone && std::int64_t{to} >= count;
      })) {
    throw damaged("a link leads outside");
  }
  rows.show(count, reader->column("ids"), reader->column("image"), reader->column("text"),
            reader->column("codes"));
  for (std::uint32_t node = 0; node < count; ++node) {
    if (rows.id(node) < 0 || rows.id(node) > kMostId) {
      throw damaged("the id of pair " + std::to_string(node) + " is " +
                    std::to_string(rows.id(node)));
    }
    if (!rows.codec().is_sound(rows.codes().row(node))) {
      throw damaged("the codes of pair " + std::to_string(node) + " have a scale that is none");
    }
  }
  Graph graph({options.degree, options.breadth}, all, std::move(starts), linked);
  return {reader, options, std::move(rows), std::move(graph)};
}

void save_index(const fs::path& path, const PairIndexOptions& options, const IndexRows& rows,
                const Graph& graph, const ColumnReader* mapped, const ProgressCallback& progress) {
  ColumnWriter writer(path,
                      manifest_of(rows.image_dimensions(), rows.text_dimensions(),
                                  rows.codec().bytes(), options.degree),
                      false);
  for (std::int64_t first = 0; first < rows.size(); first += kCopyRows) {
    tell(progress, "save", first, rows.size());
    const std::int64_t count = std::min(kCopyRows, rows.size() - first);
    writer.append(
        count,
        {rows.id_bytes().row(first), rows.image().row(first), rows.text().row(first),
         rows.code_bytes().row(first), graph.links(static_cast<std::uint32_t>(first)).data()},
        nullptr);
  }
  tell(progress, "save", rows.size(), rows.size());
  if (mapped != nullptr) mapped->require_whole();
  writer.close([&](Manifest& manifest) {
    manifest.attributes = {{"image_max", options.image_max}, {"text_max", options.text_max},
                           {"degree", options.degree},       {"breadth", options.breadth},
                           {"seed", options.seed},           {"starts", graph.starts()},
                           {"linked", graph.added()}};
  });
}

void RowBytes::reserve(std::int64_t rows, std::int64_t capacity) {
  if (owned_ && capacity <= capacity_) return;
  if (owned_) capacity = std::max(capacity, capacity_ + capacity_ / 2);
  auto larger = allocate_aligned<char>(std::max<std::int64_t>(1, capacity * width_));
  if (rows > 0) std::memcpy(larger.get(), data_, static_cast<std::size_t>(rows * width_));
  owned_ = std::move(larger);
  data_ = owned_.get();
  capacity_ = capacity;
}

IndexRows::IndexRows(std::int64_t image_dimensions, std::int64_t text_dimensions,
                     const Kernel& kernel)
    : image_dimensions_(image_dimensions),
      text_dimensions_(text_dimensions),
      codec_(image_dimensions, text_dimensions, false, kernel),
      ids_(sizeof(std::int64_t)),
      image_(2 * image_dimensions),
      text_(2 * text_dimensions),
      codes_(codec_.bytes()) {}

std::int64_t IndexRows::bytes_per_row() const noexcept {
  return ids_.width() + image_.width() + text_.width() + codes_.width();
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
                     const MatrixView& text, const MatrixView& codes) noexcept {
  size_ = size;
  ids_.show(ids.data);
  image_.show(image.data);
  text_.show(text.data);
  codes_.show(codes.data);
}

void IndexRows::append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
                       std::span<const std::int64_t> ids, Team& team) {
  const std::int64_t count = corpus.size();
  for (RowBytes* rows : {&ids_, &image_, &text_, &codes_}) rows->reserve(size_, size_ + count);
  if (count == 0) return;
  std::memcpy(ids_.mutable_row(size_), ids.data(), ids.size_bytes());
  team.for_blocks(count, kCopyGrain, [&](std::int64_t row, std::int64_t end, int) {
    std::vector<float> unit;
    LoadedRow buffer;
    PairCodec::Buffers coding;
    for (; row < end && !team.stopped(); ++row) {
      keep(image, *corpus.image(), row, unit, buffer, image_.mutable_row(size_ + row));
      keep(text, *corpus.text(), row, unit, buffer, text_.mutable_row(size_ + row));
      codec_.encode(corpus, row, coding,
                    reinterpret_cast<std::int8_t*>(codes_.mutable_row(size_ + row)));
    }
  });
  size_ += count;
}

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  refuse(std::string(name) + " is " + std::to_string(value) + ", but must lie in " +
         std::to_string(least) + " .. " + std::to_string(most));
}

bool are_sound(const PairIndexOptions& options) noexcept {
  const auto share = [](double value) { return value >= 0.0 && value <= 1.0; };
  return options.degree >= kLeastDegree && options.degree <= kMostDegree && options.breadth >= 1 &&
         options.breadth <= kMostBreadth && share(options.image_max) && share(options.text_max);
}

void check_index_options(const PairIndexOptions& options) {
  check_range("degree", options.degree, kLeastDegree, kMostDegree);
  check_range("breadth", options.breadth, 1, kMostBreadth);
}

MineOptions checked_matrices(const MatrixView& image, const MatrixView& text,
                             const PairIndexOptions& options, int threads) {
  MineOptions mine;
  mine.image_max = options.image_max;
  mine.text_max = options.text_max;
  mine.threads = threads;
  validate(image, text, mine);
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
