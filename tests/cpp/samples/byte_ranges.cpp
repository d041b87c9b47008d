#include "samples/byte_ranges.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "support/expect_error.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"

using helip::SampleField;
using helip::SampleIndex;
using helip::samples::ByteRange;
using helip::samples::kNear;

namespace {

std::vector<ByteRange> ranges_of(const SampleIndex& index, const std::vector<std::int64_t>& rows) {
  return helip::samples::ranges_of(
      index.shards(), [&](std::int64_t row, SampleField field) { return index.member(row, field); },
      rows);
}

std::int64_t begin_of(const SampleIndex& index, std::int64_t row, SampleField field) {
  return index.member(row, field).offset;
}

std::int64_t end_of(const SampleIndex& index, std::int64_t row, SampleField field) {
  return index.member(row, field).offset + index.member(row, field).bytes;
}

// Four rows in two shards; each picture is followed by its caption, row 1 by its .json alone.
// Between samples lies more than what is near.
SampleIndex far_samples(const TemporaryFolder& folder) {
  const std::string far = tar_member("README", std::string(kNear + 1, 'x'));
  const auto sample = [&](const std::string& key, const std::string& caption) {
    return tar_member(key + ".jpg", "picture") + tar_member(key + caption, "{}") + far;
  };
  return SampleIndex::build(
      {write_file(folder / "a.tar", sample("k0", ".txt") + sample("k1", ".json") + tar_end()),
       write_file(folder / "b.tar", sample("k2", ".txt") + sample("k3", ".txt") + tar_end())});
}

}  // namespace

TEST_CASE("a picture and the caption near to it are one range, in order of their places") {
  const TemporaryFolder folder;
  const SampleIndex index = far_samples(folder);
  const auto range = [&](std::int64_t row, SampleField last) {
    return ByteRange{row / 2, begin_of(index, row, SampleField::image), end_of(index, row, last)};
  };
  CHECK(ranges_of(index, std::vector<std::int64_t>{3, 1, 0}) ==
        std::vector<ByteRange>{range(0, SampleField::text), range(1, SampleField::json),
                               range(3, SampleField::text)});
  CHECK(ranges_of(index, std::vector<std::int64_t>{2, 2}) ==
        std::vector<ByteRange>{range(2, SampleField::text)});
}

TEST_CASE("a caption far from its picture is a range of its own") {
  const TemporaryFolder folder;
  const auto shard = [&](const std::string& name, std::int64_t between) {
    // A header of 512 bytes stands before each.
    return write_file(folder / name, tar_member(name + ".jpg", std::string(512, 'p')) +
                                         tar_member("README", std::string(between - 1024, 'x')) +
                                         tar_member(name + ".txt", "text") + tar_end());
  };
  const SampleIndex index = SampleIndex::build({shard("a", kNear), shard("b", kNear + 512)});
  CHECK(ranges_of(index, std::vector<std::int64_t>{0, 1}) ==
        std::vector<ByteRange>{{0, 512, 1024 + kNear + 4},
                               {1, 512, 1024},
                               {1, 1024 + kNear + 512, 1024 + kNear + 516}});
}

TEST_CASE("neighbouring rows are one range, whatever their order") {
  const TemporaryFolder folder;
  std::string bytes;
  for (int row = 0; row < 4; ++row) {
    bytes += tar_member(std::to_string(row) + ".jpg", std::string(5000, 'p')) +
             tar_member(std::to_string(row) + ".txt", "text");
  }
  const SampleIndex index = SampleIndex::build({write_file(folder / "a.tar", bytes + tar_end())});
  CHECK(ranges_of(index, std::vector<std::int64_t>{2, 0, 3, 1}) ==
        std::vector<ByteRange>{
            {0, begin_of(index, 0, SampleField::image), end_of(index, 3, SampleField::text)}});
}

TEST_CASE("what is not there, or not followed, has no range") {
  const TemporaryFolder folder;
  const SampleIndex index = SampleIndex::build(
      {write_file(folder / "a.tar", tar_member("0.jpg", "", '2') + tar_member("0.cls", "1") +
                                        tar_member("1.txt", "text") + tar_end())});
  CHECK(ranges_of(index, std::vector<std::int64_t>{0}).empty());
  CHECK(ranges_of(index, std::vector<std::int64_t>{1}).size() == 1);
  expect_error(helip::ErrorCode::invalid_argument, "row 2",
               [&] { (void)ranges_of(index, std::vector<std::int64_t>{2}); });
}
