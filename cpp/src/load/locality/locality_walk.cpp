#include "load/locality/locality_walk.h"

#include <cstddef>

namespace helip::load {
namespace {

constexpr Row kNone = -1;
constexpr std::int64_t kReportEvery = 4096;

// Rows by their number of links to the window; one more or one less takes constant time. Rows
// without a link are in no list.
class LinkQueue {
 public:
  explicit LinkQueue(std::int64_t rows)
      : count_(static_cast<std::size_t>(rows), 0),
        before_(static_cast<std::size_t>(rows), kNone),
        after_(static_cast<std::size_t>(rows), kNone) {}

  void change(Row row, std::int32_t by) {
    std::int32_t& count = count_[index(row)];
    if (count > 0) unlink(row, count);
    count += by;
    if (count > 0) link(row, count);
  }

  // The row with most links, which leaves the queue for good; kNone when no row has any.
  Row take() {
    while (most_ > 0 && heads_[index(most_)] == kNone) --most_;
    if (most_ == 0) return kNone;
    const Row row = heads_[index(most_)];
    unlink(row, most_);
    return row;
  }

 private:
  static std::size_t index(std::int32_t number) { return static_cast<std::size_t>(number); }

  void link(Row row, std::int32_t count) {
    if (index(count) >= heads_.size()) heads_.resize(index(count) + 1, kNone);
    Row& head = heads_[index(count)];
    before_[index(row)] = kNone;
    after_[index(row)] = head;
    if (head != kNone) before_[index(head)] = row;
    head = row;
    if (count > most_) most_ = count;
  }

  void unlink(Row row, std::int32_t count) {
    const Row before = before_[index(row)];
    const Row after = after_[index(row)];
    (before == kNone ? heads_[index(count)] : after_[index(before)]) = after;
    if (after != kNone) before_[index(after)] = before;
  }

  std::vector<std::int32_t> count_;
  std::vector<Row> before_;
  std::vector<Row> after_;
  std::vector<Row> heads_;  // by count
  std::int32_t most_ = 0;   // no list above it has a row
};

}  // namespace

std::vector<Row> locality_walk(const PairGraph& graph, std::int64_t window, std::int64_t start,
                               const std::function<void(std::int64_t)>& placed) {
  const std::int64_t rows = graph.size();
  std::vector<Row> order;
  order.reserve(static_cast<std::size_t>(rows));
  std::vector<char> is_placed(static_cast<std::size_t>(rows), 0);
  LinkQueue queue(rows);
  const auto change_links = [&](Row row, std::int32_t by) {
    graph.each_link(row, [&](Row other) {
      if (!is_placed[static_cast<std::size_t>(other)]) queue.change(other, by);
    });
  };
  std::int64_t unseen = 0;  // rows behind `start` that were looked at for a fresh beginning
  for (std::int64_t place = 0; place < rows; ++place) {
    Row next = queue.take();
    while (next == kNone) {
      const auto candidate = static_cast<Row>((start + unseen++) % rows);
      if (!is_placed[static_cast<std::size_t>(candidate)]) next = candidate;
    }
    is_placed[static_cast<std::size_t>(next)] = 1;
    order.push_back(next);
    change_links(next, 1);
    if (place >= window) change_links(order[static_cast<std::size_t>(place - window)], -1);
    if (place % kReportEvery == 0) placed(place);
  }
  return order;
}

}  // namespace helip::load
