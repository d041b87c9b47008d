// Code in a forked process of its own.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace helip::testing {

// As waitpid() tells it. The exit code is what `body` returns, or 99 where it throws.
template <typename Body>
int status_of_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);  // what hangs is a failure
    int outcome = 99;
    try {
      outcome = body();
    } catch (...) {
    }
    ::_exit(outcome);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

// Its exit code, or 98 where a signal ended it.
template <typename Body>
int in_child(const Body& body) {
  const int status = status_of_child(body);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

}  // namespace helip::testing
