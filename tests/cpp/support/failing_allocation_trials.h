// Runs a call under every allocation that fails: the first, the second, until all have failed once.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <functional>
#include <iostream>
#include <string>

#include "helip/error.h"
#include "support/failing_allocations.h"
#include "support/temporary_folder.h"
#include "support/trial.h"

// What leaves the call is Error(out_of_memory), and nothing else.
inline void every_allocation(const std::function<Trial(const TemporaryFolder&)>& prepare) {
  bool all = false;
  std::int64_t at = 0;
  for (; !all; ++at) {
    INFO("allocation " << at);
    const TemporaryFolder folder;
    const Trial trial = prepare(folder);
    std::string outcome = "done";
    {
      const FailingAllocations failing(at);
      try {
        trial.call();
      } catch (const helip::Error& error) {
        const NoFailingAllocations now;
        outcome = helip::name_of(error.code());
        if (error.code() != helip::ErrorCode::out_of_memory) {
          outcome += std::string(": ") + error.what();
        }
      } catch (const std::exception& error) {
        const NoFailingAllocations now;
        outcome = std::string("of another kind: ") + error.what();
      }
      all = !failing.happened();
    }
    INFO(outcome);
    CHECK((outcome == "done" || outcome == "out_of_memory"));
    trial.check(outcome == "done");
  }
  std::cout << "allocations that failed: " << at - 1 << std::endl;
}
