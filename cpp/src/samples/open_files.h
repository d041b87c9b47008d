// Descriptors of many files, a bounded number of them open at a time.
//
// No lock is taken, since a fork could leave one taken for ever: a slot is claimed by one exchange
// of its word, and who finds it claimed opens the file for itself. A child has slots of its own,
// for what its parent's threads had open at the moment of the fork need not be open in it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "io/file.h"

namespace helip::samples {

class OpenFiles {
 public:
  explicit OpenFiles(std::int64_t most = 128);
  ~OpenFiles();
  OpenFiles(const OpenFiles&) = delete;
  OpenFiles& operator=(const OpenFiles&) = delete;

  struct Slot;

  // Keeps a file open while it lives.
  class Lease {
   public:
    Lease(Slot* slot, const Descriptor* file) noexcept : slot_(slot), file_(file) {}
    explicit Lease(Descriptor own) noexcept : own_(std::move(own)), file_(&own_) {}
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    const Descriptor& file() const noexcept { return *file_; }

   private:
    Descriptor own_;
    Slot* slot_ = nullptr;
    const Descriptor* file_;
  };

  // The file of a number from 0 on; `open` opens it where it is not open, and may throw.
  Lease lease(std::int64_t number, const std::function<Descriptor()>& open);

 private:
  struct Process;

  Process& here();

  const std::int64_t most_;
  std::atomic<Process*> process_;
};

}  // namespace helip::samples
