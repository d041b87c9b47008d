#include "load/locality/locality_halves.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace helip::load {
namespace {

constexpr int kPasses = 10;
// A pass that exchanges less than one row in so many is the last.
constexpr std::int64_t kFewExchanges = 500;

class Trader {
 public:
  Trader(const PairGraph& graph, std::int64_t block, std::vector<Row>& order,
         const std::function<void(std::int64_t)>& done)
      : graph_(graph),
        block_(block),
        order_(order),
        done_(done),
        place_(order.size()),
        gain_(order.size()) {
    for (std::size_t place = 0; place < order.size(); ++place) {
      place_[index(order[place])] = static_cast<Row>(place);
    }
  }

  void trade(std::int64_t first, std::int64_t last) {
    if (last - first <= block_) return;
    std::int64_t part = block_;
    while (2 * part < last - first) part *= 2;
    first_ = first, middle_ = first + part, last_ = last;
    measure();
    for (int pass = 0; pass < kPasses; ++pass) {
      if (exchange() * kFewExchanges < last - first) break;
    }
    finished_ += last - first;
    done_(finished_);
    trade(first, first + part);
    trade(first + part, last);
  }

 private:
  static std::size_t index(std::int64_t number) { return static_cast<std::size_t>(number); }

  bool is_inside(Row row) const {
    return place_[index(row)] >= first_ && place_[index(row)] < last_;
  }
  bool is_left(Row row) const { return place_[index(row)] < middle_; }

  // The gain of a row: its links to the other part, less those to its own.
  void measure() {
    for (std::int64_t place = first_; place < last_; ++place) {
      const Row row = order_[index(place)];
      const bool left = place < middle_;
      std::int32_t gain = 0;
      graph_.each_link(row, [&](Row other) {
        if (is_inside(other)) gain += is_left(other) == left ? -1 : 1;
      });
      gain_[index(row)] = gain;
    }
  }

  // One pass: the rows that gain most, in pairs. Returns the number of pairs exchanged.
  std::int64_t exchange() {
    fill(left_, first_, middle_);
    fill(right_, middle_, last_);
    const std::int32_t most_left = most(left_);
    const std::int32_t most_right = most(right_);
    keep_above(left_, -most_right);
    keep_above(right_, -most_left);
    std::int64_t exchanged = 0;
    const std::size_t pairs = std::min(left_.size(), right_.size());
    for (std::size_t i = 0; i < pairs; ++i) {
      if (left_[i].gain + right_[i].gain <= 0) break;
      exchanged += exchange(left_[i].row, right_[i].row) ? 1 : 0;
    }
    return exchanged;
  }

  // Exchanges two rows if fewer links are cut then, by the gains as they are now.
  bool exchange(Row a, Row b) {
    const std::int32_t gain = gain_[index(a)] + gain_[index(b)];
    if (gain <= 0) return false;
    std::int32_t between = 0;  // links of the two, which stay cut
    graph_.each_link(a, [&](Row other) { between += other == b ? 1 : 0; });
    if (gain - 2 * between <= 0) return false;
    moved(a, b, true);
    moved(b, a, false);
    gain_[index(a)] = 2 * between - gain_[index(a)];
    gain_[index(b)] = 2 * between - gain_[index(b)];
    std::swap(place_[index(a)], place_[index(b)]);
    order_[index(place_[index(a)])] = a;
    order_[index(place_[index(b)])] = b;
    return true;
  }

  // Gains of the neighbours of a row that leaves its part.
  void moved(Row row, Row partner, bool from_left) {
    graph_.each_link(row, [&](Row other) {
      if (other == partner || !is_inside(other)) return;
      gain_[index(other)] += is_left(other) == from_left ? 2 : -2;
    });
  }

  struct Candidate {
    std::int32_t gain;
    Row row;
  };

  void fill(std::vector<Candidate>& part, std::int64_t first, std::int64_t last) const {
    part.clear();
    for (std::int64_t place = first; place < last; ++place) {
      const Row row = order_[index(place)];
      part.push_back({gain_[index(row)], row});
    }
  }

  static std::int32_t most(const std::vector<Candidate>& part) {
    std::int32_t found = std::numeric_limits<std::int32_t>::min() / 2;
    for (const Candidate& candidate : part) found = std::max(found, candidate.gain);
    return found;
  }

  // Those that can gain with the best of the other part, best first.
  static void keep_above(std::vector<Candidate>& part, std::int32_t bound) {
    std::erase_if(part, [&](const Candidate& candidate) { return candidate.gain <= bound; });
    std::sort(part.begin(), part.end(), [](const Candidate& a, const Candidate& b) {
      return a.gain != b.gain ? a.gain > b.gain : a.row < b.row;
    });
  }

  const PairGraph& graph_;
  std::int64_t block_;
  std::vector<Row>& order_;
  const std::function<void(std::int64_t)>& done_;
  std::vector<Row> place_;
  std::vector<std::int32_t> gain_;
  std::int64_t first_ = 0, middle_ = 0, last_ = 0;  // of the parts at hand
  std::int64_t finished_ = 0;
  std::vector<Candidate> left_, right_;
};

}  // namespace

void trade_between_halves(const PairGraph& graph, std::int64_t block, std::vector<Row>& order,
                          const std::function<void(std::int64_t)>& done) {
  Trader(graph, block, order, done).trade(0, static_cast<std::int64_t>(order.size()));
}

std::int64_t levels(std::int64_t rows, std::int64_t block) {
  std::int64_t count = 0;
  for (std::int64_t part = block; part < rows; part *= 2) ++count;
  return count;
}

}  // namespace helip::load
