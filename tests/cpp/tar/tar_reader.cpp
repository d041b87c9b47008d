#include "tar/tar_reader.h"

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <random>
#include <string>
#include <vector>

#include "support/expect_error.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"

using helip::Descriptor;
using helip::ErrorCode;
using helip::tar::Member;
using helip::tar::MemberKind;
using helip::tar::TarReader;

namespace {

std::vector<Member> members_of(const std::filesystem::path& path) {
  const Descriptor file = helip::open_for_reading(path);
  TarReader reader(file, path, helip::file_size(file, path));
  std::vector<Member> members;
  Member member;
  while (reader.next(member)) members.push_back(member);
  return members;
}

std::vector<Member> members_of(const TemporaryFolder& folder, const std::string& bytes) {
  return members_of(write_file(folder / "t.tar", bytes));
}

void expect_damage(const TemporaryFolder& folder, const std::string& bytes,
                   const std::string& part) {
  write_file(folder / "t.tar", bytes);
  expect_error(ErrorCode::corrupt, part, [&] { members_of(folder / "t.tar"); });
  expect_error(ErrorCode::corrupt, "t.tar", [&] { members_of(folder / "t.tar"); });
}

}  // namespace

TEST_CASE("members come in order with the place of their bytes") {
  const TemporaryFolder folder;
  // Bodies that fit the read-ahead, and some that go far beyond.
  std::string bytes;
  std::vector<std::string> bodies;
  for (const std::size_t size : {0, 1, 511, 512, 513, 3000, 70000, 200000, 5, 9000, 4096}) {
    bodies.emplace_back(size, static_cast<char>('a' + bodies.size()));
    bytes += tar_member(std::to_string(bodies.size()) + ".jpg", bodies.back());
  }
  const auto members = members_of(folder, bytes + tar_end());
  REQUIRE(members.size() == bodies.size());
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    CHECK(members[i].name == std::to_string(i + 1) + ".jpg");
    CHECK(members[i].kind == MemberKind::file);
    CHECK(members[i].offset == members[i].header + 512);
    CHECK(bytes.substr(static_cast<std::size_t>(members[i].offset),
                       static_cast<std::size_t>(members[i].bytes)) == bodies[i]);
  }
}

TEST_CASE("long names come from GNU and pax headers, of any length up to 64 KiB") {
  const TemporaryFolder folder;
  const std::string longest(64 << 10, 'x');
  const auto members = members_of(
      folder,
      tar_member("././@LongLink", std::string(300, 'g') + '\0', 'L') + tar_member("short", "1") +
          tar_member("././@LongLink", "target", 'K') + tar_member("././@LongLink", longest, 'L') +
          tar_member("short", "22") +
          tar_member("pax", pax_record("path", "p\xc3\xa4x") + pax_record("size", "3"), 'x') +
          tar_header("short", 0) + padded_body("333") + tar_member("last", "") + tar_end());
  REQUIRE(members.size() == 4);
  CHECK(members[0].name == std::string(300, 'g'));
  CHECK(members[0].header == 0);
  CHECK(members[1].name == longest);
  CHECK(members[2].name == "p\xc3\xa4x");
  CHECK(members[2].bytes == 3);
  CHECK(members[3].name == "last");
  expect_damage(
      folder,
      tar_member("././@LongLink", longest + "y", 'L') + tar_member("short", "1") + tar_end(),
      "more than the 65536");
  expect_damage(folder, tar_header("././@LongLink", std::int64_t{1} << 32, 'L'), "more than");
}

TEST_CASE("global pax headers hold for all members behind them") {
  const TemporaryFolder folder;
  const auto members = members_of(
      folder, tar_member("g", pax_record("comment", "0123") + pax_record("size", "2"), 'g') +
                  tar_header("a", 0) + padded_body("aa") + tar_header("b", 0) + padded_body("bb") +
                  tar_end());
  REQUIRE(members.size() == 2);
  CHECK(members[1].bytes == 2);
}

TEST_CASE("what is no regular file is told apart, and has no bytes") {
  const TemporaryFolder folder;
  std::string bytes;
  for (const char type : {'1', '2', '3', '4', '5', '6', '7', 'V'}) {
    bytes += tar_header(std::string(1, type), type == '1' ? 700 : 0, type);
  }
  const auto members = members_of(folder, bytes + tar_end());
  const MemberKind kinds[] = {MemberKind::link,  MemberKind::link,      MemberKind::other,
                              MemberKind::other, MemberKind::directory, MemberKind::other,
                              MemberKind::file,  MemberKind::other};
  REQUIRE(members.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) CHECK(members[i].kind == kinds[i]);
  CHECK(members[0].bytes == 0);
}

TEST_CASE("sparse members are told, with all blocks of their map") {
  const TemporaryFolder folder;
  std::string gnu = tar_header("gnu", 3, 'S');
  gnu = with_field(gnu, 482, "\1");
  std::string more(512, '\7');
  std::string last(512, '\7');
  last[504] = '\0';
  const auto members =
      members_of(folder, gnu + more + last + padded_body("abc") +
                             tar_member("pax", pax_record("GNU.sparse.major", "1"), 'x') +
                             tar_member("made-up", "abc") + tar_member("plain", "x") + tar_end());
  REQUIRE(members.size() == 3);
  CHECK(members[0].kind == MemberKind::sparse);
  CHECK(members[0].offset == 3 * 512);
  CHECK(members[1].kind == MemberKind::sparse);
  CHECK(members[2].kind == MemberKind::file);
  expect_damage(folder, gnu + more, "truncated");
}

TEST_CASE("a file ends with zeros alone, one block of them at least") {
  const TemporaryFolder folder;
  const std::string whole = tar_member("a.jpg", "abc");
  CHECK(members_of(folder, whole + std::string(512, '\0')).size() == 1);
  CHECK(members_of(folder, whole + std::string(512 + 77, '\0')).size() == 1);
  CHECK(members_of(folder, whole + std::string(200000, '\0')).size() == 1);
  CHECK(members_of(folder, tar_end()).empty());
  expect_damage(folder, whole + tar_end() + whole + tar_end(), "joined");
  expect_damage(folder, whole + std::string(150000, '\0') + "x", "joined");
  for (std::size_t length = 0; length < whole.size() + 512; ++length) {
    expect_damage(folder, (whole + tar_end()).substr(0, length), "truncated");
  }
}

TEST_CASE("sizes that cannot be are damage") {
  const TemporaryFolder folder;
  const std::string negative = with_field(tar_header("a", 0), 124, std::string(11, '\xff') + '\0');
  expect_damage(folder, negative + tar_end(), "negative");
  expect_damage(folder, tar_header("a", 5000) + tar_end(), "needs 5000 bytes");
  std::string most = std::string("\x80\0\0\0\x7f", 5) + std::string(7, '\xff');
  expect_damage(folder, with_field(tar_header("a", 0), 124, most) + tar_end(), "needs");
  expect_damage(folder, with_field(tar_header("a", 0, 'L'), 124, most) + tar_end(), "more than");
  expect_damage(folder,
                tar_member("x", pax_record("size", "9223372036854775807"), 'x') +
                    tar_header("a", 0) + tar_end(),
                "needs");
}

TEST_CASE("extension headers need a member, and are bounded in number") {
  const TemporaryFolder folder;
  const std::string extension = tar_member("x", pax_record("path", "a"), 'x');
  expect_damage(folder, extension + tar_end(), "without a member");
  expect_damage(folder, extension, "without a member");
  std::string chain;
  for (int i = 0; i < 65; ++i) chain += extension;
  expect_damage(folder, chain + tar_member("b", "") + tar_end(), "more than 64");
  expect_damage(folder, tar_header("x", 5000, 'x') + tar_end(), "beyond the end");
}

TEST_CASE("a compressed file is named as what it is") {
  const TemporaryFolder folder;
  const std::pair<std::string, std::string> files[] = {{"\x1f\x8b\x08", "gzip"},
                                                       {"BZh9", "bzip2"},
                                                       {std::string("\xfd"
                                                                    "7zXZ\0",
                                                                    6),
                                                        "xz"},
                                                       {"\x28\xb5\x2f\xfd", "zstd"},
                                                       {"\x04\x22\x4d\x18", "lz4"},
                                                       {"PK\x03\x04", "zip"}};
  for (const auto& [magic, name] : files) {
    for (const std::size_t size : {20, 5000}) {
      write_file(folder / "t.tar", magic + std::string(size, 'x'));
      expect_error(ErrorCode::unsupported, name, [&] { members_of(folder / "t.tar"); });
    }
  }
  // A name may begin like that.
  CHECK(members_of(folder, tar_member("BZh.jpg", "1") + tar_end()).size() == 1);
}

TEST_CASE("random damage ends in an error or in members inside the file") {
  const TemporaryFolder folder;
  const std::string whole = tar_member("x", pax_record("path", "p"), 'x') + tar_member("a", "1") +
                            tar_member("L", "long", 'L') + tar_member("b", "2") +
                            tar_header("c", 0, 'S') + tar_end();
  std::mt19937 random(1);
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    for (std::size_t at = 0; at + 512 <= bytes.size() && round % 2 == 0; at += 512) {
      std::string header = bytes.substr(at, 512);
      seal(header);
      if (header.find_first_not_of('\0') < 148) bytes.replace(at, 512, header);
    }
    try {
      for (const Member& member : members_of(folder, bytes)) {
        CHECK(member.offset + member.bytes <= static_cast<std::int64_t>(bytes.size()));
        CHECK(member.name.size() <= 64 << 10);
      }
    } catch (const helip::Error& error) {
      CHECK((error.code() == ErrorCode::corrupt || error.code() == ErrorCode::unsupported));
    }
  }
}

TEST_CASE("the digest of headers follows every header and the size, not the bodies") {
  const TemporaryFolder folder;
  const auto digest_of = [&](const std::string& bytes) {
    const auto path = write_file(folder / "t.tar", bytes);
    const Descriptor file = helip::open_for_reading(path);
    TarReader reader(file, path, helip::file_size(file, path));
    Member member;
    while (reader.next(member)) {
    }
    return reader.headers_digest();
  };
  const std::string one = tar_member("a", "1"), end = tar_end();
  const std::string digest = digest_of(one + end);
  CHECK(digest == digest_of(tar_member("a", "2") + end));
  CHECK(digest != digest_of(tar_member("b", "1") + end));
  CHECK(digest != digest_of(one + end + std::string(512, '\0')));
  CHECK(digest_of(tar_member("x", pax_record("path", "p"), 'x') + one + end) !=
        digest_of(tar_member("x", pax_record("path", "q"), 'x') + one + end));
}
