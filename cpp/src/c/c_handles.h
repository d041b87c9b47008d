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

// NULL: no path. Of a table, which is then kept in memory; or as `name` says.
inline std::filesystem::path optional_path(const char* path, const char* name = "path") {
  if (path == nullptr) return {};
  if (*path == '\0') refuse(name, " is empty; give a directory, or NULL for none");
  return path;
}

}  // namespace helip::c
