// Everything of libhelip (helip::helip): stores, mining, tables. Pictures and batches:
// helip/data.h.
#pragma once

#include "helip/checksum.h"                // IWYU pragma: export
#include "helip/data_fingerprint.h"        // IWYU pragma: export
#include "helip/dropped_pairs.h"           // IWYU pragma: export
#include "helip/embedding_store.h"         // IWYU pragma: export
#include "helip/embedding_store_writer.h"  // IWYU pragma: export
#include "helip/error.h"                   // IWYU pragma: export
#include "helip/executor.h"                // IWYU pragma: export
#include "helip/growing_pairs.h"           // IWYU pragma: export
#include "helip/hard_negatives.h"          // IWYU pragma: export
#include "helip/hard_pair_band.h"          // IWYU pragma: export
#include "helip/hard_pairs.h"              // IWYU pragma: export
#include "helip/hard_pairs_part.h"         // IWYU pragma: export
#include "helip/hard_pairs_writer.h"       // IWYU pragma: export
#include "helip/kernel.h"                  // IWYU pragma: export
#include "helip/machine.h"                 // IWYU pragma: export
#include "helip/mapped_files.h"            // IWYU pragma: export
#include "helip/matrix.h"                  // IWYU pragma: export
#include "helip/mine.h"                    // IWYU pragma: export
#include "helip/mine_negatives.h"          // IWYU pragma: export
#include "helip/mine_options.h"            // IWYU pragma: export
#include "helip/negatives_input.h"         // IWYU pragma: export
#include "helip/pair_cosines.h"            // IWYU pragma: export
#include "helip/pair_index.h"              // IWYU pragma: export
#include "helip/parts.h"                   // IWYU pragma: export
#include "helip/plan.h"                    // IWYU pragma: export
#include "helip/progress.h"                // IWYU pragma: export
#include "helip/shares.h"                  // IWYU pragma: export
#include "helip/store_assembly.h"          // IWYU pragma: export
#include "helip/streaming.h"               // IWYU pragma: export
#include "helip/update.h"                  // IWYU pragma: export
#include "helip/version.h"                 // IWYU pragma: export
