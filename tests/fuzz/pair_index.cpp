// A saved index of pairs: what was opened is searched and added to.
#include "helip/pair_index.h"

#include "container.h"
#include "small_index.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  small_index().save(made / "x");
  return {input_of(made / "x")};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  static const testing::Data data = small_data(3);
  write_container(input, folder / "");
  PairIndex index = PairIndex::open(folder / "");
  search(index, data);
  const std::int64_t size = index.size();
  index.add(data.image.view(), data.text.view(), {1'000'000, 1'000'001, 1'000'002}, 1);
  promise(index.size() == size + 3, "rows were added");
}

}  // namespace helip::fuzz
