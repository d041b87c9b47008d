// Each target draws its hard pairs in proportion to exp(score / temperature): the lower, the more
// often the best of the pool.
#include "base/refuse.h"
#include "load/strategy.h"

namespace helip::load {

std::unique_ptr<Strategy> make_temperature(const BatchOptions& options, const PairSource& pairs) {
  if (options.draw_temperature == 0.0) {
    refuse(
        "the strategy \"temperature\" needs a temperature above 0, such as draw_temperature = 0.1; "
        "without one, take the strategy \"uniform\"");
  }
  return std::make_unique<Strategy>(options, pairs);
}

}  // namespace helip::load
