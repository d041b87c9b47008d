#include "mine/job/state_file.h"

#include <algorithm>
#include <utility>

#include "mine/bound/order_columns.h"
#include "mine/job/report.h"

namespace helip::mining {

namespace fs = std::filesystem;

void throw_damaged_checkpoint(const fs::path& folder, const std::string& what) {
  throw Error(ErrorCode::corrupt, "the checkpoint \"" + folder.string() + "\" is damaged: " + what +
                                      "; remove that folder, and the job begins again");
}

StateColumns::StateColumns(const MethodState& state) {
  show_order(*state.order, columns_);
  columns_.show("sample.scores", state.sample->scores);
  columns_.show("sample.counts", state.sample->counts);
  if (state.graph != nullptr) {
    progress_["added"] = state.graph->added();
    columns_.show("graph.links", state.graph->links());
    columns_.show("graph.starts", state.graph->starts());
  }
  if (state.pools != nullptr) add_pools(state);
  if (state.breadth) {
    progress_["breadth"] = *state.breadth;
    progress_["recall"] = recall_json(state.recall);
  }
  if (state.next) {
    progress_["next"] = *state.next;
    progress_["recalls"] = Json::array();
    for (const RecallEstimate& recall : state.recalls) {
      progress_["recalls"].push_back(Json(recall_json(recall)));
    }
  }
  if (!state.neighbours.empty()) columns_.show("neighbours", state.neighbours);
}

void StateColumns::add_pools(const MethodState& state) {
  PoolColumns pools = state.pools->columns(state.pool_count);
  columns_.show("pools.scores", pools.scores);
  columns_.show("pools.ids", pools.ids);
  columns_.keep("pools.held", std::move(pools.sizes));
  columns_.keep("pools.needs", std::move(pools.thresholds));
  columns_.keep("kept_out.numbers", std::move(pools.kept_out_sizes));
  columns_.keep("kept_out.ids", std::move(pools.kept_out_ids));
  columns_.keep("kept_out.scores", std::move(pools.kept_out_scores));
  columns_.keep("kept_out.verdicts", std::move(pools.kept_out_verdicts));
}

StateFile::StateFile(fs::path folder, Json progress, TensorFile file)
    : folder_(std::move(folder)), progress_(std::move(progress)), file_(std::move(file)) {}

void StateFile::require(bool condition, const char* what) const {
  if (!condition) damaged(what);
}

std::int64_t StateFile::number(const char* name, std::int64_t least, std::int64_t most) const {
  const std::int64_t value = checked([&] { return integer_of(progress_.at(name)); });
  if (value < least || value > most) {
    damaged(std::string(name) + " is " + std::to_string(value) + ", outside " +
            std::to_string(least) + " .. " + std::to_string(most));
  }
  return value;
}

void StateFile::damaged(const std::string& what) const { throw_damaged_checkpoint(folder_, what); }

RowOrder StateFile::order(const Corpus& corpus, std::int64_t directions) const {
  return checked([&] { return read_order(file_, corpus.size(), directions); });
}

void StateFile::read_sample(HardPairBand& band) const {
  read("sample.scores", std::span(band.scores));
  read("sample.counts", std::span(band.counts));
  for (const std::int32_t wanted : band.counts) {
    require(wanted >= 0 && wanted <= band.k, "a pool of the sample is none");
  }
}

std::int64_t StateFile::read_pools(Pools& pools, std::int64_t rows, std::int64_t least) const {
  std::vector<std::uint32_t> sizes = read<std::uint32_t>("pools.held");
  const auto count = static_cast<std::int64_t>(sizes.size());
  require(count <= pools.size(), "it has more pools than there are rows");
  require(count >= least, "it has fewer pools than there are rows");
  PoolColumns columns = pools.columns(count);
  columns.sizes = std::move(sizes);
  read("pools.scores", columns.scores);
  read("pools.ids", columns.ids);
  read("pools.needs", std::span(columns.thresholds));
  read("kept_out.numbers", std::span(columns.kept_out_sizes));
  columns.kept_out_ids = read<std::uint32_t>("kept_out.ids");
  columns.kept_out_scores = read<double>("kept_out.scores");
  columns.kept_out_verdicts = read<std::uint8_t>("kept_out.verdicts");

  const auto check_row = [&](std::uint32_t id) {
    require(std::int64_t{id} < rows, "it names a row that there is not");
  };
  for (std::size_t target = 0; target < columns.sizes.size(); ++target) {
    require(columns.sizes[target] <= columns.capacity, "a pool is larger than it can be");
    const auto own = columns.ids.subspan(target * static_cast<std::size_t>(columns.capacity),
                                         columns.sizes[target]);
    for (const std::uint32_t id : own) check_row(id);
  }
  std::uint64_t kept_out = 0;
  for (const std::uint32_t size : columns.kept_out_sizes) kept_out += size;
  require(kept_out == columns.kept_out_ids.size() && kept_out == columns.kept_out_scores.size() &&
              kept_out == columns.kept_out_verdicts.size(),
          "what was kept out of the pools is not whole");
  for (const std::uint32_t id : columns.kept_out_ids) check_row(id);
  for (const std::uint8_t verdict : columns.kept_out_verdicts) {
    require(verdict < kVerdicts, "a verdict is none");
  }
  pools.restore(columns);
  return count;
}

Graph StateFile::graph(const GraphOptions& options, std::int64_t nodes) const {
  auto links = read<std::uint32_t>("graph.links");
  auto starts = read<std::uint32_t>("graph.starts");
  const std::int64_t added = number("added", 0, nodes);
  require(static_cast<std::int64_t>(links.size()) == nodes * options.degree,
          "its graph has not a node for each row");
  require(starts.empty() == (added == 0), "its graph is not one of these rows");
  for (const std::uint32_t node : links) {
    require(node == Graph::kNone || node < nodes, "a link leads to no node");
  }
  for (const std::uint32_t node : starts) require(node < nodes, "a start is no node");
  return {options, std::move(links), std::move(starts), added};
}

RecallEstimate StateFile::recall() const {
  return checked([&] { return recall_of_json(progress_.at("recall")); });
}

std::int64_t StateFile::next(std::int64_t places) const { return number("next", 0, places - 1); }

std::vector<RecallEstimate> StateFile::recalls() const {
  std::vector<RecallEstimate> recalls;
  return checked([&] {
    for (const Json& recall : progress_.at("recalls")) recalls.push_back(recall_of_json(recall));
    return recalls;
  });
}

void StateFile::read_neighbours(std::span<std::uint32_t> neighbours, std::int64_t places,
                                std::uint32_t none) const {
  read("neighbours", neighbours);
  for (const std::uint32_t neighbour : neighbours) {
    require(neighbour == none || neighbour < places, "a neighbour is none of the rows");
  }
}

}  // namespace helip::mining
