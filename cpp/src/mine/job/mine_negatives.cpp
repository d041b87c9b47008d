#include "helip/mine_negatives.h"

#include <string>
#include <utility>

#include "mine/budget/budget.h"
#include "mine/corpus/mine_options.h"
#include "mine/corpus/negatives_input.h"
#include "mine/job/job.h"
#include "mine/job/report.h"

namespace helip {

std::string negatives_options(const NegativesInput& input, MineOptions options) {
  return mining::entry_point([&] {
    mining::validate(input, options);
    if (options.method == MiningMethod::automatic) options.method = MiningMethod::exact;
    return mining::options_json(options, input);
  });
}

HardNegatives mine_negatives(const NegativesInput& input, const MineOptions& options,
                             const ProgressCallback& progress, const std::filesystem::path& out) {
  return mining::entry_point([&] {
    if (options.parts != 1) return mining::mine_in_parts(input, options, progress, out);
    mining::validate(input, options);
    mining::Job job({input.corpus_image, input.corpus_text}, options, mining::scratch_folder(out),
                    progress, &input);
    HardNegativesWriter writer(out, job.targets(),
                               mining::row_count({input.corpus_image, input.corpus_text}, options),
                               options.k);
    HardPairs::Origin origin;
    if (input.queries != nullptr) {
      origin.fingerprint = input.queries->fingerprint();
      origin.data_fingerprint = input.queries->data_fingerprint();
    }
    origin.options_json = mining::options_json(job.options(), input);
    origin.report_json = job.mine_all(writer);
    return writer.finish(std::move(origin));
  });
}

}  // namespace helip
