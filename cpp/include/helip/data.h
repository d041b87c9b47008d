// Everything of libhelip_data (helip::data): pictures of a data set, and batches of them.
#pragma once

#include "helip/batch_assembler.h"  // IWYU pragma: export
#include "helip/batch_sampler.h"    // IWYU pragma: export
#include "helip/image_files.h"      // IWYU pragma: export
#include "helip/image_source.h"     // IWYU pragma: export
#include "helip/image_transform.h"  // IWYU pragma: export
#include "helip/locality_order.h"   // IWYU pragma: export
#include "helip/row_groups.h"       // IWYU pragma: export
#include "helip/sample_error.h"     // IWYU pragma: export
#include "helip/sample_index.h"     // IWYU pragma: export
#include "helip/shard_images.h"     // IWYU pragma: export
