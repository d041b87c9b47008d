// Buffers in memory and in nameless files.
#include "base/scratch_memory.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <filesystem>
#include <utility>

#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/temporary_folder.h"

using helip::ErrorCode;
using helip::mining::ScratchMemory;

namespace {

void check_usable(const ScratchMemory& memory, std::int64_t bytes) {
  REQUIRE(reinterpret_cast<std::uintptr_t>(memory.data()) % 4096 == 0);
  REQUIRE(std::all_of(memory.data(), memory.data() + bytes, [](char c) { return c == 0; }));
  memory.data()[0] = 1;
  memory.data()[bytes - 1] = 2;
  REQUIRE(memory.data()[bytes - 1] == 2);
}

}  // namespace

TEST_CASE("a buffer starts with zeros, in memory and on disk", "[scratch_memory]") {
  const TemporaryFolder folder;
  for (const std::int64_t bytes : {1, 4096, 1000001}) {
    check_usable(ScratchMemory(bytes), bytes);
    check_usable(ScratchMemory(bytes, folder / ""), bytes);
  }
  REQUIRE(ScratchMemory(0).data() == nullptr);
  REQUIRE(ScratchMemory(0, folder / "").data() == nullptr);
}

TEST_CASE("a buffer on disk leaves no file behind, not even while it lives", "[scratch_memory]") {
  const TemporaryFolder folder;
  const ScratchMemory memory(100000, folder / "");
  memory.data()[7] = 1;
  REQUIRE(std::filesystem::is_empty(folder / ""));
}

TEST_CASE("a signal that interrupts the reservation of a buffer does no harm", "[scratch_memory]") {
  const TemporaryFolder folder;
  const FailingCalls calls(FailingCalls::Kind::fallocate, 0, EINTR, true);
  check_usable(ScratchMemory(100000, folder / ""), 100000);
  REQUIRE(calls.happened());
}

TEST_CASE("a moved buffer keeps what it holds", "[scratch_memory]") {
  ScratchMemory first(5000);
  first.data()[4999] = 3;
  ScratchMemory second(std::move(first));
  REQUIRE(second.data()[4999] == 3);
  ScratchMemory third;
  third = std::move(second);
  REQUIRE(third.data()[4999] == 3);
}

TEST_CASE("a missing folder is refused by name", "[scratch_memory]") {
  const TemporaryFolder folder;
  expect_error(ErrorCode::io, "absent", [&] { ScratchMemory(100, folder / "absent"); });
}

TEST_CASE("more memory than there are addresses is refused", "[scratch_memory]") {
  expect_error(ErrorCode::out_of_memory, "memory=", [] { ScratchMemory(std::int64_t{1} << 60); });
}
