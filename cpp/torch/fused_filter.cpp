#include "fused_filter.h"

#include <dlfcn.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <atomic>

#include "../cuda/product_filter.h"

namespace helip {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Filter = decltype(&helip_cuda_product_filter);
using ErrorText = decltype(&helip_cuda_error);
std::atomic<Filter> cuda_filter{nullptr};
std::atomic<ErrorText> cuda_error{nullptr};

HelipProductModality modality_of(const std::optional<ModalityBlock>& block) {
  if (!block) return {};
  const Tensor* tensors[] = {&block->rows, &block->columns, &block->row_margins,
                             &block->column_margins};
  for (const Tensor* tensor : tensors) {
    STD_TORCH_CHECK(tensor->is_contiguous(), "helip::product_filter: fused needs contiguous rows");
  }
  const int64_t depth = block->rows.size(1);
  const auto address = [](const Tensor& tensor) {
    return reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr());
  };
  STD_TORCH_CHECK(is_half(block->rows.scalar_type()) && depth % 8 == 0 &&
                      address(block->rows) % 16 == 0 && address(block->columns) % 16 == 0,
                  "helip::product_filter: fused needs rows of 16-bit numbers, a multiple of 8 wide "
                  "and on a multiple of 16 bytes");
  return {block->rows.const_data_ptr(),
          block->columns.const_data_ptr(),
          static_cast<const float*>(block->row_margins.const_data_ptr()),
          static_cast<const float*>(block->column_margins.const_data_ptr()),
          depth,
          depth,
          depth};
}

template <class Symbol>
Symbol symbol_of(void* library, const char* name, const std::string& path) {
  void* symbol = dlsym(library, name);
  STD_TORCH_CHECK(symbol != nullptr, "helip::load_cuda_library: ", path, " has no ", name);
  return reinterpret_cast<Symbol>(symbol);
}

}  // namespace

Survivors filter_fused(const ProductBlock& block, const product::Rules& rules,
                       const Tensor& row_thresholds, const Tensor& column_thresholds, int64_t after,
                       int64_t capacity, int64_t stream) {
  STD_TORCH_CHECK(row_thresholds.is_contiguous() && column_thresholds.is_contiguous(),
                  "helip::product_filter: fused needs contiguous thresholds");
  if (block.image && block.text) {
    STD_TORCH_CHECK(block.image->rows.scalar_type() == block.text->rows.scalar_type(),
                    "helip::product_filter: fused needs image and text of one format");
  }
  const Tensor& margins = block.any().row_margins;
  const auto empty = [&](ScalarType dtype) {
    return torch::stable::new_empty(margins, {capacity}, dtype);
  };
  const Survivors found{empty(ScalarType::Int), empty(ScalarType::Int), empty(ScalarType::Float),
                        empty(ScalarType::Float),
                        torch::stable::new_zeros(margins, {1}, ScalarType::Long)};
  HelipProductFilter filter{};
  filter.image = modality_of(block.image);
  filter.text = modality_of(block.text);
  filter.rows = block.rows;
  filter.columns = block.columns;
  filter.after = after;
  filter.row_thresholds = static_cast<const float*>(row_thresholds.const_data_ptr());
  filter.column_thresholds = static_cast<const float*>(column_thresholds.const_data_ptr());
  filter.rules = rules;
  filter.format =
      block.any().rows.scalar_type() == ScalarType::BFloat16 ? kHelipBfloat16 : kHelipFloat16;
  filter.capacity = capacity;
  filter.survivor_rows = static_cast<std::int32_t*>(found.rows.mutable_data_ptr());
  filter.survivor_columns = static_cast<std::int32_t*>(found.columns.mutable_data_ptr());
  filter.survivor_upper = static_cast<float*>(found.upper.mutable_data_ptr());
  filter.survivor_lower = static_cast<float*>(found.lower.mutable_data_ptr());
  filter.count = static_cast<unsigned long long*>(found.count.mutable_data_ptr());

  if (!margins.is_cuda()) {
    emulate_product_filter(filter);
    return found;
  }
  const Filter run = cuda_filter.load();
  STD_TORCH_CHECK(run != nullptr, "helip::product_filter: load_cuda_library() was not called");
  const int error = run(&filter, reinterpret_cast<void*>(stream));
  STD_TORCH_CHECK(error == 0,
                  "helip::product_filter: the kernel was not launched: ", cuda_error.load()(error));
  return found;
}

void load_cuda_library(std::string path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    STD_TORCH_CHECK(false, "helip::load_cuda_library: ", reason != nullptr ? reason : path.c_str());
  }
  const int version =
      symbol_of<decltype(&helip_cuda_version)>(library, "helip_cuda_version", path)();
  STD_TORCH_CHECK(version == HELIP_PRODUCT_FILTER_VERSION, "helip::load_cuda_library: ", path,
                  " has version ", version, " of the interface, this library ",
                  HELIP_PRODUCT_FILTER_VERSION, "; build both together");
  cuda_error = symbol_of<ErrorText>(library, "helip_cuda_error", path);
  cuda_filter = symbol_of<Filter>(library, "helip_cuda_product_filter", path);
}

}  // namespace helip
