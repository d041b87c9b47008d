#include "samples/shard_scan.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/refuse.h"
#include "base/text.h"
#include "helip/data_fingerprint.h"
#include "io/checksum.h"
#include "samples/caption_text.h"
#include "samples/sample_name.h"
#include "samples/shard_file.h"
#include "tar/tar_reader.h"

namespace helip::samples {
namespace {

namespace fs = std::filesystem;
using tar::Member;
using tar::MemberKind;

constexpr int kAdvanceEvery = 1024;               // members
constexpr std::int64_t kTailBytes = tar::kBlock;  // of an image, for its digest
constexpr std::string_view kDecodedExtension = "ppm";
constexpr std::size_t kContentsBlock = std::size_t{1} << 20;

// Why a member has no bytes of its own to read, nullptr for a regular file.
const char* refusal_of(MemberKind kind) {
  switch (kind) {
    case MemberKind::file:
    case MemberKind::directory: return nullptr;
    case MemberKind::link: return "link";
    case MemberKind::sparse: return "sparse";
    case MemberKind::other: return "device";
  }
  return "device";
}

constexpr std::int64_t kImage = 0;  // of the digests of a row
constexpr std::int64_t kCaption = 1;

// Groups the members of one shard into rows.
class Grouping {
 public:
  Grouping(const fs::path& path, const FieldNames& names, tar::TarReader& reader, ShardScan& scan)
      : path_(path), names_(names), reader_(reader), scan_(scan) {}

  void add(const Member& member) {
    if (member.kind == MemberKind::directory) return;
    const std::string_view name = plain_name(member.name);
    const char* refusal = refusal_of(member.kind);
    const auto split = split_name(name);
    if (!split) return ignore(refusal != nullptr ? refusal : "unnamed");
    const int field = names_.field_of(split->extension);
    if (refusal != nullptr || field < 0) ignore(refusal != nullptr ? refusal : "other");
    if (field < 0) return;
    const auto [seen, is_new] = seen_.try_emplace(std::string(name), member.header);
    if (!is_new) {
      refuse(path_.string(), " has two members '", excerpt(clean_key(name)), "': at offset ",
             seen->second, " and at offset ", member.header,
             "; write the shard again with unique names");
    }
    const std::int64_t row = row_of(split->key);
    const auto place = static_cast<std::size_t>(row * kSampleFields + field);
    std::int64_t& offset = scan_.rows.offsets[place];
    if (refusal != nullptr) {
      if (offset == kAbsent) offset = kRefused;
    } else if (offset >= 0) {
      ignore("extra");  // a sample may hold a.jpg and a.png; the first one is its image
    } else {
      offset = member.offset;
      scan_.rows.sizes[place] = static_cast<std::int32_t>(std::min(member.bytes, kSizeCap));
      // A picture that was decoded beforehand is the same as the one that it was made of.
      const bool decoded =
          field == static_cast<int>(SampleField::image) && split->extension == kDecodedExtension;
      if (!decoded) digest(row, static_cast<SampleField>(field), member);
    }
  }

  // Captions of rows that have them in their .json alone, once all members are known.
  void digest_json(const Descriptor& file) {
    std::string bytes;
    for (std::int64_t row = 0; row < scan_.rows.size(); ++row) {
      const auto place = static_cast<std::size_t>(row * kSampleFields +
                                                  static_cast<std::int64_t>(SampleField::json));
      if (digest_of(row, kCaption) != no_caption_ || scan_.rows.offsets[place] < 0) continue;
      if (scan_.rows.sizes[place] > kTextLimit) continue;
      bytes.resize(static_cast<std::size_t>(scan_.rows.sizes[place]));
      bytes.resize(read_up_to(file, bytes.data(), bytes.size(), scan_.rows.offsets[place], path_));
      if (const auto caption = caption_of_json(bytes)) {
        digest_of(row, kCaption) = caption_digest(*caption);
      }
    }
  }

 private:
  std::uint64_t& digest_of(std::int64_t row, std::int64_t which) {
    return scan_.rows.digests[static_cast<std::size_t>(row * kDigests + which)];
  }

  void digest(std::int64_t row, SampleField field, const Member& member) {
    if (field == SampleField::image) {
      const std::int64_t tail = std::min(member.bytes, kTailBytes);
      digest_of(row, kImage) =
          image_digest(member.bytes, reader_.body(member, member.bytes - tail, tail));
    } else if (field == SampleField::text && member.bytes <= kTextLimit) {
      if (const auto caption = caption_of_text(reader_.body(member, 0, member.bytes))) {
        digest_of(row, kCaption) = caption_digest(*caption);
      }
    }
  }

  void ignore(const char* reason) { ++scan_.shard.ignored[reason]; }

  std::int64_t row_of(std::string_view raw_key) {
    SampleRows& rows = scan_.rows;
    std::string key = clean_key(raw_key);
    // Members of a sample are neighbours as a rule.
    if (rows.size() > 0 && rows.key(rows.size() - 1) == key) return rows.size() - 1;
    const auto [found, is_new] = row_of_key_.try_emplace(std::move(key), rows.size());
    if (is_new) {
      constexpr std::int64_t kNone[] = {kAbsent, kAbsent, kAbsent, kAbsent};
      constexpr std::int32_t kNoBytes[] = {0, 0, 0, 0};
      const std::uint64_t none[] = {0, no_caption_};
      rows.add(found->first, kNone, kNoBytes, none);
    }
    return found->second;
  }

  const fs::path& path_;
  const FieldNames& names_;
  tar::TarReader& reader_;
  ShardScan& scan_;
  const std::uint64_t no_caption_ = caption_digest({});
  std::unordered_map<std::string, std::int64_t> seen_;  // names, and where their headers lie
  std::unordered_map<std::string, std::int64_t> row_of_key_;
};

std::string digest_contents(const Descriptor& file, const fs::path& path, std::int64_t size,
                            const std::function<void(std::int64_t)>& advance) {
  Digest digest;
  std::vector<char> block(kContentsBlock);
  for (std::int64_t at = 0; at < size;) {
    const auto wanted = std::min<std::int64_t>(size - at, static_cast<std::int64_t>(block.size()));
    const std::size_t got =
        read_up_to(file, block.data(), static_cast<std::size_t>(wanted), at, path);
    if (got == 0) break;  // cut short meanwhile, which shows in a moment
    digest.update(block.data(), got);
    at += static_cast<std::int64_t>(got);
    advance(static_cast<std::int64_t>(got));
  }
  return digest.hex();
}

}  // namespace

FieldNames::FieldNames(const std::vector<std::string>& image_extensions) {
  const auto add = [this](const std::string& extension, SampleField field) {
    fields_[extension] = static_cast<int>(field);
  };
  for (const char* extension : {"txt", "caption", "text"}) add(extension, SampleField::text);
  add("json", SampleField::json);
  add("cls", SampleField::label);
  for (const std::string& extension : image_extensions) add(extension, SampleField::image);
}

int FieldNames::field_of(std::string_view extension) const {
  std::string lower(extension);
  for (char& letter : lower) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  const auto found = fields_.find(lower);
  return found == fields_.end() ? -1 : found->second;
}

std::uint64_t digest_of(std::string_view image) noexcept {
  const auto size = static_cast<std::int64_t>(image.size());
  return image_digest(size,
                      image.substr(static_cast<std::size_t>(size - std::min(size, kTailBytes))));
}

ShardScan scan_shard(const fs::path& file_path, const FieldNames& names, bool contents,
                     const std::function<void(std::int64_t)>& advance, const fs::path& name) {
  const Descriptor file = open_shard_file(file_path);
  const fs::path& path = name.empty() ? file_path : name;
  const FileStamp stamp = stamp_of(file, path);
  ShardScan scan;
  scan.shard.path = path;
  scan.shard.bytes = stamp.bytes;
  scan.shard.modified = stamp.modified;
  tar::TarReader reader(file, path, stamp.bytes);
  Grouping grouping(path, names, reader, scan);
  Member member;
  std::int64_t passed = 0;
  // Where contents are read as well, that is what takes the time.
  const auto pass = [&](std::int64_t to) {
    if (!contents) advance(to - passed);
    passed = to;
  };
  for (std::int64_t count = 1; reader.next(member); ++count) {
    grouping.add(member);
    if (count % kAdvanceEvery == 0) pass(reader.position());
  }
  grouping.digest_json(file);
  pass(stamp.bytes);
  scan.shard.rows = scan.rows.size();
  scan.shard.headers = reader.headers_digest();
  if (contents) scan.shard.contents = digest_contents(file, path, stamp.bytes, advance);
  if (stamp_of(file, path) != stamp) {
    fail(ErrorCode::mismatch, path.string(),
         " was changed while it was indexed; index it again when nobody writes to it any more");
  }
  return scan;
}

}  // namespace helip::samples
