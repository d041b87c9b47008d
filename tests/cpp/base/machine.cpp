#include "base/machine.h"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#if defined(__linux__)
#include <sched.h>
#endif

#include "support/temporary_folder.h"

namespace {

using helip::Machine;
using helip::read_machine;
namespace fs = std::filesystem;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

// A tree of control groups as the kernel shows it.
class Groups {
 public:
  explicit Groups(const std::string& own) { put("proc/self/cgroup", own); }
  void put(const std::string& path, const std::string& text) {
    const fs::path file = root_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  Machine read() const { return read_machine(root_ / ""); }

 private:
  TemporaryFolder root_;
};

TEST_CASE("without control groups the machine is what is installed", "[machine]") {
  const Machine machine = Groups("").read();
  REQUIRE(machine.processors >= 1);
  REQUIRE(machine.memory > 0);
}

TEST_CASE("version 2: the least limit of a group and those above holds", "[machine]") {
  Groups groups("0::/slice/task");
  const Machine whole = groups.read();
  groups.put("sys/fs/cgroup/slice/memory.max", "max");
  groups.put("sys/fs/cgroup/slice/task/memory.max", std::to_string(96 * kMiB));
  groups.put("sys/fs/cgroup/slice/cpu.max", "50000 100000");
  groups.put("sys/fs/cgroup/slice/task/cpu.max", "max 100000");
  REQUIRE(groups.read().memory == 96 * kMiB);
  REQUIRE(groups.read().processors == 1);
  groups.put("sys/fs/cgroup/slice/memory.max", std::to_string(64 * kMiB));
  REQUIRE(groups.read().memory == 64 * kMiB);
  groups.put("sys/fs/cgroup/slice/task/memory.high", std::to_string(32 * kMiB));
  REQUIRE(groups.read().memory == 32 * kMiB);
  groups.put("sys/fs/cgroup/slice/cpu.max", "100000000 100000");
  REQUIRE(groups.read().processors == whole.processors);
}

TEST_CASE("version 2 in a container: the limits lie where groups are mounted", "[machine]") {
  Groups groups("0::/");
  groups.put("sys/fs/cgroup/memory.max", std::to_string(48 * kMiB));
  groups.put("sys/fs/cgroup/cpu.max", "100000 100000");
  REQUIRE(groups.read().memory == 48 * kMiB);
  REQUIRE(groups.read().processors == 1);
}

TEST_CASE("version 1: each controller has a tree of its own", "[machine]") {
  Groups groups("7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc");
  const Machine whole = groups.read();
  const std::string memory = "sys/fs/cgroup/memory/";
  const std::string cpu = "sys/fs/cgroup/cpu,cpuacct/";
  groups.put(memory + "memory.limit_in_bytes", "9223372036854771712");
  groups.put(cpu + "cpu.cfs_quota_us", "-1");
  groups.put(cpu + "cpu.cfs_period_us", "100000");
  REQUIRE(groups.read().memory == whole.memory);
  REQUIRE(groups.read().processors == whole.processors);
  // As a container shows it: its own group is the mount, and the path is the host's.
  groups.put(memory + "memory.limit_in_bytes", std::to_string(80 * kMiB));
  groups.put(cpu + "cpu.cfs_quota_us", "20000");
  REQUIRE(groups.read().memory == 80 * kMiB);
  REQUIRE(groups.read().processors == 1);
  // As the host shows it.
  groups.put(memory + "docker/abc/memory.limit_in_bytes", std::to_string(40 * kMiB));
  REQUIRE(groups.read().memory == 40 * kMiB);
}

TEST_CASE("both versions at once: each limits what it controls", "[machine]") {
  Groups groups("3:memory:/a\n0::/b");
  groups.put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", std::to_string(72 * kMiB));
  groups.put("sys/fs/cgroup/unified/b/cpu.max", "10000 100000");
  REQUIRE(groups.read().memory == 72 * kMiB);
  REQUIRE(groups.read().processors == 1);
}

TEST_CASE("what cannot be read does not limit", "[machine]") {
  const Machine whole = Groups("").read();
  for (const char* own : {"nonsense", "0::", "0::/../other", "0::/x", ":::", "7:memory"}) {
    Groups groups(own);
    groups.put("sys/fs/cgroup/x/memory.max", "12 MB?");
    groups.put("sys/fs/cgroup/x/cpu.max", "100000");
    groups.put("sys/fs/cgroup/memory.max", "0");
    groups.put("sys/fs/cgroup/cpu.max", "99999999999999999999999 -5");
    REQUIRE(groups.read().memory == whole.memory);
    REQUIRE(groups.read().processors == whole.processors);
  }
  Groups groups("0::/x");
  groups.put("sys/fs/cgroup/x/memory.max", "123x");
  REQUIRE(groups.read().memory == whole.memory);
}

#if defined(__linux__)
TEST_CASE("a process that is bound to one processor has one", "[machine]") {
  cpu_set_t before;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  const int bound = helip::this_machine().processors;
  REQUIRE(::sched_setaffinity(0, sizeof before, &before) == 0);
  REQUIRE(bound == 1);
  REQUIRE(helip::this_machine().processors <= CPU_COUNT(&before));
}
#endif

}  // namespace
