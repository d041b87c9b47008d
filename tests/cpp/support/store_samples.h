// Rows of a small store, the same for the same numbers.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "helip/embedding_store_writer.h"

namespace helip {

struct StoreRows {
  std::vector<std::string> keys;
  std::vector<float> image;
  std::vector<float> text;
  std::int64_t d_image = 5;
  std::int64_t d_text = 3;

  MatrixView image_view() const {
    return MatrixView::of(image.data(), static_cast<std::int64_t>(keys.size()), d_image);
  }
  MatrixView text_view() const {
    return MatrixView::of(text.data(), static_cast<std::int64_t>(keys.size()), d_text);
  }
};

inline StoreRows rows_between(int first, int last) {
  StoreRows rows;
  for (int i = first; i < last; ++i) {
    std::mt19937 random(static_cast<unsigned>(i));
    const auto next = [&] { return static_cast<float>(random() % 2001) / 1000.0F - 1.0F; };
    rows.keys.push_back("key-" + std::to_string(i));
    for (int j = 0; j < 5; ++j) rows.image.push_back(next());
    for (int j = 0; j < 3; ++j) rows.text.push_back(next());
  }
  return rows;
}

inline void append(EmbeddingStoreWriter& writer, const StoreRows& rows) {
  writer.append(rows.keys, rows.image_view(), rows.text_view());
}

inline StoreOptions options(DType dtype = DType::float32) { return {5, 3, dtype, 4096}; }

}  // namespace helip
