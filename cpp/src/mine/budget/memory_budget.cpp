#include "mine/budget/memory_budget.h"

#include <unistd.h>

#include <system_error>

namespace helip::mining {

namespace fs = std::filesystem;

std::int64_t memory_budget(const MineOptions& options) noexcept {
  if (options.memory > 0) return options.memory;
  const std::int64_t pages = sysconf(_SC_PHYS_PAGES);
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return std::int64_t{1} << 30;
  return pages / 4 * page;
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
