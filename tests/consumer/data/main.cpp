// consumer PAIRS PICTURE: draws a batch of a table, and decodes a picture.
#include <helip/data.h>
#include <helip/helip.h>

#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <span>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    helip::BatchOptions options;
    options.batch_size = 8;
    options.hard_per_target = 1;
    helip::BatchSampler sampler(helip::HardPairs::open(argv[1]), options);
    std::printf("%zu rows", sampler.batch(0).index.size());
    std::ifstream file(argv[2], std::ios::binary);
    const std::vector<char> encoded(std::istreambuf_iterator<char>(file), {});
    const helip::ImageTransform transform{helip::ImageTransformOptions{}};
    std::vector<std::byte> pixels(transform.bytes());
    helip::ImageTransform::Scratch scratch;
    transform.apply(std::as_bytes(std::span(encoded)), {}, pixels.data(), scratch);
    std::printf(", %zu bytes\n", pixels.size());
  } catch (const helip::SampleError& error) {
    std::fprintf(stderr, "%s: %s\n", error.reason().c_str(), error.what());
    return 3;
  } catch (const helip::Error& error) {
    std::fprintf(stderr, "%s: %s\n", helip::name_of(error.code()), error.what());
    return 1;
  }
  return 0;
}
