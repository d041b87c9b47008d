#include "mine/kernel/kernel.h"

#include <cstdlib>

#include "helip/error.h"

namespace helip::mining {

std::vector<const Kernel*> available_kernels() {
  std::vector<const Kernel*> kernels;
  for (const Kernel* kernel :
       {kernel_avx512vnni(), kernel_avx512(), kernel_avx2(), kernel_neon(), kernel_portable()}) {
    if (kernel != nullptr) kernels.push_back(kernel);
  }
  return kernels;
}

const Kernel& select_kernel() {
  const char* forced = std::getenv("HELIP_KERNEL");
  const std::string name = forced == nullptr ? "" : forced;
  if (name.empty()) return *available_kernels().front();
  for (const Kernel* kernel : available_kernels()) {
    if (name == kernel->name) return *kernel;
  }
  if (name == "avx512vnni" || name == "avx512" || name == "avx2" || name == "neon") {
    throw Error(ErrorCode::unsupported, "HELIP_KERNEL is '" + name +
                                            "', which this processor or this build does not have; "
                                            "unset it to take the fastest kernel that can run");
  }
  throw Error(ErrorCode::invalid_argument, "HELIP_KERNEL is '" + name +
                                               "', but must be avx512vnni, avx512, avx2, neon or "
                                               "portable; unset it to take the fastest");
}

}  // namespace helip::mining
