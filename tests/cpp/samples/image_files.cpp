#include "helip/image_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "helip/sample_error.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using helip::ImageFiles;
using helip::PathList;

// Paths below a folder of the test, in the arrays that a data set keeps.
struct Paths {
  explicit Paths(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      blob += path;
      offsets.push_back(static_cast<std::int64_t>(blob.size()));
    }
  }
  PathList list() const { return {blob, offsets}; }

  std::string blob;
  std::vector<std::int64_t> offsets{0};
};

struct Folder {
  Folder() { fs::create_directories(root / "deep" / "deeper"); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(root / name, std::ios::binary) << text;
  }
  ImageFiles files(const Paths& paths, bool follow_links = false) const {
    return {{root.string()},
            {0, static_cast<std::int64_t>(paths.offsets.size()) - 1},
            paths.list(),
            follow_links};
  }

  TemporaryFolder temporary;
  fs::path root = fs::canonical(temporary / ".") / "root";
};

std::string read(const ImageFiles& files, std::int64_t row) {
  std::vector<std::byte> bytes;
  files.read(row, bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string reason_of(const ImageFiles& files, std::int64_t row) {
  try {
    read(files, row);
  } catch (const helip::SampleError& error) {
    return error.reason();
  }
  return "";
}

TEST_CASE("image files are read whole, by row", "[image_files]") {
  const Folder folder;
  folder.write("a.jpg", "first");
  folder.write("deep/deeper/b.jpg", std::string(100000, 'b'));
  folder.write("empty.jpg", "");
  const Paths paths({"a.jpg", "deep/deeper/b.jpg", "empty.jpg", "./deep/../a.jpg"});
  const ImageFiles files = folder.files(paths);
  CHECK(files.size() == 4);
  CHECK(read(files, 0) == "first");
  CHECK(read(files, 1) == std::string(100000, 'b'));
  CHECK(read(files, 2).empty());
  CHECK(read(files, 3) == "first");
}

TEST_CASE("each root has rows of its own", "[image_files]") {
  const Folder one;
  const Folder two;
  one.write("a", "of one");
  two.write("a", "of two");
  const Paths paths({"a", "a", "a"});
  const ImageFiles files({one.root.string(), two.root.string()}, {0, 2, 3}, paths.list(), false);
  CHECK(read(files, 1) == "of one");
  CHECK(read(files, 2) == "of two");
}

TEST_CASE("a picture that cannot be read says why", "[image_files]") {
  const Folder folder;
  folder.write("a", "a");
  REQUIRE(::mkfifo((folder.root / "pipe").c_str(), 0600) == 0);
  const Paths paths({"absent", "", "deep", "pipe", "a/b"});
  const ImageFiles files = folder.files(paths);
  CHECK(reason_of(files, 0) == "missing_image");
  CHECK(reason_of(files, 1) == "missing_image");
  CHECK(reason_of(files, 2) == "io");
  CHECK(reason_of(files, 3) == "io");
  CHECK(reason_of(files, 4) == "missing_image");
}

TEST_CASE("links are followed inside the root alone", "[image_files]") {
  const Folder folder;
  folder.write("a", "inside");
  const fs::path outside = folder.root.parent_path() / "outside";
  std::ofstream(outside) << "outside";
  fs::create_symlink("../a", folder.root / "deep" / "relative");
  fs::create_symlink(folder.root / "a", folder.root / "absolute");
  fs::create_symlink(outside, folder.root / "out");
  fs::create_symlink("..", folder.root / "up");
  const std::string absolute = (folder.root / "a").string();
  const Paths paths(
      {"deep/relative", "absolute", absolute, "out", "up/outside", "../outside", outside.string()});
  const ImageFiles files = folder.files(paths);
  for (std::int64_t row = 0; row < 3; ++row) CHECK(read(files, row) == "inside");
  for (std::int64_t row = 3; row < 7; ++row) CHECK(reason_of(files, row) == "outside_root");

  const ImageFiles trusting = folder.files(paths, true);
  for (std::int64_t row = 3; row < 7; ++row) CHECK(read(trusting, row) == "outside");
}

TEST_CASE("absolute paths are read wherever they lie, if asked", "[image_files]") {
  const Folder folder;
  folder.write("a", "inside");
  const fs::path outside = folder.root.parent_path() / "outside";
  std::ofstream(outside) << "outside";
  fs::create_symlink(outside, folder.root / "out");
  const Paths paths({"a", outside.string(), (folder.root / "out").string(), "out", "../outside"});
  const ImageFiles files({folder.root.string()}, {0, 5}, paths.list(), false, true);
  CHECK(read(files, 0) == "inside");
  for (std::int64_t row = 1; row < 3; ++row) CHECK(read(files, row) == "outside");
  for (std::int64_t row = 3; row < 5; ++row) CHECK(reason_of(files, row) == "outside_root");
}

TEST_CASE("arrays that do not fit each other are refused", "[image_files]") {
  const Folder folder;
  const Paths paths({"a", "b"});
  const std::string root = folder.root.string();
  const auto refused = [&](const std::vector<std::int64_t>& starts, PathList list) {
    expect_error(helip::ErrorCode::invalid_argument, "do not fit",
                 [&] { ImageFiles({root}, starts, list, false); });
  };
  refused({0, 1}, paths.list());
  refused({0}, paths.list());
  refused({1, 2}, paths.list());
  refused({0, 2}, {paths.blob, {}});
  const std::vector<std::int64_t> beyond{0, 1, 3};
  refused({0, 2}, {paths.blob, beyond});
  expect_error(helip::ErrorCode::io, "cannot open folder",
               [&] { ImageFiles({root + "/absent"}, {0, 2}, paths.list(), false); });
}

}  // namespace
