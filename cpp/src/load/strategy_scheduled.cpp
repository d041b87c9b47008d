// A curriculum: the window that hard pairs are drawn from, the temperature, or the share of targets
// that get any goes from one value to another while training proceeds.
#include "load/hardness_schedule.h"
#include "load/strategy.h"

namespace helip::load {
namespace {

class Scheduled final : public Strategy {
 public:
  Scheduled(const BatchOptions& options, const PairSource& pairs) : Strategy(options, pairs) {
    check_schedule(options, pairs.k());
  }

  Hardness hardness(double epochs) const noexcept override {
    return scheduled_hardness(options(), pairs().k(), epochs);
  }

  Hardness deepest() const noexcept override { return deepest_hardness(options(), pairs().k()); }
};

}  // namespace

std::unique_ptr<Strategy> make_scheduled(const BatchOptions& options, const PairSource& pairs) {
  return std::make_unique<Scheduled>(options, pairs);
}

}  // namespace helip::load
