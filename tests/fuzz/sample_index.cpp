// An index of samples, saved and as bytes. Its tar shards are not there.
#include "helip/sample_index.h"

#include "container.h"
#include "fuzz.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {
namespace {

void read_all(const SampleIndex& index) {
  for (std::int64_t row = 0; row < index.size(); ++row) {
    promise(!index.key(row).empty(), "a sample has a key");
    for (int field = 0; field < kSampleFields; ++field) {
      const auto which = static_cast<SampleField>(field);
      const SampleMember member = index.member(row, which);
      promise(member.shard >= 0 && member.shard < std::ssize(index.shards()), "a shard is listed");
      if (member.state != MemberState::present) continue;
      try {
        const SampleMember found = index.readable(row, which);
        const SampleShard& shard = index.shards()[static_cast<std::size_t>(found.shard)];
        promise(found.offset >= 0 && found.bytes >= 0 && found.offset <= shard.bytes - found.bytes,
                "a member lies in its shard");
      } catch (const Error&) {
        // Told of the one sample.
      }
    }
  }
}

}  // namespace

std::vector<std::string> seeds() {
  const TemporaryFolder made;
  const std::string shard = tar_member("a.jpg", "picture") + tar_member("a.txt", "a caption") +
                            tar_member("b.png", "x") + tar_member("b.json", R"({"caption": "c"})") +
                            tar_member("b.cls", "3") + tar_member("c.txt", "d") + tar_end();
  write_file(made / "s.tar", shard);
  const SampleIndex index = SampleIndex::build({made / "s.tar"});
  index.save(made / "x");
  return {input_of(made / "x"), '\x80' + index.to_bytes()};
}

void take(std::string_view input) {
  if (!input.empty() && static_cast<unsigned char>(input.front()) >= 0x80) {
    read_all(SampleIndex::from_bytes(input.substr(1)));
    return;
  }
  static const TemporaryFolder folder;
  write_container(input, folder / "");
  const SampleIndex index = SampleIndex::open(folder / "", {}, false);
  read_all(index);
  promise(SampleIndex::from_bytes(index.to_bytes()).size() == index.size(), "bytes hold all rows");
}

}  // namespace helip::fuzz
