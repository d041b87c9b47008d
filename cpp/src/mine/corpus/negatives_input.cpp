#include "mine/corpus/negatives_input.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/refuse.h"
#include "io/checksum.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"

namespace helip {

NegativesInput NegativesInput::of(const EmbeddingStore& queries, const EmbeddingStore& corpus) {
  NegativesInput input;
  input.query_image = queries.image();
  input.query_text = queries.text();
  input.corpus_image = corpus.image();
  input.corpus_text = corpus.text();
  input.queries = &queries;
  input.corpus = &corpus;
  return input;
}

std::string digest_of(const Positives& positives) {
  if (positives.begins.empty()) return {};
  std::vector<std::int64_t> begins{0}, rows;
  for (std::size_t query = 0; query + 1 < positives.begins.size(); ++query) {
    const auto own = rows.insert(rows.end(), positives.rows.begin() + positives.begins[query],
                                 positives.rows.begin() + positives.begins[query + 1]);
    std::sort(own, rows.end());
    rows.erase(std::unique(own, rows.end()), rows.end());
    begins.push_back(static_cast<std::int64_t>(rows.size()));
  }
  Digest digest;
  for (const auto* numbers : {&begins, &rows}) {
    digest.update(numbers->data(), numbers->size() * sizeof(std::int64_t));
  }
  return digest.hex();
}

namespace mining {
namespace {

void check_positives(const Positives& positives, std::int64_t queries, std::int64_t corpus) {
  const auto begins = static_cast<std::int64_t>(positives.begins.size());
  if (begins != queries + 1 || positives.begins.front() != 0 ||
      positives.begins.back() != static_cast<std::int64_t>(positives.rows.size())) {
    refuse("positives have " + std::to_string(begins) + " begins for " + std::to_string(queries) +
           " queries; give one more than queries, from 0 to the number of rows");
  }
  for (std::int64_t query = 0; query < queries; ++query) {
    const std::int64_t begin = positives.begins[static_cast<std::size_t>(query)];
    const std::int64_t end = positives.begins[static_cast<std::size_t>(query) + 1];
    if (begin >= end || end > positives.begins.back()) {
      refuse("query " + std::to_string(query) +
             " has no positive; give it one, or leave that query out");
    }
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = positives.rows[static_cast<std::size_t>(i)];
      if (row >= 0 && row < corpus) continue;
      refuse("query " + std::to_string(query) + " has the positive " + std::to_string(row) +
             ", but the corpus has rows 0 .. " + std::to_string(corpus - 1));
    }
  }
}

}  // namespace

void validate(const NegativesInput& input, const MineOptions& options) {
  if (options.method == MiningMethod::sample || options.method == MiningMethod::hnsw) {
    throw Error(ErrorCode::unsupported, std::string("method is '") + name_of(options.method) +
                                            "', which mines pairs of one data set; queries are "
                                            "mined in a corpus by 'exact' or 'partition'");
  }
  if (options.margin) {
    refuse("margin is " + std::to_string(*options.margin) +
           ", which compares a row's own image and text; of queries use relative_margin");
  }
  if (input.relative_margin) {
    if (!(*input.relative_margin >= 0.0 && *input.relative_margin <= 1.0)) {
      refuse("relative_margin is " + std::to_string(*input.relative_margin) +
             ", but must lie in 0 .. 1; 0.05 is usual");
    }
    if (input.positives.begins.empty()) {
      refuse("relative_margin is " + std::to_string(*input.relative_margin) +
             ", but there are no positives that it could be held against; give positives");
    }
  }
  if (!options.channels.empty()) {
    throw Error(ErrorCode::unsupported,
                "channels are given, which are of pairs of one data set; queries are mined by "
                "image, by text or by both");
  }
  const Matrices query_matrices{input.query_image, input.query_text};
  const Matrices corpus_matrices{input.corpus_image, input.corpus_text};
  validate(corpus_matrices, options);
  validate(query_matrices, options);
  const auto check_columns = [](const char* name, const MatrixView& queries,
                                const MatrixView& corpus) {
    if (queries.cols == corpus.cols) return;
    refuse(std::string(name) + " embeddings of queries have " + std::to_string(queries.cols) +
           " dimensions, those of the corpus " + std::to_string(corpus.cols) +
           "; embed both with one model");
  };
  const Rules rules = rules_of(options);
  if (rules.use_image) check_columns("image", input.query_image, input.corpus_image);
  if (rules.use_text) check_columns("text", input.query_text, input.corpus_text);
  const std::int64_t queries = row_count(query_matrices, options);
  const std::int64_t corpus = row_count(corpus_matrices, options);
  if (queries < 1 || corpus < 1) {
    refuse("there are " + std::to_string(queries) + " queries and " + std::to_string(corpus) +
           " rows of a corpus, but must be at least 1 of both");
  }
  if (queries > kMaxRows - corpus) {
    throw Error(ErrorCode::unsupported,
                std::to_string(queries) + " queries and " + std::to_string(corpus) +
                    " rows of a corpus are more than the " + std::to_string(kMaxRows) +
                    " that can be mined at once; split the queries");
  }
  if (!input.positives.begins.empty()) check_positives(input.positives, queries, corpus);
}

}  // namespace mining
}  // namespace helip
