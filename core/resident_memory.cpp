#include "core/resident_memory.h"

#include <unistd.h>

#include <fstream>

namespace decant {

uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  if (!(file >> size >> resident)) return 0;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace decant
