// Data as a store on disk.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "helip/embedding_store_writer.h"
#include "support/mine_reference.h"

namespace helip::testing {

inline EmbeddingStore store_of(const std::filesystem::path& path, const Data& data) {
  const MatrixView image = data.image.view(), text = data.text.view();
  auto writer = EmbeddingStoreWriter::create(path, {image.cols, text.cols, DType::float32, 65536});
  std::vector<std::string> keys;
  for (std::int64_t i = 0; i < image.rows; ++i) keys.push_back("k" + std::to_string(i));
  writer.append(keys, image, text);
  return writer.commit();
}

}  // namespace helip::testing
