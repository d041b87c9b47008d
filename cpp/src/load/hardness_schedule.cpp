#include "load/hardness_schedule.h"

#include <algorithm>
#include <cmath>

#include "base/refuse.h"

namespace helip::load {
namespace {

// sin²(π t / 2) = (1 - cos(π t)) / 2 for t in 0 .. 1, the same bits on every machine: the series of
// the sine, whose first term left out is below 2e-18.
double cosine_shape(double t) noexcept {
  if (t >= 1.0) return 1.0;
  const double angle = t * 1.5707963267948966;
  const double square = angle * angle;
  double series = 1.0;
  for (int power = 21; power >= 3; power -= 2) {
    series = 1.0 - square * series / (power * (power - 1));
  }
  const double sine = angle * series;
  return sine * sine;
}

double between(double start, double end, double share) noexcept {
  return share >= 1.0 ? end : start + (end - start) * share;  // the end itself, to the last bit
}

std::int64_t rank_between(std::int64_t start, std::int64_t end, double share) noexcept {
  const double rank = between(static_cast<double>(start), static_cast<double>(end), share);
  return static_cast<std::int64_t>(rank + 0.5);  // not negative
}

void check_temperatures(const BatchOptions& options) {
  const auto& end = options.schedule.draw_temperature;
  if (!end) return;
  if (!(std::isfinite(*end) && *end > 0.0)) {
    refuse("draw_temperature = ", *end, " at the end of the schedule must be finite and above 0");
  }
  if (options.draw_temperature == 0.0) {
    refuse("the schedule ends at draw_temperature = ", *end,
           ", but there is none to start from; give draw_temperature too, such as 1 for draws that "
           "are nearly uniform");
  }
}

void check_window(const BatchOptions& options, std::int64_t k) {
  const Hardness end = hardness_at_end(options, k);
  if (end.rank_min < 0 || end.rank_max > k ||
      end.rank_max - end.rank_min < options.hard_per_target) {
    refuse("the schedule ends at the rank window [", end.rank_min, ", ", end.rank_max,
           "), which must lie in 0 .. k = ", k,
           " and hold hard_per_target = ", options.hard_per_target, " ranks");
  }
}

}  // namespace

Hardness hardness_at_start(const BatchOptions& options, std::int64_t k) noexcept {
  return {options.rank_min, options.rank_max == 0 ? k : options.rank_max, options.draw_temperature,
          options.fraction};
}

Hardness hardness_at_end(const BatchOptions& options, std::int64_t k) noexcept {
  const HardnessSchedule& schedule = options.schedule;
  Hardness end = hardness_at_start(options, k);
  end.rank_min = schedule.rank_min.value_or(end.rank_min);
  if (schedule.rank_max) end.rank_max = *schedule.rank_max == 0 ? k : *schedule.rank_max;
  end.draw_temperature = schedule.draw_temperature.value_or(end.draw_temperature);
  end.fraction = schedule.fraction.value_or(end.fraction);
  return end;
}

Hardness scheduled_hardness(const BatchOptions& options, std::int64_t k, double epochs) noexcept {
  const Hardness start = hardness_at_start(options, k);
  const Hardness end = hardness_at_end(options, k);
  const double way = std::min(1.0, epochs / options.schedule.epochs);
  const double share = options.schedule.shape == ScheduleShape::cosine ? cosine_shape(way) : way;
  Hardness now;
  now.rank_min = rank_between(start.rank_min, end.rank_min, share);
  now.rank_max = std::max(rank_between(start.rank_max, end.rank_max, share),
                          now.rank_min + options.hard_per_target);
  now.draw_temperature = between(start.draw_temperature, end.draw_temperature, share);
  now.fraction = between(start.fraction, end.fraction, share);
  return now;
}

// A target that has hard pairs all the way is a target in every epoch.
Hardness deepest_hardness(const BatchOptions& options, std::int64_t k) noexcept {
  return {std::max(options.rank_min, hardness_at_end(options, k).rank_min), k};
}

bool has_schedule(const BatchOptions& options) noexcept {
  const HardnessSchedule& schedule = options.schedule;
  return schedule.epochs != 0.0 || schedule.rank_min || schedule.rank_max ||
         schedule.draw_temperature || schedule.fraction;
}

void check_schedule(const BatchOptions& options, std::int64_t k) {
  const HardnessSchedule& schedule = options.schedule;
  if (!(std::isfinite(schedule.epochs) && schedule.epochs > 0.0)) {
    refuse("the strategy \"", name_of(options.strategy),
           "\" needs a schedule, and epochs = ", schedule.epochs,
           " of it must be above 0: what hardness ends at, and after how many epochs");
  }
  if (!schedule.rank_min && !schedule.rank_max && !schedule.draw_temperature &&
      !schedule.fraction) {
    refuse(
        "the schedule changes nothing; give it the rank_min, rank_max, draw_temperature or "
        "fraction to end at");
  }
  if (schedule.fraction && !(*schedule.fraction >= 0.0 && *schedule.fraction <= 1.0)) {
    refuse("fraction = ", *schedule.fraction, " at the end of the schedule must lie in 0 .. 1");
  }
  check_temperatures(options);
  if (options.hard_per_target > 0) check_window(options, k);
}

}  // namespace helip::load
