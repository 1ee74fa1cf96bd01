// What a process does between fork and exec to become a child of this one: it dies with its parent,
// stands in a process group of its own (a Ctrl-C in the terminal reaches the parent only), reads
// nothing from standard input and keeps none of the parent's descriptors but one.
#pragma once

#include <sys/types.h>

namespace troupe {

struct ChildImage {
  int image = -1;    ///< open on the executable
  pid_t parent = 0;  ///< who forked
  char* const* argv = nullptr;
  int descriptor = -1;  ///< kept, beside standard output (unless it is that) and standard error
  int number = -1;      ///< what it is there; standard output or above standard error
};

/// In the child of a fork, with everything allocated before: makes async-signal-safe calls only.
/// Ends with status 71 when the parent is gone already, 72 when the image can't be executed.
[[noreturn]] void become_image(const ChildImage& child);

/// Readable once the process has ended; -1: none left.
int open_pidfd(pid_t pid);

}  // namespace troupe
