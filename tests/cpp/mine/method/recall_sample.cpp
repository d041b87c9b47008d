// The targets that recall is measured on, and what counts as found.
#include "mine/method/recall_sample.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "mine/pool/bands.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

struct Setting {
  explicit Setting(const Data& data, std::int64_t k)
      : options(exact_options(k)),
        corpus(data.image.view(), data.text.view(), rules_of(options), select_kernel()) {
    corpus.measure(silent.team);
  }
  MethodContext context() {
    return {corpus, options, std::int64_t{1} << 30, {}, nullptr, silent.team};
  }
  SilentTeam silent;
  MineOptions options;
  Corpus corpus;
};

}  // namespace

TEST_CASE("the sample is a thousand targets at most, and parts make up the whole",
          "[recall_sample]") {
  const Data data = clustered_data(1500, 12, 8);
  Setting setting(data, 4);
  MethodContext context = setting.context();
  const RecallSample whole(context);
  REQUIRE(whole.targets().size() == 1000);
  REQUIRE(std::is_sorted(whole.targets().begin(), whole.targets().end()));
  const RecallSample first(context, 0, 700), second(context, 700, 1500);
  std::vector<std::int64_t> both = first.targets();
  both.insert(both.end(), second.targets().begin(), second.targets().end());
  REQUIRE(both == whole.targets());
}

TEST_CASE("the exact pools of the sample are those of the definition", "[recall_sample]") {
  const Data data = clustered_data(500, 12, 8);
  Setting setting(data, 4);
  MethodContext context = setting.context();
  const RecallSample sample(context);
  const PlainMiner plain(data, setting.options);
  for (std::size_t i = 0; i < sample.targets().size(); ++i) {
    check_pool(plain.pool(sample.targets()[i]), 4, sample.exact().ids.data() + 4 * i,
               sample.exact().scores.data() + 4 * i, sample.exact().counts[i]);
  }
  REQUIRE(sample.estimate(sample.exact()).estimate == 1.0);
}

TEST_CASE("a pair that ties with the last of the exact pool counts as found", "[recall_sample]") {
  const Data data = clustered_data(300, 12, 8);
  Setting setting(data, 3);
  MethodContext context = setting.context();
  const RecallSample sample(context);
  HardPairBand found = sample.exact();
  for (std::size_t i = 0; i < found.ids.size(); ++i) found.ids[i] = -7;  // ids do not matter
  REQUIRE(sample.estimate(found).estimate == 1.0);
  for (std::size_t i = 0; i < found.scores.size(); i += 3) {
    found.scores[i + 2] = found.scores[i + 2] * 0.5F;  // the last of each is missed
  }
  const RecallEstimate missed = sample.estimate(found);
  REQUIRE(missed.estimate > 0.66);
  REQUIRE(missed.estimate < 0.67);
}
