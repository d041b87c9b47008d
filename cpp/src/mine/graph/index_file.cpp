#include "mine/graph/index_file.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "io/column_writer.h"
#include "io/json.h"
#include "mine/graph/index_checks.h"

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

}  // namespace helip::mining
