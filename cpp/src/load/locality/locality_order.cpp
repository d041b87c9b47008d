#include "helip/locality_order.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/counter_random.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "io/mapped_files.h"
#include "load/locality/locality_halves.h"
#include "load/locality/locality_walk.h"
#include "load/locality/pair_graph.h"

namespace helip {
namespace {

constexpr std::uint64_t kStart = 0x6f72646572ULL;  // the purpose of the draw
// Rows that a row of the walk is compared with, in blocks.
constexpr std::int64_t kWindowBlocks = 4;

void check(const HardPairs& pairs, const LocalityOptions& options) {
  if (options.block < 2) {
    refuse("block = ", options.block, " must be at least 2 rows");
  }
  if (options.rank_max < 0 || options.rank_max > pairs.k()) {
    refuse("rank_max = ", options.rank_max, " must lie in 0 .. k = ", pairs.k(),
           "; 0 means all ranks");
  }
  if (pairs.size() > std::numeric_limits<load::Row>::max()) {
    fail(ErrorCode::unsupported, "a table of ", pairs.size(),
         " rows cannot be put in order at once; reshard parts of the data set");
  }
}

}  // namespace

std::vector<std::int64_t> locality_order(const HardPairs& pairs, const LocalityOptions& options,
                                         const ProgressCallback& progress) try {
  check(pairs, options);
  const std::int64_t rows = pairs.size();
  if (rows == 0) return {};
  const auto report = [&](const char* stage, std::int64_t done, std::int64_t total) {
    if (progress && !progress({stage, done, total})) {
      throw Error(ErrorCode::cancelled, "the order of rows was not finished");
    }
  };
  const load::PairGraph graph(pairs, options.rank_max == 0 ? pairs.k() : options.rank_max);
  require_whole(pairs.ids().data);
  const std::int64_t start = random::CounterRandom({options.seed, kStart}).below(rows);
  std::vector<load::Row> order =
      load::locality_walk(graph, kWindowBlocks * options.block, start,
                          [&](std::int64_t placed) { report("walk", placed, rows); });
  const std::int64_t total = rows * load::levels(rows, options.block);
  load::trade_between_halves(graph, options.block, order, [&](std::int64_t done) {
    report("trade", std::min(done, total), total);
  });
  return {order.begin(), order.end()};
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
