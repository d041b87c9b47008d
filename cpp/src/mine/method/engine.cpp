#include "mine/method/engine.h"

#include <algorithm>
#include <mutex>

#include "mine/budget/plan.h"
#include "mine/method/partition.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kLeastBandRows = kSweepBlock;
constexpr std::int64_t kMostBandRows = 0x7fffffff;  // targets are numbered in 32 bits
constexpr std::int64_t kBandBytes = std::int64_t{8} << 20;
constexpr std::int64_t kFinishGrain = 16;

class Collect final : public HardPairSink {
 public:
  explicit Collect(HardPairBand& into) : result_(into) {}
  void write(const HardPairBand& band) override {
    std::copy(band.ids.begin(), band.ids.end(), result_.ids.begin() + band.first * band.k);
    std::copy(band.scores.begin(), band.scores.end(), result_.scores.begin() + band.first * band.k);
    std::copy(band.counts.begin(), band.counts.end(), result_.counts.begin() + band.first);
  }

 private:
  HardPairBand& result_;
};

}  // namespace

Context::Context(const Corpus& corpus_, const MineOptions& options_, std::int64_t memory_,
                 std::filesystem::path scratch_, const std::uint32_t* groups_, Team& team_,
                 Checkpoint* checkpoint_)
    : corpus(corpus_),
      options(options_),
      memory(memory_),
      scratch(std::move(scratch_)),
      groups(groups_),
      team(team_),
      checkpoint(checkpoint_) {}

Context::~Context() = default;

const Filters& Context::filters() const {
  if (filters_) return *filters_;
  if (saved() == nullptr) {
    choose_filters_again(options.method);
  } else {
    Filters::Parts parts{choose_filters_for(corpus, options, team),
                         restore_order(corpus, *saved())};
    filters_ = std::make_unique<Filters>(corpus, std::move(parts), kept(), memory, scratch, team);
  }
  return *filters_;
}

void Context::choose_filters_again(Method method) const {
  MineOptions own = options;
  own.method = method;
  filters_.reset();  // first, for their memory
  filters_ = std::make_unique<Filters>(corpus, choose_filters_for(corpus, own, team), kept(),
                                       memory, scratch, team);
}

void Context::drop_codes() const noexcept {
  if (filters_) filters_->drop_codes();
}

bool filters_pay(const Corpus& corpus, std::int64_t targets) noexcept {
  return corpus.size() >= kLeastRowsToFilter && targets >= kLeastTargetsToFilter &&
         corpus.dimensions() <= kMostDimensionsToFilter;
}

std::int64_t bytes_of_target(std::int64_t kept) noexcept {
  return Pools::bytes_per_target(kept, 0) + 16;
}

MemoryUse memory_use(const Corpus& corpus, const FilterPlan& plan, std::int64_t kept,
                     std::int64_t memory) noexcept {
  MemoryUse use{};
  use.codes = corpus.size() * Codes::bytes_per_row(corpus, plan);
  const std::int64_t pools =
      corpus.size() * (bytes_of_target(std::min(kept, corpus.size())) + 4 * kNeighbours);
  use.codes_on_disk = use.codes > memory / 2 && use.codes + pools > memory;
  use.left = use.codes_on_disk ? memory : memory - use.codes;
  return use;
}

FilterPlan choose_filters_for(const Corpus& corpus, const MineOptions& options, Team& team) {
  const std::int64_t rows = corpus.size();
  const std::int64_t kept = options.k + options.skip;
  if (options.method == Method::partition && partition_pays(rows, kept, options.recall)) {
    return choose_filters(corpus, kept, team, Held::closest, partition_share(rows, kept));
  }
  if (options.method == Method::sample) {
    // The best of some rows would be far down among all.
    const std::int64_t candidates = std::max<std::int64_t>(1, sample_candidates(options, rows));
    return choose_filters(corpus, std::min(rows, kept * rows / candidates), team);
  }
  return choose_filters(corpus, kept, team);
}

namespace {

Filters::Parts with_order(const Corpus& corpus, FilterPlan plan, Team& team) {
  RowOrder order = order_rows(corpus, plan, team);
  return {std::move(plan), std::move(order)};
}

}  // namespace

Filters::Filters(const Corpus& corpus, FilterPlan plan, std::int64_t kept, std::int64_t memory,
                 const std::filesystem::path& scratch, Team& team)
    : Filters(corpus, with_order(corpus, std::move(plan), team), kept, memory, scratch, team) {}

Filters::Filters(const Corpus& corpus, Parts parts, std::int64_t kept, std::int64_t memory,
                 const std::filesystem::path& scratch, Team& team)
    : corpus_(corpus),
      plan_(std::move(parts.plan)),
      order_(std::move(parts.order)),
      use_(memory_use(corpus, plan_, kept, memory)),
      scratch_(use_.codes_on_disk ? scratch : std::filesystem::path()),
      team_(team) {}

const Sweep& Filters::sweep() const {
  if (!sweep_) {
    codes_ = std::make_unique<Codes>(corpus_, plan_, order_, scratch_, team_);
    sweep_.emplace(corpus_, plan_, *codes_, order_);
    memory_left_ = use_.left - team_.size() * Sweep::bytes_per_thread(*codes_);
  }
  return *sweep_;
}

const Codes& Filters::codes() const {
  sweep();
  return *codes_;
}

std::int64_t Filters::memory_left() const {
  sweep();
  return memory_left_;
}

std::vector<std::uint32_t> Filters::places_of(const std::vector<std::uint32_t>& rows) const {
  std::vector<std::uint32_t> places;
  std::vector<bool> wanted;
  for (const std::uint32_t row : rows) {
    if (row >= wanted.size()) wanted.resize(row + std::size_t{1});
    wanted[row] = true;
  }
  for (std::size_t place = 0; place < order_.rows.size(); ++place) {
    const std::uint32_t row = order_.rows[place];
    if (row < wanted.size() && wanted[row]) places.push_back(static_cast<std::uint32_t>(place));
  }
  return places;
}

BandSize band_size(std::int64_t targets, const MineOptions& options, std::int64_t rows,
                   std::int64_t memory) noexcept {
  const std::int64_t each = bytes_of_target(std::min(options.k + options.skip, rows));
  const std::int64_t fit = std::clamp(memory / each, kLeastBandRows, kMostBandRows);
  const std::int64_t bands = std::max<std::int64_t>(1, (targets + fit - 1) / fit);
  return {(targets + bands - 1) / bands, bands};
}

HardPairBand make_band(std::int64_t first, std::int64_t rows, std::int64_t k) {
  HardPairBand band;
  band.first = first;
  band.k = k;
  band.ids.assign(static_cast<std::size_t>(rows * k), -1);
  band.scores.assign(static_cast<std::size_t>(rows * k), 0.0F);
  band.counts.assign(static_cast<std::size_t>(rows), 0);
  return band;
}

std::int64_t band_rows_for(std::int64_t k) noexcept {
  return std::clamp<std::int64_t>(kBandBytes / (12 * k + 4), 1, 8192);
}

void write_pools(const Context& context, Pools& pools, const std::vector<std::int64_t>& slots,
                 std::int64_t first, HardPairSink& sink, DropCounts& drops) {
  const std::int64_t k = context.options.k;
  const std::int64_t step = band_rows_for(k);
  const auto all = static_cast<std::int64_t>(slots.size());
  std::mutex mutex;
  for (std::int64_t begin = 0; begin < all; begin += step) {
    const std::int64_t rows = std::min(step, all - begin);
    HardPairBand band = make_band(first + begin, rows, k);
    context.team.for_blocks(rows, kFinishGrain, [&](std::int64_t row, std::int64_t end, int) {
      DropCounts counts;
      for (; row < end && !context.team.stopped(); ++row) {
        const std::int64_t slot = slots[static_cast<std::size_t>(begin + row)];
        if (slot >= 0) pools.finish(slot, band, row, counts);
      }
      const std::lock_guard lock(mutex);
      drops.add(counts);
    });
    sink.write(band);
  }
}

HardPairBand exact_pools(const Context& context, const std::vector<std::int64_t>& targets) {
  const Corpus& corpus = context.corpus;
  const auto total = static_cast<std::int64_t>(targets.size());
  HardPairBand result = make_band(0, total, context.options.k);
  Collect collect(result);
  DropCounts unused;
  if (!filters_pay(corpus, total)) {
    const std::vector<std::uint32_t> rows(targets.begin(), targets.end());
    Pools pools(corpus, rows, context.options.k, context.options.skip, context.groups);
    context.team.for_blocks(total, 1, [&](std::int64_t slot, std::int64_t, int) {
      Scorer scorer(corpus);
      for (std::int64_t row = 0; row < corpus.size() && !context.team.stopped(); ++row) {
        if (row != targets[static_cast<std::size_t>(slot)]) pools.meet(slot, row, -1, scorer);
      }
      context.team.add_work(corpus.size());
    });
    std::vector<std::int64_t> slots(targets.size());
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int64_t>(i);
    write_pools(context, pools, slots, 0, collect, unused);
    return result;
  }

  const Filters& filters = context.filters();
  SweepJob job;
  for (std::size_t place = 0; place < filters.order().rows.size(); ++place) {
    job.others.push_back(static_cast<std::uint32_t>(place));
  }
  const BandSize size = band_size(total, context.options, corpus.size(), filters.memory_left());
  for (std::int64_t first = 0; first < total; first += size.targets) {
    const std::int64_t last = std::min(total, first + size.targets);
    const std::vector<std::uint32_t> rows(targets.begin() + first, targets.begin() + last);
    job.targets = filters.places_of(rows);
    std::vector<std::uint32_t> found;
    for (const std::uint32_t place : job.targets) found.push_back(filters.order().rows[place]);
    Pools pools(corpus, found, context.options.k, context.options.skip, context.groups);
    filters.sweep().seed(job, context.kept(), pools, context.team);
    filters.sweep().run(job, pools, context.team);

    // A target may be asked for twice.
    std::vector<std::int64_t> slot_of(static_cast<std::size_t>(corpus.size()), -1);
    for (std::size_t slot = 0; slot < found.size(); ++slot) {
      slot_of[found[slot]] = static_cast<std::int64_t>(slot);
    }
    std::vector<std::int64_t> slots;
    for (const std::uint32_t row : rows) slots.push_back(slot_of[row]);
    write_pools(context, pools, slots, first, collect, unused);
  }
  return result;
}

}  // namespace helip::mining
