// What the handles of the C interface hold: an object of the core each.
#pragma once

#include <helip.h>

#include <filesystem>

#include "c/c_status.h"
#include "helip/embedding_store.h"
#include "helip/embedding_store_writer.h"
#include "helip/hard_pairs.h"
#include "helip/pair_index.h"

struct helip_store {
  helip::EmbeddingStore object;
};

struct helip_store_writer {
  helip::EmbeddingStoreWriter object;
};

struct helip_pairs {
  helip::HardPairs object;
};

struct helip_index {
  helip::PairIndex object;
};

namespace helip::c {

// Puts a new handle into `*out`, once what it holds is made; so the place is asked for first.
template <typename Handle, typename Make>
helip_status create(Handle** out, const Make& make) noexcept {
  return run([&] {
    Handle*& place = required(out, "out");
    place = new Handle{make()};
  });
}

// NULL: no path, which keeps a table in memory.
inline std::filesystem::path optional_path(const char* path) {
  if (path == nullptr) return {};
  if (*path == '\0') refuse("path is empty; give a directory, or NULL to keep the table in memory");
  return path;
}

}  // namespace helip::c
