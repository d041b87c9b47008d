// A call that is made to fail, and what must hold afterwards.
#pragma once

#include <functional>

struct Trial {
  std::function<void()> call;
  // What is looked at once the call has ended, well or not: that nothing is lost.
  std::function<void(bool done)> check = [](bool) {};
  // Whether the call may be made again where it was cut short, and does what is left.
  bool goes_on = false;
};
