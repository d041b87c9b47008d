// Batches of images: read, decoded and transformed by threads, into memory of the caller.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "helip/export.h"
#include "helip/image_source.h"
#include "helip/image_transform.h"

namespace helip {

struct AssembleOptions {
  std::uint64_t seed = 0;  // of the augmentations
  int threads = 0;         // 0: see executor.h
};

// The images of one batch. Place i of it is filled with row rows[i] of the source.
struct AssembleRequest {
  std::int64_t epoch = 0;
  std::vector<std::int64_t> rows;   // [b]
  std::vector<std::int64_t> names;  // [b] the rows as augmentations count them; empty: rows
  std::vector<std::byte*> out;      // [views] each [b, ...] of that view's shape and dtype
};

// A place that was not filled; what its memory holds is undefined.
struct MissingImage {
  std::int64_t place = 0;
  std::string reason;  // of SampleError
  std::string message;
};

// Where the time of the threads went, in seconds, all of them together.
struct AssembleTime {
  double reading = 0;   // the bytes of images, from files
  double decoding = 0;  // and transforming
};

// Fills batches in the background, in the order of their requests. An image depends on its bytes,
// the view's transform, the seed, the epoch and its name alone, never on threads or on the batch.
// Its methods, but for take_unsupported() and time(), are for one thread at a time. After a fork
// the child gets Error(unsupported). What was moved from can be assigned to or destroyed, and
// nothing else.
class HELIP_EXPORT BatchAssembler {
 public:
  // views: each image is decoded once for each of them, with augmentations of its own.
  // Throws Error(invalid_argument): no view.
  BatchAssembler(std::shared_ptr<const ImageSource> source, std::vector<ImageTransform> views,
                 AssembleOptions options);
  ~BatchAssembler();  // as clear()
  BatchAssembler(BatchAssembler&&) noexcept;
  BatchAssembler& operator=(BatchAssembler&&) noexcept;

  [[nodiscard]] int threads() const noexcept;  // that read at a time, at most
  // Begins a batch. The memory of `out` must stay until its wait_for() returned a value, or
  // clear(). Throws Error: invalid_argument (a row outside the source, lengths that do not fit),
  // unsupported (after a fork); then nothing has begun.
  [[nodiscard]] std::uint64_t submit(AssembleRequest request);
  // The places that could not be filled, by place, once the batch is done; none while it is not.
  // Throws Error(out_of_memory) where an allocation failed.
  [[nodiscard]] std::optional<std::vector<MissingImage>> wait_for(
      std::uint64_t ticket, std::chrono::milliseconds patience);
  // A place whose image is "unsupported_format", each once, so that another decoder may fill it
  // while the batch is still read; -1 once no more will come, as after wait_for() or clear(); none
  // where nothing came so long. For any thread.
  [[nodiscard]] std::optional<std::int64_t> take_unsupported(std::uint64_t ticket,
                                                             std::chrono::milliseconds patience);
  // Since it was made. For any thread.
  [[nodiscard]] AssembleTime time() const noexcept;
  // Drops every batch that was not fetched. Afterwards nothing writes to the caller's memory.
  void clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
