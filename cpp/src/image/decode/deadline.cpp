#include "image/decode/deadline.h"

#include <iomanip>
#include <sstream>

#include "helip/sample_error.h"

namespace helip::image {

void Deadline::refuse() const {
  std::ostringstream text;
  text << "the picture was still not decoded after " << std::setprecision(3) << spent()
       << " s, more than " << seconds_
       << " s; raise max_seconds if it is genuine, or write it anew in a smaller size";
  throw SampleError("too_slow", text.str());
}

}  // namespace helip::image
