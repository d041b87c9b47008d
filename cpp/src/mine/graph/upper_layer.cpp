#include "mine/graph/upper_layer.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace helip::mining {
namespace {

constexpr float kLeast = -std::numeric_limits<float>::infinity();
constexpr std::int64_t kCandidates = 4;  // for each link

// The mean of both cosines of starts: what hnswlib's inner product is.
class MeanCosines {
 public:
  MeanCosines(const Graph& graph, const PairCodeView& rows)
      : graph_(graph), rows_(rows), all_(graph.starts().size()) {
    std::iota(all_.begin(), all_.end(), 0U);
  }
  // Of a start with others, by their numbers; [others].
  const std::vector<float>& of(std::uint32_t start, const std::vector<std::uint32_t>& others) {
    codes_.clear();
    for (const std::uint32_t other : others) codes_.push_back(code(other));
    rows_.codec->compare(code(start), codes_.data(), static_cast<std::int64_t>(codes_.size()),
                         &kLeast, 0, compared_);
    means_.resize(codes_.size());
    for (std::size_t i = 0; i < means_.size(); ++i) {
      means_[i] = (compared_.image[i] + compared_.text[i]) / 2;
    }
    return means_;
  }
  const std::vector<float>& of(std::uint32_t start) { return of(start, all_); }

 private:
  const std::int8_t* code(std::uint32_t start) const { return rows_.row(graph_.starts()[start]); }

  const Graph& graph_;
  const PairCodeView rows_;
  std::vector<std::uint32_t> all_;
  std::vector<const std::int8_t*> codes_;
  PairCodec::Compared compared_;
  std::vector<float> means_;
};

// As HNSW chooses links: best first, one that is closer to a chosen one than to the node is left
// out; the best of those fill up.
std::vector<std::uint32_t> choose(const std::vector<Neighbour>& candidates, std::size_t most,
                                  MeanCosines& cosines) {
  std::vector<std::uint32_t> chosen, left;
  for (const Neighbour& candidate : candidates) {
    if (chosen.size() == most) break;
    const std::vector<float>& to_chosen = cosines.of(candidate.node, chosen);
    const bool closer_to_one =
        std::any_of(to_chosen.begin(), to_chosen.end(),
                    [&](float similarity) { return similarity > candidate.similarity; });
    (closer_to_one ? left : chosen).push_back(candidate.node);
  }
  for (const std::uint32_t one : left) {
    if (chosen.size() == most) break;
    chosen.push_back(one);
  }
  return chosen;
}

}  // namespace

UpperLayer upper_layer(const Graph& graph, const PairCodeView& rows, std::int64_t degree) {
  const std::vector<std::uint32_t>& starts = graph.starts();
  const auto most = static_cast<std::size_t>(degree);
  UpperLayer layer;
  layer.links.resize(starts.size());
  MeanCosines cosines(graph, rows);
  float best = kLeast;
  std::vector<Neighbour> candidates;
  const auto count = static_cast<std::uint32_t>(starts.size());
  for (std::uint32_t start = 0; start < count; ++start) {
    candidates.clear();
    float sum = 0.0F;
    const std::vector<float>& means = cosines.of(start);
    for (std::uint32_t other = 0; other < count; ++other) {
      sum += means[other];
      if (other != start) candidates.push_back({means[other], other});
    }
    if (sum > best) {
      best = sum;
      layer.entry = starts[start];
    }
    const auto kept = static_cast<std::ptrdiff_t>(
        std::min(candidates.size(), static_cast<std::size_t>(kCandidates) * most));
    std::partial_sort(candidates.begin(), candidates.begin() + kept, candidates.end(), closer);
    candidates.resize(static_cast<std::size_t>(kept));
    for (const std::uint32_t other : choose(candidates, most, cosines)) {
      layer.links[start].push_back(other);
    }
  }
  // Ways back, where there is room, so that none can only be left.
  const std::vector<std::vector<std::uint32_t>> forward = layer.links;
  for (std::uint32_t start = 0; start < count; ++start) {
    for (const std::uint32_t other : forward[start]) {
      auto& links = layer.links[other];
      if (links.size() < most && std::find(links.begin(), links.end(), start) == links.end()) {
        links.push_back(start);
      }
    }
  }
  for (auto& links : layer.links) {
    for (std::uint32_t& link : links) link = starts[link];
  }
  return layer;
}

}  // namespace helip::mining
