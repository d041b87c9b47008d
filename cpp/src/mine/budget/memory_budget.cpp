#include "mine/budget/memory_budget.h"

#include <system_error>

#include "helip/machine.h"

namespace helip::mining {

namespace fs = std::filesystem;

std::int64_t memory_budget(const MineOptions& options) noexcept {
  if (options.memory > 0) return options.memory;
  const std::int64_t memory = this_machine().memory;
  return memory > 0 ? memory / 4 : std::int64_t{1} << 30;
}

fs::path scratch_folder(const fs::path& out) {
  // Whoever writes there says what is wrong with a folder: a job may never need it.
  std::error_code failed;
  if (!out.empty()) {
    const fs::path parent = fs::absolute(out, failed).parent_path();
    if (!failed && fs::is_directory(parent, failed)) return parent;
  }
  fs::path temporary = fs::temp_directory_path(failed);
  return failed ? fs::path("/tmp") : temporary;
}

}  // namespace helip::mining
