#include "helip/update.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "helip/hard_pairs_writer.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "io/mapped_files.h"
#include "mine/bound/prepared_corpus.h"
#include "mine/budget/budget.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/corpus/scorer.h"
#include "mine/job/job.h"
#include "mine/job/report.h"
#include "mine/job/update_rows.h"
#include "mine/pool/bands.h"
#include "mine/pool/updated_pools.h"

namespace helip {
namespace {

using mining::Corpus;
using mining::KeptCodes;
using mining::Outdated;
using mining::PreparedCorpus;
using mining::RowRole;
using mining::RowRoles;
using mining::Sweep;
using mining::SweepJob;
using mining::UpdatedPools;

constexpr std::int64_t kNoTarget = -1;
constexpr std::int64_t kScoreGrain = 256;

MineOptions options_of(const HardPairs& pairs, const UpdateOptions& update) {
  const std::string& text = pairs.origin().options_json;
  MineOptions options;
  std::string method;
  try {
    const OrderedJson json = OrderedJson::parse(text);
    method = json.at("method").get<std::string>();
    options.k = integer_of(json.at("k"));
    options.image_max = json.at("image_max").get<double>();
    options.text_max = json.at("text_max").get<double>();
    options.min_score = json.at("min_score").get<double>();
    options.signed_products = json.at("signed").get<bool>();
    if (!json.at("margin").is_null()) options.margin = json.at("margin").get<double>();
    options.skip = integer_of(json.at("skip"));
    options.collapse = collapse_from_name(json.at("collapse").get<std::string>());
    if (const auto modality = json.at("modality").get<std::string>(); modality != "channels") {
      options.modality = modality_from_name(modality);
    } else {
      options.score = score_from_name(json.at("score").get<std::string>());
      for (const OrderedJson& channel : json.at("channels")) {
        options.channels.push_back({channel.at(0).get<std::string>(), channel.at(1).get<double>(),
                                    channel.at(2).get<double>()});
      }
    }
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    throw Error(ErrorCode::unsupported,
                "the table's options are " + text + ", which mining did not write; mine it again");
  }
  const OrderedJson all = OrderedJson::parse(text);
  if (all.contains("filter")) {
    throw Error(ErrorCode::unsupported,
                "the table was filtered, and pairs that it lacks would come back; bring the table "
                "that it was made from up to date, and filter that");
  }
  if (all.contains("verdicts")) {
    throw Error(ErrorCode::unsupported,
                "the table was mined under verdicts, and pairs that people took out would come "
                "back; bring a table that was mined without up to date, and filter that by them");
  }
  if (method != name_of(MiningMethod::exact)) {
    throw Error(ErrorCode::unsupported,
                "the table was mined with method '" + method +
                    "'; only exact pools can be brought up to date, mine it again");
  }
  if (options.k != pairs.k()) {
    throw Error(ErrorCode::mismatch, "the table has k = " + std::to_string(pairs.k()) +
                                         ", but its options say " + std::to_string(options.k) +
                                         "; mine it again");
  }
  options.method = MiningMethod::exact;
  options.threads = update.threads;
  options.memory = update.memory;
  options.codes = update.codes;
  options.keep_codes = update.keep_codes;
  return options;
}

[[noreturn]] void refuse_store(const HardPairs& pairs, const EmbeddingStore& store) {
  const std::int64_t rows = pairs.size();
  std::string what;
  if (pairs.origin().fingerprint.empty()) {
    what = "the table was mined from bare arrays, so nothing tells which rows they were";
  } else if (store.size() < rows) {
    what = "the store has " + std::to_string(store.size()) + " rows, the table has " +
           std::to_string(rows);
  } else {
    std::vector<std::string> keys;
    for (std::int64_t row = 0; row < rows; ++row) keys.emplace_back(store.key(row));
    const bool same = pairs.origin().data_fingerprint.starts_with(keys_fingerprint(keys));
    what =
        "the table was mined from a store of fingerprint " + pairs.origin().fingerprint +
        ", which this one never had; " + (same ? "the embeddings, " : "the keys ") +
        (same ? "their dtype, or the deleted rows of its first " : "or the order of its first ") +
        std::to_string(rows) + " rows differ";
  }
  throw Error(ErrorCode::mismatch,
              what + "; update with the store that was mined, or mine this one");
}

// Why the store is mined afresh, or an empty text.
std::string reason_to_mine(const MineOptions& options, const RowRoles& roles) {
  if (options.skip > 0) return "skip passes over pairs that the table does not hold";
  if (options.collapse != Collapse::none) return "collapse joins old rows by way of new ones";
  const std::int64_t fresh = roles[RowRole::added] + roles[RowRole::stale];
  if (2 * fresh > fresh + roles[RowRole::kept]) return "more than half of the rows meet every row";
  const std::int64_t bytes = fresh * mining::bytes_of_target(options.k);
  if (4 * bytes > mining::memory_budget(options)) return "memory is too low for the new pools";
  return {};
}

// One update: which rows are compared with which, and the bands of the table.
class Update {
 public:
  // `codes`: see codes_for_update(); nullptr: they are made anew.
  Update(const Corpus& corpus, const HardPairs& before, const Outdated& outdated,
         const RowRoles& roles, const MineOptions& options, const std::filesystem::path& scratch,
         bool list_drops, Team& team, KeptCodes* codes = nullptr)
      : corpus_(corpus),
        before_(before),
        outdated_(outdated),
        roles_(roles),
        options_(options),
        team_(team),
        memory_(mining::memory_budget(options)),
        number_(static_cast<std::size_t>(corpus.size()), kNoTarget) {
    drops_.listed = list_drops;
    const std::int64_t fresh = roles[RowRole::added] + roles[RowRole::stale];
    if (mining::filters_pay(corpus, fresh)) {
      const bool found = codes != nullptr && codes->found();
      // Of all pairs, those of a fresh row; less than half of the rows are fresh.
      const double share = static_cast<double>(fresh) / static_cast<double>(corpus.size());
      prepared_ = std::make_unique<PreparedCorpus>(
          corpus,
          found ? codes->plan()
                : mining::choose_filters(corpus, options.k, team,
                                         {mining::FilteredPairs::few, share * (2.0 - share)}),
          found ? mining::with_all_rows(codes->order(), corpus)
                : mining::walk_along(before, corpus),
          mining::bytes_without_codes(corpus, options.k, team.size()), memory_, scratch, team,
          codes);
      memory_ = prepared_->memory_left();
      order_ = prepared_->order().rows;
    } else {
      order_.resize(static_cast<std::size_t>(corpus.size()));
      std::iota(order_.begin(), order_.end(), 0U);
    }
    places_[0].reserve(order_.size());
    for (std::size_t place = 0; place < order_.size(); ++place) {
      places_[static_cast<std::size_t>(roles.of[order_[place]])].push_back(
          static_cast<std::uint32_t>(place));
    }
  }

  // What the rules kept out, where that is listed.
  DroppedPairs dropped() { return drops_.take(); }
  // nullptr: every pair was scored.
  const PreparedCorpus* prepared() const noexcept { return prepared_.get(); }
  // Unordered pairs that were looked at.
  std::int64_t pairs() const noexcept { return pairs_; }

  void run(HardPairSink& sink) {
    std::vector<std::uint32_t> rows;
    for (std::uint32_t place = 0; place < order_.size(); ++place) {
      const std::uint32_t row = order_[place];
      if (roles_.of[row] != RowRole::added && roles_.of[row] != RowRole::stale) continue;
      number_[row] = static_cast<std::int32_t>(rows.size());
      rows.push_back(row);
    }
    UpdatedPools pools(corpus_, before_, outdated_.marks, rows);

    const Places& kept = places_of(RowRole::kept);
    const SweepJob among_added =
        job(places_of(RowRole::added), true, places_of(RowRole::stale), true);
    const SweepJob stale = job(places_of(RowRole::stale), true, kept, false);
    const std::int64_t old = before_.size();
    const std::int64_t each = mining::bytes_of_target(options_.k);
    const mining::BandSize size =
        mining::band_size(old, options_, corpus_.size(), memory_ - pools.fresh() * each);
    // A row with other values is written among the old ones of its band. Where more bands follow,
    // it meets all kept rows beforehand, and they meet it band by band.
    Places added = places_of(RowRole::added), replaced;
    if (size.bands > 1) {
      const auto is_new = [&](std::uint32_t place) { return order_[place] >= old; };
      std::ranges::copy_if(added, std::back_inserter(replaced), std::not_fn(is_new));
      std::erase_if(added, std::not_fn(is_new));
    }
    const SweepJob beforehand = job(replaced, false, kept, false);
    const std::int64_t band_work = roles_[RowRole::added] * roles_[RowRole::kept];
    team_.begin_stage(
        "update", corpus_.size(),
        Sweep::work(among_added) + Sweep::work(stale) + Sweep::work(beforehand) + band_work);
    if (prepared_) {
      mining::TableThresholds(corpus_, prepared_->codes(), prepared_->order(), before_,
                              outdated_.marks)
          .raise(rows, pools, team_);
    }
    compare(among_added, pools);
    compare(stale, pools);
    compare(beforehand, pools);
    pairs_ -= Sweep::work(beforehand);  // counted band by band
    for (std::int64_t first = 0; first < old; first += size.targets) {
      const std::int64_t last = std::min(old, first + size.targets);
      std::vector<std::uint32_t> band;
      Places band_places;
      for (const std::uint32_t place : kept) {
        const std::uint32_t row = order_[place];
        if (row < first || row >= last) continue;
        number_[row] =
            static_cast<std::int32_t>(pools.fresh() + static_cast<std::int64_t>(band.size()));
        band.push_back(row);
        band_places.push_back(place);
      }
      pools.begin_band(std::move(band));
      compare(job(added, false, band_places, true), pools);
      if (!replaced.empty()) compare(job(band_places, false, replaced, false), pools);
      write(pools, first, last, sink);
    }
    write(pools, old, corpus_.size(), sink);
    team_.end_stage();
  }

 private:
  using Places = std::vector<std::uint32_t>;  // in the order, ascending

  const Places& places_of(RowRole role) const { return places_[static_cast<std::size_t>(role)]; }

  SweepJob job(const Places& targets, bool mutual, const Places& others,
               bool others_are_targets) const {
    SweepJob job;
    job.targets = targets;
    job.mutual = mutual;
    for (const std::uint32_t place : job.targets) job.numbers.push_back(number_[order_[place]]);
    job.others = others;
    if (!others_are_targets) return job;
    for (const std::uint32_t place : others) job.other_numbers.push_back(number_[order_[place]]);
    return job;
  }

  void compare(const SweepJob& job, UpdatedPools& pools) {
    if (job.targets.empty()) return;
    pairs_ += Sweep::work(job);
    if (prepared_) {
      prepared_->sweep().run(job, pools, team_);
    } else {
      score_all(job, pools);
    }
  }

  // Few targets: every pair is scored. The rows of the targets stay in the cache, those of others
  // are read once.
  void score_all(const SweepJob& job, UpdatedPools& pools) {
    const std::size_t targets = job.targets.size();
    const std::size_t mutual = job.mutual ? targets : 0;
    team_.for_blocks(static_cast<std::int64_t>(mutual), 1, [&](std::int64_t at, std::int64_t, int) {
      mining::Scorer scorer(corpus_);
      const auto t = static_cast<std::size_t>(at);
      for (std::size_t u = t + 1; u < targets && !team_.stopped(); ++u) {
        pools.score_pair(job.numbers[t], order_[job.targets[u]], job.numbers[u], scorer);
      }
    });
    team_.for_blocks(static_cast<std::int64_t>(job.others.size()), kScoreGrain,
                     [&](std::int64_t i, std::int64_t end, int) {
                       mining::Scorer scorer(corpus_);
                       for (; i < end && !team_.stopped(); ++i) {
                         const auto at = static_cast<std::size_t>(i);
                         const std::int32_t mirror =
                             job.other_numbers.empty() ? kNoTarget : job.other_numbers[at];
                         for (const std::int32_t number : job.numbers) {
                           pools.score_pair(number, order_[job.others[at]], mirror, scorer);
                         }
                         team_.add_work(static_cast<std::int64_t>(targets));
                       }
                     });
  }

  // Rows [first, last) of the table.
  void write(UpdatedPools& pools, std::int64_t first, std::int64_t last, HardPairSink& sink) {
    const std::int64_t step = mining::band_rows_for(options_.k);
    for (; first < last; first += step) {
      const std::int64_t rows = std::min(step, last - first);
      HardPairBand band = mining::make_band(first, rows, options_.k);
      team_.for_blocks(rows, 16, [&](std::int64_t row, std::int64_t end, int) {
        mining::Scorer scorer(corpus_);
        mining::DropCounts drops = drops_.part();
        for (; row < end && !team_.stopped(); ++row) {
          const std::int32_t number = number_[static_cast<std::size_t>(first + row)];
          if (number >= 0) pools.finish(number, band, row, scorer, drops);
        }
        const std::lock_guard lock(mutex_);
        drops_.add(drops);
      });
      sink.write(band);
    }
  }

  const Corpus& corpus_;
  const HardPairs& before_;
  const Outdated& outdated_;
  const RowRoles& roles_;
  const MineOptions& options_;
  Team& team_;
  std::int64_t memory_;
  std::unique_ptr<PreparedCorpus> prepared_;
  std::vector<std::uint32_t> order_;  // place -> row
  Places places_[4];                  // of each role
  std::vector<std::int32_t> number_;  // of each row among the pools, kNoTarget: it has none
  std::int64_t pairs_ = 0;
  std::mutex mutex_;
  mining::DropCounts drops_;
};

HardPairs update_into(const HardPairs& pairs, const EmbeddingStore& store,
                      const EarlierState& before, const MineOptions& options,
                      const ProgressCallback& progress, const std::filesystem::path& out,
                      ExistingTable existing) {
  const mining::Matrices matrices = mining::matrices_of(store, options);
  mining::validate(matrices, options);
  mining::check_codes_folder(options.codes, out);
  Corpus corpus(matrices, mining::rules_of(options), mining::select_kernel());
  Team team(options.threads, progress);
  std::optional<KeptCodes> codes = mining::codes_for_update(store, corpus, options, progress);
  corpus.measure(team, codes && codes->found() ? codes->lengths() : mining::RowLengths{});
  const Outdated outdated = mining::outdated_since(store, before);
  const RowRoles roles = mining::sort_rows(corpus, pairs, outdated);
  const std::int64_t rows = store.size();

  HardPairs::Origin origin = pairs.origin();
  const std::string from = std::exchange(origin.fingerprint, store.fingerprint());
  origin.data_fingerprint = store.data_fingerprint();
  OrderedJson did{{"from", from},
                  {"added", rows - pairs.size()},
                  {"deleted", outdated.deleted},
                  {"replaced", outdated.replaced},
                  {"mined_again", roles[RowRole::stale]}};
  if (const std::string reason = reason_to_mine(options, roles); !reason.empty()) {
    did["pairs"] = rows * std::max<std::int64_t>(rows - 1, 0) / 2;
    did["afresh"] = reason;
    origin.report_json = OrderedJson{{"update", did}}.dump();
    return mining::mine_table(matrices, options, progress, out, std::move(origin), existing,
                              nullptr, &store);
  }

  HardPairsWriter writer(out, rows, pairs.k(), existing);
  Update update(corpus, pairs, outdated, roles, options, mining::scratch_folder(out), false, team,
                codes ? &*codes : nullptr);
  update.run(writer);
  if (codes) {
    codes->require_whole();
    codes->publish();
  }
  corpus.require_whole();
  helip::require_whole(pairs.ids().data);
  did["pairs"] = update.pairs();
  OrderedJson report{{"pairs", rows * (rows - 1)}};
  if (update.prepared() != nullptr) {
    report["filters"] = mining::filters_json(update.prepared()->plan(), options);
  }
  if (codes && !codes->hindrance().empty()) report["codes"] = codes->hindrance();
  report["update"] = did;
  origin.report_json = report.dump();
  return writer.finish(std::move(origin));
}

HardPairs add_rows_into(const HardPairs& pairs, const MatrixView& image, const MatrixView& text,
                        const MineOptions& options, const ProgressCallback& progress,
                        const std::filesystem::path& out, DroppedPairs* dropped) {
  mining::validate(mining::Matrices{image, text}, options);
  if (options.k != pairs.k()) {
    throw Error(ErrorCode::invalid_argument, "k is " + std::to_string(options.k) +
                                                 ", must be that of the pairs, " +
                                                 std::to_string(pairs.k()));
  }
  if (options.skip != 0 || options.collapse != Collapse::none) {
    throw Error(ErrorCode::invalid_argument,
                "skip and collapse ask for pairs that the table does not hold; mine the rows anew");
  }
  Corpus corpus(image, text, mining::rules_of(options), mining::select_kernel());
  if (corpus.size() < pairs.size()) {
    throw Error(ErrorCode::invalid_argument, "there are " + std::to_string(corpus.size()) +
                                                 " rows, must be at least those of the pairs, " +
                                                 std::to_string(pairs.size()));
  }
  Team team(options.threads, progress);
  corpus.measure(team);
  Outdated none;
  none.marks.resize(static_cast<std::size_t>(corpus.size()));
  const RowRoles roles = mining::sort_rows(corpus, pairs, none);
  HardPairsWriter writer(out, corpus.size(), pairs.k());
  Update update(corpus, pairs, none, roles, options, mining::scratch_folder(out),
                dropped != nullptr, team);
  update.run(writer);
  corpus.require_whole();
  helip::require_whole(pairs.ids().data);
  if (dropped != nullptr) *dropped = update.dropped();
  HardPairs::Origin origin = pairs.origin();
  origin.report_json = OrderedJson{{"pairs", update.pairs()}}.dump();
  return writer.finish(std::move(origin));
}

// Whether two tables were mined by the same rules.
bool same_rules(const HardPairs& a, const HardPairs& b) {
  const OrderedJson left = OrderedJson::parse(a.origin().options_json);
  const OrderedJson right = OrderedJson::parse(b.origin().options_json);
  for (const char* name : {"k", "method", "modality", "image_max", "text_max", "min_score",
                           "signed", "margin", "skip", "collapse", "score", "channels"}) {
    if (left.value(name, OrderedJson()) != right.value(name, OrderedJson())) return false;
  }
  return true;
}

bool holds_table(const std::filesystem::path& out) { return !out.empty() && has_manifest(out); }

}  // namespace

HardPairs update(const HardPairs& pairs, const EmbeddingStore& store, const UpdateOptions& options,
                 const ProgressCallback& progress, const std::filesystem::path& out) {
  return mining::entry_point([&] {
    const MineOptions mined = options_of(pairs, options);
    const auto before = store.earlier_state(pairs.size(), pairs.origin().fingerprint);
    if (!before) refuse_store(pairs, store);
    const bool up_to_date = pairs.origin().fingerprint == store.fingerprint();
    ExistingTable existing = ExistingTable::refuse;
    if (holds_table(out)) {
      HardPairs there = HardPairs::open(out);
      const HardPairs::Origin& origin = there.origin();
      const bool same = same_rules(there, pairs);
      if (same && origin.fingerprint == store.fingerprint()) {
        HardPairsWriter::remove_leftovers(out);
        return there;
      }
      if (!same || origin.fingerprint != pairs.origin().fingerprint) {
        throw Error(ErrorCode::invalid_argument,
                    quoted(out) +
                        " holds another table than the one to bring up to date; choose a new "
                        "directory");
      }
      existing = ExistingTable::replace;
    }
    if (up_to_date) {
      if (out.empty()) return pairs;
      pairs.save(out);
      return HardPairs::open(out);
    }
    return update_into(pairs, store, *before, mined, progress, out, existing);
  });
}

HardPairs add_rows(const HardPairs& pairs, const MatrixView& image, const MatrixView& text,
                   const MineOptions& options, const ProgressCallback& progress,
                   const std::filesystem::path& out, DroppedPairs* dropped) {
  return mining::entry_point(
      [&] { return add_rows_into(pairs, image, text, options, progress, out, dropped); });
}

}  // namespace helip
