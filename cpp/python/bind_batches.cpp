#include "bindings.h"

namespace helip::python {
namespace {

py::dict dict_of(const BatchStatistics& statistics) {
  py::dict result;
  result["batches"] = statistics.batches;
  result["targets"] = statistics.targets;
  result["plain_targets"] = statistics.plain_targets;
  result["hard_pairs"] = statistics.hard_pairs;
  result["replaced"] = statistics.replaced;
  result["random_fills"] = statistics.random_fills;
  result["unfilled"] = statistics.unfilled;
  return result;
}

template <typename Pairs>
BatchSampler make_sampler(const Pairs& pairs, std::int64_t batch_size, std::int64_t hard_per_target,
                          std::uint64_t seed, std::int64_t rank, std::int64_t world_size,
                          std::int64_t rank_min, std::int64_t rank_max, double temperature,
                          double fraction, const std::string& short_policy) {
  BatchOptions o;
  o.batch_size = batch_size;
  o.hard_per_target = hard_per_target;
  o.seed = seed;
  o.rank = rank;
  o.world_size = world_size;
  o.rank_min = rank_min;
  o.rank_max = rank_max;
  o.temperature = temperature;
  o.fraction = fraction;
  o.short_policy = short_policy_from_name(short_policy);
  return BatchSampler(pairs, o);
}

}  // namespace

void bind_batches(py::module_& module) {
  py::class_<BatchSampler> sampler(module, "BatchSampler");
  const auto made_by = [&sampler](auto make) {
    sampler.def(py::init(make), py::arg("pairs"), py::kw_only(), py::arg("batch_size") = 256,
                py::arg("hard_per_target") = 1, py::arg("seed") = 0, py::arg("rank") = 0,
                py::arg("world_size") = 1, py::arg("rank_min") = 0, py::arg("rank_max") = 0,
                py::arg("temperature") = 0.0, py::arg("fraction") = 1.0,
                py::arg("short_policy") = "skip");
  };
  made_by(&make_sampler<HardPairs>);
  made_by(&make_sampler<std::shared_ptr<GrowingPairs>>);
  sampler.def("set_epoch", &BatchSampler::set_epoch, py::arg("epoch"))
      .def_property_readonly("epoch", &BatchSampler::epoch)
      .def_property_readonly("batches_per_epoch", &BatchSampler::batches_per_epoch)
      .def_property_readonly("eligible_targets", &BatchSampler::eligible_targets)
      .def_property_readonly("skipped_targets", &BatchSampler::skipped_targets)
      .def(
          "batch",
          [](BatchSampler& self, std::int64_t step) {
            Batch batch;
            {
              const py::gil_scoped_release release;
              batch = self.batch(step);
            }
            return py::make_tuple(array_of(batch.index), array_of(batch.target));
          },
          py::arg("step"))
      .def("statistics", [](const BatchSampler& self) { return dict_of(self.statistics()); })
      .def("reset_statistics", &BatchSampler::reset_statistics);
}

}  // namespace helip::python
