// A process that is killed at any call that changes the disk, before it or in its middle: what was
// committed is whole, and the same call does it afterwards. In a campaign it is killed there once
// more.
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <iostream>
#include <string>

#include "support/campaign.h"
#include "support/disk_changes.h"
#include "support/storage_trials.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::trials;

namespace {

// Ends the process with its `at`-th change, of which a write is done by half where `torn` is set.
class Killer final : public DiskWatch {
 public:
  Killer(const std::filesystem::path& folder, int at, bool torn)
      : DiskWatch(folder), left_(at), torn_(torn) {}

  void before(const DiskChange& change) override {
    if (torn_ && change.kind != DiskChange::Kind::write) return;
    if (left_-- > 0) return;
    if (torn_) tear(change);
    ::kill(::getpid(), SIGKILL);
    ::pause();
  }

 private:
  // Half of the bytes are there.
  void tear(const DiskChange& change) const {
    const int file = ::open(change.path.c_str(), O_WRONLY);
    const auto half = static_cast<long>(change.data.size() / 2);
    // Where the half cannot be written, the test is not what it says.
    if (::syscall(SYS_pwrite64, file, change.data.data(), half, change.offset) != half) ::_exit(3);
  }

  int left_;
  bool torn_;
};

enum class Ended { well, killed, refused, badly };

Ended run_killed(const Trial& trial, const std::filesystem::path& folder, int at, bool torn) {
  const pid_t child = ::fork();
  if (child == 0) {
    Killer killer(folder, at, torn);
    try {
      trial.call();
    } catch (const Error& error) {
      // What was committed is there, so the call is refused.
      ::_exit(error.code() == ErrorCode::invalid_argument ? 1 : 2);
    } catch (...) {
      ::_exit(2);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return Ended::killed;
  if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) return Ended::badly;
  return WEXITSTATUS(status) == 0 ? Ended::well : Ended::refused;
}

// The call again, killed at each of its changes. Returns how often that was.
std::int64_t kill_again(const StorageTrial& each, int at) {
  for (int next = 0;; ++next) {
    INFO("and again before change " << next);
    const TemporaryFolder folder;
    const Trial trial = each.prepare(folder);
    REQUIRE(run_killed(trial, folder.path(), at, false) == Ended::killed);
    const Ended ended = run_killed(trial, folder.path(), next, false);
    REQUIRE(ended != Ended::badly);
    trial.check(false);
    if (ended != Ended::killed) return next;
  }
}

}  // namespace

TEST_CASE("a process that is killed at any change of the disk loses nothing that was committed") {
  std::int64_t kills = 0;
  for (const StorageTrial& each : storage_trials()) {
    for (const bool torn : {false, true}) {
      for (int at = 0;; ++at) {
        INFO(each.name << ": killed " << (torn ? "within write " : "before change ") << at);
        const TemporaryFolder folder;
        const Trial trial = each.prepare(folder);
        const Ended ended = run_killed(trial, folder.path(), at, torn);
        REQUIRE((ended == Ended::well || ended == Ended::killed));
        trial.check(ended == Ended::well);
        if (ended == Ended::well) break;
        ++kills;
        if (trial.goes_on && !torn && is_campaign()) {
          kills += 2 * kill_again(each, at);
        }
      }
    }
  }
  std::cout << "kills: " << kills << std::endl;
}
