#include "mine/kernel/kernel.h"

#include <atomic>
#include <cstdlib>

#include "helip/error.h"
#include "helip/kernel.h"

namespace helip {
namespace mining {
namespace {

std::atomic<const Kernel*> selected{nullptr};

// As it was at first: what changes the environment while threads read it may crash them.
const std::string& name_in_environment() {
  static const std::string name = [] {
    const char* value = std::getenv("HELIP_KERNEL");
    return std::string(value == nullptr ? "" : value);
  }();
  return name;
}

// `source` of the name, for messages.
const Kernel& kernel_named(const std::string& name, const std::string& source) {
  if (name.empty()) return *available_kernels().front();
  for (const Kernel* kernel : available_kernels()) {
    if (name == kernel->name) return *kernel;
  }
  if (name == "avx512vnni" || name == "avx2" || name == "neon") {
    throw Error(ErrorCode::unsupported, source + " is '" + name +
                                            "', which this processor or this build does not have; "
                                            "unset it to take the fastest kernel that can run");
  }
  throw Error(ErrorCode::invalid_argument, source + " is '" + name +
                                               "', but must be avx512vnni, avx2, neon or "
                                               "portable; unset it to take the fastest");
}

const Kernel& kernel_of_environment() {
  return kernel_named(name_in_environment(), "HELIP_KERNEL");
}

}  // namespace

std::vector<const Kernel*> available_kernels() {
  std::vector<const Kernel*> kernels;
  for (const Kernel* kernel :
       {kernel_avx512vnni(), kernel_avx2(), kernel_neon(), kernel_portable()}) {
    if (kernel != nullptr) kernels.push_back(kernel);
  }
  return kernels;
}

const Kernel& select_kernel() {
  const Kernel* kernel = selected.load();
  if (kernel != nullptr) return *kernel;
  // Does not overwrite what set_kernel() chooses meanwhile.
  const Kernel* const found = &kernel_of_environment();
  return selected.compare_exchange_strong(kernel, found) ? *found : *kernel;
}

}  // namespace mining

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const mining::Kernel* kernel : mining::available_kernels()) names.emplace_back(kernel->name);
  return names;
}

std::string kernel_name() { return mining::select_kernel().name; }

void set_kernel(const std::string& name) {
  mining::selected.store(name.empty() ? &mining::kernel_of_environment()
                                      : &mining::kernel_named(name, "the kernel"));
}

}  // namespace helip
