// An embedding store: opened, verified, read to its last key.
#include "container.h"
#include "fuzz.h"
#include "helip/embedding_store.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  std::vector<std::string> all;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16, DType::int8}) {
    const auto path = made / name_of(dtype);
    auto writer = EmbeddingStoreWriter::create(path, options(dtype));
    append(writer, rows_between(0, 12));
    writer.commit();
    all.push_back(input_of(path));
  }
  auto writer = EmbeddingStoreWriter::append_to(made / "float32");
  writer.delete_keys({"key-3", "key-7"});
  writer.commit();
  all.push_back(input_of(made / "float32"));
  return all;
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  write_container(input, folder / "");
  const EmbeddingStore store = EmbeddingStore::open(folder / "");
  store.verify();
  std::size_t letters = 0;
  for (std::int64_t row = 0; row < store.size(); ++row) letters += store.key(row).size();
  promise(letters >= static_cast<std::size_t>(store.size()), "a key is not empty");
  for (const MatrixView& view : {store.image(), store.text()}) {
    promise(view.rows == store.size(), "both modalities have all rows");
    unsigned sum = 0;
    const auto* bytes = static_cast<const unsigned char*>(view.data);
    for (std::int64_t i = 0; i < view.rows * view.cols * size_of(view.dtype); ++i) sum += bytes[i];
    volatile unsigned read = sum;
    (void)read;
  }
  for (const std::int64_t row : store.deleted()) {
    promise(row >= 0 && row < store.size(), "a deleted row is one of the store");
  }
}

}  // namespace helip::fuzz
