// The images of a data set that lie in files of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "helip/export.h"
#include "helip/image_source.h"

namespace helip {

// Many paths in two flat arrays, which the caller keeps alive.
struct PathList {
  std::string_view blob;                  // the paths, one after the other
  std::span<const std::int64_t> offsets;  // [n + 1]; path i is blob[offsets[i], offsets[i + 1])

  [[nodiscard]] std::int64_t size() const noexcept {
    return static_cast<std::int64_t>(offsets.size()) - 1;
  }
  std::string_view operator[](std::int64_t row) const noexcept {
    const auto at = static_cast<std::size_t>(row);
    return blob.substr(static_cast<std::size_t>(offsets[at]),
                       static_cast<std::size_t>(offsets[at + 1] - offsets[at]));
  }
};

// Files below one folder or several. A path leads to a file inside its root, through links that
// stay inside; what leads elsewhere is refused, also where a link is swapped in meanwhile. An empty
// path is an image that is missing.
class HELIP_EXPORT ImageFiles : public ImageSource {
 public:
  static constexpr std::int64_t kMaxBytes = std::int64_t{256} << 20;  // of a file

  // roots: real paths of folders. starts [roots + 1]: root r has the rows starts[r] up to
  // starts[r + 1]. follow_links: trust every path and every link. absolute_paths: read what begins
  // with "/" wherever it lies, for it climbs out of nothing.
  // Throws Error: invalid_argument (arrays that do not fit), io (a root that cannot be opened).
  ImageFiles(std::vector<std::string> roots, std::vector<std::int64_t> starts, PathList paths,
             bool follow_links, bool absolute_paths = false);
  ~ImageFiles() override;
  ImageFiles(const ImageFiles&) = delete;
  ImageFiles& operator=(const ImageFiles&) = delete;

  [[nodiscard]] std::int64_t size() const noexcept override { return paths_.size(); }
  void read(std::int64_t row, std::vector<std::byte>& out) const override;

 private:
  struct Root;

  std::vector<Root> roots_;
  std::unique_ptr<const Root> anywhere_;  // of absolute paths, null where they are bound as others
  std::vector<std::int64_t> starts_;
  PathList paths_;
  bool follow_links_;
};

}  // namespace helip
