// A part of a table, and the table that is merged from it.
#include "helip/hard_pairs_part.h"

#include "container.h"
#include "fuzz.h"
#include "helip/parts.h"
#include "support/mine_reference.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  auto writer = EmbeddingStoreWriter::create(made / "s", options());
  append(writer, rows_between(0, 20));
  writer.commit();
  MineOptions chosen;
  chosen.k = 3;
  chosen.threads = 1;
  (void)mine_part(EmbeddingStore::open(made / "s"), 1, 1, chosen, made / "part");
  return {input_of(made / "part")};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  write_container(input, folder / "part");
  const HardPairsPart part = HardPairsPart::open(folder / "part");
  promise(part.range().first() <= part.range().last(), "a part has a range");
  (void)merge_parts({folder / "part"}, {});
}

}  // namespace helip::fuzz
