// Loops that compilers turn into vectors by themselves; each kernel compiles its own copy, hence
// the unnamed namespace.
#pragma once

#include <cstdint>

namespace helip::image {
namespace {

constexpr std::int64_t kBlock = 128;  // pixels that a loop holds in planes

struct Planes {
  std::int32_t red[kBlock];
  std::int32_t green[kBlock];
  std::int32_t blue[kBlock];
};

inline void split(const std::uint8_t* rgb, std::int64_t pixels, Planes& planes) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    planes.red[i] = rgb[3 * i];
    planes.green[i] = rgb[3 * i + 1];
    planes.blue[i] = rgb[3 * i + 2];
  }
}

inline void join(const Planes& planes, std::int64_t pixels, std::uint8_t* rgb) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    rgb[3 * i] = static_cast<std::uint8_t>(planes.red[i]);
    rgb[3 * i + 1] = static_cast<std::uint8_t>(planes.green[i]);
    rgb[3 * i + 2] = static_cast<std::uint8_t>(planes.blue[i]);
  }
}

// ITU-R 601-2 luma in 16 fractional bits, as Pillow rounds it.
inline std::int32_t luma_of(std::int32_t red, std::int32_t green, std::int32_t blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

inline std::uint64_t sum_luma(const std::uint8_t* rgb, std::int64_t pixels) {
  std::uint64_t sum = 0;
  Planes planes;
  for (std::int64_t done = 0; done < pixels; done += kBlock) {
    const std::int64_t size = pixels - done < kBlock ? pixels - done : kBlock;
    split(rgb + 3 * done, size, planes);
    std::int32_t part = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      part += luma_of(planes.red[i], planes.green[i], planes.blue[i]);
    }
    sum += static_cast<std::uint64_t>(part);
  }
  return sum;
}

inline void grayscale(std::uint8_t* rgb, std::int64_t pixels) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    const auto luma =
        static_cast<std::uint8_t>(luma_of(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]));
    rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = luma;
  }
}

// From `from` by `factor` of the way to `to`, and beyond: cut, not rounded, as Pillow does.
inline std::int32_t blend(std::int32_t from, std::int32_t to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  const float low = value > 0.0F ? value : 0.0F;
  return static_cast<std::int32_t>(low < 255.0F ? low : 255.0F);
}

inline void saturate(std::uint8_t* rgb, std::int64_t pixels, float factor) {
  Planes planes;
  for (std::int64_t done = 0; done < pixels; done += kBlock) {
    const std::int64_t size = pixels - done < kBlock ? pixels - done : kBlock;
    split(rgb + 3 * done, size, planes);
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int32_t luma = luma_of(planes.red[i], planes.green[i], planes.blue[i]);
      planes.red[i] = blend(luma, planes.red[i], factor);
      planes.green[i] = blend(luma, planes.green[i], factor);
      planes.blue[i] = blend(luma, planes.blue[i], factor);
    }
    join(planes, size, rgb + 3 * done);
  }
}

// To hue, saturation and value in 256 steps each and back, by the formulas and roundings of
// Pillow's Convert.c, which are those of Python's colorsys.
inline void shift_hue(std::uint8_t* rgb, std::int64_t pixels, int shift) {
  Planes planes;
  std::int32_t hue[kBlock];
  std::int32_t sector[kBlock];
  float within[kBlock];
  float saturation[kBlock];
  float value[kBlock];
  for (std::int64_t done = 0; done < pixels; done += kBlock) {
    const std::int64_t size = pixels - done < kBlock ? pixels - done : kBlock;
    split(rgb + 3 * done, size, planes);
    for (std::int64_t i = 0; i < size; ++i) {
      const auto red = static_cast<float>(planes.red[i]);
      const auto green = static_cast<float>(planes.green[i]);
      const auto blue = static_cast<float>(planes.blue[i]);
      const float more = green > blue ? green : blue;
      const float less = green < blue ? green : blue;
      const float largest = red > more ? red : more;
      const float smallest = red < less ? red : less;
      const float span = largest - smallest;
      const float safe = span > 0.0F ? span : 1.0F;
      const float to_red = (largest - red) / safe;
      const float to_green = (largest - green) / safe;
      const float to_blue = (largest - blue) / safe;
      const float at_red = to_blue - to_green;
      const auto at_green =
          static_cast<float>(2.0 + static_cast<double>(to_red) - static_cast<double>(to_blue));
      const auto at_blue =
          static_cast<float>(4.0 + static_cast<double>(to_green) - static_cast<double>(to_red));
      const float other = green == largest ? at_green : at_blue;
      const float sixths = red == largest ? at_red : other;
      const double turned = static_cast<double>(sixths) / 6.0 + 1.0;
      const auto turn = static_cast<float>(turned >= 1.0 ? turned - 1.0 : turned);
      const float share = span / (largest > 0.0F ? largest : 1.0F);
      hue[i] = span > 0.0F ? static_cast<std::int32_t>(static_cast<double>(turn) * 255.0) : 0;
      const auto steps = static_cast<std::int32_t>(static_cast<double>(share) * 255.0);
      saturation[i] = static_cast<float>(static_cast<double>(steps) / 255.0);
      value[i] = largest;
    }
    for (std::int64_t i = 0; i < size; ++i) {
      const auto shifted = static_cast<double>((hue[i] + shift) & 255);
      const double sixths = shifted * 6.0 / 255.0;
      const auto whole = static_cast<std::int32_t>(sixths);
      within[i] = static_cast<float>(sixths - static_cast<double>(whole));
      sector[i] = whole == 6 ? 0 : whole;
    }
    for (std::int64_t i = 0; i < size; ++i) {
      const auto full = static_cast<double>(value[i]);
      const float falling = saturation[i] * within[i];
      // Rounded up from one half, as round() does: what is rounded is not negative.
      const auto p =
          static_cast<std::int32_t>(full * (1.0 - static_cast<double>(saturation[i])) + 0.5);
      const auto q = static_cast<std::int32_t>(full * (1.0 - static_cast<double>(falling)) + 0.5);
      const auto t =
          static_cast<std::int32_t>(full * (1.0 - static_cast<double>(saturation[i]) *
                                                      (1.0 - static_cast<double>(within[i]))) +
                                    0.5);
      const auto v = static_cast<std::int32_t>(value[i]);
      const std::int32_t k = sector[i];
      planes.red[i] = k == 0 || k == 5 ? v : k == 1 ? q : k == 4 ? t : p;
      planes.green[i] = k == 1 || k == 2 ? v : k == 0 ? t : k == 3 ? q : p;
      planes.blue[i] = k == 3 || k == 4 ? v : k == 2 ? t : k == 5 ? q : p;
    }
    join(planes, size, rgb + 3 * done);
  }
}

inline void blur(const std::uint8_t* const* taps, std::int64_t count, std::uint32_t near,
                 std::uint32_t far, std::int64_t bytes, std::uint8_t* out) {
  constexpr std::int64_t kBytes = 512;
  std::uint32_t sum[kBytes];
  for (std::int64_t done = 0; done < bytes; done += kBytes) {
    const std::int64_t size = bytes - done < kBytes ? bytes - done : kBytes;
    const std::uint8_t* middle = taps[1] + done;
    for (std::int64_t i = 0; i < size; ++i) sum[i] = middle[i];
    for (std::int64_t tap = 2; tap < count - 1; ++tap) {
      middle = taps[tap] + done;
      for (std::int64_t i = 0; i < size; ++i) sum[i] += middle[i];
    }
    const std::uint8_t* before = taps[0] + done;
    const std::uint8_t* after = taps[count - 1] + done;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::uint32_t ends = std::uint32_t{before[i]} + after[i];
      out[done + i] =
          static_cast<std::uint8_t>((sum[i] * near + ends * far + (std::uint32_t{1} << 23)) >> 24);
    }
  }
}

inline void map_bytes(std::uint8_t* bytes, std::int64_t count, const std::uint8_t* table) {
  for (std::int64_t i = 0; i < count; ++i) bytes[i] = table[bytes[i]];
}

inline std::uint8_t clipped(std::int32_t sum, int precision) {
  const std::int32_t value = sum >> precision;
  return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

}  // namespace
}  // namespace helip::image
