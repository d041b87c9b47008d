#include "helip/sample_error.h"

#include <utility>

namespace helip {

SampleError::SampleError(std::string reason, const std::string& message)
    : Error(ErrorCode::sample, message), reason_(std::move(reason)) {}

SampleError::~SampleError() = default;

}  // namespace helip
