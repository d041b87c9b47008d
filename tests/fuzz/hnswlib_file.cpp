// An index of pairs in the format of hnswlib: what was opened is searched.
#include <fstream>
#include <sstream>

#include "small_index.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  small_index().save_hnswlib(made / "x");
  std::ostringstream bytes;
  bytes << std::ifstream(made / "x", std::ios::binary).rdbuf();
  return {bytes.str()};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  static const testing::Data data = small_data(3);
  std::ofstream(folder / "x", std::ios::binary | std::ios::trunc) << input;
  const PairIndex index = PairIndex::open_hnswlib(folder / "x", kDimensions, {}, 1);
  if (index.text_dimensions() == kDimensions / 2) search(index, data);
}

}  // namespace helip::fuzz
