// Codes and messages: what a C program learns of an error, and that nothing else leaves a call.
#include "c/c_status.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "helip/error.h"
#include "helip/version.h"

using Catch::Matchers::ContainsSubstring;
using helip::Error;
using helip::ErrorCode;
using helip::c::run;

TEST_CASE("every error of the core has its status, and its message is kept", "[c]") {
  const auto status_of = [](ErrorCode code) {
    return run([&] { throw Error(code, "what failed"); });
  };
  CHECK(status_of(ErrorCode::invalid_argument) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(status_of(ErrorCode::corrupt) == HELIP_ERROR_CORRUPT);
  CHECK(status_of(ErrorCode::mismatch) == HELIP_ERROR_MISMATCH);
  CHECK(status_of(ErrorCode::io) == HELIP_ERROR_IO);
  CHECK(status_of(ErrorCode::cancelled) == HELIP_ERROR_CANCELLED);
  CHECK(status_of(ErrorCode::unsupported) == HELIP_ERROR_UNSUPPORTED);
  CHECK(status_of(ErrorCode::out_of_memory) == HELIP_ERROR_OUT_OF_MEMORY);
  CHECK(std::string(helip_last_error()) == "what failed");
}

TEST_CASE("a status has the name of the error's code", "[c]") {
  for (const ErrorCode code :
       {ErrorCode::invalid_argument, ErrorCode::corrupt, ErrorCode::mismatch, ErrorCode::io,
        ErrorCode::cancelled, ErrorCode::unsupported, ErrorCode::out_of_memory}) {
    const helip_status status = run([&] { throw Error(code, ""); });
    CHECK(std::string(helip_status_name(status)) == helip::name_of(code));
  }
  CHECK(std::string(helip_status_name(HELIP_OK)) == "ok");
  CHECK(std::string(helip_status_name(HELIP_ERROR_INTERNAL)) == "internal");
  CHECK(std::string(helip_status_name(99)) == "unknown");
}

TEST_CASE("exceptions that are no error of the core end at the border too", "[c]") {
  CHECK(run([] { throw std::bad_alloc(); }) == HELIP_ERROR_OUT_OF_MEMORY);
  CHECK_THAT(helip_last_error(), ContainsSubstring("an allocation failed"));
  CHECK(run([] { throw std::length_error("vector"); }) == HELIP_ERROR_OUT_OF_MEMORY);
  CHECK(run([] { throw std::runtime_error("of a callback"); }) == HELIP_ERROR_INTERNAL);
  CHECK(std::string(helip_last_error()) == "of a callback");
  CHECK(run([] { throw 1; }) == HELIP_ERROR_INTERNAL);
}

TEST_CASE("errno of the failed system call is kept, and 0 where there was none", "[c]") {
  CHECK(run([] { throw Error(ErrorCode::io, "open", ENOENT); }) == HELIP_ERROR_IO);
  CHECK(helip_last_errno() == ENOENT);
  CHECK(run([] { throw Error(ErrorCode::corrupt, "bytes"); }) == HELIP_ERROR_CORRUPT);
  CHECK(helip_last_errno() == 0);
}

TEST_CASE("each thread has its own last error, and a call that succeeds leaves it", "[c]") {
  CHECK(run([] { throw Error(ErrorCode::io, "of this thread"); }) == HELIP_ERROR_IO);
  std::string before = "?", after;
  std::thread([&] {
    before = helip_last_error();
    (void)run([] { throw Error(ErrorCode::io, "of the other"); });
    after = helip_last_error();
  }).join();
  CHECK(before.empty());
  CHECK(after == "of the other");
  CHECK(run([] {}) == HELIP_OK);
  CHECK(std::string(helip_last_error()) == "of this thread");
}

TEST_CASE("headers of another minor version are refused, of another patch are not", "[c]") {
  CHECK(helip_version_number() == HELIP_VERSION);
  CHECK(std::string(helip_version()) == HELIP_VERSION_STRING);
  CHECK(helip_check_version(HELIP_VERSION) == HELIP_OK);
  CHECK(helip_check_version(HELIP_VERSION + 1) == HELIP_OK);
  CHECK(helip_check_version(HELIP_VERSION + 1000) == HELIP_ERROR_MISMATCH);
  CHECK_THAT(helip_last_error(), ContainsSubstring("with headers of helip ") &&
                                     ContainsSubstring("is " HELIP_VERSION_STRING ";"));
  CHECK(helip_check_version(HELIP_VERSION + 1000000) == HELIP_ERROR_MISMATCH);
  CHECK(helip_check_version(0) == HELIP_ERROR_MISMATCH);
  CHECK_THROWS_AS(helip::check_version(HELIP_VERSION + 1000), Error);
  CHECK_NOTHROW(helip::check_version());
}
