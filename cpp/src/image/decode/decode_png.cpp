#include "image/decode/decode_png.h"

#include "image/decode/byte_reader.h"

#if defined(HELIP_HAS_PNG)

#include <png.h>

#include <array>
#include <csetjmp>
#include <cstring>

namespace helip::image {
namespace {

constexpr int64_t kRowsBetweenLooks = 16;  // at the clock

struct Reader {
  std::span<const std::byte> rest;
  std::jmp_buf jump{};
  std::array<char, 200> message{};
  bool too_slow = false;
  png_structp png = nullptr;
  png_infop info = nullptr;

  explicit Reader(std::span<const std::byte> encoded) : rest(encoded) {}
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
};

[[noreturn]] void leave(Reader& reader, const char* message) {
  std::strncpy(reader.message.data(), message, reader.message.size() - 1);
  reader.message.back() = '\0';
  std::longjmp(reader.jump, 1);
}

void on_error(png_structp png, png_const_charp message) {
  leave(*static_cast<Reader*>(png_get_error_ptr(png)), message);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, std::size_t size) {
  auto& reader = *static_cast<Reader*>(png_get_io_ptr(png));
  if (reader.rest.size() < size) leave(reader, "the file is truncated");
  std::memcpy(out, reader.rest.data(), size);
  reader.rest = reader.rest.subspan(size);
}

// Runs a step of libpng; false where it left by longjmp. So a step must hold nothing that has a
// destructor.
template <typename Step>
[[gnu::noinline]] bool guarded(Reader& reader, Step step) noexcept {
  if (setjmp(reader.jump) != 0) return false;
  step();
  return true;
}

template <typename Step>
void run(Reader& reader, Step step) {
  if (!guarded(reader, step)) unreadable("PNG", reader.message.data());
}

// The last chunk, with its length and its checksum.
bool ends_with_iend(std::span<const std::byte> encoded) noexcept {
  static constexpr unsigned char kEnd[12] = {0,   0,   0,    0,    'I',  'E',
                                             'N', 'D', 0xae, 0x42, 0x60, 0x82};
  return encoded.size() >= 12 &&
         std::memcmp(encoded.data() + encoded.size() - 12, kEnd, sizeof kEnd) == 0;
}

}  // namespace

bool PngDecoder::built() noexcept { return true; }

Size PngDecoder::open(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  const ByteReader reader(encoded, true);
  if (encoded.size() < 33 || reader.text(12, 4) != "IHDR") unreadable("PNG", "it has no header");
  size_ = {.height = reader.u32(20), .width = reader.u32(16)};
  check_pixels(size_, limits);
  if (reader.u8(24) == 16) unsupported("PNG of 16 bits");
  encoded_ = encoded;
  return size_;
}

Region PngDecoder::decode(const Region& region, const Deadline& deadline, Image& out) {
  Reader reader(encoded_);
  int64_t channels = 0;
  int passes = 1;
  run(reader, [&] {
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    if (reader.png == nullptr) leave(reader, "no memory");
    reader.info = png_create_info_struct(reader.png);
    if (reader.info == nullptr) leave(reader, "no memory");
    png_set_read_fn(reader.png, &reader, on_read);
#ifdef PNG_SET_UNKNOWN_CHUNKS_SUPPORTED
    // Profiles and text could unpack to any size; nothing here reads them.
    png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
#endif
#ifdef PNG_SET_USER_LIMITS_SUPPORTED
    png_set_user_limits(reader.png, 0x7fffffffU, 0x7fffffffU);
    png_set_chunk_malloc_max(reader.png, 1U << 20);
#endif
    png_read_info(reader.png, reader.info);
    png_set_expand(reader.png);
    png_set_gray_to_rgb(reader.png);
    passes = png_set_interlace_handling(reader.png);
    png_read_update_info(reader.png, reader.info);
    channels = png_get_channels(reader.png, reader.info);
    if ((channels != 3 && channels != 4) ||
        png_get_rowbytes(reader.png, reader.info) !=
            static_cast<std::size_t>(size_.width * channels) ||
        png_get_image_height(reader.png, reader.info) != static_cast<png_uint_32>(size_.height)) {
      leave(reader, "its header contradicts itself");
    }
  });
  const bool interlaced = passes > 1;
  const int64_t row_bytes = size_.width * channels;
  uint8_t* rows =
      rows_.reserve(static_cast<std::size_t>(row_bytes * (interlaced ? size_.height : 1)));
  out.resize({region.height, region.width});
  const auto keep = [&](int64_t y, const uint8_t* row) {
    const uint8_t* from = row + region.left * channels;
    uint8_t* to = out.row(y - region.top);
    if (channels == 4) {
      flatten_over_white(from, region.width, to);
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(region.width * kChannels));
    }
  };
  const auto read_row = [&](uint8_t* row, int64_t y) {
    if (y % kRowsBetweenLooks == 0 && deadline.has_passed()) {
      reader.too_slow = true;
      leave(reader, "it takes too long");
    }
    png_read_row(reader.png, row, nullptr);
  };
  const auto decode_rows = [&] {
    const bool complete = ends_with_iend(encoded_);
    const int64_t last = region.top + region.height;
    if (interlaced) {
      for (int pass = 0; pass < passes; ++pass) {
        for (int64_t y = 0; y < size_.height; ++y) {
          read_row(rows + y * row_bytes, y);
        }
      }
      for (int64_t y = region.top; y < last; ++y) keep(y, rows + y * row_bytes);
    } else {
      const int64_t end = complete ? last : size_.height;
      for (int64_t y = 0; y < end; ++y) {
        read_row(rows, y);
        if (y >= region.top && y < last) keep(y, rows);
      }
    }
    if (!complete) png_read_end(reader.png, nullptr);
  };
  if (!guarded(reader, decode_rows)) {
    if (reader.too_slow) deadline.refuse();
    unreadable("PNG", reader.message.data());
  }
  return region;
}

}  // namespace helip::image

#else

namespace helip::image {

bool PngDecoder::built() noexcept { return false; }

Size PngDecoder::open(std::span<const std::byte>, const DecodeLimits&) {
  unsupported("PNG (this build has no libpng)");
}

Region PngDecoder::decode(const Region&, const Deadline&, Image&) {
  unsupported("PNG (this build has no libpng)");
}

}  // namespace helip::image

#endif
