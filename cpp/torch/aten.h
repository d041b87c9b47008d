// Calls of ATen operators over libtorch's stable C shim.
//
// Only schemas without a `Scalar` argument are used: the shim has no such type. Where ATen wants a
// number, the overload that takes a zero-dimensional tensor is called with one on the CPU, which
// every device accepts without a copy or a wait.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

// Headers before torch 2.13 know it by this name.
#ifndef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK(call) TORCH_ERROR_CODE_CHECK(call)
#endif

namespace helip::aten {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// An operator of one result. In-place operators return their first argument again; drop it.
template <class... Arguments>
Tensor call(const char* op, const char* overload, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(Arguments)> stack{torch::stable::detail::from(arguments)...};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher(op, overload, stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

// The k largest of each row, in falling order: values [m, k], positions int64 [m, k].
inline std::pair<Tensor, Tensor> topk(const Tensor& values, int64_t k, bool sorted) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 5> stack{from(values), from(k), from(int64_t{1}), from(true),
                                    from(sorted)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::topk", "", stack.data(), TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

// A zero-dimensional tensor on the CPU.
inline Tensor number(double value, ScalarType dtype) {
  return torch::stable::full({}, value, dtype);
}

}  // namespace helip::aten
