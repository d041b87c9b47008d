#include "c/c_control.h"

#include <atomic>

#include "c/c_status.h"
#include "c/c_structs.h"

// A signal handler may set it.
struct helip_cancel {
  std::atomic<bool> set{false};
  static_assert(std::atomic<bool>::is_always_lock_free);
};

namespace helip::c {
namespace {

constexpr std::size_t kLeastControl = offsetof(helip_control, cancel) + sizeof(void*);

bool is_set(const helip_cancel* cancel) {
  return cancel != nullptr && cancel->set.load(std::memory_order_relaxed);
}

}  // namespace

ProgressCallback progress_of(const helip_control* given) {
  const helip_control control =
      read_struct(given, helip_control{sizeof(helip_control), nullptr, nullptr, nullptr},
                  kLeastControl, "control");
  if (is_set(control.cancel)) {
    throw Error(ErrorCode::cancelled, "stopped: the flag of the call was set before it began");
  }
  if (control.progress == nullptr && control.cancel == nullptr) return {};
  return [control](const Progress& progress) {
    if (is_set(control.cancel)) return false;
    return control.progress == nullptr || control.progress(control.user, progress.stage.c_str(),
                                                           progress.done, progress.total) == 0;
  };
}

}  // namespace helip::c

helip_status helip_cancel_create(helip_cancel** out) {
  return helip::c::run([&] { helip::c::required(out, "out") = new helip_cancel; });
}

void helip_cancel_free(helip_cancel* cancel) { delete cancel; }

void helip_cancel_set(helip_cancel* cancel) {
  if (cancel != nullptr) cancel->set.store(true, std::memory_order_relaxed);
}

void helip_cancel_reset(helip_cancel* cancel) {
  if (cancel != nullptr) cancel->set.store(false, std::memory_order_relaxed);
}

helip_status helip_control_init(helip_control* control, size_t struct_size) {
  using namespace helip::c;
  return run([&] {
    write_struct(helip_control{sizeof(helip_control), nullptr, nullptr, nullptr}, control,
                 struct_size, kLeastControl, "control");
  });
}
