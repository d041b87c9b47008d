#include "helip/pair_index.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <shared_mutex>
#include <unordered_set>
#include <utility>

#include "helip/error.h"
#include "helip/mine.h"
#include "io/column_reader.h"
#include "io/column_writer.h"
#include "mine/corpus/rules.h"
#include "mine/graph/pair_rows.h"
#include "mine/job/job.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using mining::Corpus;
using mining::Graph;
using mining::GraphSearch;
using mining::Neighbour;
using nlohmann::json;

constexpr const char* kFormat = "helip.pair_index";
constexpr std::int64_t kShardRows = 262144;
constexpr std::int64_t kCopyRows = 4096;
constexpr std::int64_t kLeastBreadth = 64;
constexpr std::int64_t kMostBreadth = 65536;
constexpr std::int64_t kQueriesPerThread = 8;  // fewer are not worth a thread
constexpr std::int64_t kMostRows = 0xfffffffe;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, message);
}

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  refuse(std::string(name) + " is " + std::to_string(value) + ", but must lie in " +
         std::to_string(least) + " .. " + std::to_string(most));
}

void check_options(const PairIndexOptions& options) {
  check_range("degree", options.degree, 4, 1024);
  check_range("breadth", options.breadth, 1, kMostBreadth);
}

// Thresholds, shapes, dtypes and threads are those of mining.
MineOptions checked(const MatrixView& image, const MatrixView& text,
                    const PairIndexOptions& options, int threads) {
  MineOptions mine;
  mine.image_max = options.image_max;
  mine.text_max = options.text_max;
  mine.threads = threads;
  mining::validate(image, text, mine);
  return mine;
}

void check_dimensions(const char* name, std::int64_t given, std::int64_t wanted) {
  if (given == wanted) return;
  refuse(std::string(name) + " embeddings have " + std::to_string(given) +
         " dimensions, but those of the index have " + std::to_string(wanted) +
         "; embed with the encoder that the index was built with");
}

// `ids`, or numbers from `first` on; refused where one is negative or there twice.
std::vector<std::int64_t> checked_ids(const std::vector<std::int64_t>& ids, std::int64_t rows,
                                      std::int64_t first) {
  std::vector<std::int64_t> all = ids;
  if (all.empty()) {
    all.resize(static_cast<std::size_t>(rows));
    std::iota(all.begin(), all.end(), first);
    return all;
  }
  if (static_cast<std::int64_t>(all.size()) != rows) {
    refuse(std::to_string(all.size()) + " ids were given for " + std::to_string(rows) +
           " pairs; give one for each, or none");
  }
  std::vector<std::int64_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.empty() && sorted.front() < 0) {
    const auto at = std::find(all.begin(), all.end(), sorted.front()) - all.begin();
    refuse("id " + std::to_string(sorted.front()) + " of row " + std::to_string(at) +
           " is negative; -1 stands for no match, so use ids from 0 on");
  }
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    const auto one = std::find(all.begin(), all.end(), *twice);
    const auto other = std::find(one + 1, all.end(), *twice);
    refuse("id " + std::to_string(*twice) + " is that of row " + std::to_string(one - all.begin()) +
           " and of row " + std::to_string(other - all.begin()) +
           "; each pair needs an id of its own");
  }
  return all;
}

Manifest manifest_of(std::int64_t image_dimensions, std::int64_t text_dimensions,
                     std::int64_t code_bytes, std::int64_t degree) {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = kShardRows;
  manifest.columns = {{"ids", DType::int64},
                      {"image", DType::float16, image_dimensions},
                      {"text", DType::float16, text_dimensions},
                      {"codes", DType::int8, code_bytes},
                      {"links", DType::int32, degree}};
  return manifest;
}

// A query, ready to be compared with rows in float64.
class QueryRow {
 public:
  QueryRow(const mining::Rows& rows, std::int64_t row) : length_(rows.length(row)) {
    values_.resize(static_cast<std::size_t>(rows.dimensions()));
    rows.load_wide(row, values_.data());
  }
  double cosine(const MatrixView& view, std::int64_t row, const mining::Kernel& kernel,
                std::vector<float>& single, std::vector<double>& wide) const {
    single.resize(values_.size());
    read_row(view, row, single.data());
    wide.assign(single.begin(), single.end());
    const auto count = static_cast<std::int64_t>(wide.size());
    const double squared = kernel.dot_double(wide.data(), wide.data(), count);
    if (squared == 0.0 || length_ == 0.0) return 0.0;
    const double dot = kernel.dot_double(values_.data(), wide.data(), count);
    return std::clamp(dot / (length_ * std::sqrt(squared)), -1.0, 1.0);
  }
  bool is_zero() const { return length_ == 0.0; }

 private:
  double length_;
  std::vector<double> values_;
};

struct Match {
  double score;
  std::int64_t id;
};

bool ranks_before(const Match& a, const Match& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// One thread's buffers.
struct Searcher {
  GraphSearch search;
  mining::PairCodec::Scratch scratch;
  mining::AlignedArray<std::int8_t> code;
  std::vector<float> single;
  std::vector<double> wide;
  std::vector<Match> matches;
};

}  // namespace

struct PairIndex::State {
  State(const PairIndexOptions& options_, std::int64_t image_dimensions,
        std::int64_t text_dimensions)
      : options(options_),
        kernel(mining::select_kernel()),
        rows(image_dimensions, text_dimensions, kernel),
        graph({options.degree, options.breadth}) {}

  void append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
              const std::vector<std::int64_t>& ids, Team& team);
  void save(const fs::path& path) const;
  std::int64_t next_id() const;
  void find(const Corpus& queries, std::int64_t query, std::int64_t breadth, PairMatches& out,
            Searcher& searcher) const;
  std::unique_ptr<Searcher> take_searcher() const;
  void give_back(std::unique_ptr<Searcher> searcher) const;

  const PairIndexOptions options;
  const mining::Kernel& kernel;
  std::shared_ptr<const ColumnReader> reader;  // of what is mapped
  index::PairRows rows;
  Graph graph;
  std::optional<std::unordered_set<std::int64_t>> known;  // ids, made by the first add()
  // Of all above: shared by those who read, exclusive to add(). The gate sees to it that new
  // readers do not overtake an add() that waits: shared_mutex makes no promise.
  mutable std::mutex gate;
  mutable std::shared_mutex mutex;
  std::shared_lock<std::shared_mutex> lock_to_read() const {
    const std::lock_guard turn(gate);
    return std::shared_lock(mutex);
  }
  mutable std::mutex idle_mutex;
  mutable std::vector<std::unique_ptr<Searcher>> idle;
};

// Rows, then links; without either when one fails.
void PairIndex::State::append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
                              const std::vector<std::int64_t>& ids, Team& team) {
  const std::int64_t before = rows.size();
  const std::int64_t added = graph.added();
  if (before + corpus.size() > kMostRows) {
    throw Error(ErrorCode::unsupported,
                "the index would have " + std::to_string(before + corpus.size()) +
                    " pairs, but can hold " + std::to_string(kMostRows) + "; split it");
  }
  team.begin_stage("build", corpus.size(), corpus.size());
  try {
    rows.append(corpus, image, text, ids, team);
    std::vector<std::uint32_t> order;
    for (const std::uint32_t row : mining::random_order(corpus.size(), options.seed)) {
      const std::int64_t node = before + row;
      if (!rows.is_zero(node)) order.push_back(static_cast<std::uint32_t>(node));
    }
    graph.add(rows.codes(), order, rows.size(), team);
    team.end_stage();
  } catch (...) {
    rows.truncate(before);
    graph.forget(before, added);
    throw;
  }
}

void PairIndex::State::save(const fs::path& path) const {
  ColumnWriter writer(path,
                      manifest_of(rows.image_dimensions(), rows.text_dimensions(),
                                  rows.codec().bytes(), options.degree),
                      false);
  for (std::int64_t first = 0; first < rows.size(); first += kCopyRows) {
    const std::int64_t count = std::min(kCopyRows, rows.size() - first);
    writer.append(
        count,
        {rows.id_bytes().row(first), rows.image().row(first), rows.text().row(first),
         rows.code_bytes().row(first), graph.links(static_cast<std::uint32_t>(first)).data()},
        nullptr);
  }
  writer.close([&](Manifest& manifest) {
    manifest.attributes = {{"image_max", options.image_max}, {"text_max", options.text_max},
                           {"degree", options.degree},       {"breadth", options.breadth},
                           {"seed", options.seed},           {"starts", graph.starts()},
                           {"linked", graph.added()}};
  });
}

std::int64_t PairIndex::State::next_id() const {
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < rows.size(); ++i) next = std::max(next, rows.id(i) + 1);
  return next;
}

std::unique_ptr<Searcher> PairIndex::State::take_searcher() const {
  const std::lock_guard lock(idle_mutex);
  if (idle.empty()) {
    auto made = std::make_unique<Searcher>();
    made->code = mining::allocate_aligned<std::int8_t>(rows.codec().bytes());
    return made;
  }
  auto taken = std::move(idle.back());
  idle.pop_back();
  return taken;
}

void PairIndex::State::give_back(std::unique_ptr<Searcher> searcher) const {
  const std::lock_guard lock(idle_mutex);
  idle.push_back(std::move(searcher));
}

void PairIndex::State::find(const Corpus& queries, std::int64_t query, std::int64_t breadth,
                            PairMatches& out, Searcher& searcher) const {
  const QueryRow image(*queries.image(), query), text(*queries.text(), query);
  if (image.is_zero() || text.is_zero()) return;
  rows.codec().encode(queries, query, searcher.scratch, searcher.code.get());
  const GraphSearch::Limits limits{static_cast<float>(options.image_max) + mining::kCodeError,
                                   static_cast<float>(options.text_max) + mining::kCodeError};
  graph.search(rows.codes(), searcher.code.get(), breadth, limits, searcher.search);
  auto& matches = searcher.matches;
  matches.clear();
  for (const Neighbour& found : searcher.search.best()) {
    const bool full = static_cast<std::int64_t>(matches.size()) == out.k;
    // Best first: none of the others scores more.
    if (full && static_cast<double>(found.similarity + mining::kCodeError) < matches.back().score) {
      break;
    }
    const double s_image =
        image.cosine(rows.image(), found.node, kernel, searcher.single, searcher.wide);
    const double s_text =
        text.cosine(rows.text(), found.node, kernel, searcher.single, searcher.wide);
    if (s_image <= 0.0 || s_text <= 0.0 || s_image > options.image_max || s_text > options.text_max)
      continue;
    const Match match{s_image * s_text, rows.id(found.node)};
    if (full && !ranks_before(match, matches.back())) continue;
    if (full) matches.pop_back();
    matches.insert(std::upper_bound(matches.begin(), matches.end(), match, ranks_before), match);
  }
  const auto to = static_cast<std::ptrdiff_t>(query * out.k);
  for (std::size_t i = 0; i < matches.size(); ++i) {
    out.ids[static_cast<std::size_t>(to) + i] = matches[i].id;
    out.scores[static_cast<std::size_t>(to) + i] = static_cast<float>(matches[i].score);
  }
  out.counts[static_cast<std::size_t>(query)] = static_cast<std::int32_t>(matches.size());
}

PairIndex::PairIndex(std::unique_ptr<State> state) : state_(std::move(state)) {}
PairIndex::PairIndex(PairIndex&&) noexcept = default;
PairIndex& PairIndex::operator=(PairIndex&&) noexcept = default;
PairIndex::~PairIndex() = default;

PairIndex PairIndex::build(const MatrixView& image, const MatrixView& text,
                           const PairIndexOptions& options, const std::vector<std::int64_t>& ids,
                           int threads, const ProgressCallback& progress) {
  return mining::guarded([&] {
    check_options(options);
    const MineOptions mine = checked(image, text, options, threads);
    check_range("the number of image dimensions", image.cols, 1, mining::kMostCodeDimensions);
    check_range("the number of text dimensions", text.cols, 1, mining::kMostCodeDimensions);
    const std::vector<std::int64_t> all = checked_ids(ids, image.rows, 0);
    auto state = std::make_unique<State>(options, image.cols, text.cols);
    Corpus corpus(image, text, mining::rules_of(mine), state->kernel);
    Team team(threads, progress);
    corpus.measure(team);
    state->append(corpus, image, text, all, team);
    return PairIndex(std::move(state));
  });
}

PairIndex PairIndex::build(const EmbeddingStore& store, const PairIndexOptions& options,
                           int threads, const ProgressCallback& progress) {
  return build(store.image(), store.text(), options, {}, threads, progress);
}

PairIndex PairIndex::open(const fs::path& path) {
  return mining::guarded([&] {
    const auto reader = open_columns(path, kFormat);
    const Manifest& manifest = reader->manifest();
    const auto damaged = [&](const std::string& what) {
      return Error(ErrorCode::corrupt, "\"" + path.string() + "\" is damaged: " + what);
    };
    PairIndexOptions options;
    std::vector<std::uint32_t> starts;
    std::int64_t linked = 0;
    try {
      const json& attributes = manifest.attributes;
      options.image_max = attributes.at("image_max").get<double>();
      options.text_max = attributes.at("text_max").get<double>();
      options.degree = attributes.at("degree").get<std::int64_t>();
      options.breadth = attributes.at("breadth").get<std::int64_t>();
      options.seed = attributes.at("seed").get<std::uint64_t>();
      starts = attributes.at("starts").get<std::vector<std::uint32_t>>();
      linked = attributes.at("linked").get<std::int64_t>();
    } catch (const json::exception& error) {
      throw damaged(error.what());
    }
    const auto width = [&](std::size_t column) {
      return column < manifest.columns.size() ? manifest.columns[column].cols : 0;
    };
    const std::int64_t image = width(1), text = width(2);
    const bool sensible = image >= 1 && image <= mining::kMostCodeDimensions && text >= 1 &&
                          text <= mining::kMostCodeDimensions && options.degree >= 4 &&
                          options.degree <= 1024;
    if (!sensible) throw damaged("its columns are not those of an index of pairs");
    auto state = std::make_unique<State>(options, image, text);
    if (manifest.columns !=
        manifest_of(image, text, state->rows.codec().bytes(), options.degree).columns) {
      throw damaged("its columns are not those of an index of pairs");
    }
    reader->verify({}, {});
    const std::int64_t rows = reader->rows();
    if (rows > kMostRows || linked < 0 || linked > rows) throw damaged("it has too many pairs");
    const MatrixView links = reader->column("links");
    const std::span<const std::uint32_t> all(static_cast<const std::uint32_t*>(links.data),
                                             static_cast<std::size_t>(rows * options.degree));
    const auto outside = [rows](std::uint32_t node) { return std::int64_t{node} >= rows; };
    if (std::any_of(starts.begin(), starts.end(), outside) ||
        std::any_of(all.begin(), all.end(),
                    [&](std::uint32_t to) { return to != Graph::kNone && outside(to); })) {
      throw damaged("a link leads outside");
    }
    state->rows.show(rows, reader->column("ids"), reader->column("image"), reader->column("text"),
                     reader->column("codes"));
    state->graph = Graph({options.degree, options.breadth}, all, std::move(starts), linked);
    state->reader = reader;
    return PairIndex(std::move(state));
  });
}

void PairIndex::save(const fs::path& path) const {
  const auto lock = state_->lock_to_read();
  state_->save(path);
}

PairMatches PairIndex::query(const MatrixView& image, const MatrixView& text, std::int64_t k,
                             std::int64_t breadth, int threads) const {
  return mining::guarded([&] {
    const State& state = *state_;
    const MineOptions mine = checked(image, text, state.options, threads);
    check_range("k", k, 1, kMostBreadth);
    if (breadth == 0) breadth = std::min(kMostBreadth, std::max(kLeastBreadth, 2 * k));
    check_range("breadth", breadth, k, kMostBreadth);
    const std::int64_t count = image.rows;
    PairMatches out;
    out.k = k;
    out.ids.assign(static_cast<std::size_t>(count * k), -1);
    out.scores.assign(static_cast<std::size_t>(count * k), 0.0F);
    out.counts.assign(static_cast<std::size_t>(count), 0);
    if (count == 0) return out;
    check_dimensions("image", image.cols, state.rows.image_dimensions());
    check_dimensions("text", text.cols, state.rows.text_dimensions());
    const Corpus queries(image, text, mining::rules_of(mine), state.kernel);
    for (std::int64_t i = 0; i < count; ++i) {  // so that the first bad row is named
      queries.image()->length(i);
      queries.text()->length(i);
    }

    const auto lock = state.lock_to_read();
    const std::int64_t most = std::max<std::int64_t>(1, std::min(breadth, state.rows.size()));
    const auto find = [&](std::int64_t begin, std::int64_t end) {
      auto searcher = state.take_searcher();
      for (std::int64_t i = begin; i < end; ++i) state.find(queries, i, most, out, *searcher);
      state.give_back(std::move(searcher));
    };
    if (threads == 1 || count <= kQueriesPerThread) {
      find(0, count);
      return out;
    }
    const ProgressCallback silent;
    Team team(threads, silent);
    team.for_blocks(count, kQueriesPerThread,
                    [&](std::int64_t begin, std::int64_t end, int) { find(begin, end); });
    return out;
  });
}

void PairIndex::add(const MatrixView& image, const MatrixView& text,
                    const std::vector<std::int64_t>& ids, int threads) {
  mining::guarded([&] {
    State& state = *state_;
    const MineOptions mine = checked(image, text, state.options, threads);
    if (image.rows == 0 && ids.empty()) return;
    check_dimensions("image", image.cols, state.rows.image_dimensions());
    check_dimensions("text", text.cols, state.rows.text_dimensions());
    const ProgressCallback silent;
    Team team(threads, silent);
    Corpus corpus(image, text, mining::rules_of(mine), state.kernel);
    corpus.measure(team);

    const std::lock_guard turn(state.gate);
    const std::unique_lock lock(state.mutex);
    const auto all = checked_ids(ids, image.rows, ids.empty() ? state.next_id() : 0);
    if (!state.known) {
      state.known.emplace();
      for (std::int64_t i = 0; i < state.rows.size(); ++i) state.known->insert(state.rows.id(i));
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (state.known->count(all[i]) == 0) continue;
      refuse("id " + std::to_string(all[i]) + " of row " + std::to_string(i) +
             " is in the index already; give new pairs ids of their own");
    }
    state.append(corpus, image, text, all, team);
    state.known->insert(all.begin(), all.end());
    state.reader.reset();  // everything was copied
  });
}

std::int64_t PairIndex::size() const {
  const auto lock = state_->lock_to_read();
  return state_->rows.size();
}
std::int64_t PairIndex::image_dimensions() const noexcept {
  return state_->rows.image_dimensions();
}
std::int64_t PairIndex::text_dimensions() const noexcept { return state_->rows.text_dimensions(); }
std::int64_t PairIndex::bytes() const {
  const auto lock = state_->lock_to_read();
  return state_->rows.size() *
         (state_->rows.bytes_per_row() +
          Graph::bytes_per_node({state_->options.degree, state_->options.breadth}));
}
const PairIndexOptions& PairIndex::options() const noexcept { return state_->options; }

}  // namespace helip
