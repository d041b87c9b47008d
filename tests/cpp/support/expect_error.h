// Asserts that a call throws helip::Error of a code whose message holds a text.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "helip/error.h"

template <typename Call>
void expect_error(helip::ErrorCode code, const std::string& part, Call call) {
  try {
    call();
  } catch (const helip::Error& error) {
    INFO(error.what());
    CHECK(helip::name_of(error.code()) == std::string(helip::name_of(code)));
    CHECK(std::string(error.what()).find(part) != std::string::npos);
    return;
  }
  FAIL("no error; expected one about \"" << part << "\"");
}
