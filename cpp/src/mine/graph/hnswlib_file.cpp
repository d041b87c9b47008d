#include "mine/graph/hnswlib_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/half.h"
#include "base/refuse.h"
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
constexpr std::uint64_t kRemovedLabels = std::uint64_t{1} << 63;  // beyond every id

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

Header header_of(const IndexRows& rows, const PairIndexOptions& options, std::uint32_t entry) {
  Header header;
  header.capacity = header.count = static_cast<std::uint64_t>(rows.size());
  header.degree = static_cast<std::uint64_t>(options.degree);
  header.m = header.upper_degree = header.degree / 2;
  header.vector_offset = 4 + 4 * header.degree;
  header.label_offset =
      header.vector_offset +
      4 * static_cast<std::uint64_t>(rows.image_dimensions() + rows.text_dimensions());
  header.element_bytes = header.label_offset + 8;
  header.top_level = rows.size() == 0 ? -1 : 0;
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
  std::int64_t text_dimensions() const noexcept { return dimensions() - image_; }
  std::int64_t block_rows() const noexcept {
    return std::max<std::int64_t>(1, kBlockBytes / element_bytes());
  }

  // Appends rows [first, first + n).
  void read(std::int64_t first, std::int64_t n, HnswlibPairs& pairs) {
    block_.resize(static_cast<std::size_t>(n * element_bytes()));
    read_exactly(file_, block_.data(), block_.size(), Header::kBytes + first * element_bytes(),
                 path_);
    for (std::int64_t row = first; row < first + n; ++row) {
      const char* element = block_.data() + (row - first) * element_bytes();
      if ((static_cast<std::uint8_t>(element[2]) & kDeleted) != 0) continue;
      const char* vector = element + header_.vector_offset;
      take_half(vector, image_, row, "image", pairs.image);
      take_half(vector + 4 * image_, text_dimensions(), row, "text", pairs.text);
      const auto label = value_at<std::uint64_t>(element + header_.label_offset);
      if (label > static_cast<std::uint64_t>(kMostId)) {
        damaged("the label of element " + std::to_string(row) + " is " + std::to_string(label) +
                ", more than " + std::to_string(kMostId));
      }
      pairs.ids.push_back(static_cast<std::int64_t>(label));
    }
    state_.advance(static_cast<std::int64_t>(block_.size()));
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
    std::uint64_t least_bytes = h.element_bytes;  // with the size of its upper levels
    if (!checked_add(element_bytes, std::uint64_t{8}) ||
        !checked_add(least_bytes, std::uint64_t{4}) || h.level0 != 0 || h.count > h.capacity ||
        h.count > most_elements || h.degree > 1U << 30 || h.vector_offset != 4 + 4 * h.degree ||
        h.label_offset <= h.vector_offset || (h.label_offset - h.vector_offset) % 4 != 0 ||
        h.element_bytes != element_bytes) {
      damaged("its header is not that of hnswlib 0.8 with float32 vectors");
    }
    // Divided, for a product of two numbers of the file may not fit 64 bits.
    if (h.count > static_cast<std::uint64_t>(size_ - Header::kBytes) / least_bytes) {
      damaged("it is too short for its " + std::to_string(h.count) + " elements");
    }
    check_range("the number of image dimensions", image_, 1, kMostCodeDimensions);
    if (dimensions() <= image_ || dimensions() - image_ > kMostCodeDimensions) {
      refuse("the vectors of ", quoted(path_), " have ", dimensions(), " dimensions, and ", image_,
             " are said to be those of the image; text needs 1 .. ", kMostCodeDimensions,
             " of its own");
    }
    if (h.count > static_cast<std::uint64_t>(kMostPairs)) {
      fail(ErrorCode::unsupported, quoted(path_), " has ", h.count,
           " elements; an index holds up to ", kMostPairs);
    }
  }

  void take_half(const char* bytes, std::int64_t dimensions, std::int64_t row, const char* name,
                 std::vector<std::uint16_t>& out) const {
    double squares = 0.0;
    for (std::int64_t i = 0; i < dimensions; ++i) {
      const auto value = value_at<float>(bytes + 4 * i);
      squares += static_cast<double>(value) * static_cast<double>(value);
      out.push_back(float16_from_float(value * static_cast<float>(std::sqrt(2.0))));
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

}  // namespace

void save_hnswlib(const fs::path& path, const PairIndexOptions& options, const IndexParts& parts,
                  const ProgressCallback& progress) {
  if (path_exists(path)) {
    refuse(quoted(path), " is there already; remove it, or choose another path");
  }
  const IndexRows& rows = parts.rows;
  const Corpus corpus(rows.image(), rows.text(), {}, select_kernel());
  std::uint32_t entry = 0;  // a node with links, which those of zeros lack
  while (entry + 1 < rows.size() && parts.graph.links(entry).empty()) ++entry;
  const Header header = header_of(rows, options, entry);
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
    bytes.append(parts.graph.node(row), header.vector_offset);  // number, mark and links
    append_half(*corpus.image(), row, unit, buffer, bytes);
    append_half(*corpus.text(), row, unit, buffer, bytes);
    // A label of its own for a removed pair, whose id another may have.
    const auto label = static_cast<std::uint64_t>(rows.id(row));
    append(bytes,
           parts.graph.is_removed(row) ? kRemovedLabels + static_cast<std::uint64_t>(row) : label);
    if (static_cast<std::int64_t>(bytes.size()) >= kBlockBytes) flush();
  }
  for (std::int64_t row = 0; row < rows.size(); ++row) {
    append(bytes, std::uint32_t{0});  // bytes of its upper levels
    if (static_cast<std::int64_t>(bytes.size()) >= kBlockBytes) flush();
  }
  flush();
  if (parts.reader) parts.reader->require_whole();
  file.publish(path.filename());
}

HnswlibPairs read_hnswlib(const fs::path& path, std::int64_t image_dimensions,
                          const ProgressCallback& progress) {
  Reader reader(path, image_dimensions, progress);
  HnswlibPairs pairs{image_dimensions, reader.text_dimensions(), {}, {}, {}};
  for (std::int64_t first = 0; first < reader.count(); first += reader.block_rows()) {
    reader.read(first, std::min(reader.block_rows(), reader.count() - first), pairs);
  }
  return pairs;
}

}  // namespace helip::mining
