// Symbol visibility of the shared libraries.
#pragma once

#define HELIP_EXPORT __attribute__((visibility("default")))
// What libhelip_data takes of libhelip without a public header: no part of the interface.
#define HELIP_FOR_DATA HELIP_EXPORT
