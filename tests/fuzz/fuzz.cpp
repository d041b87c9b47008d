#include "fuzz.h"

#include <exception>
#include <filesystem>
#include <fstream>

#include "helip/error.h"

namespace {

namespace fs = std::filesystem;

// Longer than any path of a run and 200 quoted characters.
constexpr std::size_t kLongestMessage = 1000;

void check_message(const std::string& message) {
  helip::fuzz::promise(!message.empty(), "an error has a message");
  helip::fuzz::promise(message.size() <= kLongestMessage, "a message is short");
}

}  // namespace

// Puts the seeds into the first folder of inputs, where they are not there yet.
extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  for (int i = 1; i < *count; ++i) {
    const fs::path folder = (*arguments)[i];
    if (folder.string().starts_with('-') || !fs::is_directory(folder)) continue;
    int number = 0;
    for (const std::string& seed : helip::fuzz::seeds()) {
      std::ofstream file(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
      file.write(seed.data(), static_cast<std::streamsize>(seed.size()));
    }
    break;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  try {
    helip::fuzz::take({reinterpret_cast<const char*>(data), bytes});
  } catch (const helip::Error& error) {
    check_message(error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "an error of a foreign type: %s\n", error.what());
    std::abort();
  }
  return 0;
}
