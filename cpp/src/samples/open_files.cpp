#include "samples/open_files.h"

#include <unistd.h>

#include <utility>
#include <vector>

namespace helip::samples {
namespace {

// A slot's word: which file, plus one, above; how many use it below.
constexpr std::uint64_t kEmpty = 0;
constexpr std::uint64_t kFileBits = ~std::uint64_t{0} << 32;
constexpr std::uint64_t kClaimed = kFileBits;  // somebody opens or closes its file

constexpr std::uint64_t word_of(std::int64_t number) {
  return (static_cast<std::uint64_t>(number) + 1) << 32;
}

constexpr std::uint64_t users_of(std::uint64_t word) { return word & ~kFileBits; }

}  // namespace

struct OpenFiles::Slot {
  std::atomic<std::uint64_t> word{kEmpty};
  Descriptor file;
};

struct OpenFiles::Process {
  explicit Process(std::int64_t most) : pid(::getpid()), slots(static_cast<std::size_t>(most)) {}

  const pid_t pid;
  std::vector<Slot> slots;
  Process* parent = nullptr;
};

OpenFiles::OpenFiles(std::int64_t most) : most_(most), process_(new Process(most)) {}

OpenFiles::~OpenFiles() {
  for (Process* process = process_; process != nullptr;) {
    Process* parent = process->parent;
    if (process->pid == ::getpid()) {
      delete process;
    } else {
      // Its numbers may by now stand for other files of this process: closing them is not ours.
      for (Slot& slot : process->slots) slot.file.release();
      delete process;
    }
    process = parent;
  }
}

OpenFiles::Process& OpenFiles::here() {
  Process* current = process_.load(std::memory_order_acquire);
  if (current->pid == ::getpid()) return *current;
  auto own = std::make_unique<Process>(most_);
  own->parent = current;
  if (process_.compare_exchange_strong(current, own.get())) return *own.release();
  return *current;  // another thread was first
}

OpenFiles::Lease OpenFiles::lease(std::int64_t number, const std::function<Descriptor()>& open) {
  Process& process = here();
  Slot& slot = process.slots[static_cast<std::size_t>(number % most_)];
  std::uint64_t word = slot.word.load(std::memory_order_acquire);
  for (;;) {
    if ((word & kFileBits) == word_of(number)) {
      if (slot.word.compare_exchange_weak(word, word + 1, std::memory_order_acquire)) {
        return Lease(&slot, &slot.file);
      }
    } else if (word == kClaimed || users_of(word) > 0) {
      return Lease(open());
    } else if (slot.word.compare_exchange_weak(word, kClaimed, std::memory_order_acquire)) {
      break;
    }
  }
  try {
    slot.file = Descriptor();
    slot.file = open();
  } catch (...) {
    slot.word.store(kEmpty, std::memory_order_release);
    throw;
  }
  slot.word.store(word_of(number) + 1, std::memory_order_release);
  return Lease(&slot, &slot.file);
}

OpenFiles::Lease::~Lease() {
  if (slot_ != nullptr) slot_->word.fetch_sub(1, std::memory_order_release);
}

}  // namespace helip::samples
