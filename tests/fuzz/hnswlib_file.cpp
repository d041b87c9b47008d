// An index of pairs in the format of hnswlib: what was opened is searched.
#include <fstream>
#include <sstream>

#include "fuzz.h"
#include "helip/pair_index.h"
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
  PairIndex::build(data.image.view(), data.text.view(), chosen, {}, 1).save_hnswlib(made / "x");
  std::ostringstream bytes;
  bytes << std::ifstream(made / "x", std::ios::binary).rdbuf();
  return {bytes.str()};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  static const testing::Data data = testing::clustered_data(3, kDimensions, 1);
  std::ofstream(folder / "x", std::ios::binary | std::ios::trunc) << input;
  const PairIndex index = PairIndex::open_hnswlib(folder / "x", kDimensions, {}, 1);
  if (index.text_dimensions() != data.text.view().cols) return;
  const PairMatches found = index.query(data.image.view(), data.text.view(), 5, 10, 1);
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    const bool there = static_cast<std::int64_t>(i) % found.k < found.counts[i / found.k];
    promise(there ? found.ids[i] >= 0 : found.ids[i] == -1, "what was found has an id");
  }
}

}  // namespace helip::fuzz
