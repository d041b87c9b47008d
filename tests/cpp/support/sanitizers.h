// Which sanitizer watches the tests. GCC defines a macro for each, clang answers a question.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HELIP_ADDRESS_SANITIZER 1
#endif
#if __has_feature(thread_sanitizer)
#define HELIP_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HELIP_ADDRESS_SANITIZER 1
#endif
#if defined(__SANITIZE_THREAD__)
#define HELIP_THREAD_SANITIZER 1
#endif
