#include "image/decode/decode_jpeg.h"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <string>

#include "helip/error.h"
#include "helip/sample_error.h"

// After <cstdio>, whose FILE it names.
#include <jpeglib.h>
// After jpeglib.h, which says which messages there are.
#include <jerror.h>

namespace helip::image {
namespace {

// Fancy upsampling looks at one chroma sample to either side, two pixels.
constexpr int64_t kMargin = 2;
constexpr int kRowsAtOnce = 16;

// Those after which pixels are grey or wrong. Others (bytes between markers, an odd version, a
// second scan that is not in sequence) leave the image as it is.
bool is_damage(int warning) noexcept {
  switch (warning) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC: return true;
    default: return false;
  }
}

// Some writers pad; anything else after the last marker is left to libjpeg.
bool ends_with_marker(std::span<const std::byte> encoded) noexcept {
  std::size_t size = encoded.size();
  for (int spare = 64; spare > 0 && size > 0; --spare, --size) {
    const auto last = std::to_integer<unsigned>(encoded[size - 1]);
    if (last != 0 && last != '\n' && last != '\r') break;
  }
  return size >= 2 && encoded[size - 2] == std::byte{0xff} && encoded[size - 1] == std::byte{0xd9};
}

}  // namespace

struct JpegDecoder::State {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump{};
  std::array<char, JMSG_LENGTH_MAX> message{};
  int max_scans = 0;
  const Deadline* deadline = nullptr;  // while pixels are decoded
  bool too_many_scans = false;
  bool too_slow = false;
  bool complete = false;  // the bytes end as a JPEG ends
  bool open = false;

  State() {
    jpeg.err = jpeg_std_error(&errors);
    jpeg.client_data = this;
    errors.error_exit = [](j_common_ptr info) { of(info).leave(); };
    errors.output_message = [](j_common_ptr) {};
    errors.emit_message = [](j_common_ptr info, int level) {
      if (level < 0 && is_damage(info->err->msg_code)) of(info).leave();
    };
    progress.progress_monitor = [](j_common_ptr info) {
      State& state = of(info);
      if (state.jpeg.input_scan_number > state.max_scans) {
        state.too_many_scans = true;
        state.leave();
      }
      // Called for each row of blocks of each scan.
      if (state.deadline != nullptr && state.deadline->has_passed()) {
        state.too_slow = true;
        state.leave();
      }
    };
    if (!guarded([](jpeg_decompress_struct& info) { jpeg_create_decompress(&info); })) {
      throw Error(ErrorCode::out_of_memory, std::string("libjpeg: ") + message.data());
    }
    jpeg.progress = &progress;
  }
  ~State() { jpeg_destroy_decompress(&jpeg); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  static State& of(j_common_ptr info) noexcept { return *static_cast<State*>(info->client_data); }

  [[noreturn]] void leave() noexcept {
    errors.format_message(reinterpret_cast<j_common_ptr>(&jpeg), message.data());
    std::longjmp(jump, 1);
  }

  // Runs a step of libjpeg; false where it left by longjmp. So a step must hold nothing that has a
  // destructor.
  template <typename Step>
  [[gnu::noinline]] bool guarded(Step step) noexcept {
    if (setjmp(jump) != 0) return false;
    step(jpeg);
    return true;
  }

  template <typename Step>
  void run(Step step) {
    if (guarded(step)) return;
    open = false;
    if (too_slow) deadline->refuse();
    if (too_many_scans) {
      throw SampleError("too_large", "the JPEG has more than " + std::to_string(max_scans) +
                                         " scans; write it anew");
    }
    unreadable("JPEG", message.data());
  }
};

JpegDecoder::JpegDecoder() : state_(std::make_unique<State>()) {}
JpegDecoder::~JpegDecoder() = default;
JpegDecoder::JpegDecoder(JpegDecoder&&) noexcept = default;
JpegDecoder& JpegDecoder::operator=(JpegDecoder&&) noexcept = default;

Size JpegDecoder::open(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  State& state = *state_;
  state.max_scans = limits.max_scans;
  state.deadline = nullptr;
  state.too_many_scans = false;
  state.too_slow = false;
  state.complete = ends_with_marker(encoded);
  state.run([&](jpeg_decompress_struct& jpeg) {
    jpeg_abort_decompress(&jpeg);
    jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(encoded.data()),
                 static_cast<unsigned long>(encoded.size()));
    jpeg_read_header(&jpeg, TRUE);
  });
  const jpeg_decompress_struct& jpeg = state.jpeg;
  const Size size{static_cast<int64_t>(jpeg.image_height), static_cast<int64_t>(jpeg.image_width)};
  check_pixels(size, limits);
  if (jpeg.num_components != 1 && jpeg.num_components != 3) {
    unsupported(jpeg.num_components == 4 ? "CMYK JPEG" : "JPEG of neither 1 nor 3 components");
  }
  state.open = true;
  return size;
}

Region JpegDecoder::decode(const Region& region, int eighths, const Deadline& deadline,
                           Image& out) {
  State& state = *state_;
  if (!state.open) {
    throw Error(ErrorCode::invalid_argument, "no JPEG is open; call open() before each decode()");
  }
  state.open = false;
  state.deadline = &deadline;
  int64_t left = 0;
  int64_t width = 0;
  state.run([&](jpeg_decompress_struct& jpeg) {
    jpeg.scale_num = static_cast<unsigned>(eighths);
    jpeg.scale_denom = 8;
    jpeg.out_color_space = JCS_RGB;
    jpeg.dct_method = JDCT_ISLOW;
    jpeg.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&jpeg);
    const auto whole = static_cast<int64_t>(jpeg.output_width);
    left = std::max<int64_t>(region.left - kMargin, 0);
    width = std::min(region.left + region.width + kMargin, whole) - left;
    if (width < whole) {
      auto offset = static_cast<JDIMENSION>(left);
      auto columns = static_cast<JDIMENSION>(width);
      jpeg_crop_scanline(&jpeg, &offset, &columns);
      left = static_cast<int64_t>(offset);
      width = static_cast<int64_t>(columns);
    }
  });
  out.resize({region.height, width});
  JSAMPROW spare = spare_row_.reserve(static_cast<std::size_t>(width * kChannels));
  state.run([&](jpeg_decompress_struct& jpeg) {
    if (region.top > 0) jpeg_skip_scanlines(&jpeg, static_cast<JDIMENSION>(region.top));
    JSAMPROW rows[kRowsAtOnce];
    for (int64_t done = 0; done < region.height;) {
      const int64_t wanted = std::min<int64_t>(region.height - done, kRowsAtOnce);
      for (int64_t i = 0; i < wanted; ++i) rows[i] = out.row(done + i);
      done += jpeg_read_scanlines(&jpeg, rows, static_cast<JDIMENSION>(wanted));
    }
    if (!state.complete) {
      // Skipping to the very end would not look at what is skipped.
      const JDIMENSION rest = jpeg.output_height - jpeg.output_scanline;
      if (rest > 1) jpeg_skip_scanlines(&jpeg, rest - 1);
      if (rest > 0) jpeg_read_scanlines(&jpeg, &spare, 1);
      jpeg_finish_decompress(&jpeg);
    }
    jpeg_abort_decompress(&jpeg);
  });
  return {region.top, left, region.height, width};
}

}  // namespace helip::image
