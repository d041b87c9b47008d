// A name that libhelip_data finds in the libhelip of its own version alone: what it takes of it
// changes from one version to the next, and the loader then refuses the two.
#pragma once

#include "helip/export.h"
#include "helip/version.h"

#define HELIP_RELEASE_NAME(major, minor, patch) helip_release_##major##_##minor##_##patch
#define HELIP_RELEASE_OF(major, minor, patch) HELIP_RELEASE_NAME(major, minor, patch)
#define HELIP_RELEASE \
  HELIP_RELEASE_OF(HELIP_VERSION_MAJOR, HELIP_VERSION_MINOR, HELIP_VERSION_PATCH)

extern "C" HELIP_FOR_DATA const char HELIP_RELEASE;
