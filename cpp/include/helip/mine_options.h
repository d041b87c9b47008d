// What mining is asked: which pairs are hard, by which method they are found, and what of the
// machine that may take. helip/mine.h has the definition of a hard pair.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "helip/export.h"

namespace helip {

enum class MiningMethod { automatic, exact, sample, hnsw, partition };
enum class Modality { both, image, text };
enum class Collapse { none, image, text, both };

// "auto", "exact", ...; from a name: throws Error(invalid_argument) with those that there are.
[[nodiscard]] HELIP_EXPORT const char* name_of(MiningMethod method) noexcept;
[[nodiscard]] HELIP_EXPORT MiningMethod method_from_name(const std::string& name);
[[nodiscard]] HELIP_EXPORT const char* name_of(Modality modality) noexcept;
[[nodiscard]] HELIP_EXPORT Modality modality_from_name(const std::string& name);
[[nodiscard]] HELIP_EXPORT const char* name_of(Collapse collapse) noexcept;
[[nodiscard]] HELIP_EXPORT Collapse collapse_from_name(const std::string& name);

// A score of any number of similarities: each is the cosine of a pair's rows in one channel, such
// as image, caption, a second language, audio or video.
//
//     product:  score(i, j) = Π_c s̃_c(i, j)^w_c
//     sum:      score(i, j) = Σ_c w_c s_c(i, j) / Σ_c w_c,
//
// where s̃ is the cosine, set to zero where it is negative. Neither counts a pair that is a near
// duplicate by one channel (s_c > maximum), or one whose row has no embedding in a channel.
enum class ScoreKind { product, sum };
inline constexpr int kMostChannels = 8;

// What is asked of the similarity of one channel.
struct ChannelRule {
  std::string name;
  double maximum = 0.98;  // near-duplicate threshold, 0 .. 1; 1 keeps near duplicates
  double weight = 1.0;    // w, 0.01 .. 16
};

[[nodiscard]] HELIP_EXPORT const char* name_of(ScoreKind score) noexcept;
[[nodiscard]] HELIP_EXPORT ScoreKind score_from_name(const std::string& name);

struct MineOptions {
  std::int64_t k = 100;  // pool size, >= 1; above N - 1 every target is short
  // automatic: exact up to 300,000 rows; beyond, partition where exact would take this machine more
  // than half an hour and twice as long, unless `recall` or the options ask for all pairs.
  // `threads` and `memory` do not matter to it.
  MiningMethod method = MiningMethod::automatic;
  Modality modality = Modality::both;  // image / text: the score is that one similarity (IM, TM)
  double image_max = 0.98;             // near-duplicate threshold on the image cosine
  double text_max = 0.98;              // near-duplicate threshold on the text cosine
  double min_score = 0.0;              // a score must exceed it
  bool signed_products = false;        // no clamp at zero: two negatives multiply to a positive
  // False negatives: drops a candidate whose caption fits the target's image, or whose image fits
  // the target's caption, as well as the target's own do, but for this margin:
  //     max(cos(uᵢ, vⱼ), cos(uⱼ, vᵢ)) > cos(uᵢ, vᵢ) − margin.
  // Needs image and text embeddings of one space, such as CLIP's own.
  std::optional<double> margin;
  std::int64_t skip = 0;  // best pairs that are passed over before the pool begins
  // Of candidates that are near duplicates of each other, directly or by way of others, only the
  // best enters a pool: duplicates by image, by text, or by both at once.
  Collapse collapse = Collapse::none;
  std::int64_t candidates = 0;    // sample: C; 0 means min(N, 3,000,000)
  std::int64_t refresh = 300000;  // sample: targets served by one draw of candidates
  std::uint64_t seed = 0;         // sample, hnsw and partition
  // hnsw, partition: the lower 95 % limit of the measured recall must reach it. A graph may fall
  // short, and its report says so.
  double recall = 0.95;
  int threads = 0;          // 0: all cores
  std::int64_t memory = 0;  // bytes for buffers; 0: a quarter of what the machine gives (machine.h)
  // With `out`: commits the job in so many parts, ranges of targets, in "<out>.parts", and takes up
  // those that an interrupted job left there. More than one gives up symmetry between parts: up to
  // twice the pairs. Of exact and sample; automatic is exact then. The table is the same.
  std::int64_t parts = 1;
  // partition, of a store and with `out`: seconds of work after which what was found so far is
  // saved in "<out>.checkpoint", where the same call goes on after an interruption; 0 saves after
  // each step, infinity never. Saving takes at most a fiftieth of the time. The table is the same.
  double checkpoint = 60.0;
  // Of a store: a folder for the lengths, filters, order and codes of its rows, which are made
  // before pairs are compared. Those of the same store, rules, k + skip and method are taken from
  // there (exact and hnsw have the same), others are replaced. About 2 bytes for each dimension of
  // a row. Empty: none are taken or kept, or with `keep_codes` those in "codes" of the folder of a
  // store of 16,384 rows or more, where they take at most a quarter of what is free; what hinders
  // that is no error, and the report has it as "codes". The table is the same.
  std::filesystem::path codes = {};
  bool keep_codes = false;  // of a store, in its own folder
  // In place of `modality`, `image_max` and `text_max`: the channels that a score is made of.
  // Of methods exact, partition and sample, without margin, collapse and signed_products.
  std::vector<ChannelRule> channels = {};
  ScoreKind score = ScoreKind::product;  // of channels
};

}  // namespace helip
