// A table of hard pairs: what was opened holds rows of the table, and never a target's own.
#include "helip/hard_pairs.h"

#include <cmath>

#include "container.h"
#include "fuzz.h"
#include "support/table_samples.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  SampleTable().make({"f", "", R"({"k": 2})", R"({"pairs": 5})"}).save(made / "p");
  return {input_of(made / "p")};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  write_container(input, folder / "");
  const HardPairs pairs = HardPairs::open(folder / "");
  for (std::int64_t target = 0; target < pairs.size(); ++target) {
    promise(pairs.count(target) >= 0 && pairs.count(target) <= pairs.k(), "a count is within k");
    for (std::int64_t rank = 0; rank < pairs.count(target); ++rank) {
      const std::int64_t id = pairs.id(target, rank);
      promise(id >= 0 && id < pairs.size() && id != target, "an id is another row");
    }
  }
  pairs.verify();
  for (std::int64_t target = 0; target < pairs.size(); ++target) {
    for (std::int64_t rank = 0; rank < pairs.count(target); ++rank) {
      promise(std::isfinite(pairs.score(target, rank)), "a verified score is finite");
    }
  }
  (void)pairs.statistics();
}

}  // namespace helip::fuzz
