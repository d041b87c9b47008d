#include "io/file.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/temporary_folder.h"

using namespace helip;
namespace fs = std::filesystem;

namespace {

std::string content_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::size_t entries(const fs::path& path) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
}

}  // namespace

TEST_CASE("a pending file appears whole under its name when it is published") {
  const TemporaryFolder folder;
  PendingFile file(folder / "");
  file.write_at("world", 5, 6);
  file.write_at("hello ", 6, 0);
  CHECK_FALSE(fs::exists(folder / "greeting"));
  file.publish("greeting");
  CHECK(content_of(folder / "greeting") == "hello world");
  CHECK(entries(folder / "") == 1);
}

TEST_CASE("a pending file that is given up leaves nothing") {
  const TemporaryFolder folder;
  {
    PendingFile(folder / "").write_at("x", 1, 0);
  }
  CHECK(entries(folder / "") == 0);
}

TEST_CASE("a directory has one owner, and a killed owner frees it") {
  const TemporaryFolder folder;
  std::optional<DirectoryLock> lock(folder / "");
  expect_error(ErrorCode::io, "is writing to", [&] { DirectoryLock again(folder / ""); });
  CHECK_FALSE(DirectoryLock::if_free(folder / ""));
  lock.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    const DirectoryLock held(folder / "");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  CHECK_NOTHROW(DirectoryLock(folder / ""));
  CHECK(DirectoryLock::if_free(folder / ""));
}

TEST_CASE("reading past the end of a file names the byte where it ends") {
  const TemporaryFolder folder;
  std::ofstream(folder / "short") << "abc";
  const Descriptor file = open_for_reading(folder / "short");
  char buffer[8];
  expect_error(ErrorCode::corrupt, "ends at byte 3",
               [&] { read_exactly(file, buffer, 8, 0, "short"); });
}

TEST_CASE("what is no regular file is refused by its kind, and nobody waits for a pipe") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  for (const auto& [path, kind] : {std::pair{folder / "", "is a directory, not a regular file"},
                                   {folder / "pipe", "is a pipe, not a regular file"},
                                   {fs::path("/dev/null"), "is a device, not a regular file"}}) {
    expect_error(ErrorCode::corrupt, kind, [&] { (void)open_for_reading(path); });
    expect_error(ErrorCode::invalid_argument, kind, [&] { (void)open_given_file(path); });
  }
}

TEST_CASE("a link is followed where a caller named it, and nowhere else") {
  const TemporaryFolder folder;
  std::ofstream(folder / "real") << "abc";
  fs::create_symlink("real", folder / "link");
  expect_error(ErrorCode::io, "link", [&] { (void)open_for_reading(folder / "link"); });
  CHECK(file_size(open_given_file(folder / "link"), "link") == 3);
}

TEST_CASE("a directory that cannot be made says why") {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "abc";
  expect_error(ErrorCode::invalid_argument, "not a directory",
               [&] { make_directory(folder / "file"); });
  make_directory(folder / "a/b/c");
  CHECK(fs::is_directory(folder / "a/b/c"));
}

TEST_CASE("a path that the system cannot look at is an error of the library's own") {
  const TemporaryFolder folder;
  fs::create_symlink("loop", folder / "loop");
  const fs::path long_name = folder / std::string(300, 'x');
  for (const fs::path& path : {folder / "loop/x", long_name}) {
    expect_error(ErrorCode::io, "cannot look at", [&] { (void)path_exists(path); });
    expect_error(ErrorCode::io, "cannot", [&] { make_directory(path / "y"); });
  }
  expect_error(ErrorCode::io, "cannot list", [&] { (void)names_in(folder / "absent"); });
  CHECK_FALSE(path_exists(folder / "absent/x"));
  CHECK_FALSE(directory_exists(folder / "absent"));
}

TEST_CASE("a file whose directory cannot be made durable is not there") {
  const TemporaryFolder folder;
  {
    PendingFile file(folder / "");
    file.write_at("x", 1, 0);
    const FailingCalls calls(FailingCalls::Kind::directory_fsync, 0);
    expect_error(ErrorCode::io, "sync the directory", [&] { file.publish("name"); });
    CHECK_FALSE(path_exists(folder / "name"));
  }
  CHECK(entries(folder / "") == 0);
}

TEST_CASE("dates after the year 2262 are told apart") {
  struct stat one{}, other{};
  one.st_mtim.tv_sec = other.st_mtim.tv_sec = 14989881600;  // 2445
  other.st_mtim.tv_nsec = 5;
  CHECK(modified_of(one) != modified_of(other));
}
