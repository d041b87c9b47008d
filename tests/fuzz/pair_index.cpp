// A saved index of pairs: what was opened is searched and added to.
#include "helip/pair_index.h"

#include "container.h"
#include "fuzz.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {
namespace {

constexpr std::int64_t kDimensions = 8;

}  // namespace

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  const testing::Data data = testing::clustered_data(40, kDimensions, 4);
  PairIndexOptions chosen;
  chosen.degree = 4;
  chosen.breadth = 10;
  PairIndex::build(data.image.view(), data.text.view(), chosen, {}, 1).save(made / "x");
  return {input_of(made / "x")};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  static const testing::Data data = testing::clustered_data(3, kDimensions, 1);
  write_container(input, folder / "");
  PairIndex index = PairIndex::open(folder / "");
  const PairMatches found = index.query(data.image.view(), data.text.view(), 5, 10, 1);
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    const bool there = static_cast<std::int64_t>(i) % found.k < found.counts[i / found.k];
    promise(there ? found.ids[i] >= 0 : found.ids[i] == -1, "what was found has an id");
  }
  const std::int64_t size = index.size();
  index.add(data.image.view(), data.text.view(), {1'000'000, 1'000'001, 1'000'002}, 1);
  promise(index.size() == size + 3, "rows were added");
}

}  // namespace helip::fuzz
