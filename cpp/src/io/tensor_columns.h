// Arrays of numbers as the tensors of a file, and back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "io/tensor_file.h"

namespace helip {

// Numbers as a file has them; those of 32 bits without a sign as signed ones of the same bits.
template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, double>) return DType::float64;
  if constexpr (std::is_same_v<T, float>) return DType::float32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::int64;
  if constexpr (std::is_same_v<T, std::int8_t>) return DType::int8;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::uint8;
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 1));
  return DType::int32;
}

// Tensors to be written.
class TensorColumns {
 public:
  const std::vector<Tensor>& tensors() const noexcept { return tensors_; }

  // Numbers that stay where they are.
  template <typename Range>
  void show(const std::string& name, const Range& values) {
    using T = std::remove_const_t<typename Range::value_type>;
    tensors_.push_back(
        {name, dtype_of<T>(), {static_cast<std::int64_t>(values.size())}, values.data()});
  }
  template <typename T>
  void keep(const std::string& name, std::vector<T> values) {
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    show(name, *kept);
    kept_.push_back(kept);
  }

 private:
  std::vector<Tensor> tensors_;
  std::vector<std::shared_ptr<const void>> kept_;
};

// Of what was read: throws Error(corrupt) where it does not hold.
inline void require_sound(bool condition, const char* what) {
  if (!condition) throw Error(ErrorCode::corrupt, what);
}

// All of a tensor that has as many. Throws Error: io, corrupt.
template <typename T>
void read_column(const TensorFile& file, const std::string& name, std::span<T> out) {
  file.read(name, dtype_of<T>(), static_cast<std::int64_t>(out.size()), out.data());
}
template <typename T>
std::vector<T> read_column(const TensorFile& file, const std::string& name) {
  std::vector<T> values(static_cast<std::size_t>(file.elements(name, dtype_of<T>())));
  read_column(file, name, std::span(values));
  return values;
}

}  // namespace helip
