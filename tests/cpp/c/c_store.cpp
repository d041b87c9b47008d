// Stores are written and read by C, and a table follows its store.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "c/c_handles.h"
#include "support/c_samples.h"
#include "support/temporary_folder.h"

using namespace helip;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Rows : StoreRows {
  Rows(int first, int last) : StoreRows(rows_between(first, last)) {
    for (const std::string& key : keys) pointers.push_back(key.c_str());
  }
  helip_status append_to(helip_store_writer* writer) const {
    const helip_matrix image = c_image(*this), text = c_text(*this);
    return helip_store_writer_append(writer, pointers.data(), nullptr, &image, &text, nullptr,
                                     nullptr);
  }
  std::vector<const char*> pointers;
};

helip_store_options store_options() {
  auto made = initialised(helip_store_options_init);
  made.image_dim = 5;
  made.text_dim = 3;
  return made;
}

// A store of rows 0 .. `rows`.
helip_store* written(const std::string& path, int rows) {
  const helip_store_options made = store_options();
  helip_store_writer* writer = nullptr;
  helip_store* store = nullptr;
  REQUIRE(helip_store_writer_create(path.c_str(), &made, &writer) == HELIP_OK);
  REQUIRE(Rows(0, rows).append_to(writer) == HELIP_OK);
  REQUIRE(helip_store_writer_commit(writer, R"({"of": "tests"})", &store) == HELIP_OK);
  helip_store_writer_free(writer);
  return store;
}

}  // namespace

TEST_CASE("what C writes to a store C and C++ read", "[c]") {
  const TemporaryFolder folder;
  const std::string path = folder / "store";
  helip_store* store = written(path, 40);
  auto info = helip_store_info{};
  info.struct_size = sizeof info;
  REQUIRE(helip_store_get_info(store, &info) == HELIP_OK);
  CHECK(info.rows == 40);
  CHECK(info.image_dim == 5);
  CHECK(info.text_dim == 3);
  CHECK(info.generation == 1);
  CHECK(info.dtype == HELIP_FLOAT32);
  const char* text = nullptr;
  std::size_t length = 0;
  REQUIRE(helip_store_key(store, 7, &text, &length) == HELIP_OK);
  CHECK(std::string(text, length) == "key-7");
  CHECK(helip_store_key(store, 40, &text, &length) == HELIP_ERROR_INVALID_ARGUMENT);
  REQUIRE(helip_store_metadata(store, &text) == HELIP_OK);
  CHECK_THAT(text, ContainsSubstring("tests"));
  const EmbeddingStore ours = EmbeddingStore::open(path);
  REQUIRE(helip_store_fingerprint(store, &text) == HELIP_OK);
  CHECK(ours.fingerprint() == text);
  helip_matrix image{};
  REQUIRE(helip_store_image(store, &image) == HELIP_OK);
  const StoreRows rows = rows_between(0, 40);
  CHECK(std::memcmp(image.data, rows.image.data(), rows.image.size() * 4) == 0);
  CHECK(helip_store_verify(store, nullptr) == HELIP_OK);
  helip_store_free(store);
  helip_store_free(nullptr);
}

TEST_CASE("keys may hold any byte where their lengths are given", "[c]") {
  const TemporaryFolder folder;
  const helip_store_options made = store_options();
  helip_store_writer* writer = nullptr;
  REQUIRE(helip_store_writer_create((folder / "s").c_str(), &made, &writer) == HELIP_OK);
  const StoreRows rows = rows_between(0, 2);
  const helip_matrix image = c_image(rows), text = c_text(rows);
  const char* keys[] = {"one, of more", "two"};
  const std::size_t lengths[] = {3, 3};
  REQUIRE(helip_store_writer_append(writer, keys, lengths, &image, &text, nullptr, nullptr) ==
          HELIP_OK);
  helip_store* store = nullptr;
  REQUIRE(helip_store_writer_commit(writer, nullptr, &store) == HELIP_OK);
  CHECK(store->object.key(0) == "one");
  helip_store_free(store);
  helip_store_writer_free(writer);
}

TEST_CASE("bad rows are refused, and the writer goes on", "[c]") {
  const TemporaryFolder folder;
  helip_store_options made = store_options();
  helip_store_writer* writer = nullptr;
  const std::string path = folder / "s";
  made.dtype = HELIP_INT32;
  CHECK(helip_store_writer_create(path.c_str(), &made, &writer) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(helip_store_writer_create(path.c_str(), nullptr, &writer) == HELIP_ERROR_INVALID_ARGUMENT);
  made = store_options();
  REQUIRE(helip_store_writer_create(path.c_str(), &made, &writer) == HELIP_OK);
  Rows rows(0, 4);
  rows.pointers[2] = nullptr;
  CHECK(rows.append_to(writer) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("row 2"));
  rows.pointers[2] = "key-0";
  CHECK(rows.append_to(writer) == HELIP_ERROR_INVALID_ARGUMENT);  // twice
  CHECK(helip_store_writer_append(writer, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  rows.pointers[2] = "another";
  CHECK(rows.append_to(writer) == HELIP_OK);
  std::int64_t deleted = 0;
  const std::int64_t absent = 9;
  CHECK(helip_store_writer_delete_rows(writer, &absent, 1, &deleted) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(helip_store_writer_delete_rows(writer, &absent, -1, nullptr) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(helip_store_writer_delete_rows(writer, nullptr, 1, nullptr) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK(helip_store_writer_commit(writer, "no JSON", nullptr) == HELIP_ERROR_INVALID_ARGUMENT);
  helip_store_writer_free(writer);
}

TEST_CASE("a table follows a store that grew and lost rows", "[c]") {
  const TemporaryFolder folder;
  const std::string path = folder / "store", table = folder / "pairs";
  helip_store* store = written(path, 200);
  auto options = initialised(helip_mine_options_init);
  options.k = 6;
  options.method = HELIP_METHOD_EXACT;
  helip_pairs* pairs = nullptr;
  REQUIRE(helip_mine_store(store, &options, nullptr, table.c_str(), &pairs) == HELIP_OK);
  helip_store_free(store);

  helip_store_writer* writer = nullptr;
  REQUIRE(helip_store_writer_append_to(path.c_str(), &writer) == HELIP_OK);
  REQUIRE(Rows(200, 230).append_to(writer) == HELIP_OK);
  const std::int64_t gone[] = {3, 4};
  std::int64_t deleted = 0;
  REQUIRE(helip_store_writer_delete_rows(writer, gone, 2, &deleted) == HELIP_OK);
  CHECK(deleted == 2);
  helip_store* later = nullptr;
  REQUIRE(helip_store_writer_commit(writer, nullptr, &later) == HELIP_OK);
  helip_store_writer_free(writer);
  const std::int64_t* rows = nullptr;
  std::int64_t count = 0;
  REQUIRE(helip_store_deleted(later, &rows, &count) == HELIP_OK);
  REQUIRE(count == 2);
  CHECK(rows[1] == 4);

  helip_pairs *updated = nullptr, *fresh = nullptr;
  auto how = initialised(helip_update_options_init);
  REQUIRE(helip_update(pairs, later, &how, nullptr, nullptr, &updated) == HELIP_OK);
  REQUIRE(helip_mine_store(later, &options, nullptr, nullptr, &fresh) == HELIP_OK);
  for (std::int64_t target = 0; target < 230; ++target) {
    REQUIRE(updated->object.count(target) == fresh->object.count(target));
    for (std::int64_t rank = 0; rank < 6; ++rank) {
      REQUIRE(updated->object.id(target, rank) == fresh->object.id(target, rank));
    }
  }
  CHECK(updated->object.count(3) == 0);
  helip_store* other = written(folder / "other", 20);
  helip_pairs* none = nullptr;
  CHECK(helip_update(pairs, other, nullptr, nullptr, nullptr, &none) == HELIP_ERROR_MISMATCH);
  how.threads = -1;
  CHECK(helip_update(pairs, later, &how, nullptr, nullptr, &none) == HELIP_ERROR_INVALID_ARGUMENT);
  how = initialised(helip_update_options_init);
  const std::string codes = folder / "c";
  how.codes = codes.c_str();
  CHECK(how.keep_codes == 0);
  options.reserved = 1;
  CHECK(helip_mine_store(later, &options, nullptr, nullptr, &none) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("options.reserved is 1, but must be 0"));
  options.reserved = 0;
  how = initialised(helip_update_options_init);
  how.codes = table.c_str();
  CHECK(helip_update(pairs, later, &how, nullptr, table.c_str(), &none) ==
        HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("codes and a table or its job"));
  options.codes = how.codes = "";
  CHECK(helip_mine_store(later, &options, nullptr, nullptr, &none) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("codes is empty"));
  CHECK(helip_update(pairs, later, &how, nullptr, nullptr, &none) == HELIP_ERROR_INVALID_ARGUMENT);
  CHECK_THAT(helip_last_error(), ContainsSubstring("codes is empty"));
  CHECK(none == nullptr);
  helip_store_free(other);
  helip_store_free(later);
  for (helip_pairs* table_of : {pairs, updated, fresh}) helip_pairs_free(table_of);
}
