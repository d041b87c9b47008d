#include "samples/sample_rows.h"

namespace helip::samples {

void SampleRows::add(std::string_view key, const std::int64_t* from, const std::int32_t* bytes,
                     const std::uint64_t* digest) {
  offsets.insert(offsets.end(), from, from + kSampleFields);
  sizes.insert(sizes.end(), bytes, bytes + kSampleFields);
  digests.insert(digests.end(), digest, digest + kDigests);
  key_bytes += key;
  key_offsets.push_back(key_bytes.size());
}

void SampleRows::append(const SampleRows& other) {
  const std::uint64_t shift = key_bytes.size();
  offsets.insert(offsets.end(), other.offsets.begin(), other.offsets.end());
  sizes.insert(sizes.end(), other.sizes.begin(), other.sizes.end());
  digests.insert(digests.end(), other.digests.begin(), other.digests.end());
  key_bytes += other.key_bytes;
  for (std::size_t i = 1; i < other.key_offsets.size(); ++i) {
    key_offsets.push_back(shift + other.key_offsets[i]);
  }
}

}  // namespace helip::samples
