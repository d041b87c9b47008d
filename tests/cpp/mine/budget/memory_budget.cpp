// What a job may take, and where it puts what does not fit.
#include "mine/budget/memory_budget.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;

TEST_CASE("memory is what was asked for, or a part of the machine's", "[memory_budget]") {
  MineOptions options;
  options.memory = 12345;
  REQUIRE(memory_budget(options) == 12345);
  options.memory = 0;
  REQUIRE(memory_budget(options) > 0);
}

TEST_CASE("scratch goes beside the table, or to the folder of temporary files", "[memory_budget]") {
  const TemporaryFolder folder;
  REQUIRE(scratch_folder(folder / "cc3m.pairs") == (folder / "cc3m.pairs").parent_path());
  REQUIRE(std::filesystem::is_directory(scratch_folder({})));
  REQUIRE(scratch_folder(folder / "absent/cc3m.pairs") == scratch_folder({}));
}

TEST_CASE("a folder of temporary files that is none is no error before it is used",
          "[memory_budget]") {
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  setenv("TMPDIR", "/nowhere/at/all", 1);
  REQUIRE_NOTHROW(scratch_folder({}));
  if (kept.empty()) {
    unsetenv("TMPDIR");
  } else {
    setenv("TMPDIR", kept.c_str(), 1);
  }
}
