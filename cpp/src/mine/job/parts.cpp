#include "mine/job/job.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "base/checked.h"
#include "helip/error.h"
#include "helip/hard_negatives.h"
#include "helip/hard_pairs_writer.h"
#include "helip/mine_negatives.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "mine/budget/budget.h"
#include "mine/corpus/mine_options.h"
#include "mine/corpus/negatives_input.h"
#include "mine/job/checkpoint.h"
#include "mine/job/report.h"
#include "mine/pool/recall.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using mining::Job;

constexpr std::int64_t kCopyCells = std::int64_t{1} << 20;  // pairs that are copied at once

// What the parts of one job have in common. Whatever else a job depends on changes no byte.
OrderedJson part_identity(const HardPairsPart& part) {
  const HardPairs::Origin& origin = part.origin();
  OrderedJson identity = mining::identity_of(origin.fingerprint, origin.data_fingerprint,
                                             part.range().rows, origin.options_json);
  identity["number of parts"] = part.range().count;
  return identity;
}

std::string part_words(const PartRange& range) {
  return "part " + std::to_string(range.index) + " of " + std::to_string(range.count);
}

// What a job in parts mines, and how it goes by store and table.
struct Pairs {
  using Table = HardPairs;
  static constexpr const char* kMethods = "'exact' and 'sample'";
  const EmbeddingStore& store;

  std::int64_t targets() const { return store.size(); }
  const EmbeddingStore& of_targets() const { return store; }
  std::optional<std::int64_t> corpus_rows() const { return {}; }
  void check(const MineOptions& options) const {
    mining::validate(mining::matrices_of(store, options), options);
  }
  Job job(const MineOptions& options, const fs::path& out, const ProgressCallback& progress) const {
    return Job(mining::matrices_of(store, options), options, mining::scratch_folder(out), progress);
  }
  void keep_codes(Job& job) const { job.keep_codes_of(store); }
  std::string text(const MineOptions& options) const { return mining::options_json(options); }
  HardPairsWriter writer(const fs::path& out, std::int64_t k) const {
    return HardPairsWriter(out, store.size(), k);
  }
};

struct Negatives {
  using Table = HardNegatives;
  static constexpr const char* kMethods = "'exact'";
  const NegativesInput& input;

  std::int64_t targets() const { return input.queries->size(); }
  const EmbeddingStore& of_targets() const { return *input.queries; }
  std::optional<std::int64_t> corpus_rows() const { return input.corpus->size(); }
  void check(const MineOptions& options) const { mining::validate(input, options); }
  Job job(const MineOptions& options, const fs::path& out, const ProgressCallback& progress) const {
    return Job({input.corpus_image, input.corpus_text}, options, mining::scratch_folder(out),
               progress, &input);
  }
  void keep_codes(Job&) const {}
  std::string text(const MineOptions& options) const {
    return mining::options_json(options, input);
  }
  HardNegativesWriter writer(const fs::path& out, std::int64_t k) const {
    return HardNegativesWriter(out, targets(), *corpus_rows(), k);
  }
};

// Stores of queries and of a corpus: parts of arrays could not be told apart.
Negatives checked_negatives(const NegativesInput& input) {
  if (input.queries != nullptr && input.corpus != nullptr) return {input};
  throw Error(ErrorCode::invalid_argument,
              "bare arrays have no fingerprint by which parts could be told apart; mine stores of "
              "queries and corpus, or use parts = 1");
}

// The options of a job in parts, as they are used.
template <typename Source>
MineOptions checked_options(const Source& source, std::int64_t count, MineOptions options) {
  if (options.method == MiningMethod::automatic) options.method = MiningMethod::exact;
  if (options.method != MiningMethod::exact && options.method != MiningMethod::sample) {
    throw Error(ErrorCode::unsupported, std::string("method is '") + name_of(options.method) +
                                            "', which works on all rows at once; parts are there "
                                            "for " +
                                            Source::kMethods);
  }
  source.check(options);
  mining::check_number("parts", count, source.targets());
  return options;
}

template <typename Source>
OrderedJson part_identity(const Source& source, const Job& job, std::int64_t count) {
  const EmbeddingStore& store = source.of_targets();
  OrderedJson identity = mining::identity_of(store.fingerprint(), store.data_fingerprint(),
                                             store.size(), source.text(job.options()));
  identity["number of parts"] = count;
  return identity;
}

// Throws mismatch unless the part that lies there is this one of this job.
void check_same(const HardPairsPart& part, const OrderedJson& job, std::int64_t index) {
  std::string differs = mining::differences(part_identity(part), job);
  if (differs.empty() && part.range().index != index) {
    differs = "it is " + part_words(part.range()) + ", here " + std::to_string(index);
  }
  if (differs.empty()) return;
  throw Error(ErrorCode::mismatch, quoted(part.path()) + " belongs to another job (" + differs +
                                       "); remove it, or choose another path");
}

template <typename Source>
HardPairsPart mine_range(Job& job, const Source& source, const PartRange& range, std::int64_t done,
                         std::int64_t all, const fs::path& out) {
  HardPairsPartWriter writer(out, range, job.options().k, source.corpus_rows());
  const EmbeddingStore& store = source.of_targets();
  HardPairs::Origin origin{
      store.fingerprint(), store.data_fingerprint(), source.text(job.options()), {}};
  origin.report_json = job.mine({range.first(), range.last(), done, all}, writer);
  return writer.finish(origin);
}

std::int64_t sum_of(std::int64_t a, std::int64_t b) {
  if (checked_add(a, b)) return a;
  throw Json::type_error::create(302, "a sum of counts is beyond 64 bits", nullptr);
}

std::string merged_report(const std::vector<OrderedJson>& reports) {
  OrderedJson merged = reports.front();
  std::vector<mining::RecallHits> found;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    for (const auto& hits : reports[i].value("recall_hits", OrderedJson::array())) {
      found.push_back({integer_of(hits.at(0)), integer_of(hits.at(1))});
      if (found.back().hits < 0 || found.back().wanted < 1 ||
          found.back().hits > found.back().wanted) {
        throw Json::type_error::create(
            302,
            "the hits of a target are " + std::to_string(found.back().hits) +
                ", outside 0 .. its " + std::to_string(found.back().wanted) + " wanted pairs",
            nullptr);
      }
    }
    if (i == 0) continue;
    merged["pairs"] = sum_of(integer_of(merged.at("pairs")), integer_of(reports[i].at("pairs")));
    for (auto& [name, value] : merged.at("drops").items()) {
      value = sum_of(integer_of(value), integer_of(reports[i].at("drops").at(name)));
    }
  }
  if (merged.erase("recall_hits") > 0) {
    merged["recall"] = mining::recall_json(mining::estimate_recall(found));
  }
  return merged.dump();
}

// All parts of one job in the order of their targets, or an Error.
std::vector<HardPairsPart> sorted_parts(const std::vector<fs::path>& paths) {
  if (paths.empty()) {
    throw Error(ErrorCode::invalid_argument, "there is no part to merge; give all parts of a job");
  }
  std::vector<HardPairsPart> parts;
  for (const fs::path& path : paths) {
    parts.push_back(HardPairsPart::open(path));
    const std::string differs =
        mining::differences(part_identity(parts[0]), part_identity(parts.back()));
    if (differs.empty()) continue;
    throw Error(ErrorCode::mismatch, quoted(paths[0]) + " and " + quoted(path) +
                                         " are parts of different jobs: " + differs +
                                         "; merge the parts of one job");
  }
  std::sort(parts.begin(), parts.end(), [](const HardPairsPart& a, const HardPairsPart& b) {
    return a.range().index < b.range().index;
  });
  std::string missing;
  std::int64_t expected = 1;
  const auto miss_until = [&](std::int64_t index) {
    for (; expected < index && !missing.ends_with("..."); ++expected) {
      PartRange range = parts[0].range();
      range.index = expected;
      if (missing.size() < 400) {
        missing += (missing.empty() ? "" : ", ") + std::to_string(expected) + " (targets " +
                   std::to_string(range.first()) + " .. " + std::to_string(range.last() - 1) + ")";
      } else {
        missing += ", ...";
      }
    }
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const PartRange& range = parts[i].range();
    if (i > 0 && range.index == parts[i - 1].range().index) {
      throw Error(ErrorCode::invalid_argument,
                  part_words(range) + " is given twice: " + quoted(parts[i - 1].path()) + " and " +
                      quoted(parts[i].path()) + "; give it once");
    }
    miss_until(range.index);
    expected = range.index + 1;
  }
  miss_until(parts[0].range().count + 1);
  if (!missing.empty()) {
    throw Error(ErrorCode::invalid_argument,
                "of " + std::to_string(parts[0].range().count) +
                    " parts these are missing: " + missing + "; mine them with part = i of " +
                    std::to_string(parts[0].range().count) + ", or give their paths too");
  }
  return parts;
}

void tell(const ProgressCallback& progress, std::int64_t done, std::int64_t rows) {
  if (progress && !progress({"merge", done, rows})) {
    throw Error(ErrorCode::cancelled, "merging was stopped at target " + std::to_string(done) +
                                          " of " + std::to_string(rows) + "; the parts stay");
  }
}

// Lets go of each part when it is copied, so that no more than one is in memory.
template <typename Writer>
auto merge_into(Writer& writer, std::vector<HardPairsPart> parts,
                const ProgressCallback& progress) {
  HardPairs::Origin origin = parts.front().origin();
  std::vector<OrderedJson> reports;
  const std::int64_t rows = parts.front().range().rows;
  for (HardPairsPart& opened : parts) {
    const HardPairsPart part = std::move(opened);
    const PartRange range = part.range();
    tell(progress, range.first(), range.rows);
    part.verify();
    reports.push_back(OrderedJson::parse(part.origin().report_json));
    const std::int64_t step = std::max<std::int64_t>(1, kCopyCells / part.k());
    for (std::int64_t first = range.first(); first < range.last(); first += step) {
      tell(progress, first, range.rows);
      writer.write(part.band(first, std::min(step, range.last() - first)));
    }
  }
  try {
    origin.report_json = merged_report(reports);
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::corrupt, std::string("the report of a part is damaged: ") +
                                        error.what() + "; mine that part again");
  }
  tell(progress, rows, rows);
  return writer.finish(std::move(origin));
}

struct RemovedIfEmpty {
  const fs::path& folder;
  ~RemovedIfEmpty() { remove_empty_directory(folder); }
};

// Throws mismatch where a job of another number of parts has left some.
void check_count(const fs::path& folder, std::int64_t count) {
  if (!directory_exists(folder)) return;
  for (const std::string& name : names_in(folder)) {
    const std::size_t of = name.rfind("-of-");
    if (!name.starts_with("part-") || of == std::string::npos) continue;
    if (!has_manifest(folder / name)) continue;
    const std::int64_t there = std::atoll(name.c_str() + of + 4);
    if (there == count) continue;
    throw Error(ErrorCode::mismatch,
                quoted(folder) + " holds parts of a job in " + std::to_string(there) +
                    " parts, now " + std::to_string(count) +
                    "; go on with parts = " + std::to_string(there) + ", or remove that folder");
  }
}

}  // namespace

fs::path mining::parts_folder(const fs::path& out) {
  fs::path name = out;
  if (!name.has_filename()) name = name.parent_path();  // "cc3m.pairs/"
  name += ".parts";
  return name;
}

fs::path mining::part_path(const fs::path& folder, std::int64_t index, std::int64_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "part-%05lld-of-%05lld", static_cast<long long>(index),
                static_cast<long long>(count));
  return folder / name;
}

namespace {

template <typename Source>
typename Source::Table mine_all_parts(const Source& source, const MineOptions& asked,
                                      const ProgressCallback& progress, const fs::path& out) {
  if (out.empty()) {
    throw Error(ErrorCode::invalid_argument, "parts is " + std::to_string(asked.parts) +
                                                 ", but there is no path that parts could be "
                                                 "written beside; give out, or use parts = 1");
  }
  mining::check_codes_folder(asked.codes, out);
  const std::int64_t count = asked.parts;
  const MineOptions options = checked_options(source, count, asked);
  const fs::path folder = mining::parts_folder(out);
  // Owns the place until the table is there.
  auto writer = source.writer(out, options.k);
  const RemovedIfEmpty tidy{folder};
  check_count(folder, count);
  if (const auto method = mining::method_of_checkpoint(mining::checkpoint_folder(out))) {
    throw Error(ErrorCode::mismatch, quoted(mining::checkpoint_folder(out)) +
                                         " was left by an interrupted job of method '" +
                                         name_of(*method) + "', now in " + std::to_string(count) +
                                         " parts; go on as it was begun, or remove that folder");
  }

  Job job = source.job(options, out, progress);
  source.keep_codes(job);
  const OrderedJson identity = part_identity(source, job, count);
  std::vector<HardPairsPart> parts;
  std::vector<PartRange> missing;
  std::int64_t done = 0;
  for (std::int64_t index = 1; index <= count; ++index) {
    const PartRange range{index, count, job.targets()};
    const fs::path path = mining::part_path(folder, index, count);
    if (!has_manifest(path)) {
      missing.push_back(range);
      continue;
    }
    parts.push_back(HardPairsPart::open(path));
    check_same(parts.back(), identity, index);
    done += range.size();
  }
  for (const PartRange& range : missing) {
    const fs::path path = mining::part_path(folder, range.index, count);
    parts.push_back(mine_range(job, source, range, done, job.targets(), path));
    done += range.size();
  }
  std::sort(parts.begin(), parts.end(), [](const HardPairsPart& a, const HardPairsPart& b) {
    return a.range().index < b.range().index;
  });
  auto table = merge_into(writer, std::move(parts), progress);
  for (std::int64_t index = 1; index <= count; ++index) {
    remove_directory(mining::part_path(folder, index, count));
  }
  return table;
}

template <typename Source>
HardPairsPart mine_one_part(const Source& source, std::int64_t index, std::int64_t count,
                            const MineOptions& asked, const fs::path& out,
                            const ProgressCallback& progress) {
  const MineOptions options = checked_options(source, count, asked);
  if (index < 1 || index > count) {
    throw Error(ErrorCode::invalid_argument, "the part is " + std::to_string(index) + " of " +
                                                 std::to_string(count) +
                                                 "; parts count from 1 to their number");
  }
  if (out.empty()) throw Error(ErrorCode::invalid_argument, "a part needs a path; give out");
  Job job = source.job(options, out, progress);
  if (has_manifest(out)) {
    const HardPairsPart part = HardPairsPart::open(out);
    check_same(part, part_identity(source, job, count), index);
    return part;
  }
  mining::check_codes_folder(options.codes, out);
  source.keep_codes(job);
  const PartRange range{index, count, job.targets()};
  return mine_range(job, source, range, 0, range.size(), out);
}

}  // namespace

HardPairs mining::mine_in_parts(const EmbeddingStore& store, const MineOptions& options,
                                const ProgressCallback& progress, const fs::path& out) {
  return mine_all_parts(Pairs{store}, options, progress, out);
}

HardNegatives mining::mine_in_parts(const NegativesInput& input, const MineOptions& options,
                                    const ProgressCallback& progress, const fs::path& out) {
  return mine_all_parts(checked_negatives(input), options, progress, out);
}

HardPairsPart mine_part(const EmbeddingStore& store, std::int64_t index, std::int64_t count,
                        const MineOptions& options, const fs::path& out,
                        const ProgressCallback& progress) {
  return mining::entry_point(
      [&] { return mine_one_part(Pairs{store}, index, count, options, out, progress); });
}

HardPairsPart mine_negatives_part(const NegativesInput& input, std::int64_t index,
                                  std::int64_t count, const MineOptions& options,
                                  const fs::path& out, const ProgressCallback& progress) {
  return mining::entry_point([&] {
    return mine_one_part(checked_negatives(input), index, count, options, out, progress);
  });
}

HardPairs merge_parts(const std::vector<fs::path>& paths, const fs::path& out,
                      const ProgressCallback& progress) {
  return mining::entry_point([&] {
    std::vector<HardPairsPart> parts = sorted_parts(paths);
    if (parts.front().corpus_size() >= 0) {
      throw Error(ErrorCode::mismatch, quoted(paths.front()) +
                                           " is a part of hard negatives of queries, not of hard "
                                           "pairs; merge it with merge_negatives_parts()");
    }
    HardPairsWriter writer(out, parts.front().range().rows, parts.front().k());
    return merge_into(writer, std::move(parts), progress);
  });
}

HardNegatives merge_negatives_parts(const std::vector<fs::path>& paths, const fs::path& out,
                                    const ProgressCallback& progress) {
  return mining::entry_point([&] {
    std::vector<HardPairsPart> parts = sorted_parts(paths);
    const HardPairsPart& first = parts.front();
    if (first.corpus_size() < 0) {
      throw Error(ErrorCode::mismatch, quoted(paths.front()) +
                                           " is a part of hard pairs, not of hard negatives of "
                                           "queries; merge it with merge_parts()");
    }
    HardNegativesWriter writer(out, first.range().rows, first.corpus_size(), first.k());
    return merge_into(writer, std::move(parts), progress);
  });
}

}  // namespace helip
