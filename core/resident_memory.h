// How much memory this process has in use.
#pragma once

#include <cstdint>

namespace decant {

// Bytes resident now, mapped files included (proc_pid_statm(5)); 0 when it cannot be known.
uint64_t resident_memory();

}  // namespace decant
