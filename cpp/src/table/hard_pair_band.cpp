#include "helip/hard_pair_band.h"

namespace helip {

HardPairSink::~HardPairSink() = default;

}  // namespace helip
