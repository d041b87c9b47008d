// Where the samples of tar shards lie: an index of every image, caption and label, so that
// samples are read at random and nothing is extracted.
//
// A sample is what webdataset takes for one: the members whose names agree up to the first dot of
// the last path component. Rows are samples, in order of shards and of first members. On disk: a
// directory with manifest.json and shard-*.safetensors (docs/formats.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "helip/data_fingerprint.h"  // IWYU pragma: export
#include "helip/export.h"
#include "helip/progress.h"
#include "helip/sample_error.h"

namespace helip {

// The members that a sample can have: an image, a text (.txt, .caption, .text), .json and .cls.
enum class SampleField { image, text, json, label };
inline constexpr std::int64_t kSampleFields = 4;

enum class MemberState {
  present,
  absent,
  refused,  // a link, a sparse file or a device: there, but never read
};

struct SampleMember {
  MemberState state = MemberState::absent;
  std::int64_t shard = 0;   // where the sample lies, whatever the state
  std::int64_t offset = 0;  // of its bytes in the shard
  std::int64_t bytes = 0;   // at most 2^31 - 1, also of a larger one, which is refused when read
};

// A tar file as it was when it was indexed.
struct SampleShard {
  std::filesystem::path path;  // absolute, or a URL
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
  std::int64_t modified = 0;  // nanoseconds since 1970
  std::string tag;            // of a URL the ETag that its server gave, else empty
  std::string headers;        // digest of all tar headers
  std::string contents;       // digest of all bytes; empty where it was not asked for
  // Members that are no part of a row, by reason: device, extra, link, other, sparse, unnamed.
  std::map<std::string, std::int64_t> ignored;
};

struct SampleIndexOptions {
  // Extensions of images in lower case, without the dot in front; one may have several parts.
  std::vector<std::string> image_extensions{"jpg", "jpeg", "png", "webp", "ppm",
                                            "gif", "bmp",  "tif", "tiff"};
  bool contents = false;  // also read every byte, so that verify() can compare contents
  int threads = 0;        // 0 for all cores; a shard is read by one
};

struct SampleCounts {
  std::int64_t rows = 0;
  std::int64_t shards = 0;
  std::int64_t missing_image = 0;               // rows without an image that can be read
  std::int64_t missing_caption = 0;             // rows with neither text nor json
  std::map<std::string, std::int64_t> ignored;  // as in the shards
};

// Immutable; cheap to copy (shared state); safe to read from many threads, and after a fork. What
// was moved from is an index of no rows.
class HELIP_EXPORT SampleIndex {
 public:
  SampleIndex() noexcept;  // of no rows, at no path
  SampleIndex(const SampleIndex&) noexcept;
  SampleIndex(SampleIndex&&) noexcept;
  SampleIndex& operator=(const SampleIndex&) noexcept;
  SampleIndex& operator=(SampleIndex&&) noexcept;
  ~SampleIndex();

  // One pass over the headers of all shards, the same index on any number of threads. Shards that
  // `previous` has, unchanged in size and time, are taken from there without being read, if it was
  // made with the same options. Progress counts bytes passed.
  // Throws Error: invalid_argument (no sample, two of one key, two members of one name), corrupt (a
  // damaged shard, with the place), unsupported (a compressed one), io, cancelled.
  [[nodiscard]] static SampleIndex build(const std::vector<std::filesystem::path>& shards,
                                         const SampleIndexOptions& options = {},
                                         const ProgressCallback& progress = {},
                                         const SampleIndex* previous = nullptr);
  // The index of one shard, scanned in `file`, a copy of what `as` names: its path, time and tag
  // are taken from there, and errors name that path. It may be of no rows. Throws as build().
  [[nodiscard]] static SampleIndex scan(const std::filesystem::path& file, const SampleShard& as,
                                        const SampleIndexOptions& options = {});
  // One index of shards of others, in this order; each is given by its index and number there.
  // Rows of a saved index are taken as they are: verify() it first. Throws Error(invalid_argument):
  // no sample, two of one key, different options, no such shard.
  [[nodiscard]] static SampleIndex join(
      const std::vector<std::pair<SampleIndex, std::int64_t>>& shards);
  // Maps a saved index, which takes milliseconds whatever its size. `root` is the folder or URL of
  // its shards where they were moved. Unless told not to, looks whether each shard that is a file
  // still has its size and time. Throws Error: io, corrupt, unsupported, mismatch (a shard was
  // changed).
  [[nodiscard]] static SampleIndex open(const std::filesystem::path& path,
                                        const std::filesystem::path& root = {},
                                        bool check_shards = true);
  // Writes a new directory, or takes the place of the index that lies there. All or nothing. Throws
  // Error: invalid_argument (no rows, something else lies there), io, cancelled.
  void save(const std::filesystem::path& path, const ProgressCallback& progress = {}) const;

  // For another process of the same helip that has no saved index to open.
  [[nodiscard]] std::string to_bytes() const;
  [[nodiscard]] static SampleIndex from_bytes(std::string_view bytes);

  // Compares its own checksums, then reads the headers of all shards again and compares every row;
  // with `contents` also every byte of the shards. Where shards are URLs, its own checksums alone.
  // Throws Error: corrupt (the index, or a shard), mismatch (a shard was changed), invalid_argument
  // (built without digests of contents).
  void verify(bool contents = false, int threads = 0, const ProgressCallback& progress = {}) const;

  [[nodiscard]] std::int64_t size() const noexcept;            // rows
  [[nodiscard]] std::string_view key(std::int64_t row) const;  // throws invalid_argument; UTF-8
  // Throws invalid_argument where there is no such row.
  [[nodiscard]] SampleMember member(std::int64_t row, SampleField field) const;
  // As member(), of one that read() does not refuse: throws SampleError as it does, but for io.
  [[nodiscard]] SampleMember readable(std::int64_t row, SampleField field) const;
  // Whether the encoded image of a row may be `bytes`, by its size and the digest of its end.
  [[nodiscard]] bool may_be_image(std::int64_t row, std::string_view bytes) const;
  // Reads a member into `out`, which is resized. Opens shards as they are needed, 128 at a time at
  // most and one a thread besides. Reads files alone, no URL. Throws SampleError: missing_image,
  // missing_caption, missing_label (absent or refused), too_large (an image of more than 256 MiB,
  // anything else of more than 16 MiB), io; and Error(mismatch) where the shard was changed since
  // it was indexed.
  void read(std::int64_t row, SampleField field, std::vector<std::byte>& out) const;

  // A hint that pictures and captions of these rows will be read soon, so that the system can fetch
  // them meanwhile: a picture and a caption near to it by one read, and so are neighbouring rows.
  // From then on the system reads nothing ahead by itself in these shards.
  void will_need(std::span<const std::int64_t> rows) const noexcept;

  // image_digest() with the last 512 bytes, and caption_digest() of what the text says, else the
  // "caption", "captions" or "text" of the .json, several with line feeds between; that of no text
  // where there is none. Throw invalid_argument where there is no such row.
  [[nodiscard]] std::uint64_t digest_of_image(std::int64_t row) const;
  [[nodiscard]] std::uint64_t digest_of_caption(std::int64_t row) const;
  // DataFingerprint over keys, images and captions.
  [[nodiscard]] const std::string& fingerprint() const noexcept;
  [[nodiscard]] const SampleCounts& counts() const noexcept;
  [[nodiscard]] const std::vector<SampleShard>& shards() const noexcept;
  [[nodiscard]] const SampleIndexOptions& options()
      const noexcept;                                   // threads is of no meaning here
  [[nodiscard]] std::int64_t scanned() const noexcept;  // shards that build() read, not taken over
  [[nodiscard]] const std::filesystem::path& path() const noexcept;  // empty unless it was opened
  [[nodiscard]] std::int64_t generation()
      const noexcept;  // of the directory; 0 unless it was opened

  struct State;

 private:
  explicit SampleIndex(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace helip
