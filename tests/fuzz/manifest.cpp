// manifest.json: with its checksum mended, so that the parser sees what was damaged.
#include "io/manifest.h"

#include "container.h"
#include "fuzz.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {
namespace {

constexpr const char* kFormat = "helip.embedding_store";

const TemporaryFolder& folder() {
  static const TemporaryFolder place;
  return place;
}

}  // namespace

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  auto writer = EmbeddingStoreWriter::create(made / "s", options());
  append(writer, rows_between(0, 3));
  writer.commit(R"({"a": [1, 2]})");
  const std::string seed = input_of(made / "s");
  // A message quotes no more than its beginning.
  return {seed, with(seed, kFormat, std::string(3000, 'f')),
          with(seed, "\"requires\": []", "\"requires\": [\"" + std::string(3000, 'r') + "\"]")};
}

void take(std::string_view input) {
  write_container(input, folder() / "");
  const Manifest manifest = read_manifest(folder() / "", kFormat);
  std::int64_t rows = 0;
  for (const ShardRecord& shard : manifest.shards) {
    promise(shard.file.find('/') == std::string::npos, "a shard lies in the directory");
    rows += shard.rows;
  }
  promise(rows == manifest.rows() && rows >= 0, "rows add up");
  // What was read can be written, and is then read as it was.
  write_manifest(folder() / "", manifest);
  promise(read_manifest(folder() / "", kFormat).rows() == rows, "a manifest is read as written");
}

}  // namespace helip::fuzz
