#include "load/hardness_schedule.h"

#include <algorithm>

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

}  // namespace

Hardness hardness_at_start(const BatchOptions& options, std::int64_t k) noexcept {
  return {options.rank_min, options.rank_max == 0 ? k : options.rank_max, options.draw_temperature};
}

Hardness hardness_at_end(const BatchOptions& options, std::int64_t k) noexcept {
  const HardnessSchedule& schedule = options.schedule;
  Hardness end = hardness_at_start(options, k);
  end.rank_min = schedule.rank_min.value_or(end.rank_min);
  if (schedule.rank_max) end.rank_max = *schedule.rank_max == 0 ? k : *schedule.rank_max;
  end.draw_temperature = schedule.draw_temperature.value_or(end.draw_temperature);
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
  return now;
}

}  // namespace helip::load
