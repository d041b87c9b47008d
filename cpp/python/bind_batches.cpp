#include "bindings.h"
#include "locked.h"

namespace helip::python {
namespace {

py::dict dict_of(const BatchStatistics& statistics) {
  py::dict result;
  result["batches"] = statistics.batches;
  result["targets"] = statistics.targets;
  result["plain_targets"] = statistics.plain_targets;
  result["hard_pairs"] = statistics.hard_pairs;
  result["shared"] = statistics.shared;
  result["replaced"] = statistics.replaced;
  result["random_fills"] = statistics.random_fills;
  result["unfilled"] = statistics.unfilled;
  result["equal_targets"] = statistics.equal_targets;
  result["equal_hard_pairs"] = statistics.equal_hard_pairs;
  return result;
}

using Integers = py::array_t<std::int64_t, py::array::c_style>;

std::vector<std::int64_t> vector_of(const std::optional<Integers>& values) {
  if (!values) return {};
  return {values->data(), values->data() + values->size()};
}

HardnessSchedule make_schedule(double epochs, const std::string& shape,
                               std::optional<std::int64_t> rank_min,
                               std::optional<std::int64_t> rank_max,
                               std::optional<double> draw_temperature,
                               std::optional<double> fraction) {
  return {epochs, schedule_shape_from_name(shape), rank_min, rank_max, draw_temperature, fraction};
}

Locked<BatchSampler> sampler_of(const HardPairs& pairs, const BatchOptions& options,
                                RowGroups groups) {
  return Locked(BatchSampler(pairs, options, std::move(groups)));
}

// What grows and what draws from it take turns: they have one lock.
Locked<BatchSampler> sampler_of(const std::shared_ptr<Locked<GrowingPairs>>& pairs,
                                const BatchOptions& options, RowGroups groups) {
  return pairs->run([&](GrowingPairs& growing) {
    const std::shared_ptr<const GrowingPairs> shared(pairs, &growing);
    return Locked(BatchSampler(shared, options, std::move(groups)), pairs->lock());
  });
}

template <typename Pairs>
Locked<BatchSampler> make_sampler(
    const Pairs& pairs, std::int64_t batch_size, std::int64_t hard_per_target, std::uint64_t seed,
    std::int64_t rank, std::int64_t world_size, std::int64_t rank_min, std::int64_t rank_max,
    double draw_temperature, double fraction, const std::string& short_policy,
    const std::string& strategy, const HardnessSchedule& schedule, std::int64_t targets_per_batch,
    const std::string& order, std::int64_t block, std::int64_t walk_rows, double restart,
    std::int64_t community_rows, const std::optional<Integers>& group_offsets,
    const std::optional<Integers>& groups) {
  BatchOptions o;
  o.batch_size = batch_size;
  o.hard_per_target = hard_per_target;
  o.seed = seed;
  o.rank = rank;
  o.world_size = world_size;
  o.rank_min = rank_min;
  o.rank_max = rank_max;
  o.draw_temperature = draw_temperature;
  o.fraction = fraction;
  o.short_policy = short_policy_from_name(short_policy);
  o.strategy = batch_strategy_from_name(strategy);
  o.schedule = schedule;
  o.targets_per_batch = targets_per_batch;
  o.order = target_order_from_name(order);
  o.block = block;
  o.walk_rows = walk_rows;
  o.restart = restart;
  o.community_rows = community_rows;
  return sampler_of(pairs, o, {vector_of(group_offsets), vector_of(groups)});
}

}  // namespace

void bind_batches(py::module_& module) {
  py::class_<HardnessSchedule>(module, "HardnessSchedule")
      .def(py::init(&make_schedule), py::kw_only(), py::arg("epochs") = 0.0,
           py::arg("shape") = "linear", py::arg("rank_min") = py::none(),
           py::arg("rank_max") = py::none(), py::arg("draw_temperature") = py::none(),
           py::arg("fraction") = py::none());

  using Sampler = Locked<BatchSampler>;
  py::class_<Sampler> sampler(module, "BatchSampler");
  const auto made_by = [&sampler](auto make) {
    sampler.def(py::init(make), py::arg("pairs"), py::kw_only(), py::arg("batch_size") = 256,
                py::arg("hard_per_target") = 1, py::arg("seed") = 0, py::arg("rank") = 0,
                py::arg("world_size") = 1, py::arg("rank_min") = 0, py::arg("rank_max") = 0,
                py::arg("draw_temperature") = 0.0, py::arg("fraction") = 1.0,
                py::arg("short_policy") = "skip", py::arg("strategy") = "auto",
                py::arg_v("schedule", HardnessSchedule(), "HardnessSchedule()"),
                py::arg("targets_per_batch") = 0, py::arg("order") = "rows",
                py::arg("block") = 1024, py::arg("walk_rows") = 256, py::arg("restart") = 0.1,
                py::arg("community_rows") = 8, py::arg("group_offsets") = py::none(),
                py::arg("groups") = py::none());
  };
  made_by(&make_sampler<HardPairs>);
  made_by(&make_sampler<std::shared_ptr<Locked<GrowingPairs>>>);
  sampler
      .def("set_epoch", alone(&BatchSampler::set_epoch), py::arg("epoch"), py::arg("consumed") = 0)
      .def_property_readonly("epoch", alone(&BatchSampler::epoch))
      .def_property_readonly("batches_per_epoch", alone(&BatchSampler::batches_per_epoch))
      .def("batches_after", alone(&BatchSampler::batches_after), py::arg("consumed"))
      .def("targets_before", alone(&BatchSampler::targets_before), py::arg("step"),
           py::arg("consumed") = 0)
      .def_property_readonly("eligible_targets", alone(&BatchSampler::eligible_targets))
      .def_property_readonly("skipped_targets", alone(&BatchSampler::skipped_targets))
      .def_property_readonly("strategy",
                             [](Sampler& self) { return name_of(self.value().options().strategy); })
      .def(
          "batch",
          [](Sampler& self, std::int64_t step, std::optional<std::int64_t> rank) {
            const BatchRows batch = self.run([&](BatchSampler& own) {
              return own.batch(step, rank.value_or(own.options().rank));
            });
            return py::make_tuple(array_of(batch.index), array_of(batch.target),
                                  array_of(batch.community));
          },
          py::arg("step"), py::arg("rank") = py::none())
      .def(
          "hardness",
          [](Sampler& self, std::int64_t step) {
            const Hardness now =
                self.run([&](const BatchSampler& own) { return own.hardness(step); });
            return py::make_tuple(now.rank_min, now.rank_max, now.draw_temperature, now.fraction);
          },
          py::arg("step"))
      .def("statistics",
           [](Sampler& self) {
             return dict_of(self.run([](const BatchSampler& own) { return own.statistics(); }));
           })
      .def("reset_statistics", alone(&BatchSampler::reset_statistics));
}

}  // namespace helip::python
