#include "samples/open_files.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "helip/error.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"

using helip::Descriptor;
using helip::samples::OpenFiles;

namespace {

// Files 0 .. 9, the content of each its number.
class Numbered {
 public:
  Numbered() {
    for (int i = 0; i < 10; ++i) write_file(folder_ / std::to_string(i), std::to_string(i));
  }
  Descriptor open(std::int64_t number) const {
    ++opened;
    return helip::open_for_reading(folder_ / std::to_string(number));
  }
  char read(OpenFiles& files, std::int64_t number) const {
    const auto lease = files.lease(number, [&] { return open(number); });
    char byte = 0;
    helip::read_exactly(lease.file(), &byte, 1, 0, "file");
    return byte;
  }
  mutable std::atomic<int> opened{0};

 private:
  TemporaryFolder folder_;
};

int open_descriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("files stay open up to the bound, and are closed at the end") {
  const Numbered numbered;
  const int before = open_descriptors();
  {
    OpenFiles files(3);
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 3; ++i) CHECK(numbered.read(files, i) == '0' + i);
    }
    CHECK(numbered.opened == 3);
    for (int i = 0; i < 10; ++i) CHECK(numbered.read(files, i) == '0' + i);
    CHECK(open_descriptors() == before + 3);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a file in use keeps its place, and another one is opened beside it") {
  const Numbered numbered;
  OpenFiles files(1);
  const int before = open_descriptors();
  {
    const auto lease = files.lease(4, [&] { return numbered.open(4); });
    CHECK(numbered.read(files, 5) == '5');
    CHECK(open_descriptors() == before + 1);
    char byte = 0;
    helip::read_exactly(lease.file(), &byte, 1, 0, "file");
    CHECK(byte == '4');
  }
  CHECK(numbered.read(files, 5) == '5');
}

TEST_CASE("a file that cannot be opened leaves its slot free") {
  const Numbered numbered;
  OpenFiles files(2);
  CHECK_THROWS_AS(numbered.read(files, 77), helip::Error);
  CHECK(numbered.read(files, 1) == '1');
  CHECK_THROWS_AS(numbered.read(files, 77), helip::Error);
  CHECK(numbered.read(files, 1) == '1');
}

TEST_CASE("threads read the right files whatever others open and close") {
  const Numbered numbered;
  OpenFiles files(2);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 3000; ++i) {
        const int number = (i * 7 + t * 3) % 10;
        if (numbered.read(files, number) != '0' + number) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("a child opens files of its own, and closes none that it does not know") {
  const Numbered numbered;
  OpenFiles files(4);
  CHECK(numbered.read(files, 1) == '1');
  const pid_t child = ::fork();
  if (child == 0) {
    const int before = numbered.opened;
    const bool right = numbered.read(files, 1) == '1' && numbered.read(files, 2) == '2';
    ::_exit(right && numbered.opened == before + 2 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(numbered.read(files, 1) == '1');
  CHECK(numbered.opened == 1);
}

TEST_CASE("children that are forked while threads read can read as well") {
  const Numbered numbered;
  OpenFiles files(2);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; !stop; ++i) numbered.read(files, i % 10);
    });
  }
  int failed = 0;
  for (int round = 0; round < 50; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // a deadlock ends the child
      bool right = true;
      for (int i = 0; i < 20; ++i) right = right && numbered.read(files, i % 10) == '0' + i % 10;
      ::_exit(right ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) ++failed;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
}
