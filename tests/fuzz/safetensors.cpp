// The header of a shard.
#include "io/safetensors.h"

#include "fuzz.h"
#include "support/tar_builder.h"
#include "support/temporary_folder.h"

namespace helip::fuzz {
namespace {

// Room behind the header, so that tensors may lie there.
constexpr std::size_t kData = 4096;

}  // namespace

std::vector<std::string> seeds() {
  const std::vector<TensorInfo> tensors{{"image", DType::float16, {4, 8}, 512, 576},
                                        {"padding.0", DType::uint8, {3520}, 576, 4096},
                                        {"text", DType::float32, {128}, 4096, 4608}};
  // A message quotes no more than the beginning of a name.
  const std::vector<TensorInfo> long_name{
      {std::string(3000, 'n'), DType::float16, {4, 8}, 4096, 5000}};
  return {make_safetensors_header(tensors, 512), make_safetensors_header(long_name, 4096)};
}

void take(std::string_view input) {
  static const TemporaryFolder folder;
  const auto path =
      write_file(folder / "t.safetensors", std::string(input) + std::string(kData, 0));
  const Descriptor file = open_for_reading(path);
  const SafetensorsHeader header = read_safetensors_header(file, path);
  std::int64_t at = header.data_begin;
  for (const TensorInfo& tensor : header.tensors) {
    promise(tensor.begin == at && tensor.end >= at, "tensors have no holes");
    std::int64_t elements = 1;
    for (const std::int64_t side : tensor.shape) elements *= side;
    promise(elements * size_of(tensor.dtype) == tensor.end - at, "a tensor has its bytes");
    at = tensor.end;
  }
  promise(at == file_size(file, path), "tensors end with the file");
}

}  // namespace helip::fuzz
