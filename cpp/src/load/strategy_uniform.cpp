// Each target draws its hard pairs from its rank window, all ranks with the same probability: what
// the paper does (arXiv 2305.05208).
#include "base/refuse.h"
#include "load/strategy.h"

namespace helip::load {

std::unique_ptr<Strategy> make_uniform(const BatchOptions& options, const PairSource& pairs) {
  if (options.temperature != 0.0) {
    refuse("the strategy \"uniform\" draws without a temperature, and temperature = ",
           options.temperature, "; take the strategy \"temperature\", or give no temperature");
  }
  return std::make_unique<Strategy>(options, pairs);
}

}  // namespace helip::load
