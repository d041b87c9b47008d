// A tar shard: its headers, and the samples that they make. The first byte says whether checksums
// of headers are mended, so that damage goes on to what reads the fields.
#include "support/tar_builder.h"

#include "fuzz.h"
#include "helip/sample_index.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kMagic = 257;

std::string sealed(std::string bytes) {
  for (std::size_t at = 0; at + kBlock <= bytes.size(); at += kBlock) {
    if (bytes.compare(at + kMagic, 5, "ustar") != 0) continue;
    std::string header = bytes.substr(at, kBlock);
    seal(header);
    bytes.replace(at, kBlock, header);
  }
  return bytes;
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string pax = tar_member("h", pax_record("path", "long/name.jpg"), 'x');
  const std::string sizes = tar_member("h", pax_record("size", "3"), 'x');
  return {
      '\1' + tar_member("a.jpg", "abc") + tar_member("a.txt", "text") + tar_end(),
      '\1' + pax + tar_member("short.jpg", "abc") + tar_member("long/name.txt", "t") + tar_end(),
      '\1' + tar_member("././@LongLink", std::string(120, 'n') + ".jpg", 'L') +
          tar_member("n.jpg", "abc") + tar_end(),
      '\1' + sizes + tar_member("b.png", "abc") + tar_member("c.txt", "", '2') +
          tar_member("d.cls", "4", '7') + tar_end(),
      '\1' + tar_member("s.jpg", "1\n0\n3\nabc", 'S') + tar_end(),
  };
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  const bool mend = take_byte(input) & 1;
  const auto path =
      write_file(folder / "s.tar", mend ? sealed(std::string(input)) : std::string(input));
  const SampleIndex index = SampleIndex::build({path});
  std::vector<std::byte> bytes;
  for (std::int64_t row = 0; row < index.size(); ++row) {
    for (int field = 0; field < kSampleFields; ++field) {
      const auto which = static_cast<SampleField>(field);
      const SampleMember member = index.member(row, which);
      if (member.state != MemberState::present) continue;
      promise(member.offset + member.bytes <= static_cast<std::int64_t>(input.size()),
              "a member lies in its shard");
      index.read(row, which, bytes);
      promise(std::ssize(bytes) == member.bytes, "a member has its bytes");
    }
  }
  index.verify();
}

}  // namespace helip::fuzz
