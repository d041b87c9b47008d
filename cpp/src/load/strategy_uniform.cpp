// Each target draws its hard pairs from its rank window, all ranks with the same probability: what
// the paper does (arXiv 2305.05208).
#include "base/refuse.h"
#include "load/strategy.h"

namespace helip::load {

std::unique_ptr<Strategy> make_uniform(const BatchOptions& options, const PairSource& pairs) {
  if (options.draw_temperature != 0.0) {
    refuse("the strategy \"uniform\" draws without a temperature, and draw_temperature = ",
           options.draw_temperature,
           "; take the strategy \"temperature\", or give no draw_temperature");
  }
  return std::make_unique<Strategy>(options, pairs);
}

}  // namespace helip::load
