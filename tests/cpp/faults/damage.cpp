// Files of every format with a bit that is flipped, or cut short: it is found when the file is
// opened and verified, by an Error. Every bit and every length in a campaign; else some.
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "helip/data.h"
#include "helip/helip.h"
#include "support/campaign.h"
#include "support/storage_trials.h"
#include "support/table_samples.h"
#include "support/temporary_folder.h"
#include "support/whole_file.h"

using namespace helip;
using namespace helip::trials;

namespace {

namespace fs = std::filesystem;

struct Sample {
  std::string name;
  std::function<void(const TemporaryFolder&, const fs::path&)> make;
  std::function<void(const fs::path&)> look;
};

const std::vector<Sample>& samples() {
  static const std::vector<Sample> all{
      {"store", [](const TemporaryFolder&, const fs::path& path) { write_store(path, 8); },
       [](const fs::path& path) { EmbeddingStore::open(path).verify(); }},
      {"store of float16",
       [](const TemporaryFolder&, const fs::path& path) { write_store(path, 8, DType::float16); },
       [](const fs::path& path) { EmbeddingStore::open(path).verify(); }},
      {"store of int8",
       [](const TemporaryFolder&, const fs::path& path) { write_store(path, 8, DType::int8); },
       [](const fs::path& path) { EmbeddingStore::open(path).verify(); }},
      {"store with deleted rows",
       [](const TemporaryFolder&, const fs::path& path) {
         write_store(path, 8);
         auto writer = EmbeddingStoreWriter::append_to(path);
         writer.delete_keys({"key-2"});
         writer.commit();
       },
       [](const fs::path& path) { EmbeddingStore::open(path).verify(); }},
      {"table",
       [](const TemporaryFolder&, const fs::path& path) { SampleTable().make().save(path); },
       [](const fs::path& path) { HardPairs::open(path).verify(); }},
      {"part of a table",
       [](const TemporaryFolder& folder, const fs::path& path) {
         write_store(folder / "s", 8);
         (void)mine_part(EmbeddingStore::open(folder / "s"), 1, 2, options_by(), path);
       },
       [](const fs::path& path) { HardPairsPart::open(path).verify(); }},
      {"index of samples",
       [](const TemporaryFolder& folder, const fs::path& path) {
         SampleIndex::build({write_tars(folder)}).save(path);
       },
       [](const fs::path& path) { SampleIndex::open(path).verify(); }},
      {"index of pairs",
       [](const TemporaryFolder&, const fs::path& path) {
         const testing::Data data = indexed();
         PairIndex::build(part(data.image, 0, 8), part(data.text, 0, 8), {}, {}, 1).save(path);
       },
       [](const fs::path& path) { (void)PairIndex::open(path); }},
  };
  return all;
}

bool is_refused(const Sample& sample, const fs::path& path) {
  try {
    sample.look(path);
  } catch (const Error&) {
    return true;
  }
  return false;
}

class Bytes {
 public:
  explicit Bytes(const fs::path& path) : file_(::open(path.c_str(), O_WRONLY)) {}
  ~Bytes() { ::close(file_); }
  void put(std::size_t at, char byte) const {
    REQUIRE(::pwrite(file_, &byte, 1, static_cast<off_t>(at)) == 1);
  }
  void cut(std::size_t size) const { REQUIRE(::ftruncate(file_, static_cast<off_t>(size)) == 0); }

 private:
  int file_;
};

}  // namespace

TEST_CASE("a bit that is flipped in a file of any format is found") {
  std::int64_t flips = 0;
  for (const Sample& sample : samples()) {
    const TemporaryFolder folder;
    const fs::path path = folder / "x";
    sample.make(folder, path);
    sample.look(path);
    for (const char* name : {"manifest.json", "shard-00000.safetensors"}) {
      const std::string whole = whole_file(path / name);
      REQUIRE(!whole.empty());
      const Bytes file(path / name);
      for (std::size_t at = 0; at < whole.size(); at += is_campaign() ? 1 : 17) {
        for (int bit = 0; bit < 8; ++bit) {
          if (!is_campaign() && static_cast<int>(at % 8) != bit) continue;
          file.put(at, static_cast<char>(whole[at] ^ (1 << bit)));
          ++flips;
          if (!is_refused(sample, path)) {
            FAIL_CHECK(sample.name << ": bit " << bit << " of byte " << at << " of " << name);
          }
        }
        file.put(at, whole[at]);
      }
    }
    sample.look(path);
  }
  std::cout << "bits flipped: " << flips << std::endl;
}

TEST_CASE("a file of any format that is cut short is refused") {
  std::int64_t cuts = 0;
  for (const Sample& sample : samples()) {
    for (const char* name : {"manifest.json", "shard-00000.safetensors"}) {
      const TemporaryFolder folder;
      const fs::path path = folder / "x";
      sample.make(folder, path);
      const Bytes file(path / name);
      for (std::size_t size = fs::file_size(path / name); size-- > 0;) {
        if (!is_campaign() && size % 23 != 0) continue;
        file.cut(size);
        ++cuts;
        if (!is_refused(sample, path)) {
          FAIL_CHECK(sample.name << ": " << name << " of " << size << " bytes");
        }
      }
    }
  }
  std::cout << "files cut short: " << cuts << std::endl;
}
