#include "base/machine.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

struct Limits {
  int processors = std::numeric_limits<int>::max();
  std::int64_t memory = kNoLimit;
};

// The numbers of a file of `Count` words. One that is not above 0 is no limit: "max", -1, an absent
// file.
template <std::size_t Count>
std::array<std::int64_t, Count> numbers_of(const fs::path& path) {
  std::array<std::int64_t, Count> numbers;
  numbers.fill(kNoLimit);
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; words.size() <= Count && file >> word;) words.push_back(word);
  if (words.size() != Count) return numbers;
  for (std::size_t i = 0; i < Count; ++i) {
    const char* const end = words[i].data() + words[i].size();
    std::int64_t value = 0;
    const auto read = std::from_chars(words[i].data(), end, value);
    if (read.ec == std::errc() && read.ptr == end && value > 0) numbers[i] = value;
  }
  return numbers;
}

void limit_processors(std::int64_t quota, std::int64_t period, Limits& limits) {
  if (quota == kNoLimit || period == kNoLimit) return;
  // Half a processor is one thread that pauses.
  const double share = std::ceil(static_cast<double>(quota) / static_cast<double>(period));
  if (share < limits.processors) limits.processors = std::max(1, static_cast<int>(share));
}

void read_version_2(const fs::path& group, Limits& limits) {
  for (const char* name : {"memory.max", "memory.high"}) {
    limits.memory = std::min(limits.memory, numbers_of<1>(group / name)[0]);
  }
  const auto [quota, period] = numbers_of<2>(group / "cpu.max");
  limit_processors(quota, period, limits);
}

void read_version_1_memory(const fs::path& group, Limits& limits) {
  limits.memory = std::min(limits.memory, numbers_of<1>(group / "memory.limit_in_bytes")[0]);
}

void read_version_1_processors(const fs::path& group, Limits& limits) {
  limit_processors(numbers_of<1>(group / "cpu.cfs_quota_us")[0],
                   numbers_of<1>(group / "cpu.cfs_period_us")[0], limits);
}

// A limit holds for all groups below. In a container the path may be that of the host, while the
// container's own group is where groups are mounted: a group that is absent says nothing.
template <typename Read>
void read_groups(const fs::path& mount, std::string_view path, const Read& read, Limits& limits) {
  fs::path group = mount;
  read(group, limits);
  for (const fs::path& part : fs::path(path).relative_path()) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return;  // outside what is mounted here
    group /= part;
    read(group, limits);
  }
}

Limits read_limits(const fs::path& root) {
  Limits limits;
  const fs::path mount = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = std::string_view(line).substr(second + 1);
    const auto controls = [&](const std::string& name) {
      return ("," + controllers + ",").find("," + name + ",") != std::string::npos;
    };
    if (controllers.empty()) {
      read_groups(mount, path, read_version_2, limits);
      read_groups(mount / "unified", path, read_version_2, limits);
    }
    if (controls("memory")) read_groups(mount / controllers, path, read_version_1_memory, limits);
    if (controls("cpu")) {
      read_groups(mount / controllers, path, read_version_1_processors, limits);
      read_groups(mount / "cpu", path, read_version_1_processors, limits);
    }
  }
  return limits;
}

int bound_processors() noexcept {
#if defined(__linux__)
  for (int most = 1024; most <= 1 << 20; most *= 4) {  // the kernel refuses a set that is too small
    cpu_set_t* const set = CPU_ALLOC(static_cast<std::size_t>(most));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(most));
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return std::max(1, count);
  }
#endif
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

std::int64_t installed_memory() noexcept {
  const std::int64_t pages = ::sysconf(_SC_PHYS_PAGES);
  const std::int64_t page = memory_page_bytes();
  return pages > 0 && page > 0 ? pages * page : 0;
}

Machine within(const Limits& limits) noexcept {
  const std::int64_t installed = installed_memory();
  Machine machine;
  machine.processors = std::min(bound_processors(), limits.processors);
  machine.memory = installed > 0              ? std::min(installed, limits.memory)
                   : limits.memory < kNoLimit ? limits.memory
                                              : 0;
  return machine;
}

}  // namespace

std::int64_t memory_page_bytes() noexcept { return ::sysconf(_SC_PAGESIZE); }

Machine read_machine(const fs::path& root) { return within(read_limits(root)); }

Machine this_machine() noexcept {
  // Two threads that come first at once read the same. No lock: a fork must not find it held.
  static std::atomic<int> processors{0};
  static std::atomic<std::int64_t> memory{0};
  Limits limits{processors.load(), memory.load()};
  if (limits.processors == 0 || limits.memory == 0) {
    try {
      limits = read_limits("/");
    } catch (...) {
      limits = Limits();  // unread, they do not hold
    }
    processors = limits.processors;
    memory = limits.memory;
  }
  return within(limits);
}

}  // namespace helip
