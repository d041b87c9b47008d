// Symbol visibility of the shared core library.
#pragma once

#if defined(_WIN32)
#if defined(HELIP_BUILDING)
#define HELIP_EXPORT __declspec(dllexport)
#else
#define HELIP_EXPORT __declspec(dllimport)
#endif
#else
#define HELIP_EXPORT __attribute__((visibility("default")))
#endif
