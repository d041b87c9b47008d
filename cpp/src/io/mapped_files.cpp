#include "io/mapped_files.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <new>
#include <utility>

#include "base/machine.h"
#include "base/refuse.h"

namespace helip {
namespace {

constexpr const char* kMend = "restore it from a copy or write it again, and open it anew";

bool may_keep(const Descriptor& file) noexcept {
  struct rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
         static_cast<rlim_t>(file.get()) < limit.rlim_cur / 2;
}

// By a call of the system that copies from there, and then refuses the rest.
bool is_readable(std::uintptr_t address) noexcept {
  const int error = errno;
  const bool copied =
      ::syscall(SYS_rt_sigprocmask, ~0, address / 8 * 8, nullptr, std::size_t{8}) == 0 ||
      errno != EFAULT;
  errno = error;
  return copied;
}

}  // namespace

MappedFile::MappedFile(Descriptor file, std::filesystem::path path) : path_(std::move(path)) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) {
    throw Error(ErrorCode::io, "cannot stat " + quoted(path_), errno);
  }
  device_ = status.st_dev;
  number_ = status.st_ino;
  bytes_ = status.st_size;
  modified_ = modified_of(status);
  if (may_keep(file)) file_ = std::move(file);
}

// Who became a daemon may have closed its descriptors, and given their numbers to other files.
MappedFile::~MappedFile() {
  struct stat now{};
  if (file_.get() >= 0 && (::fstat(file_.get(), &now) != 0 || !is(now))) file_.release();
}

bool MappedFile::is(const struct stat& status) const noexcept {
  return status.st_dev == device_ && status.st_ino == number_;
}

void MappedFile::require_whole(const std::function<void(const Descriptor*)>& compare) const {
  struct stat now{};
  const bool kept = file_.get() >= 0 && ::fstat(file_.get(), &now) == 0 && is(now);
  if (!kept && (::stat(path_.c_str(), &now) != 0 || !is(now))) return;
  if (now.st_size != bytes_) {
    throw_damaged(path_,
                  std::string("it became ") + (now.st_size < bytes_ ? "shorter" : "longer") +
                      " while it was read: it has " + std::to_string(now.st_size) +
                      " bytes now, and had " + std::to_string(bytes_),
                  kMend);
  }
  const std::atomic_ref modified(modified_);
  if (modified.load(std::memory_order_relaxed) == modified_of(now)) return;
  compare(kept ? &file_ : nullptr);
  modified.store(modified_of(now), std::memory_order_relaxed);
}

// Never freed, so that a handler may walk along them at any time.
struct MappedRange::Slot {
  bool holds(std::uintptr_t address) const noexcept {
    const std::uint64_t before = turn;
    if (before % 2 != 0) return false;
    const bool inside = address >= begin && address < end;
    return turn == before && inside;  // both of one range
  }

  // Odd while there is no range. Who faults or asks has one at the address, which lasts meanwhile,
  // so one that comes or goes is another.
  std::atomic<std::uint64_t> turn{1};
  std::atomic<std::uintptr_t> begin{0}, end{0};
  std::atomic<bool> cut{false};
  const MappedFiles* files = nullptr;
  Slot* next = nullptr;       // of all
  Slot* next_free = nullptr;  // of those that are free
};

struct MappedRange::Registry {
  // By a process, as kill and raise do; not by a fault.
  static bool was_sent(const siginfo_t& fault) noexcept { return fault.si_code <= 0; }

  // A handler that ours took the place of.
  struct Handler {
    void take(int number, siginfo_t* fault, void* context) const {
      if ((action.sa_flags & SA_SIGINFO) != 0) {
        action.sa_sigaction(number, fault, context);
      } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
        action.sa_handler(number);
      } else if (!was_sent(*fault) || action.sa_handler == SIG_DFL) {
        // A fault comes again once this returns, and ends the process as it would have.
        std::signal(number, SIG_DFL);
        if (was_sent(*fault)) ::raise(number);
      }
    }

    struct sigaction action{};
    const Handler* older = nullptr;
  };

  // Ours becomes the handler of SIGBUS, if it is not.
  void guard() {
    struct sigaction now{};
    if (::sigaction(SIGBUS, nullptr, &now) == 0 && is_ours(now)) return;
    const Handler* known = newest;
    while (known != nullptr && known->action.sa_sigaction != now.sa_sigaction) known = known->older;
    if (known == nullptr) {
      auto* const handler = new Handler{now, newest};
      if (first == nullptr) first = handler;
      known = newest = handler;
    }
    before = known;
    struct sigaction action{};
    // Not blocked meanwhile: a handler that raises it anew, as that of faulthandler, is to meet
    // ours before it returns.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    action.sa_sigaction = &handle;
    ::sigemptyset(&action.sa_mask);
    if (::sigaction(SIGBUS, &action, nullptr) != 0) {
      throw Error(ErrorCode::unsupported, "cannot handle SIGBUS", errno);
    }
    is_guarded = true;
  }
  static bool is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == &handle;
  }
  static void handle(int number, siginfo_t* information, void* context) {
    MappedRange::on_fault(number, information, context);
  }

  std::mutex mutex;  // of whoever adds and removes
  std::atomic<Slot*> slots{nullptr};
  Slot* free = nullptr;
  std::uintptr_t page = static_cast<std::uintptr_t>(memory_page_bytes());
  std::atomic<bool> is_guarded{false};
  // Handlers are never freed either.
  const Handler* newest = nullptr;
  std::atomic<const Handler*> first{nullptr}, before{nullptr};
  std::atomic<pid_t> passing{0};  // the thread that is in a handler which came later
  // The thread and the address of the last fault of a readable page that such a one was given.
  std::atomic<pid_t> tried_by{0};
  std::atomic<std::uintptr_t> tried{0};
};

MappedRange::Registry& MappedRange::registry() noexcept {
  static Registry* const registry = [] {
    alignas(Registry) static std::byte place[sizeof(Registry)];
    static Registry* const made = new (place) Registry;
    // A forked child finds it free, whatever other threads were about.
    ::pthread_atfork([] { made->mutex.lock(); }, [] { made->mutex.unlock(); },
                     [] { made->mutex.unlock(); });
    return made;
  }();
  return *registry;
}

MappedRange::MappedRange(const void* begin, std::int64_t bytes, const MappedFiles& files) {
  keep_guard();
  Registry& own = registry();
  const std::lock_guard lock(own.mutex);
  if (own.free != nullptr) {
    slot_ = std::exchange(own.free, own.free->next_free);
  } else {
    slot_ = new Slot;
    slot_->next = own.slots;
    own.slots = slot_;
  }
  slot_->files = &files;
  slot_->cut = false;
  slot_->begin = reinterpret_cast<std::uintptr_t>(begin);
  slot_->end = reinterpret_cast<std::uintptr_t>(begin) + static_cast<std::uintptr_t>(bytes);
  ++slot_->turn;
}

MappedRange::~MappedRange() {
  if (slot_ == nullptr) return;
  Registry& own = registry();
  const std::lock_guard lock(own.mutex);
  ++slot_->turn;
  slot_->next_free = std::exchange(own.free, slot_);
}

MappedRange::MappedRange(MappedRange&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)) {}

MappedRange& MappedRange::operator=(MappedRange&& other) noexcept {
  const MappedRange before(std::move(*this));
  slot_ = std::exchange(other.slot_, nullptr);
  return *this;
}

bool MappedRange::was_cut() const noexcept { return slot_ != nullptr && slot_->cut; }

// In a handler nothing may be done but what is safe there: loads, stores, mmap.
void MappedRange::on_fault(int number, void* information, void* context) noexcept {
  Registry& own = registry();
  auto* const fault = static_cast<siginfo_t*>(information);
  const auto address = reinterpret_cast<std::uintptr_t>(fault->si_addr);
  for (Slot* slot = own.slots; slot != nullptr; slot = slot->next) {
    if (fault->si_code != BUS_ADRERR || !slot->holds(address)) continue;
    const int error = errno;
    void* const page = reinterpret_cast<void*>(address / own.page * own.page);
    // Writable, since codes that are mapped are written behind their last row.
    void* const zeros = ::mmap(page, own.page, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = error;
    if (zeros == MAP_FAILED) break;
    slot->cut = true;
    return;
  }
  // A handler that came later may hand the fault back to this one, or leave it as it is: then it is
  // the turn of the first, which knows nothing of this one.
  const Registry::Handler* const before = own.before;
  const Registry::Handler* const first = own.first;
  const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
  if (before != first && own.passing.exchange(self) != self) {
    const bool was_sent = Registry::was_sent(*fault);
    // The page says nothing of whether such a fault was mended, but one that comes again was not.
    bool is_again = false;
    if (!was_sent && is_readable(address)) {
      const bool is_place = own.tried.exchange(address) == address;
      is_again = own.tried_by.exchange(self) == self && is_place;
    }
    if (!is_again) before->take(number, fault, context);
    own.passing = 0;
    if (was_sent || (!is_again && is_readable(address))) return;
  }
  first->take(number, fault, context);
}

void guard_mapped_files() {
  MappedRange::Registry& own = MappedRange::registry();
  const std::lock_guard lock(own.mutex);
  own.guard();
}

void keep_guard() {
  MappedRange::Registry& own = MappedRange::registry();
  if (!own.is_guarded) return;
  struct sigaction now{};
  if (::sigaction(SIGBUS, nullptr, &now) == 0 && own.is_ours(now)) return;
  guard_mapped_files();
}

void require_whole(const void* address) {
  const MappedFiles* files = nullptr;
  {
    MappedRange::Registry& own = MappedRange::registry();
    const std::lock_guard lock(own.mutex);
    for (const MappedRange::Slot* slot = own.slots; slot != nullptr; slot = slot->next) {
      if (!slot->holds(reinterpret_cast<std::uintptr_t>(address))) continue;
      files = slot->files;
      break;
    }
  }
  if (files != nullptr) files->require_whole();
}

}  // namespace helip
