#include "mine/graph/hnswlib_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/refuse.h"
#include "base/team.h"
#include "io/byte_progress.h"
#include "io/file.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/index_file.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlockBytes = std::int64_t{1} << 24;
constexpr double kTolerance = 0.01;   // of the length of a half of a vector
constexpr std::uint8_t kDeleted = 1;  // in the third byte of the number of links

// The beginning of the file, field after field. Numbers are those of a 64-bit little-endian
// machine, which is what hnswlib writes there.
struct Header {
  std::uint64_t level0 = 0;    // where the elements begin in memory
  std::uint64_t capacity = 0;  // elements that there is room for
  std::uint64_t count = 0;
  std::uint64_t element_bytes = 0;
  std::uint64_t label_offset = 0;
  std::uint64_t vector_offset = 0;
  std::int32_t top_level = -1;
  std::uint32_t entry = 0;
  std::uint64_t upper_degree = 0;
  std::uint64_t degree = 0;  // of the lowest level
  std::uint64_t m = 0;
  double level_scale = 0.0;
  std::uint64_t breadth = 0;

  static constexpr std::int64_t kBytes = 6 * 8 + 2 * 4 + 3 * 8 + 8 + 8;

  template <typename Do>
  void each(const Do& field) {
    field(level0), field(capacity), field(count), field(element_bytes), field(label_offset);
    field(vector_offset), field(top_level), field(entry), field(upper_degree), field(degree);
    field(m), field(level_scale), field(breadth);
  }
  std::string bytes() const {
    std::string all;
    Header copy = *this;
    copy.each([&](const auto& value) {
      all.append(reinterpret_cast<const char*>(&value), sizeof value);
    });
    return all;
  }
  static Header of(const char* bytes) {
    Header header;
    header.each([&](auto& value) {
      std::memcpy(&value, bytes, sizeof value);
      bytes += sizeof value;
    });
    return header;
  }
};

template <typename Value>
void append(std::string& bytes, Value value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename Value>
Value value_at(const char* bytes) {
  Value value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

Header header_of(const IndexRows& rows, const PairIndexOptions& options, bool has_upper_layer,
                 std::uint32_t entry) {
  Header header;
  header.capacity = header.count = static_cast<std::uint64_t>(rows.size());
  header.degree = static_cast<std::uint64_t>(options.degree);
  header.m = header.upper_degree = std::max<std::uint64_t>(2, header.degree / 2);
  header.vector_offset = 4 + 4 * header.degree;
  header.label_offset =
      header.vector_offset +
      4 * static_cast<std::uint64_t>(rows.image_dimensions() + rows.text_dimensions());
  header.element_bytes = header.label_offset + 8;
  header.top_level = rows.size() == 0 ? -1 : has_upper_layer ? 1 : 0;
  header.entry = rows.size() == 0 ? ~0U : entry;
  header.level_scale = 1.0 / std::log(static_cast<double>(header.m));
  header.breadth = static_cast<std::uint64_t>(options.breadth);
  return header;
}

// Appends a half [dimensions] of the vector.
void append_half(const Rows& rows, std::int64_t row, std::vector<float>& unit, LoadedRow& buffer,
                 std::string& bytes) {
  unit.resize(static_cast<std::size_t>(rows.dimensions()));
  rows.unit(row, unit.data(), buffer);
  for (float& value : unit) value *= static_cast<float>(std::sqrt(0.5));
  bytes.append(reinterpret_cast<const char*>(unit.data()), unit.size() * sizeof(float));
}

// Reads a file that somebody else wrote: nothing of it is believed before it is checked.
class Reader {
 public:
  Reader(const fs::path& path, std::int64_t image_dimensions, const ProgressCallback& progress)
      : path_(path),
        file_(open_given_file(path)),
        size_(file_size(file_, path)),
        image_(image_dimensions),
        state_("read", size_, progress) {
    if (size_ < Header::kBytes) damaged("it is too short to be a file of hnswlib");
    char bytes[Header::kBytes];
    read_exactly(file_, bytes, sizeof bytes, 0, path_);
    header_ = Header::of(bytes);
    check_header();
  }

  std::int64_t count() const noexcept { return static_cast<std::int64_t>(header_.count); }
  std::int64_t degree() const noexcept { return static_cast<std::int64_t>(header_.degree); }
  std::int64_t breadth() const noexcept {
    return static_cast<std::int64_t>(
        std::clamp<std::uint64_t>(header_.breadth, 1, static_cast<std::uint64_t>(kMostBreadth)));
  }
  std::int64_t text_dimensions() const noexcept { return dimensions() - image_; }
  std::int64_t block_rows() const noexcept {
    return std::max<std::int64_t>(1, kBlockBytes / element_bytes());
  }

  // Rows [first, first + n): image [n, image], text [n, text], and what is added to ids and links.
  void read(std::int64_t first, std::int64_t n, std::vector<float>& image, std::vector<float>& text,
            std::vector<std::int64_t>& ids, std::vector<std::uint32_t>& links) {
    block_.resize(static_cast<std::size_t>(n * element_bytes()));
    read_exactly(file_, block_.data(), block_.size(), Header::kBytes + first * element_bytes(),
                 path_);
    image.clear(), text.clear();
    for (std::int64_t row = first; row < first + n; ++row) {
      const char* element = block_.data() + (row - first) * element_bytes();
      take_links(element, row, links);
      const char* vector = element + header_.vector_offset;
      take_half(vector, image_, row, "image", image);
      take_half(vector + 4 * image_, text_dimensions(), row, "text", text);
      const auto label = value_at<std::uint64_t>(element + header_.label_offset);
      if (label > static_cast<std::uint64_t>(kMostId)) {
        damaged("the label of element " + std::to_string(row) + " is " + std::to_string(label) +
                ", more than " + std::to_string(kMostId));
      }
      ids.push_back(static_cast<std::int64_t>(label));
    }
    state_.advance(static_cast<std::int64_t>(block_.size()));
  }

  // Elements of the upper levels, those of the highest first; the entry where there is none.
  std::vector<std::uint32_t> starts() {
    const std::uint64_t level_bytes = 4 + 4 * header_.upper_degree;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> found;  // level, node
    std::int64_t at = Header::kBytes + count() * element_bytes();
    std::int64_t begin = at;  // of what block_ holds of the file
    block_.clear();
    for (std::uint32_t node = 0; node < header_.count; ++node) {
      if (size_ - at < 4) damaged("it ends within its upper levels");
      if (at + 4 > begin + static_cast<std::int64_t>(block_.size())) {
        begin = at;
        block_.resize(static_cast<std::size_t>(std::min(kBlockBytes, size_ - at)));
        read_exactly(file_, block_.data(), block_.size(), at, path_);
      }
      const auto bytes = value_at<std::uint32_t>(block_.data() + (at - begin));
      at += 4 + std::int64_t{bytes};
      if (bytes % level_bytes != 0 || at > size_) {
        damaged("the upper levels of element " + std::to_string(node) + " have " +
                std::to_string(bytes) + " bytes");
      }
      if (bytes > 0) found.emplace_back(bytes / level_bytes, node);
    }
    if (at != size_) damaged("there are bytes behind its last element");
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    std::vector<std::uint32_t> starts;
    for (const auto& [level, node] : found) {
      if (static_cast<std::int64_t>(starts.size()) == starts_of(count())) break;
      starts.push_back(node);
    }
    if (starts.empty() && count() > 0) starts.push_back(header_.entry);
    return starts;
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw_damaged(path_, what, "write it again with saveIndex or save_hnswlib");
  }
  std::int64_t element_bytes() const noexcept {
    return static_cast<std::int64_t>(header_.element_bytes);
  }
  std::int64_t dimensions() const noexcept {
    return static_cast<std::int64_t>((header_.label_offset - header_.vector_offset) / 4);
  }

  void check_header() const {
    const Header& h = header_;
    const auto most_elements = static_cast<std::uint64_t>(size_) / 8;
    std::uint64_t element_bytes = h.label_offset;
    if (!checked_add(element_bytes, std::uint64_t{8}) || h.level0 != 0 || h.count > h.capacity ||
        h.count > most_elements || h.degree > 1U << 30 || h.upper_degree < 1 ||
        h.upper_degree > 1U << 28 || h.vector_offset != 4 + 4 * h.degree ||
        h.label_offset <= h.vector_offset || (h.label_offset - h.vector_offset) % 4 != 0 ||
        h.element_bytes != element_bytes) {
      damaged("its header is not that of hnswlib 0.8 with float32 vectors");
    }
    if (h.count > 0 && h.entry >= h.count) damaged("its entry lies outside");
    // Divided, for a product of two numbers of the file may not fit 64 bits.
    if (h.count > 0 &&
        h.count > static_cast<std::uint64_t>(size_ - Header::kBytes) / h.element_bytes) {
      damaged("it is too short for its " + std::to_string(h.count) + " elements");
    }
    check_range("the number of image dimensions", image_, 1, kMostCodeDimensions);
    if (dimensions() <= image_ || dimensions() - image_ > kMostCodeDimensions) {
      refuse("the vectors of ", quoted(path_), " have ", dimensions(), " dimensions, and ", image_,
             " are said to be those of the image; text needs 1 .. ", kMostCodeDimensions,
             " of its own");
    }
    if (h.degree < static_cast<std::uint64_t>(kLeastDegree) ||
        h.degree > static_cast<std::uint64_t>(kMostDegree) ||
        h.count > static_cast<std::uint64_t>(kMostPairs)) {
      fail(ErrorCode::unsupported, quoted(path_), " has ", h.count, " elements of up to ", h.degree,
           " links; an index holds up to ", kMostPairs, " of ", kLeastDegree, " .. ", kMostDegree,
           " links");
    }
  }

  void take_links(const char* element, std::int64_t row, std::vector<std::uint32_t>& links) const {
    const auto number = value_at<std::uint16_t>(element);
    if (number > header_.degree) {
      damaged("element " + std::to_string(row) + " has " + std::to_string(number) + " links of " +
              std::to_string(header_.degree));
    }
    if ((static_cast<std::uint8_t>(element[2]) & kDeleted) != 0) {
      fail(ErrorCode::unsupported, "element ", row, " of ", quoted(path_),
           " is marked as deleted, which an index of pairs does not know; build it without those");
    }
    for (std::uint64_t i = 0; i < header_.degree; ++i) {
      std::uint32_t to = Graph::kNone;
      if (i < number) {
        to = value_at<std::uint32_t>(element + 4 + 4 * i);
        if (to >= header_.count)
          damaged("a link of element " + std::to_string(row) + " leads outside");
      }
      links.push_back(to);
    }
  }

  void take_half(const char* bytes, std::int64_t dimensions, std::int64_t row, const char* name,
                 std::vector<float>& out) const {
    double squares = 0.0;
    for (std::int64_t i = 0; i < dimensions; ++i) {
      const auto value = value_at<float>(bytes + 4 * i);
      squares += static_cast<double>(value) * static_cast<double>(value);
      out.push_back(value);
    }
    const double length = std::sqrt(squares);
    if (length == 0.0 || std::abs(length - std::sqrt(0.5)) <= kTolerance) return;
    refuse("the ", name, " half of element ", row, " of ", quoted(path_), " has length ", length,
           "; each half must be a unit vector over the square root of 2, as [u; v] / sqrt(2) of a "
           "pair has them (check the number of image dimensions, ",
           image_, ")");
  }

  const fs::path& path_;
  Descriptor file_;
  std::int64_t size_;
  std::int64_t image_;
  ByteProgress state_;
  Header header_;
  std::vector<char> block_;
};

MatrixView view_of(const std::vector<float>& values, std::int64_t dimensions) {
  const auto rows = static_cast<std::int64_t>(values.size()) / dimensions;
  return {values.data(), rows, dimensions, DType::float32, 4 * dimensions, nullptr};
}

constexpr float kLeast = -std::numeric_limits<float>::infinity();
constexpr std::int64_t kCandidates = 4;  // for each link

// The mean of both cosines of starts: what hnswlib's inner product is.
class MeanCosines {
 public:
  MeanCosines(const Graph& graph, const PairCodeView& rows)
      : graph_(graph), rows_(rows), all_(graph.starts().size()) {
    std::iota(all_.begin(), all_.end(), 0U);
  }
  // Of a start with others, by their numbers; [others].
  const std::vector<float>& of(std::uint32_t start, const std::vector<std::uint32_t>& others) {
    codes_.clear();
    for (const std::uint32_t other : others) codes_.push_back(code(other));
    rows_.codec->compare(code(start), codes_.data(), static_cast<std::int64_t>(codes_.size()),
                         &kLeast, 0, compared_);
    means_.resize(codes_.size());
    for (std::size_t i = 0; i < means_.size(); ++i) {
      means_[i] = (compared_.image[i] + compared_.text[i]) / 2;
    }
    return means_;
  }
  const std::vector<float>& of(std::uint32_t start) { return of(start, all_); }

 private:
  const std::int8_t* code(std::uint32_t start) const { return rows_.row(graph_.starts()[start]); }

  const Graph& graph_;
  const PairCodeView rows_;
  std::vector<std::uint32_t> all_;
  std::vector<const std::int8_t*> codes_;
  PairCodec::Compared compared_;
  std::vector<float> means_;
};

// As HNSW chooses links: best first, one that is closer to a chosen one than to the node is left
// out; the best of those fill up.
std::vector<std::uint32_t> choose(const std::vector<Neighbour>& candidates, std::size_t most,
                                  MeanCosines& cosines) {
  std::vector<std::uint32_t> chosen, left;
  for (const Neighbour& candidate : candidates) {
    if (chosen.size() == most) break;
    const std::vector<float>& to_chosen = cosines.of(candidate.node, chosen);
    const bool closer_to_one =
        std::any_of(to_chosen.begin(), to_chosen.end(),
                    [&](float similarity) { return similarity > candidate.similarity; });
    (closer_to_one ? left : chosen).push_back(candidate.node);
  }
  for (const std::uint32_t one : left) {
    if (chosen.size() == most) break;
    chosen.push_back(one);
  }
  return chosen;
}

}  // namespace

void save_hnswlib(const fs::path& path, const PairIndexOptions& options, const IndexRows& rows,
                  const Graph& graph, const ColumnReader* mapped,
                  const ProgressCallback& progress) {
  if (path_exists(path)) {
    refuse(quoted(path), " is there already; remove it, or choose another path");
  }
  const Corpus corpus(rows.image(), rows.text(), {}, select_kernel());
  UpperLayer layer;
  std::vector<std::int64_t> start_of;  // row -> number of the start, -1
  if (!graph.starts().empty()) {
    layer = upper_layer(graph, rows.codes(), std::max<std::int64_t>(2, options.degree / 2));
    start_of.assign(static_cast<std::size_t>(rows.size()), -1);
    for (std::size_t i = 0; i < graph.starts().size(); ++i) {
      start_of[graph.starts()[i]] = static_cast<std::int64_t>(i);
    }
  }
  const Header header = header_of(rows, options, !layer.links.empty(), layer.entry);
  ByteProgress state("save", rows.size() * (static_cast<std::int64_t>(header.element_bytes) + 4),
                     progress);
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  PendingFile file(directory);
  std::int64_t written = 0;
  std::string bytes = header.bytes();
  const auto flush = [&] {
    file.write_at(bytes.data(), bytes.size(), written);
    written += static_cast<std::int64_t>(bytes.size());
    state.advance(static_cast<std::int64_t>(bytes.size()));
    bytes.clear();
  };
  std::vector<float> unit;
  LoadedRow buffer;
  for (std::int64_t row = 0; row < rows.size(); ++row) {
    std::string links;
    std::uint32_t number = 0;
    for (const std::uint32_t to : graph.links(static_cast<std::uint32_t>(row))) {
      if (to != Graph::kNone) ++number;
      append(links, to == Graph::kNone ? 0U : to);
    }
    append(bytes, number);  // a count of 16 bits, and marks, none of which is set
    bytes += links;
    append_half(*corpus.image(), row, unit, buffer, bytes);
    append_half(*corpus.text(), row, unit, buffer, bytes);
    append(bytes, static_cast<std::uint64_t>(rows.id(row)));
    if (static_cast<std::int64_t>(bytes.size()) >= kBlockBytes) flush();
  }
  for (std::int64_t row = 0; row < rows.size(); ++row) {
    const std::int64_t start = start_of.empty() ? -1 : start_of[static_cast<std::size_t>(row)];
    if (start < 0) {
      append(bytes, std::uint32_t{0});
    } else {
      const auto& links = layer.links[static_cast<std::size_t>(start)];
      append(bytes, static_cast<std::uint32_t>(4 + 4 * header.upper_degree));
      append(bytes, static_cast<std::uint32_t>(links.size()));
      for (std::uint64_t i = 0; i < header.upper_degree; ++i) {
        append(bytes, i < links.size() ? links[i] : 0U);
      }
    }
    if (static_cast<std::int64_t>(bytes.size()) >= kBlockBytes) flush();
  }
  flush();
  if (mapped != nullptr) mapped->require_whole();
  file.publish(path.filename());
}

HnswlibFile open_hnswlib(const fs::path& path, std::int64_t image_dimensions,
                         const PairIndexOptions& asked, int threads, const Kernel& kernel,
                         const ProgressCallback& progress) {
  check_index_options(asked);
  Reader reader(path, image_dimensions, progress);
  PairIndexOptions options = asked;
  options.degree = reader.degree();
  options.breadth = reader.breadth();
  const std::int64_t count = reader.count();
  IndexRows rows(image_dimensions, reader.text_dimensions(), kernel);
  std::vector<float> image, text;
  std::vector<std::int64_t> ids;
  std::vector<std::uint32_t> links;
  const ProgressCallback untold;  // blocks are no stages: the reader tells of bytes
  Team team(threads, untold);
  for (std::int64_t first = 0; first < count; first += reader.block_rows()) {
    reader.read(first, std::min(reader.block_rows(), count - first), image, text, ids, links);
    const MatrixView images = view_of(image, image_dimensions);
    const MatrixView texts = view_of(text, reader.text_dimensions());
    Corpus corpus(images, texts, {}, kernel);
    corpus.measure(team);
    rows.append(corpus, images, texts, std::span(ids).subspan(static_cast<std::size_t>(first)),
                team);
  }
  static_cast<void>(checked_ids(ids, count, 0));
  std::int64_t linked = 0;
  for (std::int64_t row = 0; row < count; ++row) linked += rows.is_zero(row) ? 0 : 1;
  Graph graph({options.degree, options.breadth}, std::move(links), reader.starts(), linked);
  return {options, std::move(rows), std::move(graph)};
}

UpperLayer upper_layer(const Graph& graph, const PairCodeView& rows, std::int64_t degree) {
  const std::vector<std::uint32_t>& starts = graph.starts();
  const auto most = static_cast<std::size_t>(degree);
  UpperLayer layer;
  layer.links.resize(starts.size());
  MeanCosines cosines(graph, rows);
  float best = kLeast;
  std::vector<Neighbour> candidates;
  const auto count = static_cast<std::uint32_t>(starts.size());
  for (std::uint32_t start = 0; start < count; ++start) {
    candidates.clear();
    float sum = 0.0F;
    const std::vector<float>& means = cosines.of(start);
    for (std::uint32_t other = 0; other < count; ++other) {
      sum += means[other];
      if (other != start) candidates.push_back({means[other], other});
    }
    if (sum > best) {
      best = sum;
      layer.entry = starts[start];
    }
    const auto kept = static_cast<std::ptrdiff_t>(
        std::min(candidates.size(), static_cast<std::size_t>(kCandidates) * most));
    std::partial_sort(candidates.begin(), candidates.begin() + kept, candidates.end(), closer);
    candidates.resize(static_cast<std::size_t>(kept));
    for (const std::uint32_t other : choose(candidates, most, cosines)) {
      layer.links[start].push_back(other);
    }
  }
  // Ways back, where there is room, so that none can only be left.
  const std::vector<std::vector<std::uint32_t>> forward = layer.links;
  for (std::uint32_t start = 0; start < count; ++start) {
    for (const std::uint32_t other : forward[start]) {
      auto& links = layer.links[other];
      if (links.size() < most && std::find(links.begin(), links.end(), start) == links.end()) {
        links.push_back(start);
      }
    }
  }
  for (auto& links : layer.links) {
    for (std::uint32_t& link : links) link = starts[link];
  }
  return layer;
}

}  // namespace helip::mining
