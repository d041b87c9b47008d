// What the bytes of a job's table depend on. What two processes do of one job must agree in it.
#pragma once

#include <cstdint>
#include <string>

#include "helip/embedding_store.h"
#include "helip/mine_options.h"
#include "io/json.h"

namespace helip::mining {

// A flat JSON object: "store", "data", "rows" and each option as used.
OrderedJson identity_of(const std::string& fingerprint, const std::string& data_fingerprint,
                        std::int64_t rows, const std::string& options_json);
OrderedJson identity_of(const EmbeddingStore& store, const MineOptions& options);

// What differs, in words: "k 10, here 20; seed 0, here 1". Empty where nothing does.
std::string differences(const OrderedJson& there, const OrderedJson& here);

}  // namespace helip::mining
