// What writes to the disk or reads it, under every call to the system that fails: the error is one
// of the disk, what was committed is whole, and the same call does it afterwards.
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "support/campaign.h"
#include "support/failing_calls.h"
#include "support/storage_trials.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::trials;

namespace {

using Kind = FailingCalls::Kind;

struct Failing {
  std::string name;
  Kind kind;
  std::vector<int> errors;
  bool harmless = false;  // the call does what it would have done
};

const std::vector<Failing>& failing() {
  static const std::vector<Failing> all{
      {"open", Kind::open, {EIO, EMFILE, EACCES, ENOSPC}},
      {"open, interrupted", Kind::open, {EINTR}, true},
      {"pread", Kind::pread, {EIO, EFAULT}},
      {"pread, interrupted", Kind::pread, {EINTR}, true},
      {"pread, short", Kind::short_pread, {0}, true},
      {"pwrite", Kind::pwrite, {EIO, ENOSPC, EDQUOT, EFBIG}},
      {"pwrite, interrupted", Kind::pwrite, {EINTR}, true},
      {"pwrite, short", Kind::short_pwrite, {0}, true},
      {"fsync", Kind::fsync, {EIO, ENOSPC, EDQUOT}},
      {"fsync, interrupted", Kind::fsync, {EINTR}, true},
      {"fsync of a directory, interrupted", Kind::directory_fsync, {EINTR}, true},
      {"fsync of a directory", Kind::directory_fsync, {EIO, ENOSPC}},
      {"fsync of a directory, unknown to it", Kind::directory_fsync, {EINVAL}, true},
      {"rename", Kind::rename, {EIO, ENOSPC, EACCES}},
      {"ftruncate", Kind::ftruncate, {EIO, ENOSPC}},
      {"ftruncate, interrupted", Kind::ftruncate, {EINTR}, true},
      {"posix_fallocate", Kind::fallocate, {EIO, ENOSPC}},
      {"posix_fallocate, interrupted", Kind::fallocate, {EINTR}, true},
      {"posix_fallocate, unknown to it", Kind::fallocate, {EOPNOTSUPP, EINVAL}, true},
      {"mkdir", Kind::mkdir, {EIO, ENOSPC, EACCES}},
      {"unlink", Kind::unlink, {EIO, EACCES}, true},  // what is left is for the next writer
      {"flock", Kind::flock, {EIO, ENOLCK}},
      {"flock, interrupted", Kind::flock, {EINTR}, true},
      {"close", Kind::close, {EIO, ENOSPC}},
      {"close, interrupted", Kind::close, {EINTR}, true},
      {"mmap", Kind::mmap, {ENOMEM, EACCES}},
  };
  return all;
}

std::vector<int> errors_of(const Failing& how) {
  if (how.harmless || !is_campaign()) return how.errors;
  return {EIO,    ENOSPC, EDQUOT, EROFS,  EACCES,   EPERM, EMFILE,
          ENFILE, ENOMEM, EFBIG,  ESTALE, ENOTCONN, ELOOP, ENXIO};
}

// Interrupted for ever it would never end.
std::vector<bool> times(const Failing& how) {
  return how.harmless && how.kind != Kind::unlink ? std::vector<bool>{true}
                                                  : std::vector<bool>{true, false};
}

}  // namespace

TEST_CASE("calls to the system that fail are errors of the disk, and nothing is lost") {
  std::map<std::string, std::int64_t> injected;
  for (const StorageTrial& each : storage_trials()) {
    for (const Failing& how : failing()) {
      for (const int error : errors_of(how)) {
        for (const bool once : times(how)) {
          bool all = false;
          for (int at = 0; !all; ++at) {
            INFO(each.name << ": " << how.name << " " << at << " with " << error
                           << (once ? ", once" : ", from then on"));
            const TemporaryFolder folder;
            const Trial trial = each.prepare(folder);
            std::string outcome = "done";
            {
              const FailingCalls now(how.kind, at, error, once);
              try {
                trial.call();
              } catch (const Error& caught) {
                const bool of_disk =
                    caught.code() == ErrorCode::io || caught.code() == ErrorCode::sample;
                outcome = of_disk ? "failed" : name_of(caught.code());
                if (!of_disk) outcome += std::string(": ") + caught.what();
              } catch (const std::exception& caught) {
                outcome = std::string("of another kind: ") + caught.what();
              }
              all = !now.happened();
            }
            INFO(outcome);
            if (all || how.harmless) {
              CHECK(outcome == "done");
            } else {
              CHECK((outcome == "done" || outcome == "failed"));
            }
            trial.check(outcome == "done");
            if (!all) ++injected[how.name];
          }
        }
      }
    }
  }
  std::int64_t sum = 0;
  for (const auto& [name, count] : injected) {
    std::cout << name << ": " << count << "\n";
    sum += count;
  }
  std::cout << "calls that failed, in all: " << sum << std::endl;
}
