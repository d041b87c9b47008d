// The one interface of all methods.
#include "mine/method/method.h"

#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr std::int64_t kMemory = std::int64_t{1} << 30;

class Gathered final : public HardPairSink {
 public:
  void write(const HardPairBand& band) override {
    ids.insert(ids.end(), band.ids.begin(), band.ids.end());
  }
  std::vector<std::int64_t> ids;
};

}  // namespace

TEST_CASE("a corpus is prepared when it is asked for, once, and again for method exact",
          "[method]") {
  SilentTeam silent;
  const Data data = clustered_data(600, 24, 16);
  Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  corpus.measure(silent.team);
  const MineOptions options = exact_options(5);
  MethodContext context(corpus, options, kMemory, {}, nullptr, silent.team);
  REQUIRE_FALSE(context.is_prepared());
  context.drop_codes();  // nothing is there
  PreparedCorpus& prepared = context.prepared();
  REQUIRE(context.is_prepared());
  REQUIRE(&prepared == &context.prepared());
  REQUIRE(prepared.order().rows.size() == 600);
  context.prepare_for_exact();
  REQUIRE(context.prepared().order().rows.size() == 600);
}

TEST_CASE("the method of the options is the one that runs", "[method]") {
  SilentTeam silent;
  const Data data = clustered_data(400, 24, 16);
  Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  corpus.measure(silent.team);
  MineOptions options = exact_options(5);
  options.candidates = 100;
  const auto run = [&](MiningMethod method, std::vector<std::int64_t>& ids) {
    options.method = method;
    MethodContext context(corpus, options, kMemory, {}, nullptr, silent.team);
    Gathered sink;
    const MethodReport report = run_method(context, {0, 400, 0, 400}, sink);
    ids = sink.ids;
    return report;
  };
  std::vector<std::int64_t> exact, other;
  REQUIRE_FALSE(run(MiningMethod::exact, exact).has_recall);
  REQUIRE(exact.size() == 400 * 5);
  REQUIRE(run(MiningMethod::sample, other).hits.size() == 400);
  REQUIRE(other != exact);
  REQUIRE(run(MiningMethod::hnsw, other).hnsw.breadth > 0);
  REQUIRE(run(MiningMethod::partition, other).partition.clusters == 1);  // too few rows
  REQUIRE(other == exact);
}
