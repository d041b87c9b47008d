// Queries, the corpus that their hard negatives are mined in, and what belongs together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/matrix.h"

namespace helip {

// The rows of a corpus that belong to each query: of query i rows[begins[i]] ..
// rows[begins[i + 1] - 1], at least one. Empty spans: no query has any.
struct Positives {
  std::span<const std::int64_t> begins;  // [queries + 1]
  std::span<const std::int64_t> rows;
};

// Of the same lists the same, whatever their order and however often a row is in one: XXH3-128 over
// where each list begins, and then over all rows, ascending, as little-endian int64. "" without
// any.
[[nodiscard]] HELIP_EXPORT std::string digest_of(const Positives& positives);

// Rows and what is known of them. The views must outlive the call; so must a store.
struct NegativesInput {
  MatrixView query_image, query_text;    // of modality both: rows of both are one query
  MatrixView corpus_image, corpus_text;  // likewise
  // Of each query. Equal ones, whose cosines are above 0.99999, are mined with those of all.
  Positives positives;
  // Keeps out what scores more than (1 - relative_margin) times the least score of the query's
  // positives, 0 .. 1 (sentence-transformers calls it so; NV-Retriever, arXiv 2407.15831, has 0.05
  // as "perc pos"). Needs positives; those without an embedding do not count.
  std::optional<double> relative_margin;
  // Stores of the matrices, by whose fingerprints parts of a job are told apart; nullptr: none.
  const EmbeddingStore* queries = nullptr;
  const EmbeddingStore* corpus = nullptr;

  // The matrices of two stores, which must stay where they are.
  HELIP_EXPORT static NegativesInput of(const EmbeddingStore& queries,
                                        const EmbeddingStore& corpus);
};

}  // namespace helip
