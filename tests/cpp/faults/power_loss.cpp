// The power fails after any call that changes the disk: in every state that the disk may then be
// in, what was committed is whole, and the same call does it afterwards. What a call has committed
// when it returns stays.
#include <catch2/catch_test_macros.hpp>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "support/campaign.h"
#include "support/disk_changes.h"
#include "support/disk_model.h"
#include "support/storage_trials.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::trials;

namespace {

using Kept = DiskModel::Kept;

class Recorder final : public DiskWatch {
 public:
  using DiskWatch::DiskWatch;
  void after(const DiskChange& change) override { changes.push_back(change); }
  std::vector<DiskChange> changes;
};

// States at random of each moment.
int draws() { return is_campaign() ? 8 : 1; }

}  // namespace

TEST_CASE("after a loss of power the disk holds what was committed") {
  std::int64_t states = 0;
  std::mt19937 random(1);
  std::vector<Kept> kinds{Kept::nothing, Kept::names, Kept::bytes, Kept::all};
  kinds.insert(kinds.end(), static_cast<std::size_t>(draws()), Kept::some);
  for (const StorageTrial& each : storage_trials()) {
    const TemporaryFolder folder;
    const Trial trial = each.prepare(folder);
    DiskModel disk(folder.path());
    std::vector<DiskChange> changes;
    {
      Recorder recorder(folder.path());
      trial.call();
      changes = recorder.changes;
    }
    for (std::size_t done = 0; done <= changes.size(); ++done) {
      for (const Kept kept : kinds) {
        INFO(each.name << ": power fails after change " << done << " of " << changes.size()
                       << ", state " << static_cast<int>(kept));
        disk.put(kept, random);
        trial.check(done == changes.size());
        ++states;
      }
      if (done < changes.size()) disk.take(changes[done]);
    }
  }
  std::cout << "states after a loss of power: " << states << std::endl;
}
