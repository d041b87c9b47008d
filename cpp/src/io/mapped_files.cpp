#include "io/mapped_files.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <new>
#include <utility>

#include "base/machine.h"
#include "io/file.h"

namespace helip {

// Never freed, so that a handler may walk along them at any time.
struct MappedRange::Slot {
  std::atomic<std::uintptr_t> begin{0}, end{0};  // 0: free
  std::atomic<bool> cut{false};
  std::filesystem::path folder;
  Slot* next = nullptr;       // of all
  Slot* next_free = nullptr;  // of those that are free
};

struct MappedRange::Registry {
  std::mutex mutex;  // of whoever adds and removes
  std::atomic<Slot*> first{nullptr};
  Slot* free = nullptr;
  std::atomic<bool> any_cut{false};
  std::uintptr_t page = static_cast<std::uintptr_t>(memory_page_bytes());
  bool is_guarded = false;
  struct sigaction before{};  // of SIGBUS
};

MappedRange::Registry& MappedRange::registry() noexcept {
  alignas(Registry) static std::byte place[sizeof(Registry)];
  static Registry* const made = new (place) Registry;
  return *made;
}

MappedRange::MappedRange(const void* begin, std::int64_t bytes,
                         const std::filesystem::path& folder) {
  Registry& own = registry();
  std::filesystem::path named = folder;
  const std::lock_guard lock(own.mutex);
  if (own.free != nullptr) {
    slot_ = std::exchange(own.free, own.free->next_free);
  } else {
    slot_ = new Slot;
    slot_->next = own.first;
    own.first = slot_;
  }
  slot_->folder = std::move(named);
  slot_->cut = false;
  slot_->end = reinterpret_cast<std::uintptr_t>(begin) + static_cast<std::uintptr_t>(bytes);
  slot_->begin = reinterpret_cast<std::uintptr_t>(begin);
}

MappedRange::~MappedRange() {
  if (slot_ == nullptr) return;
  Registry& own = registry();
  const std::lock_guard lock(own.mutex);
  slot_->begin = 0;
  slot_->end = 0;
  slot_->next_free = std::exchange(own.free, slot_);
}

MappedRange::MappedRange(MappedRange&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)) {}

MappedRange& MappedRange::operator=(MappedRange&& other) noexcept {
  const MappedRange before(std::move(*this));
  slot_ = std::exchange(other.slot_, nullptr);
  return *this;
}

// In a handler nothing may be done but what is safe there: loads, stores, mmap.
void MappedRange::on_fault(int number, void* information, void* context) noexcept {
  Registry& own = registry();
  const auto* const fault = static_cast<siginfo_t*>(information);
  const auto address = reinterpret_cast<std::uintptr_t>(fault->si_addr);
  for (Slot* slot = own.first; slot != nullptr; slot = slot->next) {
    const std::uintptr_t begin = slot->begin, end = slot->end;
    if (fault->si_code != BUS_ADRERR || address < begin || address >= end) continue;
    const int error = errno;
    void* const page = reinterpret_cast<void*>(address / own.page * own.page);
    void* const zeros =
        ::mmap(page, own.page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = error;
    if (zeros == MAP_FAILED) break;
    slot->cut = true;
    own.any_cut = true;
    return;
  }
  if ((own.before.sa_flags & SA_SIGINFO) != 0) {
    own.before.sa_sigaction(number, static_cast<siginfo_t*>(information), context);
  } else if (own.before.sa_handler != SIG_DFL && own.before.sa_handler != SIG_IGN) {
    own.before.sa_handler(number);
  } else {
    // The fault comes again once this returns, and ends the process as it would have.
    std::signal(number, SIG_DFL);
  }
}

void guard_mapped_files() {
  MappedRange::Registry& own = MappedRange::registry();
  const std::lock_guard lock(own.mutex);
  if (own.is_guarded) return;
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  action.sa_sigaction = [](int number, siginfo_t* information, void* context) {
    MappedRange::on_fault(number, information, context);
  };
  ::sigemptyset(&action.sa_mask);
  if (::sigaction(SIGBUS, &action, &own.before) != 0) {
    throw Error(ErrorCode::unsupported, "cannot handle SIGBUS", errno);
  }
  own.is_guarded = true;
}

void require_whole(const void* address) {
  MappedRange::Registry& own = MappedRange::registry();
  if (!own.any_cut.load(std::memory_order_relaxed)) return;
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const std::lock_guard lock(own.mutex);
  for (const MappedRange::Slot* slot = own.first; slot != nullptr; slot = slot->next) {
    if (!slot->cut || at < slot->begin || at >= slot->end) continue;
    throw_damaged(slot->folder, "one of its files became shorter while it was read",
                  "restore it from a copy or write it again, and open it anew");
  }
}

}  // namespace helip
