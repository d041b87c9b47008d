// A curriculum: the window that hard pairs are drawn from, or the temperature, goes from one value
// to another while training proceeds.
#include <algorithm>
#include <cmath>

#include "base/refuse.h"
#include "load/hardness_schedule.h"
#include "load/strategy.h"

namespace helip::load {
namespace {

class Scheduled final : public Strategy {
 public:
  Scheduled(const BatchOptions& options, const PairSource& pairs) : Strategy(options, pairs) {
    const HardnessSchedule& schedule = options.schedule;
    if (!(std::isfinite(schedule.epochs) && schedule.epochs > 0.0)) {
      refuse("the strategy \"scheduled\" needs a schedule, and epochs = ", schedule.epochs,
             " of it must be above 0: what hardness ends at, and after how many epochs");
    }
    if (!schedule.rank_min && !schedule.rank_max && !schedule.draw_temperature) {
      refuse(
          "the schedule changes nothing; give it the rank_min, rank_max or draw_temperature to end "
          "at");
    }
    check_temperatures();
    if (options.hard_per_target > 0) check_window();
  }

  Hardness hardness(double epochs) const noexcept override {
    return scheduled_hardness(options(), pairs().k(), epochs);
  }

  // Every target has hard pairs all the way, so that it is a target in every epoch.
  Hardness deepest() const noexcept override {
    const std::int64_t end = hardness_at_end(options(), pairs().k()).rank_min;
    return {std::max(options().rank_min, end), pairs().k(), 0.0};
  }

 private:
  void check_temperatures() const {
    const auto& end = options().schedule.draw_temperature;
    if (!end) return;
    if (!(std::isfinite(*end) && *end > 0.0)) {
      refuse("draw_temperature = ", *end, " at the end of the schedule must be finite and above 0");
    }
    if (options().draw_temperature == 0.0) {
      refuse("the schedule ends at draw_temperature = ", *end,
             ", but there is none to start from; give draw_temperature too, such as 1 for draws "
             "that are "
             "nearly uniform");
    }
  }

  void check_window() const {
    const Hardness end = hardness_at_end(options(), pairs().k());
    if (end.rank_min < 0 || end.rank_max > pairs().k() ||
        end.rank_max - end.rank_min < options().hard_per_target) {
      refuse("the schedule ends at the rank window [", end.rank_min, ", ", end.rank_max,
             "), which must lie in 0 .. k = ", pairs().k(),
             " and hold hard_per_target = ", options().hard_per_target, " ranks");
    }
  }
};

}  // namespace

std::unique_ptr<Strategy> make_scheduled(const BatchOptions& options, const PairSource& pairs) {
  return std::make_unique<Scheduled>(options, pairs);
}

}  // namespace helip::load
