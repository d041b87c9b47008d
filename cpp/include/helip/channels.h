// A score of any number of similarities: each is the cosine of a pair's rows in one channel, such
// as image, caption, a second language, audio or video.
//
//     product:  score(i, j) = Π_c s̃_c(i, j)^w_c
//     sum:      score(i, j) = Σ_c w_c s_c(i, j) / Σ_c w_c,
//
// where s̃ is the cosine, set to zero where it is negative. Neither counts a pair that is a near
// duplicate by one channel (s_c > maximum), or one whose row has no embedding in a channel.
#pragma once

#include <string>

namespace helip {

inline constexpr int kMostChannels = 8;

enum class ScoreKind { product, sum };

// What is asked of the similarity of one channel.
struct ChannelRule {
  std::string name;
  double maximum = 0.98;  // near-duplicate threshold, 0 .. 1; 1 keeps near duplicates
  double weight = 1.0;    // w, above 0 and at most 16
};

}  // namespace helip
