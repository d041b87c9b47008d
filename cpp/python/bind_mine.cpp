#include "bindings.h"

namespace helip::python {
namespace {

void bind_options(py::module_& module) {
  py::class_<MineOptions>(module, "MineOptions")
      .def(
          py::init([](std::int64_t k, const std::string& method, const std::string& modality,
                      double image_max, double text_max, double min_score, bool signed_products,
                      std::int64_t candidates, std::int64_t refresh, std::uint64_t seed,
                      double recall, int threads, std::int64_t memory, std::optional<double> margin,
                      std::int64_t skip, const std::string& collapse, std::int64_t parts,
                      double checkpoint, const std::filesystem::path& codes, bool keep_codes,
                      const std::vector<std::tuple<std::string, double, double>>& channels,
                      const std::string& score) {
            MineOptions o;
            o.k = k;
            o.method = method_from_name(method);
            o.modality = modality_from_name(modality);
            o.image_max = image_max;
            o.text_max = text_max;
            o.min_score = min_score;
            o.signed_products = signed_products;
            o.candidates = candidates;
            o.refresh = refresh;
            o.seed = seed;
            o.recall = recall;
            o.threads = threads;
            o.memory = memory;
            o.margin = margin;
            o.skip = skip;
            o.collapse = collapse_from_name(collapse);
            o.parts = parts;
            o.checkpoint = checkpoint;
            o.codes = codes;
            o.keep_codes = keep_codes;
            for (const auto& [name, maximum, weight] : channels) {
              o.channels.push_back({name, maximum, weight});
            }
            o.score = score_from_name(score);
            return o;
          }),
          py::kw_only(), py::arg("k"), py::arg("method") = "auto", py::arg("modality") = "both",
          py::arg("image_max") = 0.98, py::arg("text_max") = 0.98, py::arg("min_score") = 0.0,
          py::arg("signed_products") = false, py::arg("candidates") = 0,
          py::arg("refresh") = 300000, py::arg("seed") = 0, py::arg("recall") = 0.95,
          py::arg("threads") = 0, py::arg("memory") = 0, py::arg("margin") = py::none(),
          py::arg("skip") = 0, py::arg("collapse") = "none", py::arg("parts") = 1,
          py::arg("checkpoint") = 60.0, py::arg("codes") = std::filesystem::path(),
          py::arg("keep_codes") = false,
          py::arg("channels") = std::vector<std::tuple<std::string, double, double>>(),
          py::arg("score") = "product")
      .def_readonly("k", &MineOptions::k);
}

// targets, ids, scores and rules (as DropRule numbers them), [n] each.
py::tuple dropped_arrays(const DroppedPairs& pairs) {
  std::vector<std::int64_t> targets, ids;
  std::vector<double> scores;
  std::vector<std::uint8_t> rules;
  for (const DroppedPair& pair : pairs) {
    targets.push_back(pair.target);
    ids.push_back(pair.id);
    scores.push_back(pair.score);
    rules.push_back(static_cast<std::uint8_t>(pair.rule));
  }
  return py::make_tuple(array_of(targets), array_of(ids), array_of(scores), array_of(rules));
}

py::dict dict_of(const MinePlan& plan) {
  py::dict result;
  result["method"] = name_of(plan.method);
  result["reason"] = plan.reason;
  result["filters"] = plan.filters;
  result["seconds"] = plan.seconds;
  result["memory_bytes"] = plan.memory_bytes;
  result["disk_bytes"] = plan.disk_bytes;
  result["scratch_bytes"] = plan.scratch_bytes;
  result["pairs"] = plan.pairs;
  result["bands"] = plan.bands;
  return result;
}

// The input of mine_negatives(), which keeps alive what it is made of.
struct BoundNegatives {
  NegativesInput input;
  std::vector<BoundView> views;
  py::object queries, corpus;
};

// Of int64 [n, 1].
std::span<const std::int64_t> numbers_of(const BoundView& of) {
  return {static_cast<const std::int64_t*>(of.view.data), static_cast<std::size_t>(of.view.rows)};
}

BoundNegatives make_negatives(const BoundView& query_image, const BoundView& query_text,
                              const BoundView& corpus_image, const BoundView& corpus_text,
                              const BoundView& begins, const BoundView& rows,
                              std::optional<double> relative_margin, const py::object& queries,
                              const py::object& corpus) {
  BoundNegatives made;
  NegativesInput& input = made.input;
  input.query_image = query_image.view;
  input.query_text = query_text.view;
  input.corpus_image = corpus_image.view;
  input.corpus_text = corpus_text.view;
  if (begins.view.rows > 0) input.positives = {numbers_of(begins), numbers_of(rows)};
  input.relative_margin = relative_margin;
  if (!queries.is_none()) input.queries = &queries.cast<const EmbeddingStore&>();
  if (!corpus.is_none()) input.corpus = &corpus.cast<const EmbeddingStore&>();
  made.views = {query_image, query_text, corpus_image, corpus_text, begins, rows};
  made.queries = queries;
  made.corpus = corpus;
  return made;
}

void bind_mine_negatives(py::module_& module) {
  // `begins` and `rows` are int64 [n, 1]: Positives.
  py::class_<BoundNegatives>(module, "NegativesInput")
      .def(py::init(&make_negatives), py::kw_only(), py::arg("query_image"), py::arg("query_text"),
           py::arg("corpus_image"), py::arg("corpus_text"), py::arg("begins"), py::arg("rows"),
           py::arg("relative_margin"), py::arg("queries"), py::arg("corpus"));
  module.def(
      "positives_digest",
      [](const BoundView& begins, const BoundView& rows) {
        return digest_of({numbers_of(begins), numbers_of(rows)});
      },
      py::arg("begins"), py::arg("rows"));
  module.def(
      "negatives_options",
      [](const BoundNegatives& of, const MineOptions& options) {
        return negatives_options(of.input, options);
      },
      py::arg("input"), py::arg("options"));
  module.def(
      "mine_negatives",
      [](const BoundNegatives& of, const MineOptions& options, const py::object& progress,
         const std::filesystem::path& out) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine_negatives(of.input, options, callback, out);
        });
      },
      py::arg("input"), py::arg("options"), py::arg("progress") = py::none(),
      py::arg("out") = std::filesystem::path());
  module.def(
      "mine_negatives_part",
      [](const BoundNegatives& of, std::int64_t index, std::int64_t count,
         const MineOptions& options, const std::filesystem::path& out, const py::object& progress) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine_negatives_part(of.input, index, count, options, out, callback);
        });
      },
      py::arg("input"), py::arg("index"), py::arg("count"), py::arg("options"), py::arg("out"),
      py::arg("progress") = py::none());
  module.def(
      "merge_negatives_parts",
      [](const std::vector<std::filesystem::path>& parts, const std::filesystem::path& out,
         const py::object& progress) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return merge_negatives_parts(parts, out, callback);
        });
      },
      py::arg("parts"), py::arg("out"), py::arg("progress") = py::none());
}

}  // namespace

void bind_mine(py::module_& module) {
  bind_options(module);
  bind_mine_negatives(module);
  module.def(
      "mine",
      [](const BoundView& image, const BoundView& text, const MineOptions& options,
         const py::object& progress, const std::filesystem::path& out) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine(image.view, text.view, options, callback, out);
        });
      },
      py::arg("image"), py::arg("text"), py::arg("options"), py::arg("progress") = py::none(),
      py::arg("out") = std::filesystem::path());
  module.def(
      "mine_and_list_drops",
      [](const BoundView& image, const BoundView& text, const MineOptions& options,
         const std::filesystem::path& out) {
        DroppedPairs dropped;
        HardPairs pairs = run_with_progress(py::none(), [&](const ProgressCallback& callback) {
          return mine(image.view, text.view, options, callback, out, &dropped);
        });
        return py::make_tuple(std::move(pairs), dropped_arrays(dropped));
      },
      py::arg("image"), py::arg("text"), py::arg("options"),
      py::arg("out") = std::filesystem::path());
  module.def(
      "mine_store",
      [](const EmbeddingStore& store, const MineOptions& options, const py::object& progress,
         const std::filesystem::path& out) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine(store, options, callback, out);
        });
      },
      py::arg("store"), py::arg("options"), py::arg("progress") = py::none(),
      py::arg("out") = std::filesystem::path());
  module.def(
      "prepare_shares",
      [](const EmbeddingStore& store, std::int64_t count, const MineOptions& options,
         const std::filesystem::path& folder, const py::object& progress) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return prepare_shares(store, count, options, folder, callback);
        });
      },
      py::arg("store"), py::arg("count"), py::arg("options"), py::arg("folder"),
      py::arg("progress") = py::none());
  module.def(
      "mine_share",
      [](const EmbeddingStore& store, std::int64_t step, std::int64_t index, std::int64_t count,
         const MineOptions& options, const std::filesystem::path& folder,
         const py::object& progress) {
        run_with_progress(progress, [&](const ProgressCallback& callback) {
          mine_share(store, {index, count, step}, options, folder, callback);
          return 0;
        });
      },
      py::arg("store"), py::arg("step"), py::arg("index"), py::arg("count"), py::arg("options"),
      py::arg("folder"), py::arg("progress") = py::none());
  module.def(
      "merge_shares",
      [](const EmbeddingStore& store, std::int64_t count, std::int64_t step,
         const MineOptions& options, const std::filesystem::path& folder,
         const std::filesystem::path& out, const py::object& progress) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return merge_shares(store, count, step, options, folder, out, callback);
        });
      },
      py::arg("store"), py::arg("count"), py::arg("step"), py::arg("options"), py::arg("folder"),
      py::arg("out"), py::arg("progress") = py::none());
  module.def(
      "mine_part",
      [](const EmbeddingStore& store, std::int64_t index, std::int64_t count,
         const MineOptions& options, const std::filesystem::path& out, const py::object& progress) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine_part(store, index, count, options, out, callback);
        });
      },
      py::arg("store"), py::arg("index"), py::arg("count"), py::arg("options"), py::arg("out"),
      py::arg("progress") = py::none());
  module.def(
      "merge_parts",
      [](const std::vector<std::filesystem::path>& parts, const std::filesystem::path& out,
         const py::object& progress) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return merge_parts(parts, out, callback);
        });
      },
      py::arg("parts"), py::arg("out"), py::arg("progress") = py::none());
  module.def(
      "update",
      [](const HardPairs& pairs, const EmbeddingStore& store, int threads, std::int64_t memory,
         const py::object& progress, const std::filesystem::path& out,
         const std::filesystem::path& codes, bool keep_codes) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return update(pairs, store, {threads, memory, codes, keep_codes}, callback, out);
        });
      },
      py::arg("pairs"), py::arg("store"), py::arg("threads") = 0, py::arg("memory") = 0,
      py::arg("progress") = py::none(), py::arg("out") = std::filesystem::path(),
      py::arg("codes") = std::filesystem::path(), py::arg("keep_codes") = false);
  module.def(
      "add_rows",
      [](const HardPairs& pairs, const BoundView& image, const BoundView& text,
         const MineOptions& options, const std::filesystem::path& out) {
        DroppedPairs dropped;
        HardPairs all = run_with_progress(py::none(), [&](const ProgressCallback& callback) {
          return add_rows(pairs, image.view, text.view, options, callback, out, &dropped);
        });
        return py::make_tuple(std::move(all), dropped_arrays(dropped));
      },
      py::arg("pairs"), py::arg("image"), py::arg("text"), py::arg("options"),
      py::arg("out") = std::filesystem::path());
  module.def(
      "mine_channels",
      [](const std::vector<BoundView>& channels, const MineOptions& options,
         const py::object& progress, const std::filesystem::path& out) {
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine_channels(views_of(channels), options, callback, out);
        });
      },
      py::arg("channels"), py::arg("options"), py::arg("progress") = py::none(),
      py::arg("out") = std::filesystem::path());
  module.def(
      "plan_channels",
      [](const std::vector<BoundView>& channels, const MineOptions& options) {
        return dict_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
          return plan_channels(views_of(channels), options, callback);
        }));
      },
      py::arg("channels"), py::arg("options"));
  module.def("usable_memory", [] { return this_machine().memory; });
  module.def("usable_processors", [] { return this_machine().processors; });
  module.def(
      "plan",
      [](const BoundView& image, const BoundView& text, const MineOptions& options) {
        return dict_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
          return plan(image.view, text.view, options, callback);
        }));
      },
      py::arg("image"), py::arg("text"), py::arg("options"));
  module.def(
      "rerank",
      [](const BoundView& image, const BoundView& text, const std::vector<std::int64_t>& targets,
         const BoundView& candidates, const MineOptions& options) {
        return arrays_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
          return rerank(image.view, text.view, targets, candidates.view, options, callback);
        }));
      },
      py::arg("image"), py::arg("text"), py::arg("targets"), py::arg("candidates"),
      py::arg("options"));
  module.def(
      "rerank_and_list_drops",
      [](const BoundView& image, const BoundView& text, const std::vector<std::int64_t>& targets,
         const BoundView& candidates, const MineOptions& options) {
        DroppedPairs dropped;
        HardPairBand band = run_with_progress(py::none(), [&](const ProgressCallback& callback) {
          return rerank(image.view, text.view, targets, candidates.view, options, callback,
                        &dropped);
        });
        return py::make_tuple(arrays_of(std::move(band)), dropped_arrays(dropped));
      },
      py::arg("image"), py::arg("text"), py::arg("targets"), py::arg("candidates"),
      py::arg("options"));
  module.def(
      "mine_targets",
      [](const BoundView& image, const BoundView& text, const std::vector<std::int64_t>& targets,
         const MineOptions& options, const py::object& progress) {
        return arrays_of(run_with_progress(progress, [&](const ProgressCallback& callback) {
          return mine_targets(image.view, text.view, targets, options, callback);
        }));
      },
      py::arg("image"), py::arg("text"), py::arg("targets"), py::arg("options"),
      py::arg("progress") = py::none());
  module.def("kernel_names", &kernel_names);
  module.def("kernel_name", &kernel_name);
  module.def("set_kernel", &set_kernel, py::arg("name"));
}

}  // namespace helip::python
