// What counts as a hard pair: the options that say so, in the form that scoring needs.
#pragma once

#include <cstdint>

#include "helip/mine_options.h"

namespace helip::mining {

struct Rules {
  bool use_image = true;
  bool use_text = true;
  bool signed_products = false;
  double image_max = 1.0;  // 1 drops nothing: cosines are limited to [-1, 1]
  double text_max = 1.0;
  double min_score = 0.0;
  bool use_margin = false;
  double margin = 0.0;
};

Rules rules_of(const MineOptions& options) noexcept;

// Whether a pair counts as hard, or the first filter that keeps it out.
enum class Verdict : std::uint8_t { kept, image_duplicate, text_duplicate, margin, collapsed };
inline constexpr int kVerdicts = 5;

struct Similarities {
  double image, text;  // 1 for a modality that is not used
};

// A pair of a target and a candidate, seen from both.
struct Judged {
  double score;  // product of the similarities, before any filter; at most 0: no hard pair
  Verdict target;
  Verdict candidate;  // the verdict when the roles are exchanged
};

// What the rules say of a pair by its similarities alone, so without the margin.
Judged judge(const Rules& rules, const Similarities& found) noexcept;

struct Scored {
  double score;
  std::int64_t id;
};

// Falling score, rising id: the order of a pool.
inline bool ranks_before(const Scored& a, const Scored& b) noexcept {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

}  // namespace helip::mining
