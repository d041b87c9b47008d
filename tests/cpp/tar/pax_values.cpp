#include "tar/pax_values.h"

#include <catch2/catch_test_macros.hpp>

#include "support/tar_builder.h"

using helip::tar::PaxValues;
using helip::tar::read_pax;

TEST_CASE("pax records give path and size, and the rest is passed over") {
  PaxValues values;
  CHECK(read_pax(pax_record("mtime", "1.5") + pax_record("path", "a=b\nc.jpg") +
                     pax_record("linkpath", "x") + pax_record("size", "8589934592"),
                 values) == nullptr);
  CHECK(values.path == "a=b\nc.jpg");
  CHECK(values.bytes == std::int64_t{8589934592});
  CHECK_FALSE(values.sparse);
}

TEST_CASE("the last record of a keyword counts, an empty one takes it back") {
  PaxValues values;
  CHECK(read_pax(pax_record("path", "a") + pax_record("path", "b/"), values) == nullptr);
  CHECK(values.path == "b");
  CHECK(read_pax(pax_record("path", "") + pax_record("size", "3"), values) == nullptr);
  CHECK_FALSE(values.path.has_value());
  CHECK(read_pax(pax_record("size", ""), values) == nullptr);
  CHECK_FALSE(values.bytes.has_value());
}

TEST_CASE("a sparse member is known by any of its records, and has its own name") {
  PaxValues values;
  CHECK(
      read_pax(pax_record("GNU.sparse.name", "a.png") + pax_record("path", "GNUSparseFile.1/a.png"),
               values) == nullptr);
  CHECK(values.sparse);
  CHECK(values.path == "a.png");
}

TEST_CASE("damaged records are refused") {
  const std::string good = pax_record("path", "a");
  for (const std::string& payload : {
           std::string("x"),
           std::string("5"),
           std::string("0 x=1\n"),
           std::string("99 size=1\n"),
           std::string("13 size=-512\n"),
           std::string("12 size=abc\n"),
           std::string("8 path=a "),
           std::string("7 path\n"),
           std::string("4 =\n"),
           std::string("-9 path=a\n"),
           std::string("99999999999999999999 path=a\n"),
           good + "trailing",
           good + std::string("\0x", 2),
           pax_record("size", "9223372036854775808"),
           std::string("2 \n"),
           std::string("1 path=a\n"),
       }) {
    PaxValues values;
    INFO(payload);
    CHECK(read_pax(payload, values) != nullptr);
  }
  PaxValues values;
  CHECK(read_pax(good + std::string(20, '\0'), values) == nullptr);
  CHECK(values.path == "a");
}
